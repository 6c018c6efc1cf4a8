"""The lock of a stack, in the format and by the protocol of Pulumi's file backend.

A lock is one file per holder.  Whoever wants the stack looks for foreign files, writes its own, looks again and, when
another one has come meanwhile, takes its own away and gives up: of two at the same time at most one gets in.
Source: pkg/backend/diy/lock.go of Pulumi.  Locks of the CLI and of this engine keep each other out.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from falaj.engine.errors import LockError


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who holds a lock; the fields are empty when its file is unreadable."""

    file: Path
    pid: int = 0
    user: str = ""
    host: str = ""
    since: str = ""

    @property
    def is_gone(self) -> bool:
        """Whether the holder certainly lives no more; of other machines, and of unreadable locks, nobody can tell."""
        return bool(self.pid) and self.host == socket.gethostname() and not _is_running(self.pid)

    def __str__(self) -> str:
        if not self.pid:
            return f"an unreadable lock ({self.file})"
        gone = "; that process is gone" if self.is_gone else ""
        return f"{self.user}@{self.host} (pid {self.pid}) since {self.since} ({self.file}{gone})"


class StackLock:
    """Use in a ``with`` statement.  ``on_taken`` is called once the lock is held."""

    def __init__(self, folder: Path, stack: str, on_taken: Callable[[], None] = lambda: None) -> None:
        self._folder = folder
        self._stack = stack
        self._own = folder / f"{uuid.uuid4()}.json"
        self._on_taken = on_taken

    def __enter__(self) -> StackLock:
        self._refuse_foreign()
        self._write_own()
        try:
            self._refuse_foreign()
            self._on_taken()
        except BaseException:
            self.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Gives the stack back; harmless when `cancel` has already taken the lock away."""
        self._own.unlink(missing_ok=True)

    def holders(self) -> list[LockHolder]:
        """Everybody else who holds the stack."""
        if not self._folder.is_dir():
            return []
        files = [file for file in self._folder.iterdir() if file != self._own and file.suffix == ".json"]
        return [holder for file in sorted(files) if (holder := _holder(file)) is not None]

    def break_all(self) -> int:
        """Removes the locks of all others; answers how many there were."""
        holders = self.holders()
        for holder in holders:
            holder.file.unlink(missing_ok=True)
            holder.file.with_name(holder.file.name + ".attrs").unlink(missing_ok=True)
        return len(holders)

    def _refuse_foreign(self) -> None:
        holders = self.holders()
        if holders:
            names = ", ".join(map(str, holders))
            raise LockError(
                f"the stack {self._stack} is locked by {names}: wait for the other deployment to end, or run "
                "`falaj cancel` when it has died"
            )

    def _write_own(self) -> None:
        content = {
            "pid": os.getpid(),
            "username": _user(),
            "hostname": socket.gethostname(),
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }
        make_private(self._folder)
        # Written in place, not renamed into it: an empty file is a lock as well.
        descriptor = os.open(self._own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(content, stream, separators=(",", ":"))


def make_private(directory: Path) -> None:
    """Makes a directory and what is missing above it, for this user alone."""
    if not directory.is_dir():
        make_private(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


def _holder(file: Path) -> LockHolder | None:
    try:
        content = json.loads(file.read_bytes())
        return LockHolder(
            file,
            int(content["pid"]),
            str(content["username"]),
            str(content["hostname"]),
            str(content["timestamp"]),
        )
    except FileNotFoundError:  # its holder has just let go
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return LockHolder(file)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number without a name
        return str(os.getuid())


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
