"""The stream of batches: each row at most once an epoch, the same rows whatever the workers, resumable, bounded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyarrow.fs import LocalFileSystem

from runtime.settings import Settings
from runtime.training.cache import NetworkBatch, bytes_of_rows
from runtime.training.configuration import TrainingConfiguration
from runtime.training.errors import ConfigurationError, DataError
from runtime.training.loader import Ahead, StreamPlan, evaluation_batches, worker_batches
from runtime.training.preparation import TrainingData, prepare
from tests.support.training_sets import made_up_configuration, made_up_set

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    directory = made_up_set(tmp_path_factory.mktemp("training") / "set", rows=3000, rows_per_group=170)
    # The row's number as a feature: then a batch tells which rows it holds.
    configuration = TrainingConfiguration.model_validate(made_up_configuration(data={"numericals": ["row"]}))
    return prepare(Settings(), configuration, str(directory))


def plan_of(data: TrainingData, **changes: int) -> StreamPlan:
    values = {"seed": 5, "data_shards": 4, "batch_rows": 64, "shuffle_rows": 512, **changes}
    return StreamPlan(data.dataset, data.rows["train"], "event_timestamp", data.schema, **values)


def rows_in(data: TrainingData, batch: NetworkBatch) -> list[int]:
    number = data.schema.numericals[0]
    return [round(float(value)) for value in batch.inputs[:, 0].astype(np.float64) / number.scale + number.mean]


def cached(data: TrainingData, directory: Path, **changes: int) -> StreamPlan:
    return replace(plan_of(data, **changes), cache=directory)


def steps(
    data: TrainingData, plan: StreamPlan, world_size: int, *, epoch: int = 0, first_step: int = 0
) -> list[list[int]]:
    """Row numbers of each step, over all workers, sorted."""
    workers: list[Iterator[NetworkBatch]] = [
        worker_batches(plan, LocalFileSystem(), epoch=epoch, first_step=first_step, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    return [sorted(row for batch in batches for row in rows_in(data, batch)) for batches in zip(*workers, strict=True)]


def test_an_epoch_holds_each_row_at_most_once_and_leaves_out_less_than_a_step(data: TrainingData) -> None:
    plan = plan_of(data)
    seen = [row for step in steps(data, plan, 1) for row in step]
    assert len(seen) == len(set(seen)) == plan.steps_per_epoch * 64
    assert plan.rows.count - len(seen) < 64 + plan.data_shards
    assert set(seen) <= set(range(plan.rows.count))


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_a_step_has_the_same_rows_for_any_number_of_workers(data: TrainingData, world_size: int) -> None:
    assert steps(data, plan_of(data), world_size) == steps(data, plan_of(data), 1)


@pytest.mark.parametrize("first_step", [1, 7, 8, 15, 30, 31])
def test_resuming_in_the_middle_goes_on_with_the_very_next_rows(data: TrainingData, first_step: int) -> None:
    plan = plan_of(data)
    whole = list(worker_batches(plan, LocalFileSystem(), epoch=2, first_step=0, rank=1, world_size=2))
    rest = list(worker_batches(plan, LocalFileSystem(), epoch=2, first_step=first_step, rank=1, world_size=2))
    assert len(rest) == plan.steps_per_epoch - first_step
    for expected, got in zip(whole[first_step:], rest, strict=True):
        assert np.array_equal(expected.inputs, got.inputs)
        assert np.array_equal(expected.codes, got.codes)
        assert np.array_equal(expected.labels, got.labels)


def test_each_epoch_has_an_order_of_its_own_and_a_seed_repeats_it(data: TrainingData) -> None:
    first, second = steps(data, plan_of(data), 1), steps(data, plan_of(data), 1, epoch=1)
    assert first != second
    assert first == steps(data, plan_of(data), 1)
    assert first != steps(data, plan_of(data, seed=6), 1)


def test_a_batch_mixes_rows_from_far_apart(data: TrainingData) -> None:
    spans = [max(step) - min(step) for step in steps(data, plan_of(data), 1)]
    assert min(spans) > plan_of(data).rows.count / 4


@pytest.mark.parametrize("first_step", [0, 9])
def test_rows_from_the_cache_are_those_decoded(data: TrainingData, tmp_path: Path, first_step: int) -> None:
    plan = cached(data, tmp_path)
    filling = steps(data, plan, 2, first_step=first_step)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(files) > 4
    assert not [name for name in files if name.endswith(".part")]
    for epoch, expected in ((0, filling), (1, steps(data, plan_of(data), 2, epoch=1, first_step=first_step))):
        assert steps(data, plan, 2, epoch=epoch, first_step=first_step) == expected
    assert filling == steps(data, plan_of(data), 2, first_step=first_step)


def test_the_cache_holds_codes_inputs_and_labels_bit_for_bit(data: TrainingData, tmp_path: Path) -> None:
    plan = cached(data, tmp_path)
    for _ in range(2):
        pairs = zip(
            *(
                worker_batches(p, LocalFileSystem(), epoch=3, first_step=0, rank=0, world_size=1)
                for p in (plan_of(data), plan)
            ),
            strict=True,
        )
        for expected, got in pairs:
            assert np.array_equal(expected.codes, got.codes)
            assert np.array_equal(expected.inputs, got.inputs)
            assert np.array_equal(expected.labels, got.labels)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size == bytes_of_rows(plan.rows.count, 2, data.schema.normalised_width)


def test_evaluation_sees_every_row_once(data: TrainingData) -> None:
    rows = data.rows["validation"]
    seen = [
        row
        for rank in range(3)
        for batch in evaluation_batches(plan_of(data), rows, LocalFileSystem(), rank=rank, world_size=3, batch_rows=100)
        for row in rows_in(data, batch)
    ]
    assert sorted(seen) == list(range(2000, 2000 + rows.count))


def test_more_workers_than_shards_are_refused(data: TrainingData) -> None:
    with pytest.raises(ConfigurationError, match="5 workers for data_shards=4"):
        next(worker_batches(plan_of(data), LocalFileSystem(), epoch=0, first_step=0, rank=0, world_size=5))


def test_a_batch_larger_than_the_period_is_refused(data: TrainingData) -> None:
    with pytest.raises(ConfigurationError, match="lower batch_rows"):
        plan_of(data, batch_rows=4096)


def test_what_fails_in_the_thread_ahead_is_raised_where_the_batch_is_asked_for() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise DataError("the file is gone")

    with Ahead(source()) as items:
        assert next(items) == 1
        with pytest.raises(DataError, match="the file is gone"):
            next(items)


def test_leaving_early_ends_the_thread_ahead() -> None:
    ended = []

    def source() -> Iterator[int]:
        try:
            yield from range(10_000)
        finally:
            ended.append(True)

    reader = source()
    with Ahead(reader) as items:
        assert next(items) == 0
    reader.close()
    assert ended


MEASURE = """
import json, sys
from pathlib import Path
from pyarrow.fs import LocalFileSystem
from runtime.settings import Settings
from runtime.training.configuration import TrainingConfiguration
from runtime.training.loader import StreamPlan, worker_batches
from runtime.training.preparation import prepare
configuration = TrainingConfiguration.model_validate(json.loads(sys.argv[2]))
data = prepare(Settings(), configuration, sys.argv[1])
plan = StreamPlan(data.dataset, data.rows["train"], "event_timestamp", data.schema, 5, 4, 1024, 16384)
rows = 0
for batch in worker_batches(plan, LocalFileSystem(), epoch=0, first_step=0, rank=0, world_size=1):
    rows += len(batch.labels)
# Not getrusage: its peak begins with that of the process that forked this one.
print(rows, next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_peak_memory_stays_while_the_file_grows(tmp_path: Path) -> None:
    """Sixteen times the rows: all of them in float32 and int32 would be some 70 MiB more."""
    peaks = {}
    for rows in (60_000, 960_000):
        directory = made_up_set(tmp_path / str(rows), rows=rows, rows_per_group=8192, files=4)
        answer = subprocess.run(
            [sys.executable, "-c", MEASURE, str(directory), json.dumps(made_up_configuration())],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        read, peak_kib = map(int, answer.stdout.split())
        assert read > rows * 0.6
        peaks[rows] = peak_kib / 1024
    assert peaks[960_000] - peaks[60_000] < 20
