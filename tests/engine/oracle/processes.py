"""Runs a command of the engine in a process of its own, to be killed or interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.engine.oracle.logs import log_lines
from tests.engine.oracle.request import Outcome, Request
from tests.engine.oracle.scenario import Kill

ROOT: Final = Path(__file__).resolve().parents[3]
KILL_DELAY_SECONDS: Final = 0.3  # as in the recordings: time enough for the call to have its effect
KILL_POLL_SECONDS: Final = 0.02
LIMIT_SECONDS: Final = 120.0


def perform_elsewhere(request: Request, path: Path, kill: Kill | None = None) -> Outcome:
    """Runs the request, which is written to ``path``, and sends the process the signal that ``kill`` asks for.

    A process that ends by SIGKILL takes its program along, as in the recordings.
    """
    mark = len(log_lines(Path(request.call_log)))
    request.write(path)
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in [str(ROOT), *inherited] if part)}
    with path.with_suffix(".output").open("w+") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.oracle.engine_step", str(path)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        below: list[int] = []
        try:
            if kill is not None:
                _wait_for_call(child, kill, Path(request.call_log), mark)
                time.sleep(KILL_DELAY_SECONDS)
                below = descendants(child.pid)
                child.send_signal(signal.Signals[f"SIG{kill.signal}"])
            code = child.wait(LIMIT_SECONDS)
        finally:
            if child.poll() is None:
                below = descendants(child.pid)
                child.kill()
                child.wait()
            if child.returncode < 0:
                _end(child.pid, below)
        output.seek(0)
        return Outcome(code, output.read())


def _wait_for_call(child: subprocess.Popen[bytes], kill: Kill, log: Path, mark: int) -> None:
    limit = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < limit and child.poll() is None:
        for line in log_lines(log)[mark:]:
            call = line.get("call", {})
            if call.get("method") == kill.method and call.get("urn", "").endswith(f"::{kill.name}"):
                return
        time.sleep(KILL_POLL_SECONDS)
    raise RuntimeError(f"the {kill.method} of {kill.name} to send SIG{kill.signal} at never came")


def descendants(pid: int) -> list[int]:
    """Ids of the processes below ``pid``, from /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        todo = [child for parent in todo for child in children.get(parent, [])]
        found += todo
    return found


def _end(leader: int, below: list[int]) -> None:
    """Ends what a killed process left behind: its session, and its former descendants wherever they went."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
    for pid in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
