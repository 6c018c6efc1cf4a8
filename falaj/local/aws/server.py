"""The life of the emulated AWS account: one moto server on loopback, started, found again and stopped.

The server is a process of its own that outlives the command that started it.  What is known about it is recorded in
``<directory>/aws.json``; every start gets a new random ``instance_id``, so whoever remembers the id of an account knows
when that account, and everything in it, is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from falaj.local import process_table
from falaj.local.aws.moto_process import IDENTITY_PATH

DEFAULT_PORT: Final = 4599
START_TIMEOUT_SECONDS: Final = 30.0
STOP_TIMEOUT_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02
_EXEC_POLLS: Final = 5
_LOG_TAIL_LINES: Final = 5


class ServerError(Exception):
    """The emulated account cannot be started, reached or stopped.  One line for the user."""


class PortInUseError(ServerError):
    """Somebody else listens on the port."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A started server.  ``instance_id`` is new with every start."""

    instance_id: str
    pid: int
    port: int
    log: str

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


_children: list[subprocess.Popen[bytes]] = []
"""Servers that this process started: kept so that their end can be collected."""


class AwsServer:
    """The server whose record lies in ``directory`` (``.falaj/local``).  Any process may call any method."""

    def __init__(self, directory: Path, *, port: int = DEFAULT_PORT) -> None:
        self._directory = directory
        self._port = port

    @property
    def port(self) -> int:
        """The port that ``start`` uses."""
        return self._port

    @property
    def record_path(self) -> Path:
        return self._directory / "aws.json"

    def running(self) -> Instance | None:
        """The server of this directory, or None.  A record whose process is gone, or is not ours any more, counts for
        nothing: process ids are used again."""
        try:
            record = json.loads(self.record_path.read_text(encoding="utf-8"))
            instance = Instance(str(record["instance_id"]), int(record["pid"]), int(record["port"]), str(record["log"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return instance if _is_ours(instance) else None

    def start(self, *, wait: bool = True) -> Instance:
        """Starts the server unless it runs already, and returns it.

        With ``wait=False`` the answer comes before the server listens; ``wait_ready`` waits for that.  Raises
        PortInUseError when another program holds the port, ServerError when the server ends at once or runs already
        on another port.
        """
        with self._locked():
            instance = self.running()
            if instance is None:
                instance = self._spawn()
            elif instance.port != self._port:
                raise ServerError(
                    f"the emulated AWS account runs on port {instance.port} already, not on {self._port}; use that "
                    "port in `falaj:awsEndpointUrl`, or end it with `falaj local stop` (everything in it goes)"
                )
        if wait:
            self.wait_ready()
        return instance

    def wait_ready(self, timeout_seconds: float = START_TIMEOUT_SECONDS) -> Instance:
        """Returns when the server answers.  Raises ServerError when it ended, or is silent for ``timeout_seconds``."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            instance = self.running()
            if instance is None:
                raise ServerError(f"the emulated AWS account is not running{self._log_tail()}; see `falaj local start`")
            if _identity(instance.port) == instance.instance_id:
                return instance
            if time.monotonic() > deadline:
                raise ServerError(
                    f"the emulated AWS account (pid {instance.pid}) does not answer on {instance.endpoint_url} after "
                    f"{timeout_seconds:g} s{self._log_tail()}; run `falaj local stop` and try again"
                )
            time.sleep(_POLL_SECONDS)

    def stop(self) -> bool:
        """Ends the server and everything in its account; False when none ran.  Never touches a process that is not
        the recorded server."""
        with self._locked():
            instance = self.running()
            if instance is not None:
                self._terminate(instance)
            self.record_path.unlink(missing_ok=True)
        return instance is not None

    def reset(self) -> Instance:
        """Empties the account by a fresh start on the same port, so that the ``instance_id`` tells of it."""
        running = self.running()
        self.stop()
        if running is not None:
            self._port = running.port
        return self.start()

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _spawn(self) -> Instance:
        if not process_table.can_bind(self._port):
            raise PortInUseError(
                f"port {self._port} on 127.0.0.1 is in use by {_holder(self._port)}; stop it, or choose another port "
                "with `falaj local start --port N` (and the same port in `falaj:awsEndpointUrl`)"
            )
        instance_id = secrets.token_hex(8)
        log = self._directory / "aws.log"
        with log.open("wb") as output:
            os.fchmod(output.fileno(), 0o600)
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "falaj.local.aws.moto_process",
                    "--port",
                    str(self._port),
                    "--instance",
                    instance_id,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # survives the terminal and its Ctrl-C
            )
        _children.append(process)
        instance = Instance(instance_id, process.pid, self._port, str(log))
        _write_private(self.record_path, json.dumps(asdict(instance)))
        return instance

    def _terminate(self, instance: Instance) -> None:
        began = process_table.identity(instance.pid)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process_table.identity(instance.pid) == began:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(instance.pid, number)
            deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
            while time.monotonic() < deadline:
                # A process loses its command line before its port: only when it is gone can the port be used again.
                if not _is_ours(instance) and process_table.identity(instance.pid) != began:
                    return
                time.sleep(_POLL_SECONDS)
        raise ServerError(f"the emulated AWS account (pid {instance.pid}) does not end; end that process by hand")

    def _log_tail(self) -> str:
        try:
            lines = (self._directory / "aws.log").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        tail = " | ".join(line.strip() for line in lines[-_LOG_TAIL_LINES:] if line.strip())
        return f" (end of its log: {tail})" if tail else ""

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One start or stop at a time, across processes; the lock ends with its holder."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / "aws.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(text)
    temporary.replace(path)


def _is_ours(instance: Instance) -> bool:
    """Whether the recorded process is alive and is the recorded server: its command line carries the random id."""
    for child in _children:
        if child.pid == instance.pid:
            return child.poll() is None
    for _ in range(_EXEC_POLLS):
        command = _command_line(instance.pid)
        if command or not _exists(instance.pid):
            return instance.instance_id in command
        time.sleep(_POLL_SECONDS)  # between the two halves of its exec a process has no command line
    return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _command_line(pid: int) -> str:
    """The command line of a process; "" when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    if Path("/proc/self/cmdline").exists():
        return ""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout


def _identity(port: int) -> str | None:
    """The instance id that the server on ``port`` reports; None when nobody, or another program, answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{IDENTITY_PATH}", timeout=5) as response:
            identity = json.loads(response.read(4096))["instance"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return identity if isinstance(identity, str) else None


def _holder(port: int) -> str:
    """Who listens on ``port``, as far as this user may see it."""
    found = process_table.listener(port)
    if found and "falaj.local.aws.moto_process" in found[1]:
        return f"the emulated AWS account of another directory (pid {found[0]})"
    return process_table.holder(port)
