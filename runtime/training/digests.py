"""Digests of what a result was made from: enough to say later whether two results had the same origin."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any, Final

_CHUNK_BYTES: Final = 1 << 20


def sha256_bytes(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Reads the file in pieces of 1 MiB."""
    with path.open("rb") as file:
        return sha256_stream(file)


def sha256_stream(stream: Any) -> str:
    """Of an open binary stream, from where it stands to its end."""
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one byte string of a JSON value: sorted keys, no spaces.  Raises ValueError for NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def sha256_json(value: Any) -> str:
    return sha256_bytes(canonical_json(value))


@functools.cache
def code_digest() -> str:
    """Of the source of this package, file names included."""
    root = Path(__file__).parent
    sources = {path.relative_to(root).as_posix(): sha256_file(path) for path in sorted(root.rglob("*.py"))}
    return sha256_json(sources)


@functools.cache
def environment_digest() -> str:
    """Of the names and versions of every distribution installed beside this one."""
    from importlib.metadata import distributions

    return sha256_json(sorted({f"{d.metadata['Name'].lower()}=={d.version}" for d in distributions()}))
