"""Jobs of real torchrun workers: killed, stopped, cut off from S3, continued by fewer or more."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from falaj.local.aws.server import AwsServer
from runtime.settings import Settings
from runtime.training.configuration import TrainingConfiguration
from runtime.training.errors import TrainingFailed
from runtime.training.job import JobSpec
from runtime.training.journal import read_journal, step_losses
from runtime.training.launch import run_workers
from runtime.training.preparation import prepare
from runtime.training.tabular import job_spec
from runtime.training.trainers import FitContext
from tests.support.moto_server import client, free_port
from tests.support.runtime_servers import ROOT, environment
from tests.support.training_sets import made_up_configuration

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
compared = pytest.mark.xdist_group("undisturbed-job")
"""For tests that ask for ``undisturbed``: a second worker would train it once more."""

EPOCHS, STEPS = 8, 8 * 31


def spec_of(made_up: Path, directory: Path, store: str = "", **changes: Any) -> JobSpec:
    network = {"epochs": EPOCHS, "patience_epochs": EPOCHS, **changes.pop("tabular_network", {})}
    configuration = TrainingConfiguration.model_validate(made_up_configuration(tabular_network=network, **changes))
    data = prepare(Settings(), configuration, str(made_up))
    return job_spec(data, FitContext(Settings(), directory, checkpoints=store))


def journal(spec: JobSpec) -> list[dict[str, Any]]:
    return read_journal(spec.directory / "log.jsonl")


def curve(spec: JobSpec) -> dict[int, float]:
    return step_losses(journal(spec))


def events(spec: JobSpec, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in journal(spec) if entry["event"] == kind]


class At:
    """Calls ``act`` once, with the pids of the workers by rank, when the job logs ``step``."""

    def __init__(self, step: int, act: Callable[[dict[int, int]], object]) -> None:
        self._step, self._act, self._pids, self._done = step, act, {}, False

    def __call__(self, entry: dict[str, Any]) -> None:
        if entry["event"] == "started":
            self._pids[entry["rank"]] = entry["pid"]
        if entry["event"] == "step" and entry["step"] >= self._step and not self._done:
            self._done = True
            self._act(dict(self._pids))


@pytest.fixture(scope="module")
def undisturbed(made_up: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """The losses of two workers whom nobody disturbs."""
    spec = spec_of(made_up, tmp_path_factory.mktemp("job") / "undisturbed")
    assert run_workers(spec, workers=2, restarts=0) == "finished"
    assert len(curve(spec)) == STEPS
    return curve(spec)


class KillAtRandom:
    """Kills one of two workers ``kills`` times, some log lines after each start and then some milliseconds more."""

    def __init__(self, kills: int, seed: int) -> None:
        self._random, self._left = random.Random(seed), kills
        self._pids: dict[int, int] = {}
        self._lines = 0

    def __call__(self, entry: dict[str, Any]) -> None:
        if entry["event"] == "started":
            if entry["rank"] in self._pids:  # the first worker of the next attempt
                self._pids.clear()
            self._pids[entry["rank"]] = entry["pid"]
            self._lines = self._random.randrange(2, 42)
        elif entry["event"] in ("step", "checkpoint") and self._left and len(self._pids) == 2:
            self._lines -= 1
            if self._lines == 0:
                self._left -= 1
                time.sleep(self._random.uniform(0, 0.05))  # anywhere within a step and an upload
                os.kill(self._pids[self._random.randrange(2)], signal.SIGKILL)


@compared
@pytest.mark.parametrize("seed", [3, pytest.param(4, marks=pytest.mark.long)])
def test_a_worker_killed_at_random_loses_at_most_one_interval_and_changes_no_loss(
    undisturbed: dict[int, float], made_up: Path, tmp_path: Path, settings: Settings, seed: int
) -> None:
    spec = spec_of(made_up, tmp_path / "job", f"s3://{settings.model_bucket}/runs/killed-{seed}")
    kills, interval = 4, spec.configuration.checkpoints.every_steps
    between = spec.configuration.checkpoints.steps_between
    with environment_of(settings):
        assert (
            run_workers(spec, workers=2, restarts=kills + 1, observe=KillAtRandom(kills, seed), settings=settings)
            == "finished"
        )
    # Of an attempt that found no checkpoint there is no such line: it began at the beginning.
    resumed = {entry["attempt"]: entry["step"] for entry in events(spec, "resumed")}
    lost = []
    for attempt in range(kills):
        logged = max((e["step"] for e in events(spec, "step") if e.get("attempt", 0) == attempt), default=-1)
        # A step is logged once the one after it was done too, but for the last of an epoch or before a checkpoint.
        done = logged + 1 if (logged + 1) % (STEPS // EPOCHS) == 0 or (logged + 1) % between == 0 else logged + 2
        lost.append(done - resumed.get(attempt + 1, 0))
    assert max(entry.get("attempt", 0) for entry in events(spec, "started")) == kills
    assert max(lost) <= interval, lost
    assert curve(spec) == undisturbed


@compared
def test_sigterm_takes_a_last_checkpoint_and_resuming_changes_no_loss(
    undisturbed: dict[int, float], made_up: Path, tmp_path: Path
) -> None:
    """The launcher in a process of its own, stopped as a spot machine is."""
    spec = spec_of(made_up, tmp_path / "job")
    spec.directory.mkdir(parents=True)
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    script = (
        "import sys; from pathlib import Path; from runtime.training.job import read_spec; "
        "from runtime.training.launch import run_workers; "
        "print(run_workers(read_spec(Path(sys.argv[1])), workers=2, restarts=0))"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "spec.json")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: len(curve(spec)) > 33, launcher)
        launcher.terminate()
        answer, _ = launcher.communicate(timeout=120)
    finally:
        if launcher.poll() is None:
            launcher.kill()
    assert answer.strip() == "interrupted"
    stopped_at = events(spec, "interrupted")[0]["step"]
    assert 33 < stopped_at < STEPS
    assert run_workers(spec, workers=2, restarts=0) == "finished"
    assert events(spec, "resumed")[0]["step"] == stopped_at
    assert curve(spec) == undisturbed


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not true():
        assert process.poll() is None, "the launcher ended"
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


def test_fewer_and_more_workers_go_on_with_the_same_curve(made_up: Path, tmp_path: Path) -> None:
    """Two workers, then one, then four: the same rows in each step, so the same losses but for the order of sums."""
    plain = {"dropout": 0.0}
    whole = spec_of(made_up, tmp_path / "whole", tabular_network=plain)
    assert run_workers(whole, workers=1, restarts=0) == "finished"
    spec = spec_of(made_up, tmp_path / "job", tabular_network=plain)
    for workers, step in ((2, 40), (1, 120)):
        stopping = At(step, lambda pids: [os.kill(pid, signal.SIGTERM) for pid in pids.values()])
        with pytest.raises(TrainingFailed):  # no restarts: the machine is gone
            run_workers(spec, workers=workers, restarts=0, observe=stopping)
    assert run_workers(spec, workers=4, restarts=0) == "finished"
    sizes = [entry["saved_by_workers"] for entry in events(spec, "resumed")]
    assert sizes == [2, 1]
    assert {entry["world_size"] for entry in events(spec, "started")} == {1, 2, 4}
    expected, got = curve(whole), curve(spec)
    assert got.keys() == expected.keys()
    assert [got[step] for step in sorted(got)] == pytest.approx([expected[step] for step in sorted(got)], abs=2e-3)


@compared
def test_s3_away_for_a_while_only_costs_checkpoints(
    undisturbed: dict[int, float], made_up: Path, tmp_path: Path
) -> None:
    """The emulated account is stopped while two workers train, and started again without its bucket at first."""
    server = AwsServer(tmp_path / "aws", port=free_port())
    endpoint = server.start().endpoint_url
    settings = Settings(aws_endpoint_url=endpoint, model_bucket="falaj-models")
    bucket = {"Bucket": "falaj-models", "CreateBucketConfiguration": {"LocationConstraint": settings.aws_region}}
    client(endpoint, "s3").create_bucket(**bucket)
    spec = spec_of(
        made_up,
        tmp_path / "job",
        "s3://falaj-models/runs/a",
        checkpoints={"retry_seconds": 0.5, "failures_allowed": 50},
    )
    leave = At(35, lambda _: server.stop())

    def observe(entry: dict[str, Any]) -> None:
        leave(entry)
        if entry["event"] == "checkpoint_failed" and not server.running():
            server.start()
            client(endpoint, "s3").create_bucket(**bucket)

    try:
        with environment_of(settings):
            assert run_workers(spec, workers=2, restarts=0, observe=observe) == "finished"
        keys = [o["Key"] for o in client(endpoint, "s3").list_objects_v2(Bucket="falaj-models")["Contents"]]
    finally:
        server.stop()
    assert events(spec, "checkpoint_failed")
    assert f"runs/a/step-{STEPS:012d}/manifest.json" in keys
    assert curve(spec) == undisturbed


def test_s3_gone_for_good_ends_the_job_in_one_line(made_up: Path, tmp_path: Path) -> None:
    settings = Settings(aws_endpoint_url="http://127.0.0.1:9", model_bucket="falaj-models")
    spec = spec_of(made_up, tmp_path / "job", "s3://falaj-models/runs/a", checkpoints={"retry_seconds": 0.5})
    with environment_of(settings), pytest.raises(TrainingFailed) as caught:
        run_workers(spec, workers=2, restarts=1)
    assert "S3 did not answer" in str(caught.value)
    assert "gave up after 0.5 s" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_workers_of_one_machine_listen_on_loopback_only(made_up: Path, tmp_path: Path) -> None:
    spec = spec_of(made_up, tmp_path / "job")
    listening: list[Any] = []

    def look(_: dict[int, int]) -> None:
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        for process in family[1:]:
            listening.extend(c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN)

    assert run_workers(spec, workers=2, restarts=0, observe=At(5, look)) == "finished"
    assert listening
    assert set(listening) == {"127.0.0.1"}


def test_a_job_that_cannot_run_fails_once_with_its_reason(made_up: Path, tmp_path: Path) -> None:
    spec = spec_of(made_up, tmp_path / "job")
    with pytest.raises(TrainingFailed, match="5 workers for data_shards=4"):
        run_workers(spec, workers=5, restarts=1)
    assert not events(spec, "step")


def test_elastic_nodes_go_on_when_one_is_lost(made_up: Path, tmp_path: Path) -> None:
    """Two torchrun agents of one worker each; one agent and its worker are killed, the other goes on alone."""
    spec = spec_of(made_up, tmp_path / "job", tabular_network={"epochs": 60, "patience_epochs": 60})
    spec.directory.mkdir(parents=True)
    job = spec.directory / "job.json"
    job.write_text(spec.model_copy(update={"store_directory": ""}).model_dump_json())
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3",
        "--rdzv-backend=c10d", f"--rdzv-endpoint={tmp_path / 'rendezvous'}", "--rdzv-id=elastic",
        "--rdzv-conf=store_type=file,last_call_timeout=20,heartbeat_timeout=5", "--local-addr=127.0.0.1",
        "--monitor-interval=0.2",
        "-m", "runtime.training.job", str(job),
    ]  # fmt: skip
    values = {**environment(Settings()), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    agents = [
        subprocess.Popen(command, cwd=ROOT, env=values, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    try:
        deadline = time.monotonic() + 200
        while not any(entry["step"] > 60 for entry in events(spec, "step")):
            assert time.monotonic() < deadline
            assert all(agent.poll() is None for agent in agents)
            threading.Event().wait(0.05)
        assert {entry["world_size"] for entry in events(spec, "started")} == {2}
        leader = next(entry["pid"] for entry in events(spec, "started") if entry["rank"] == 0)
        lost = next(agent for agent in agents if leader not in [c.pid for c in psutil.Process(agent.pid).children()])
        for process in [*psutil.Process(lost.pid).children(recursive=True), psutil.Process(lost.pid)]:
            process.kill()
        remaining = next(agent for agent in agents if agent is not lost)
        assert remaining.wait(timeout=240) == 0
    finally:
        for agent in agents:
            if agent.poll() is None:
                for process in [*psutil.Process(agent.pid).children(recursive=True), psutil.Process(agent.pid)]:
                    process.kill()
            agent.wait()
    assert [entry["world_size"] for entry in events(spec, "started")][-1] == 1
    assert events(spec, "resumed")[0]["step"] >= 50
    assert json.loads((spec.directory / "outcome.json").read_text())["epoch"] == 60


class environment_of:
    """Settings for child processes, through the environment as everywhere."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._patch = settings, pytest.MonkeyPatch()

    def __enter__(self) -> None:
        for name, value in environment(self._settings).items():
            self._patch.setenv(name, value)

    def __exit__(self, *_: object) -> None:
        self._patch.undo()
