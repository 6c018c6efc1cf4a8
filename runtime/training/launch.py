"""Starts a job's workers on this machine with torchrun, follows its log, and says why it ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import runtime
from runtime.settings import Settings
from runtime.training.errors import TrainingFailed
from runtime.training.job import FAILURE, JOURNAL, OUTCOME, JobSpec
from runtime.training.journal import follow

JOB: Final = "job.json"
WORKER_OUTPUT: Final = "workers.log"
_TAIL_BYTES: Final = 4000


def torchrun_command(job: Path, workers: int, restarts: int) -> list[str]:
    """On one machine: rendezvous through a file, so that nothing listens.  On many, give torchrun its own address."""
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nnodes=1",
        f"--nproc-per-node={workers}",
        f"--max-restarts={restarts}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={job.parent / 'workers' / 'rendezvous'}",
        "--rdzv-conf=store_type=file",
        f"--rdzv-id={uuid.uuid4().hex[:12]}",
        "--local-addr=127.0.0.1",
        "--monitor-interval=0.2",
        "-m",
        "runtime.training.job",
        str(job),
    ]


def run_workers(
    spec: JobSpec,
    *,
    workers: int,
    restarts: int,
    observe: Callable[[dict[str, Any]], object] = lambda _: None,
    settings: Settings | None = None,
) -> Literal["finished", "interrupted"]:
    """Runs or goes on with the job in ``spec.directory``; ``observe`` gets every line of its log as it is written.

    A worker that dies is started again with all others, ``restarts`` times.  SIGTERM and SIGINT are handed on: the
    workers take a last checkpoint and end.  The workers get ``settings``; without them this process's own environment.
    Raises TrainingFailed with the job's own reason.
    """
    job = spec.directory / JOB
    (spec.directory / "workers").mkdir(parents=True, exist_ok=True)
    job.write_text(spec.model_dump_json())
    for stale in (FAILURE, OUTCOME):
        (spec.directory / stale).unlink(missing_ok=True)
    (spec.directory / "workers" / "rendezvous").unlink(missing_ok=True)
    journal = spec.directory / JOURNAL
    seen = len(journal.read_bytes().splitlines()) if journal.exists() else 0
    with (spec.directory / WORKER_OUTPUT).open("ab") as output:
        process = subprocess.Popen(
            torchrun_command(job, workers, restarts),
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(settings),
        )
        with _signals_handed_to(process) as interrupted:
            try:
                for number, entry in enumerate(follow(journal, lambda: process.poll() is None)):
                    if number >= seen:
                        observe(entry)
            finally:
                if process.poll() is None:
                    process.terminate()
                code = process.wait()
    if code == 0 and (spec.directory / OUTCOME).exists():
        return "finished"
    if interrupted or code == -signal.SIGTERM:
        return "interrupted"
    raise TrainingFailed(_reason(spec.directory, code))


def _environment(settings: Settings | None) -> dict[str, str]:
    """The launcher's own, and what keeps workers of one machine on its loopback."""
    root = str(Path(runtime.__file__).parent.parent)
    path = os.environ.get("PYTHONPATH", "")
    return {
        **os.environ,
        **(settings.variables() if settings else {}),
        "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root,
        "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo"),
        "NCCL_SOCKET_IFNAME": os.environ.get("NCCL_SOCKET_IFNAME", "lo"),
        # Workers meet through files; the store that torchrun would offer them listens on every interface.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        # torchrun sets it to 1 with a warning if it is absent; each worker then chooses for itself.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }


@contextmanager
def _signals_handed_to(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Collects the signals that were handed on.  Only the main thread may set handlers; others go without."""
    received: list[int] = []

    def hand_on(number: int, _: object) -> None:
        received.append(number)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)

    previous: dict[int, Any] = {}
    with contextlib.suppress(ValueError):
        for caught in (signal.SIGTERM, signal.SIGINT):
            previous[caught] = signal.signal(caught, hand_on)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _reason(directory: Path, code: int) -> str:
    failure = directory / FAILURE
    if failure.exists():
        with contextlib.suppress(ValueError, KeyError):
            return str(json.loads(failure.read_text())["error"])
    output = directory / WORKER_OUTPUT
    lines = output.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").splitlines()
    telling = [line.strip() for line in lines if "Error" in line or "error" in line.lower().split(":")[0]]
    last = (telling or lines or ["no output"])[-1][:300]
    return f"{directory}: the workers ended with code {code}: {last}; see {output}"
