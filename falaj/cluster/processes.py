"""Programs that outlive the command that started them: recorded, found again, watched, ended.

The record, ``<directory>/processes.json``, is written after every start.  A process id in it counts only together with
the moment that process began, because ids are used again.  Every program also carries the directory in its
environment, so that one whose start was cut short before it was recorded is found and ended all the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from falaj.cluster.certificates import write_private
from falaj.cluster.errors import ProcessError
from falaj.local import process_table

MARK: Final = "FALAJ_CLUSTER"
STOP_TIMEOUT_SECONDS: Final = 15.0
LOG_TAIL_LINES: Final = 4
_LOG_TAIL_BYTES: Final = 16_384
_POLL_SECONDS: Final = 0.02
_LINE_CHARACTERS: Final = 400

_KEPT_VARIABLES: Final = ("PATH", "HOME", "TMPDIR", "TZ", "LANG")
"""What programs inherit.  Nothing else: above all no cloud credentials and no proxies."""


@dataclass(frozen=True)
class Program:
    """What to run.  ``configuration`` stands for the files that it reads: when they change, it is started anew.

    ``stop_signal`` asks it to end in order.
    """

    name: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    configuration: str = ""
    stop_signal: int = signal.SIGTERM

    @property
    def digest(self) -> str:
        text = json.dumps([self.command, self.environment, self.configuration])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Process:
    """A started program.  ``began`` is what the system says of its start."""

    name: str
    pid: int
    began: str
    digest: str
    log: str
    stop_signal: int = signal.SIGTERM

    @property
    def alive(self) -> bool:
        return process_table.identity(self.pid) == self.began

    @property
    def resident_bytes(self) -> int:
        return process_table.resident_bytes(self.pid) if self.alive else 0

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """The last lines of its log in one, separated by bars."""
        try:
            with Path(self.log).open("rb") as handle:
                handle.seek(max(0, handle.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                text = handle.read().decode(errors="replace")
        except OSError:
            return "its log cannot be read"
        kept = [line.strip()[:_LINE_CHARACTERS] for line in text.splitlines() if line.strip()]
        return " | ".join(kept[-lines:]) or "its log is empty"


_children: list[subprocess.Popen[bytes]] = []
"""Programs that this process started: kept so that their end can be collected."""


class ProcessSet:
    """The programs whose record lies in ``directory``.  Callers take turns (control_plane.py holds a lock)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()

    @property
    def record_path(self) -> Path:
        return self._directory / "processes.json"

    def recorded(self) -> dict[str, Process]:
        """Every program that was started and not stopped, in order of start, alive or not."""
        _collect()
        try:
            entries = json.loads(self.record_path.read_text(encoding="utf-8"))
            made = [
                Process(
                    str(e["name"]),
                    int(e["pid"]),
                    str(e["began"]),
                    str(e["digest"]),
                    str(e["log"]),
                    int(e.get("stop_signal", signal.SIGTERM)),
                )
                for e in entries
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return {process.name: process for process in made}

    def start(self, program: Program) -> Process:
        """Starts ``program`` in the place of any of its name that has ended.

        Raises ProcessError when it cannot be started at all; one that starts and ends at once is found by
        ``wait_ready``.
        """
        logs = self._directory / "logs"
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = logs / f"{program.name}.log"
        with contextlib.suppress(FileNotFoundError):
            log.replace(log.with_suffix(".previous.log"))  # says how the one before ended
        inherited = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            child = subprocess.Popen(
                program.command,
                cwd=self._directory,
                env={**inherited, **dict(program.environment), MARK: str(self._directory)},
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # survives the terminal and its Ctrl-C
            )
        except OSError as error:
            raise ProcessError(f"{program.name}: {program.command[0]} cannot be started: {error.strerror}") from error
        finally:
            os.close(descriptor)
        _children.append(child)
        began = process_table.identity(child.pid) or ""
        process = Process(program.name, child.pid, began, program.digest, str(log), int(program.stop_signal))
        self._record({**self.recorded(), program.name: process})
        return process

    def wait_ready(self, probes: Mapping[str, Callable[[], bool]], timeout_seconds: float) -> None:
        """Returns when every probe says yes.

        Raises ProcessError, with the end of its log, as soon as any recorded program has ended, or for one that is not
        ready in time.
        """
        deadline = time.monotonic() + timeout_seconds
        waiting = dict(probes)
        while True:
            self.raise_if_ended()
            waiting = {name: probe for name, probe in waiting.items() if not probe()}
            if not waiting:
                return
            if time.monotonic() > deadline:
                late = [self.recorded()[name] for name in waiting]
                raise ProcessError(
                    "; ".join(
                        f"{process.name} (pid {process.pid}) is not ready after {timeout_seconds:g} s (end of its log: "
                        f"{process.log_tail()}; all of it is in {process.log})"
                        for process in late
                    )
                )
            time.sleep(_POLL_SECONDS)

    def raise_if_ended(self) -> None:
        """Raises ProcessError, which tells how each ended program ended, if any has."""
        ended = [process for process in self.recorded().values() if not process.alive]
        if ended:
            raise ProcessError("; ".join(describe_end(process) for process in ended))

    def stop(self, order: Iterable[Iterable[str]] = ()) -> list[str]:
        """Ends all programs, group after group of ``order`` and then the rest; returns the names of those that ran.

        Never touches a process that is not one of ours.  Raises ProcessError if one does not end.
        """
        recorded = self.recorded()
        alive = {name: process for name, process in recorded.items() if process.alive}
        groups = [[alive[name] for name in group if name in alive] for group in order]
        named = {process.name for group in groups for process in group}
        groups.append([process for process in alive.values() if process.name not in named])
        for group in groups:
            self._end({process.pid: process.began for process in group}, {p.pid: p.stop_signal for p in group})
        self.end_strays()
        _collect()
        self.record_path.unlink(missing_ok=True)
        return list(alive)

    def stop_one(self, name: str) -> None:
        """Ends one program and takes it out of the record."""
        recorded = self.recorded()
        process = recorded.pop(name, None)
        if process is not None:
            if process.alive:
                self._end({process.pid: process.began}, {process.pid: process.stop_signal})
            self._record(recorded)

    def end_strays(self) -> int:
        """Ends programs of this directory that are in no record; returns how many there were."""
        known = {process.pid for process in self.recorded().values() if process.alive}
        strays = {
            pid: began
            for pid in process_table.marked(f"{MARK}={self._directory}")
            if pid not in known
            and pid != os.getpid()
            and process_table.parent(pid) not in known  # a known program's own helpers carry its environment
            and (began := process_table.identity(pid)) is not None
        }
        self._end(strays)
        return len(strays)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _record(self, processes: Mapping[str, Process]) -> None:
        text = json.dumps([asdict(process) for process in processes.values()], indent=1)
        write_private(self.record_path, text.encode())

    def _end(self, began: Mapping[int, str], first_signals: Mapping[int, int] | None = None) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid, moment in began.items():
                if process_table.identity(pid) == moment:
                    first = (first_signals or {}).get(pid, number)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, first if number is signal.SIGTERM else number)
            deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
            while any(process_table.identity(pid) == moment for pid, moment in began.items()):
                _collect()
                if time.monotonic() > deadline:
                    break
                time.sleep(_POLL_SECONDS)
            else:
                return
        left = ", ".join(str(pid) for pid, moment in began.items() if process_table.identity(pid) == moment)
        raise ProcessError(f"processes {left} of {self._directory} do not end; end them by hand")


def describe_end(process: Process) -> str:
    """One line about a program that has ended: how, if it was started here, and the end of its log."""
    status = next((child.poll() for child in _children if child.pid == process.pid), None)
    how = "" if status is None else f" by signal {-status}" if status < 0 else f" with exit code {status}"
    return (
        f"{process.name} (pid {process.pid}) has ended{how}; end of its log: {process.log_tail()}; "
        f"all of it is in {process.log}"
    )


def _collect() -> None:
    """Takes the exit codes of children that ended, so that they leave the process table."""
    for child in _children:
        child.poll()
