"""Where stacks are kept: a directory laid out as Pulumi's ``file://`` backend (version 1 of the layout).

    .pulumi/meta.yaml
    .pulumi/stacks/<project>/<stack>.json                      the checkpoint; .json.bak is the one before
    .pulumi/history/<project>/<stack>/<stack>-<ns>.history.json and .checkpoint.json
    .pulumi/backups/<project>/<stack>/<stack>.<ns>.json
    .pulumi/locks/organization/<project>/<stack>/<uuid>.json

``.json.gz`` instead of ``.json`` where a stack already is compressed.  Source: pkg/backend/diy of Pulumi, and
directories that the CLI wrote.  Directories get mode 0700 and files 0600: states name everything that a company runs.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import tempfile
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from falaj.engine.errors import ConfigError, StateError, UnsupportedError
from falaj.engine.locks import StackLock, make_private
from falaj.engine.project import check_name
from falaj.engine.settings_yaml import load_yaml

_MAX_STATE_BYTES: Final = 1 << 30
"""What a compressed state may grow to; about a million resources."""
_GZIP_MAGIC: Final = b"\x1f\x8b"


class StackName(NamedTuple):
    """A stack of a backend."""

    project: str
    stack: str

    def __str__(self) -> str:
        return f"{self.project}/{self.stack}"


class FileBackend:
    """All stacks under one directory, which is made at the first write.

    ``compress_new``: new stacks are kept as ``.json.gz`` (what PULUMI_DIY_BACKEND_GZIP asks of the CLI).
    Raises StateError for a directory of another layout version.
    """

    def __init__(self, directory: Path, *, compress_new: bool = False) -> None:
        self.root = directory.expanduser().resolve() / ".pulumi"
        self._compress_new = compress_new
        self._check_layout()

    def stacks(self) -> list[StackName]:
        """All stacks of all projects, sorted."""
        folders = [folder for folder in self._stacks.iterdir() if folder.is_dir()] if self._stacks.is_dir() else []
        found = set()
        for folder in folders:
            for file in folder.iterdir():
                name = file.name.removesuffix(".gz")
                if name.endswith(".json") and not name.startswith("."):
                    found.add(StackName(folder.name, name.removesuffix(".json")))
        return sorted(found)

    def exists(self, name: StackName) -> bool:
        return self.file(name).exists()

    def file(self, name: StackName) -> Path:
        """Where the stack's checkpoint is or would be.  Raises UnsupportedError for one in zstandard format."""
        base = self._stacks / check_name(name.project, "a project name") / check_name(name.stack, "a stack name")
        plain, packed, other = (base.with_name(base.name + suffix) for suffix in (".json", ".json.gz", ".json.zst"))
        if other.exists():
            raise UnsupportedError(
                f"{other} is in zstandard format, which the embedded engine does not read: use the CLI"
            )
        if packed.exists() and plain.exists():
            raise StateError(
                f"the stack {name} stands twice: keep the newer of {plain} and {packed.name} and move the other"
            )
        return packed if packed.exists() or (self._compress_new and not plain.exists()) else plain

    def read(self, name: StackName) -> bytes:
        """The checkpoint's JSON.  Raises StateError when there is none or it cannot be unpacked."""
        return read_state(self.file(name))

    def create(self, name: StackName, data: bytes) -> None:
        """A new stack.  Raises StateError when there is one of that name."""
        if self.exists(name):
            raise StateError(f"the stack {name} exists already in {self.root}: choose another name")
        self._make_layout()
        self._write(self.file(name), data, durable=True)

    def save(self, name: StackName, data: bytes, *, durable: bool = True) -> None:
        """Replaces the checkpoint; the one before stays as ``.bak``.  The caller holds the stack's lock.

        Every save survives the death of this process: the file appears by a rename, whole or not at all, and what is
        written is in the kernel's hands.  ``durable`` asks besides that it survive a power failure (fsync of file and
        directory: milliseconds on a disk); saves between two steps of a deployment may do without, the last may not.
        """
        file = self.file(name)
        if file.exists():
            self._keep_previous(file)
        self._write(file, data, durable=durable)

    def remove(self, name: StackName) -> None:
        """Forgets a stack: checkpoint and history go, a ``.bak`` and the backups stay, as with the CLI."""
        file = self.file(name)
        if not file.exists():
            raise StateError(f"there is no stack {name} in {self.root}; there are: {self._names()}")
        file.replace(file.with_name(file.name + ".bak"))
        _forget_attributes(file)
        history = self._folder("history", name)
        for entry in history.iterdir() if history.is_dir() else ():
            entry.unlink()

    def record(self, name: StackName, entry: Mapping[str, Any], data: bytes) -> None:
        """Adds a finished deployment to the history, with its checkpoint, and keeps a backup of the latter."""
        suffix = ".json.gz" if self.file(name).suffix == ".gz" else ".json"
        history, backups = self._folder("history", name), self._folder("backups", name)
        stamp = time.time_ns()
        text = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()
        self._write(history / f"{name.stack}-{stamp}.history{suffix}", text, durable=False)
        self._write(history / f"{name.stack}-{stamp}.checkpoint{suffix}", data, durable=False)
        self._write(backups / f"{name.stack}.{stamp}{suffix}", data, durable=False)

    def history(self, name: StackName) -> list[dict[str, Any]]:
        """The deployments of a stack, the latest first.  Raises StateError for an entry that is no JSON object."""
        folder = self._folder("history", name)
        files = [file for file in folder.iterdir() if ".history.json" in file.name] if folder.is_dir() else []
        entries = []
        for file in sorted((file for file in files if file.suffix in (".json", ".gz")), reverse=True):
            try:
                entry = json.loads(read_state(file))
            except ValueError as error:
                raise StateError(f"{file} is no JSON: {error}; move it away to see the rest") from error
            if not isinstance(entry, dict):
                raise StateError(f"{file} is no history entry; move it away to see the rest")
            entries.append(entry)
        return entries

    def lock(self, name: StackName) -> StackLock:
        """A lock to be used in a ``with`` statement.  Entering raises LockError while somebody else holds the stack."""
        return StackLock(self._lock_folder(name), str(name), on_taken=lambda: self._remove_leftovers(name))

    def cancel(self, name: StackName) -> int:
        """Removes all locks of the stack, whoever holds them; answers how many there were."""
        return self.lock(name).break_all()

    @property
    def _stacks(self) -> Path:
        return self.root / "stacks"

    def _names(self) -> str:
        return ", ".join(map(str, self.stacks())) or "none"

    def _folder(self, kind: str, name: StackName) -> Path:
        return self.root / kind / check_name(name.project, "a project name") / check_name(name.stack, "a stack name")

    def _lock_folder(self, name: StackName) -> Path:
        return self._folder("locks/organization", name)

    def _check_layout(self) -> None:
        meta = self.root / "meta.yaml"
        if meta.exists():
            try:
                version = load_yaml(meta).get("version")
            except ConfigError as error:
                raise StateError(str(error)) from error
            if version != 1:
                raise StateError(
                    f"{meta} says layout version {version!r}; only 1 is known: update Falaj or use the CLI"
                )
        elif self._stacks.is_dir() and any(file.suffix in (".json", ".gz") for file in self._stacks.iterdir()):
            raise StateError(f"{self.root} has the layout of old CLIs (no meta.yaml): run `pulumi state upgrade` first")

    def _make_layout(self) -> None:
        meta = self.root / "meta.yaml"
        if not meta.exists():
            self._write(meta, b"version: 1", durable=True)

    def _write(self, file: Path, data: bytes, *, durable: bool) -> None:
        make_private(file.parent)
        packed = gzip.compress(data, compresslevel=6, mtime=0) if file.suffix == ".gz" else data
        descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".tmp", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(packed)
                if durable:
                    stream.flush()
                    os.fsync(stream.fileno())
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _forget_attributes(file)
        if durable:
            _sync_directory(file.parent)

    @staticmethod
    def _keep_previous(file: Path) -> None:
        """By a second link to the same bytes: the checkpoint itself is there at every moment."""
        previous, temporary = file.with_name(file.name + ".bak"), file.with_name(f".{file.name}.bak.tmp")
        temporary.unlink(missing_ok=True)
        try:
            temporary.hardlink_to(file)
        except OSError:  # a file system without links
            temporary.write_bytes(file.read_bytes())
        temporary.replace(previous)
        _forget_attributes(previous)

    def _remove_leftovers(self, name: StackName) -> None:
        """Temporary files of a process that died while it wrote; only the holder of the lock may do this."""
        for file in (self._stacks / name.project).glob(f".{name.stack}.json*.tmp"):
            file.unlink(missing_ok=True)


def read_state(file: Path) -> bytes:
    """A file's bytes, unpacked when they are compressed.  Raises StateError."""
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise StateError(f"{file} does not exist: create the stack first") from error
    except OSError as error:
        raise StateError(f"{file} cannot be read: {error.strerror}") from error
    if not data.startswith(_GZIP_MAGIC):
        return data
    try:
        unpacker = zlib.decompressobj(wbits=31)
        unpacked = unpacker.decompress(data, _MAX_STATE_BYTES)
    except zlib.error as error:
        raise StateError(f"{file} is damaged: {error}; restore its .bak or a file under .pulumi/backups") from error
    if not unpacker.eof:
        raise StateError(f"{file} is cut short or larger than {_MAX_STATE_BYTES} bytes; restore its .bak or a backup")
    return unpacked


def _forget_attributes(file: Path) -> None:
    """The CLI keeps a checksum beside each file; one that no longer fits is worse than none."""
    file.with_name(file.name + ".attrs").unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
