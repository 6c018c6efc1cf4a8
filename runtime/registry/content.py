"""Which files a package may hold: data formats with a positive check each, and nothing that executes when it is read.

A pickle is refused under any name: joblib files, ``torch.save`` archives and NumPy object arrays with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

from runtime.registry.errors import PackageError

MOST_FILES: Final = 500
MOST_FILE_BYTES: Final = 4 << 30
_HEAD_BYTES: Final = 64
_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
_MOST_PARTS: Final = 6

_PICKLE: Final = re.compile(rb"^\x80[\x00-\x08]")
"""Opcode PROTO: every pickle of protocol 2 and above begins with it."""
_TEXT_PICKLE: Final = re.compile(rb"^\(?c[\w.]+\n[\w.]+\n|^\([dlt]p\d+\n")
"""Protocols 0 and 1 are printable: a global import, or an opened dict, list or tuple put in the memo."""
_EXECUTABLE: Final = {
    b"PK\x03\x04": "a ZIP archive (torch.save writes pickles into one)",
    b"\x93NUMPY": "a NumPy array file, which may hold pickled objects",
    b"\x7fELF": "a program",
    b"#!": "a script",
    b"\x1f\x8b": "a compressed file (joblib compresses pickles)",
    b"BZh": "a compressed file (joblib compresses pickles)",
    b"\xfd7zXZ": "a compressed file (joblib compresses pickles)",
    b"ZF": "a compressed joblib file",
    b"\x78\x9c": "a compressed file (joblib compresses pickles)",
}


def _is_text(head: bytes) -> bool:
    # A character may be cut at the end of the head.
    text = head.decode("utf-8", errors="ignore")
    return len(text.encode()) > len(head) - 4 and "\x00" not in text


_FORMATS: Final[dict[str, Callable[[bytes], bool]]] = {
    # Field 1 of ModelProto, ir_version, is written first.
    ".onnx": lambda head: head[:1] == b"\x08",
    ".safetensors": lambda head: len(head) > 8 and head[8:9] == b"{",
    ".parquet": lambda head: head[:4] == b"PAR1",
    ".png": lambda head: head[:8] == b"\x89PNG\r\n\x1a\n",
    ".json": _is_text,
    ".txt": _is_text,
    ".md": _is_text,
}
FORMATS: Final = tuple(_FORMATS)


def check_name(name: str) -> str:
    """A relative path of plain names that stays inside the package.  Raises PackageError."""
    parts = PurePosixPath(name).parts
    if not parts or len(parts) > _MOST_PARTS or "/".join(parts) != name or not all(_NAME.match(part) for part in parts):
        raise PackageError(
            f"file name {name[:200]!r} is refused: up to {_MOST_PARTS} parts of letters, digits and . _ - are allowed"
        )
    return name


def check_head(name: str, head: bytes) -> None:
    """Whether the first bytes are of the format that the name says.  Raises PackageError."""
    suffix = PurePosixPath(name).suffix
    if suffix not in _FORMATS:
        raise PackageError(f"{name}: a package may hold {', '.join(FORMATS)} only; nothing that unpickles or runs")
    if _PICKLE.match(head) or (suffix in (".txt", ".json", ".md") and _TEXT_PICKLE.match(head)):
        raise PackageError(f"{name}: is a pickle, which runs code when it is read; export ONNX or safetensors instead")
    for magic, what in _EXECUTABLE.items():
        if head.startswith(magic) and suffix not in (".txt", ".md"):
            raise PackageError(f"{name}: is {what}; refused")
    if not _FORMATS[suffix](head):
        raise PackageError(f"{name}: its first bytes are not those of a {suffix} file; refused")


def check_file(root: Path, name: str) -> None:
    """Name, kind and size of one file.  Raises PackageError."""
    path = root / check_name(name)
    if path.is_symlink() or not path.is_file():
        raise PackageError(f"{name}: is not a plain file; a package holds no links")
    if path.stat().st_size > MOST_FILE_BYTES:
        raise PackageError(f"{name}: larger than {MOST_FILE_BYTES} bytes; refused")
    with path.open("rb") as file:
        check_head(name, file.read(_HEAD_BYTES))
