"""The servers of one project: started when asked for, found again, stopped.  Their data stays in ``.falaj``.

They are supervised like the programs of the control plane (``falaj.cluster.processes``): a record of pids that counts
only together with the moment each process began, and a mark in the environment that finds strays.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from falaj.cluster.errors import ProcessError
from falaj.cluster.processes import Process, ProcessSet, Program
from falaj.local import process_table
from falaj.local.servers import addresses, kafka, postgresql, valkey
from falaj.local.servers.addresses import KAFKA, POSTGRESQL, VALKEY
from falaj.local.servers.errors import LocalServerError

DEFAULT: Final = (POSTGRESQL, VALKEY)
ALL: Final = (POSTGRESQL, VALKEY, KAFKA)
PREFERRED_PORTS: Final = {POSTGRESQL: 4632, VALKEY: 4679, KAFKA: 4692, "kafka-controller": 4693}
"""Taken where they are free; whatever was chosen is kept, so that connection strings stay good."""

START_TIMEOUT_SECONDS: Final = 60.0
KAFKA_START_TIMEOUT_SECONDS: Final = 120.0
ANSWER_TIMEOUT_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02

_ANSWERS: Final[dict[str, Callable[[int], bool]]] = {
    POSTGRESQL: postgresql.answers,
    VALKEY: valkey.answers,
    KAFKA: kafka.answers,
}

_STOP_SIGNALS: Final = {POSTGRESQL: signal.SIGINT}
"""At SIGTERM PostgreSQL waits until its last client has gone."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs."""

    name: str
    port: int
    pid: int
    log: str


class LocalServers:
    """The servers whose record lies in ``directory`` (``.falaj/local/servers``).  Any process may call any method."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._processes = ProcessSet(self._directory)

    def running(self) -> dict[str, Running]:
        """Those that run, by name."""
        ports = addresses.read(self._directory)
        return {
            name: Running(name, ports.get(name, 0), process.pid, process.log)
            for name, process in self._processes.recorded().items()
            if process.alive
        }

    def start(
        self, names: Sequence[str] = DEFAULT, report: Callable[[str], None] = lambda _text: None
    ) -> list[Running]:
        """Starts those of ``names`` that do not run, and returns all of them once they answer.

        ``report`` is told what takes long.  Raises NotInstalledError when a program is missing, LocalServerError, with
        the end of its log, when one does not come up; then those that were started before stay.
        """
        with self._locked():
            self._processes.end_strays()
            try:
                # All of them before the first start: one found dead later would be taken for a failure of that start.
                up = {name for name in self._processes.recorded() if self._answers(name)}
                for name in self._processes.recorded().keys() - up:
                    self._processes.stop_one(name)
                for name in names:
                    if name not in up:
                        self._start(name, report)
            except ProcessError as error:
                raise LocalServerError(str(error)) from error
            running = self.running()
            return [running[name] for name in names]

    def stop(self, names: Iterable[str] | None = None) -> list[str]:
        """Ends those of ``names``, or all of them; returns the names of those that ran.  Their data stays."""
        if not self._directory.is_dir():
            return []
        with self._locked():
            try:
                if names is None:
                    return self._processes.stop()
                ran = [name for name in names if name in self.running()]
                for name in ran:
                    self._processes.stop_one(name)
                return ran
            except ProcessError as error:
                raise LocalServerError(str(error)) from error

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _answers(self, name: str) -> bool:
        """Whether ``name`` runs and answers; one that just came up, or is about to go, is given time to say which."""
        deadline = time.monotonic() + ANSWER_TIMEOUT_SECONDS
        while running := self.running().get(name):
            if _ANSWERS[name](running.port):
                return True
            if time.monotonic() > deadline:
                raise LocalServerError(
                    f"{name} (pid {running.pid}) runs and does not answer on port {running.port} after "
                    f"{ANSWER_TIMEOUT_SECONDS:g} s; its log is {running.log}; `falaj local stop` ends it"
                )
            time.sleep(_POLL_SECONDS)
        return False

    def _start(self, name: str, report: Callable[[str], None]) -> None:
        self._processes.stop_one(name)
        port = self._port(name)
        data = self._directory / name
        if name == POSTGRESQL:
            postgresql.initialise(data)
            command = postgresql.command(data, port)
        elif name == VALKEY:
            data.mkdir(parents=True, exist_ok=True)
            command = valkey.command(data, port)
        else:
            tools = self._directory.parent.parent / "tools"
            if not (tools / f"kafka-{kafka.VERSION}").is_dir():
                report(f"fetching Kafka {kafka.VERSION} with Maven (43 MB, once)")
            archives = kafka.install(tools)
            command = kafka.command(archives, kafka.prepare(archives, data, port, self._port("kafka-controller")))
        program = Program(name, command, stop_signal=_STOP_SIGNALS.get(name, signal.SIGTERM))
        process = self._processes.start(program)
        try:
            self._processes.wait_ready(
                {name: lambda: _ANSWERS[name](port)},
                KAFKA_START_TIMEOUT_SECONDS if name == KAFKA else START_TIMEOUT_SECONDS,
            )
        except ProcessError:
            self._forget_ended([process])
            raise

    def _forget_ended(self, processes: Iterable[Process]) -> None:
        """Takes what did not come up out of the record, so that the others are not taken for failed with it."""
        for process in processes:
            self._processes.stop_one(process.name)

    def _port(self, name: str) -> int:
        """The port of before, else the preferred one, else any; written down.  Raises LocalServerError."""
        ports = addresses.read(self._directory)
        if name in ports:
            if not process_table.can_bind(ports[name]):
                raise LocalServerError(
                    f"port {ports[name]} on 127.0.0.1, which {name} had before, is in use by "
                    f"{process_table.holder(ports[name])}; stop it, or delete {addresses.record_path(self._directory)} "
                    "to choose other ports"
                )
            return ports[name]
        preferred = PREFERRED_PORTS[name]
        port = preferred if process_table.can_bind(preferred) else process_table.free_port(frozenset(ports.values()))
        path = addresses.record_path(self._directory)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({**ports, name: port}), encoding="utf-8")
        temporary.replace(path)
        return port

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One start or stop at a time, across processes; the lock ends with its holder."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
