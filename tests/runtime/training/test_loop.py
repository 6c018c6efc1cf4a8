"""The loop in one process: what it computes, where it resumes, what it measures."""

from __future__ import annotations

import itertools
import json
import shutil
import sysconfig
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from runtime import metrics
from runtime.settings import Settings
from runtime.training.accelerators import peak_flops
from runtime.training.cache import NetworkBatch
from runtime.training.configuration import TabularNetworkParameters, TrainingConfiguration
from runtime.training.errors import ArtifactError, StoreUnavailableError
from runtime.training.job import JobSpec, run_alone
from runtime.training.journal import read_journal, step_losses
from runtime.training.loop import Throughput
from runtime.training.network import TabularNetwork, forward_flops_per_row
from runtime.training.objects import DirectoryStore
from runtime.training.preparation import prepare
from runtime.training.saver import CheckpointSaver
from runtime.training.schema import Categorical, InputSchema, Numerical
from runtime.training.stepper import Stepper, StepSchedule
from runtime.training.tabular import finished_model, job_spec
from runtime.training.trainers import FitContext
from runtime.training.workers import alone
from tests.support.training_sets import made_up_configuration


def spec_of(made_up: Path, directory: Path, **changes: Any) -> JobSpec:
    configuration = TrainingConfiguration.model_validate(made_up_configuration(**changes))
    return job_spec(prepare(Settings(), configuration, str(made_up)), FitContext(Settings(), directory))


def curve(spec: JobSpec) -> dict[int, float]:
    return step_losses(read_journal(spec.directory / "log.jsonl"))


def events(spec: JobSpec, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in read_journal(spec.directory / "log.jsonl") if entry["event"] == kind]


class StopAfter(threading.Event):
    """Set once it was asked ``checks`` times: a signal that comes at a known step."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self._checks = checks

    def is_set(self) -> bool:
        self._checks -= 1
        return self._checks < 0


@pytest.fixture(scope="module")
def undisturbed(made_up: Path, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    spec = spec_of(made_up, tmp_path_factory.mktemp("undisturbed") / "job")
    assert run_alone(spec, Settings()) == "finished"
    return spec


def test_the_loss_falls(undisturbed: JobSpec) -> None:
    losses = list(curve(undisturbed).values())
    assert len(losses) == 93
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.02


@pytest.mark.parametrize("step", [1, 14, 30, 31, 61])
def test_an_interrupted_job_resumes_with_exactly_the_same_losses(
    undisturbed: JobSpec, made_up: Path, tmp_path: Path, step: int
) -> None:
    spec = spec_of(made_up, tmp_path / "job")
    assert run_alone(spec, Settings(), StopAfter(step)) == "interrupted"
    reached = len(curve(spec))
    assert reached < 93
    assert run_alone(spec, Settings()) == "finished"
    assert events(spec, "resumed")[0]["step"] == reached
    assert curve(spec) == curve(undisturbed)
    ours, theirs = (finished_model(s, seconds=1).network.state_dict() for s in (spec, undisturbed))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_job_whose_newest_checkpoint_is_damaged_uses_the_one_before(
    undisturbed: JobSpec, made_up: Path, tmp_path: Path
) -> None:
    spec = spec_of(made_up, tmp_path / "job")
    assert run_alone(spec, Settings(), StopAfter(25)) == "interrupted"
    newest = sorted((tmp_path / "job" / "checkpoints").glob("step-*"))[-1]
    shard = next(newest.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    before = metrics.value("falaj_training_checkpoints_refused_total")
    assert run_alone(spec, Settings()) == "finished"
    assert metrics.value("falaj_training_checkpoints_refused_total") == before + 1
    assert newest.name in events(spec, "checkpoint_refused")[0]["error"]
    assert events(spec, "resumed")[0]["step"] == 25
    assert curve(spec) == curve(undisturbed)


def test_a_job_with_other_parameters_refuses_the_checkpoints(made_up: Path, tmp_path: Path) -> None:
    assert run_alone(spec_of(made_up, tmp_path / "job"), Settings(), StopAfter(5)) == "interrupted"
    other = spec_of(made_up, tmp_path / "job", tabular_network={"dropout": 0.3})
    with pytest.raises(ArtifactError, match="another parameters; resume with what it was made with"):
        run_alone(other, Settings())


def test_micro_batches_add_up_to_the_batch(made_up: Path, tmp_path: Path) -> None:
    curves = []
    for rows in (0, 24):
        changes = {"micro_batch_rows": rows, "dropout": 0.0, "epochs": 1}
        spec = spec_of(made_up, tmp_path / str(rows), tabular_network=changes)
        run_alone(spec, Settings())
        curves.append(list(curve(spec).values()))
    assert curves[0] == pytest.approx(curves[1], abs=2e-5)


def test_early_stop_keeps_the_weights_of_the_best_epoch(made_up: Path, tmp_path: Path) -> None:
    # Far too fast: the validation loss soon gets worse.
    spec = spec_of(
        made_up, tmp_path / "job", tabular_network={"epochs": 30, "patience_epochs": 2, "learning_rate": 0.2}
    )
    run_alone(spec, Settings())
    losses = [entry["validation_loss"] for entry in events(spec, "epoch")]
    assert len(losses) < 30
    assert losses.index(min(losses)) == len(losses) - 3
    assert json.loads((spec.directory / "outcome.json").read_text())["best_loss"] == min(losses)


def test_checkpoints_by_time_are_taken_once_each(made_up: Path, tmp_path: Path) -> None:
    spec = spec_of(made_up, tmp_path / "job", checkpoints={"every_steps": 0, "every_seconds": 0.05})
    run_alone(spec, Settings())
    steps = [entry["step"] for entry in events(spec, "checkpoint")]
    assert len(steps) > 3
    # The end of an epoch, after 31 steps, is saved with its validation loss however short ago the last save was.
    assert not any(b - a < 2 and b % 31 for a, b in itertools.pairwise(steps))


def test_a_checkpoint_holds_no_step_that_the_journal_does_not(
    made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(made_up, tmp_path / "job")
    saved, told = [], []
    save = CheckpointSaver.save

    def asked(self: CheckpointSaver, step: int, *state: Any) -> None:
        saved.append(step)
        told.append(len(curve(spec)))
        save(self, step, *state)

    monkeypatch.setattr(CheckpointSaver, "save", asked)
    assert run_alone(spec, Settings()) == "finished"
    assert len(saved) > 93 // 10
    assert told == saved


@pytest.mark.parametrize("interval", [1, 2, 3, 10])
def test_never_more_than_an_interval_of_steps_is_without_a_durable_checkpoint(
    made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: int
) -> None:
    """With a store that commits nothing before the loop waits for it: uploads as slow as can be."""
    awaited, at_risk, durable = threading.Event(), [], [0]
    finish, put, step = CheckpointSaver.finish, DirectoryStore.put, Stepper.step

    def waiting(self: CheckpointSaver) -> None:
        awaited.set()
        finish(self)
        awaited.clear()

    def slow(self: DirectoryStore, key: str, data: bytes) -> None:
        assert awaited.wait(60)
        put(self, key, data)
        if key.endswith("manifest.json"):
            durable.append(int(key[5:17]))

    def counted(self: Stepper, batch: NetworkBatch, number: int) -> torch.Tensor:
        loss = step(self, batch, number)
        at_risk.append(number + 1 - durable[-1])
        return loss

    for owner, name, replacement in (
        (CheckpointSaver, "finish", waiting),
        (DirectoryStore, "put", slow),
        (Stepper, "step", counted),
    ):
        monkeypatch.setattr(owner, name, replacement)
    checkpoints = {"every_steps": interval, "retry_seconds": 60}
    spec = spec_of(made_up, tmp_path / "job", checkpoints=checkpoints, tabular_network={"epochs": 1})
    assert run_alone(spec, Settings()) == "finished"
    assert len(at_risk) == 31
    assert max(at_risk) == (interval if interval != 3 else 2)


def test_a_store_that_stays_away_ends_the_job_with_the_last_good_checkpoint_named(
    made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = DirectoryStore.put

    def away(self: DirectoryStore, key: str, data: bytes) -> None:
        if int(key[5:17]) > 20:
            raise StoreUnavailableError("s3://bucket: S3 did not answer (EndpointConnectionError)")
        put(self, key, data)

    spec = spec_of(made_up, tmp_path / "job", checkpoints={"retry_seconds": 0.1, "failures_allowed": 1})
    with monkeypatch.context() as patch:
        patch.setattr(DirectoryStore, "put", away)
        with pytest.raises(StoreUnavailableError) as caught:
            run_alone(spec, Settings())
    assert "last good checkpoint: step 20" in str(caught.value)
    assert "did not answer" in str(caught.value)
    assert run_alone(spec, Settings()) == "finished"
    assert events(spec, "resumed")[0]["step"] == 20


def test_a_store_away_for_a_while_does_not_end_the_job(
    undisturbed: JobSpec, made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = DirectoryStore.put

    def away(self: DirectoryStore, key: str, data: bytes) -> None:
        if 15 < int(key[5:17]) < 45:
            raise OSError("connection refused")
        put(self, key, data)

    monkeypatch.setattr(DirectoryStore, "put", away)
    spec = spec_of(made_up, tmp_path / "job", checkpoints={"retry_seconds": 0.1, "failures_allowed": 6})
    assert run_alone(spec, Settings()) == "finished"
    failed = [entry["step"] for entry in events(spec, "checkpoint_failed")]
    assert failed == [20, 25, 30, 31, 35, 40]
    assert [e["in_a_row"] for e in events(spec, "checkpoint_failed")] == [1, 2, 3, 4, 5, 6]
    assert curve(spec) == curve(undisturbed)


NO_COMPILER = "torch.compile on a CPU needs a C++ compiler and the headers of Python"


@pytest.mark.skipif(
    not (shutil.which("g++") and Path(sysconfig.get_path("include"), "Python.h").exists()), reason=NO_COMPILER
)
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what the compiler's own modules warn of
def test_bfloat16_and_compilation_train_and_resume_as_plain_training_does(made_up: Path, tmp_path: Path) -> None:
    """What a GPU runs by default, asked for on a CPU."""
    plain = spec_of(made_up, tmp_path / "plain", tabular_network={"dropout": 0.0, "epochs": 2})
    assert run_alone(plain, Settings()) == "finished"
    as_on_gpu = {"dropout": 0.0, "epochs": 2, "precision": "bfloat16", "compile": "on"}
    whole = spec_of(made_up, tmp_path / "whole", tabular_network=as_on_gpu)
    assert run_alone(whole, Settings()) == "finished"
    started = events(whole, "started")[0]
    assert started["bfloat16"] and started["compiled"]
    expected, got = curve(plain), curve(whole)
    assert got != expected  # bfloat16 has eight bits where float32 has twenty-four
    assert [got[step] for step in sorted(got)] == pytest.approx([expected[step] for step in sorted(expected)], abs=0.02)
    weights = finished_model(whole, seconds=1).network.state_dict()
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}

    spec = spec_of(made_up, tmp_path / "job", tabular_network=as_on_gpu)
    assert run_alone(spec, Settings(), StopAfter(40)) == "interrupted"
    assert run_alone(spec, Settings()) == "finished"
    assert curve(spec) == got


def network() -> TabularNetwork:
    schema = InputSchema(
        categoricals=(Categorical(name="a", vocabulary=("x", "y")), Categorical(name="b", vocabulary=("z",))),
        numericals=tuple(Numerical(name=f"n{i}", mean=0, scale=1, nullable=i == 0) for i in range(3)),
        label="late",
        positive_rate=0.25,
    )
    return TabularNetwork(schema, TabularNetworkParameters(embedding_size=4, width=16, blocks=2, expansion=2.0))


def test_flops_counted_are_those_that_torch_counts() -> None:
    model = network().eval()
    codes, inputs = torch.zeros(8, 2, dtype=torch.int32), torch.zeros(8, 4)
    with FlopCounterMode(display=False) as counter:
        model(codes, inputs)
    assert counter.get_total_flops() == 8 * forward_flops_per_row(model)


def test_training_flops_are_three_times_forward() -> None:
    model = network()
    codes, inputs = torch.zeros(8, 2, dtype=torch.int32), torch.zeros(8, 4, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        model(codes, inputs).sum().backward()
    # The first layer's input gradient is part of it: embeddings need one.
    assert counter.get_total_flops() == 3 * 8 * forward_flops_per_row(model)


def test_an_untrained_network_predicts_about_the_base_rate() -> None:
    torch.manual_seed(0)
    logits = network()(torch.zeros(64, 2, dtype=torch.int32), torch.randn(64, 4))
    assert float(torch.sigmoid(logits.detach()).mean()) == pytest.approx(0.25, abs=0.15)


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H200", 989.0),
        ("NVIDIA A10G", 70.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40S", 362.05),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("CPU", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_peaks_are_found_by_device_name(name: str, tflops: float | None) -> None:
    assert peak_flops(name, bfloat16=True) == (tflops * 1e12 if tflops else None)


def test_mfu_is_model_flops_over_the_peak_of_all_workers() -> None:
    now = [100.0]
    throughput = Throughput(1000, 10**9, "NVIDIA L4", True, 2, clock=lambda: now[0])
    for _ in range(50):
        throughput.add()
    now[0] += 2.0
    report = throughput.report(3.5)
    assert report["samples_per_second"] == 25_000
    assert report["mfu"] == pytest.approx(25_000 * 1e9 / (2 * 121e12))


def test_on_a_cpu_mfu_is_reported_as_not_applicable(undisturbed: JobSpec) -> None:
    reports = events(undisturbed, "throughput")
    assert reports
    assert all(entry["mfu"] is None and "not applicable" in entry["mfu_note"] for entry in reports)
    assert all(entry["samples_per_second"] > 0 for entry in reports)


def test_prometheus_has_what_the_log_has(undisturbed: JobSpec, made_up: Path, tmp_path: Path) -> None:
    spec = spec_of(made_up, tmp_path / "job", tabular_network={"epochs": 1})
    before = metrics.value("falaj_training_checkpoints_total")
    run_alone(spec, Settings())
    assert metrics.value("falaj_training_checkpoints_total") - before == len(events(spec, "checkpoint"))
    assert metrics.value("falaj_training_loss") == list(curve(spec).values())[-1]
    assert metrics.value("falaj_training_validation_loss") == events(spec, "epoch")[-1]["validation_loss"]
    assert metrics.value("falaj_training_samples_per_second") > 0


def test_the_schedule_warms_up_then_falls_to_zero() -> None:
    schedule = StepSchedule(1.0, 10, 100)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert rates[-1] < 0.001


def test_a_step_equals_plain_torch() -> None:
    """The same batch through a loop written out by hand."""
    rng = np.random.default_rng(3)
    batches = [
        NetworkBatch(
            rng.integers(0, 3, (32, 2)).astype(np.int32),
            rng.normal(size=(32, 4)).astype(np.float32),
            (rng.random(32) < 0.3).astype(np.float32),
        )
        for _ in range(5)
    ]
    parameters = TabularNetworkParameters(
        embedding_size=4, width=16, dropout=0, batch_rows=32, data_shards=1, warmup_steps=0
    )
    torch.manual_seed(1)
    ours = network()
    plain = network()
    plain.load_state_dict(ours.state_dict())
    for module in (*ours.modules(), *plain.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.p = 0
    with alone(torch.device("cpu")) as workers:
        stepper = Stepper(ours, parameters, workers, seed=1, total_steps=5)
        losses = [float(stepper.step(batch, number)) for number, batch in enumerate(batches)]
    optimiser = torch.optim.AdamW(
        plain.parameters(), lr=parameters.learning_rate, weight_decay=parameters.weight_decay, fused=True
    )
    expected = []
    for number, batch in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = StepSchedule(parameters.learning_rate, 0, 5).rate(number)
        logits = plain(torch.from_numpy(batch.codes), torch.from_numpy(batch.inputs))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(batch.labels))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), parameters.gradient_norm)
        optimiser.step()
        expected.append(float(loss.detach()))
    assert losses == pytest.approx(expected, rel=1e-5)
