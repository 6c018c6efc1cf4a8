"""The contents of archives, and the tar stream over which Go's archive/tar lets Pulumi compute their digest.

Only what that stream consists of: one USTAR header per regular file, with a PAX record before it where the name is not
ASCII or cannot be split.  Python's tarfile differs from Go in where it splits long names, in the device numbers and in
the padding at the end, so its digests would be others.
"""

from __future__ import annotations

import posixpath
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

ARCHIVE_SUFFIXES: Final = (".tar", ".tgz", ".tar.gz", ".zip", ".jar")
MAX_BYTES: Final = 4 * 1024**3
MAX_FILES: Final = 200_000
_CHUNK_BYTES: Final = 1 << 20
_BLOCK_BYTES: Final = 512
_NAME_BYTES: Final = 100
_PREFIX_BYTES: Final = 155

Source: TypeAlias = Path | bytes
"""A file to be read when its turn comes, or bytes at hand."""


def members(path: Path) -> Iterator[tuple[str, Source]]:
    """(name, source) of every regular file in a directory or an archive file, in the order in which Pulumi sees them.

    Directories called ``.pulumi`` and symbolic links to directories are left out.  Raises ValueError for a file that is
    no archive or holds more than 4 GiB.
    """
    name = path.name.lower()
    if path.is_dir():
        yield from _tree(path, "")
    elif name.endswith((".zip", ".jar")):
        yield from _zip_members(path)
    elif name.endswith(ARCHIVE_SUFFIXES):
        yield from _tar_members(path)
    else:
        raise ValueError(f"{path} is no archive: allowed are directories and {', '.join(ARCHIVE_SUFFIXES)}")


def tar_stream(contents: Iterable[tuple[str, Source]]) -> Iterator[bytes]:
    """The bytes to be hashed.  Of several members with one name the first counts.

    Raises ValueError for more than 200,000 files or 4 GiB, and for a file that grows or shrinks meanwhile.
    """
    seen: set[str] = set()
    total = 0
    for name, source in contents:
        if name in seen:
            continue
        seen.add(name)
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        total += size
        if len(seen) > MAX_FILES or total > MAX_BYTES:
            raise ValueError(
                f"the archive has more than {MAX_FILES} files or {MAX_BYTES} bytes: leave out what it can do without"
            )
        yield from _header(name, size)
        written = 0
        for chunk in file_chunks(source) if isinstance(source, Path) else (source,):
            written += len(chunk)
            yield chunk
        if written != size:
            raise ValueError(f"{source if isinstance(source, Path) else name} changed while it was read: try again")
        yield bytes(-size % _BLOCK_BYTES)
    yield bytes(2 * _BLOCK_BYTES)


def file_chunks(path: Path) -> Iterator[bytes]:
    """Raises ValueError for a file that cannot be read."""
    if not path.is_file():  # reading a pipe would never end
        raise ValueError(f"{path} cannot be read: it is no regular file")
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def _tree(folder: Path, prefix: str) -> Iterator[tuple[str, Source]]:
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.is_dir():
            if entry.name != ".pulumi" and not entry.is_symlink():
                yield from _tree(entry, f"{prefix}{entry.name}/")
        elif entry.is_file():
            yield prefix + entry.name, entry


def _zip_members(path: Path) -> Iterator[tuple[str, Source]]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            _refuse_huge(path, sum(info.file_size for info in infos))
            for info in infos:
                yield info.filename, archive.read(info)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be unpacked: {error}") from error


def _tar_members(path: Path) -> Iterator[tuple[str, Source]]:
    total = 0
    try:
        with tarfile.open(path, "r:*") as archive:
            for info in archive:
                stream = archive.extractfile(info) if info.isreg() else None
                if stream is not None:
                    total += info.size
                    _refuse_huge(path, total)
                    yield info.name, stream.read()
    except (OSError, tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path} cannot be unpacked: {error}") from error


def _refuse_huge(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"{path} holds more than {MAX_BYTES} bytes")


def _header(name: str, size: int) -> Iterator[bytes]:
    data = name.encode("utf-8", "surrogateescape")
    if len(data) <= _NAME_BYTES and name.isascii():
        yield _block(data, b"", size, 0o600, b"0", device=True)
        return
    split = _split(data) if name.isascii() else None
    if split is not None:
        yield _block(split[1], split[0], size, 0o600, b"0", device=True)
        return
    folder, file = posixpath.split(name)
    record = _pax_record(data)
    record_name = _ascii(posixpath.join(folder, "PaxHeaders.0", file))[:_NAME_BYTES].rstrip(b"/")
    yield _block(record_name, b"", len(record), 0, b"x", device=False)
    yield record + bytes(-len(record) % _BLOCK_BYTES)
    yield _block(_ascii(name)[:_NAME_BYTES], b"", size, 0o600, b"0", device=True)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """(prefix, rest) of a long name, split at the last slash that the prefix field allows."""
    at = name[: _PREFIX_BYTES + 1].rfind(b"/")
    rest = len(name) - at - 1
    return (name[:at], name[at + 1 :]) if at > 0 and 0 < rest <= _NAME_BYTES else None


def _pax_record(name: bytes) -> bytes:
    """``<length> path=<name>\\n``, where the length counts its own digits."""
    rest = b" path=" + name + b"\n"
    length = len(rest) + len(str(len(rest)))
    if len(rest) + len(str(length)) != length:
        length += 1
    return str(length).encode() + rest


def _ascii(name: str) -> bytes:
    return bytes(ord(letter) for letter in name if 0 < ord(letter) < 128)


def _block(name: bytes, prefix: bytes, size: int, mode: int, kind: bytes, *, device: bool) -> bytes:
    """One header block: no owner, no time.  Device numbers are zeros in digits, as in Go, but for PAX records."""
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, 0, 0, size, 0)
    devices = b"0000000\0" * 2 if device else bytes(16)
    before = name.ljust(_NAME_BYTES, b"\0") + numbers
    after = kind + bytes(100) + b"ustar\x0000" + bytes(64) + devices + prefix.ljust(_PREFIX_BYTES, b"\0") + bytes(12)
    checksum = sum(before) + sum(after) + 8 * ord(" ")
    return before + b"%06o\0 " % checksum + after
