"""Digests of assets and archives, as the engine of Pulumi computes them when a resource is registered.

Asset: SHA-256 of its bytes.  Archive file: SHA-256 of the file.  Directory and AssetArchive: SHA-256 of a tar stream
as Go's archive/tar writes it, one header and the bytes for every regular file, without times, owners and modes.
Sources: sdk/go/common/resource/{asset,archive} of Pulumi, archive/tar of Go; compared with digests of the CLI.
Paths are relative to the program's working directory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path

from falaj.engine.archive_tar import ARCHIVE_SUFFIXES, Source, file_chunks, members, tar_stream
from falaj.engine.errors import UnsupportedError
from falaj.engine.values import Archive, Asset, Output, Secret, Value


def hashed(value: Value, directory: Path) -> Value:
    """The value with the digest of every asset and archive in it, also inside secrets and lists.

    Raises ValueError, naming the path, for a missing or unreadable file, an archive of an unknown kind, or one of more
    than 200,000 files or 4 GiB; UnsupportedError for ``uri`` (the embedded engine fetches nothing).
    """
    match value:
        case dict():
            return {key: hashed(item, directory) for key, item in value.items()}
        case list():
            return [hashed(item, directory) for item in value]
        case Secret():
            return Secret(hashed(value.value, directory))
        case Output():
            return dataclasses.replace(value, value=hashed(value.value, directory))
        case Asset():
            return _hashed_asset(value, directory)
        case Archive():
            return _hashed_archive(value, directory)
        case _:
            return value


def contains_assets(value: Value) -> bool:
    match value:
        case dict():
            return any(contains_assets(item) for item in value.values())
        case list():
            return any(contains_assets(item) for item in value)
        case Secret() | Output():
            return contains_assets(value.value)
        case _:
            return isinstance(value, Asset | Archive)


def read_asset(asset: Asset, directory: Path, limit_bytes: int) -> bytes:
    """The bytes of an asset, for a provider that needs them.  Raises what ``hashed`` does, also over the limit."""
    chunks, total = [], 0
    for chunk in _asset_chunks(asset, directory):
        total += len(chunk)
        if total > limit_bytes:
            raise ValueError(f"the asset {asset.path or 'of text'} has more than {limit_bytes} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _hashed_asset(asset: Asset, directory: Path) -> Asset:
    if asset.text is None and asset.path is None and asset.uri is None:
        return asset  # elided: its digest is all there is
    return dataclasses.replace(asset, hash=_digest(_asset_chunks(asset, directory)))


def _asset_chunks(asset: Asset, directory: Path) -> Iterable[bytes]:
    if asset.text is not None:
        return (asset.text.encode(),)
    return file_chunks(_local(asset, directory))


def _hashed_archive(archive: Archive, directory: Path) -> Archive:
    if archive.assets is not None:
        archive = dataclasses.replace(
            archive, assets={n: hashed(item, directory) for n, item in archive.assets.items()}
        )
    elif archive.path is None and archive.uri is None:
        return archive
    else:
        path = _local(archive, directory)
        if path.is_file():
            if not path.name.lower().endswith(ARCHIVE_SUFFIXES):
                raise ValueError(f"{path} is no archive: allowed are directories and {', '.join(ARCHIVE_SUFFIXES)}")
            return dataclasses.replace(archive, hash=_digest(file_chunks(path)))
    return dataclasses.replace(archive, hash=_digest(tar_stream(_contents(archive, directory))))


def _contents(archive: Archive, directory: Path) -> Iterator[tuple[str, Source]]:
    """(name, source) of everything in an archive in the order of Go: names sorted, directories walked lexically."""
    if archive.assets is None:
        yield from members(_local(archive, directory))
        return
    for name in sorted(archive.assets):
        item = archive.assets[name]
        if isinstance(item, Archive):
            for below, source in _contents(item, directory):
                yield posixpath.join(name, below), source
        elif item.text is not None:
            yield name, item.text.encode()
        else:
            yield name, _local(item, directory)


def _local(blob: Asset | Archive, directory: Path) -> Path:
    if blob.path is None:
        raise UnsupportedError(f"{blob.uri}: the embedded engine fetches no assets: download it and name the file")
    path = directory / blob.path
    if not path.exists():
        raise ValueError(f"{path} does not exist: an asset or archive names it")
    return path


def _digest(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
