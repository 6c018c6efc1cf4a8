"""Shuffled training batches, streamed: bounded memory, the same rows for any number of workers, resumable anywhere.

The row groups of the training period are laid end to end in an order drawn for each epoch, and that line is cut into
``data_shards`` equal pieces.  A piece is read in windows; a window is shuffled as a whole, so that the shuffle buffer
is one window per shard.  Every optimiser step takes the same number of rows from every shard.

Therefore (epoch, step) says exactly which rows come next: resuming needs no other state, skips without reading what
came before, and works with another number of workers, each of which simply serves other shards.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem

from runtime.training.cache import GroupCache, NetworkBatch, joined
from runtime.training.dataset import GroupReader, RowGroup, Rows, TrainingSet
from runtime.training.errors import ConfigurationError
from runtime.training.schema import InputSchema, concatenate

_ORDER, _WINDOW = 1, 2
AHEAD_BATCHES: Final = 8
T = TypeVar("T")


@dataclass(frozen=True)
class StreamPlan:
    """What all workers agree on."""

    dataset: TrainingSet
    rows: Rows
    time_column: str
    schema: InputSchema
    seed: int
    data_shards: int
    batch_rows: int
    shuffle_rows: int
    cache: Path | None = None
    """Directory for decoded rows; None: each epoch decodes again."""

    def __post_init__(self) -> None:
        if self.steps_per_epoch < 1:
            raise ConfigurationError(
                f"batch_rows={self.batch_rows} is more than the {self.rows.count} rows of the training period allow "
                f"in {self.data_shards} shards; lower batch_rows"
            )

    @property
    def rows_per_shard_step(self) -> int:
        return self.batch_rows // self.data_shards

    @property
    def steps_per_epoch(self) -> int:
        """Whole steps; fewer than ``batch_rows`` rows of the period, others in each epoch, sit an epoch out."""
        return self.rows.count // self.data_shards // self.rows_per_shard_step

    @property
    def window_rows(self) -> int:
        """A whole number of steps, so that no batch straddles two windows."""
        return max(1, self.shuffle_rows // self.data_shards // self.rows_per_shard_step) * self.rows_per_shard_step


@dataclass
class ShardStream:
    """The rows of one shard in one epoch, from one step on: ``rows_per_shard_step`` at a time."""

    plan: StreamPlan
    filesystem: FileSystem
    epoch: int
    shard: int
    first_step: int

    def __post_init__(self) -> None:
        order = _generator(self.plan.seed, _ORDER, self.epoch).permutation(len(self.plan.rows.groups))
        self._groups: list[RowGroup] = [self.plan.rows.groups[position] for position in order]
        self._ends = list(itertools.accumulate(group.rows for group in self._groups))
        columns = (*self.plan.schema.columns, self.plan.schema.label)
        self._reader = GroupReader(
            self.filesystem, self.plan.dataset.files, self.plan.rows.period, self.plan.time_column, columns
        )
        schema, cache = self.plan.schema, self.plan.cache
        self._cache = GroupCache(cache, len(schema.categoricals), schema.normalised_width) if cache else None

    def __iter__(self) -> Iterator[NetworkBatch]:
        plan, step_rows = self.plan, self.plan.rows_per_shard_step
        length = plan.steps_per_epoch * step_rows
        origin = self.shard * (plan.rows.count // plan.data_shards)
        start = self.first_step * step_rows
        for window in range(start // plan.window_rows, -(-length // plan.window_rows)):
            begin, end = window * plan.window_rows, min((window + 1) * plan.window_rows, length)
            order = _generator(plan.seed, _WINDOW, self.epoch, self.shard, window).permutation(end - begin)
            rows = joined(list(self._read(origin + begin, origin + end))).take(order)
            for offset in range(max(start - begin, 0), end - begin, step_rows):
                yield rows.take(slice(offset, offset + step_rows))

    def _read(self, begin: int, end: int) -> Iterator[NetworkBatch]:
        """Rows ``begin`` to ``end`` of the line that all shards share."""
        position = bisect.bisect_right(self._ends, begin)
        while begin < end:
            group, group_end = self._groups[position], self._ends[position]
            group_begin, stop = group_end - group.rows, min(end, group_end)
            if self._cache is None:
                yield from self._decoded(group, begin - group_begin, stop - group_begin)
            else:
                if not self._cache.holds(group):
                    self._cache.fill(group, self._decoded(group, 0, group.rows))
                yield self._cache.read(group, begin - group_begin, stop - group_begin)
            begin, position = stop, position + 1

    def _decoded(self, group: RowGroup, start: int, stop: int) -> Iterator[NetworkBatch]:
        for batch in self._reader.read(group, start, stop):
            yield _network_batch(self.plan.schema, [batch])


def worker_batches(
    plan: StreamPlan, filesystem: FileSystem, *, epoch: int, first_step: int, rank: int, world_size: int
) -> Iterator[NetworkBatch]:
    """One worker's share of every step from ``first_step`` to the end of the epoch.

    Raises ConfigurationError if there are more workers than shards.
    """
    if world_size > plan.data_shards:
        raise ConfigurationError(
            f"{world_size} workers for data_shards={plan.data_shards}; use at most {plan.data_shards}, or more shards"
        )
    shards = range(rank, plan.data_shards, world_size)
    streams = [iter(ShardStream(plan, filesystem, epoch, shard, first_step)) for shard in shards]
    for pieces in zip(*streams, strict=True):
        yield joined(list(pieces))


def evaluation_batches(
    plan: StreamPlan, rows: Rows, filesystem: FileSystem, *, rank: int, world_size: int, batch_rows: int
) -> Iterator[NetworkBatch]:
    """One worker's share of a period, in order: every ``world_size``-th row group."""
    columns = (*plan.schema.columns, plan.schema.label)
    reader = GroupReader(filesystem, plan.dataset.files, rows.period, plan.time_column, columns)
    waiting: list[pa.RecordBatch] = []
    for group in rows.groups[rank::world_size]:
        for batch in reader.read(group, 0, group.rows):
            waiting.append(batch)
            if sum(entry.num_rows for entry in waiting) >= batch_rows:
                yield _network_batch(plan.schema, waiting)
                waiting = []
    if waiting:
        yield _network_batch(plan.schema, waiting)


def _network_batch(schema: InputSchema, batches: list[pa.RecordBatch]) -> NetworkBatch:
    rows = concatenate([schema.encode(batch, with_label=True) for batch in batches])
    assert rows.labels is not None
    return NetworkBatch(rows.codes, schema.normalise(rows.numbers), rows.labels)


def _generator(*words: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))


class Ahead(Generic[T]):
    """Runs an iterator in a thread, at most AHEAD_BATCHES items ahead; use in a ``with`` statement.

    What the iterator raises is raised where its next item is asked for.
    """

    def __init__(self, source: Iterator[T]) -> None:
        self._source = source
        self._queue: queue.Queue[tuple[bool, Any]] = queue.Queue(AHEAD_BATCHES)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="batches-ahead", daemon=True)

    def __enter__(self) -> Iterator[T]:
        self._thread.start()
        return self._items()

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        while self._thread.is_alive():
            # A full queue would keep the thread from seeing that it is over.
            with contextlib.suppress(queue.Empty):
                self._queue.get(timeout=0.05)
        self._thread.join()

    def _run(self) -> None:
        try:
            for item in self._source:
                self._queue.put((True, item))
                if self._closed.is_set():
                    return
            self._queue.put((False, None))
        except BaseException as error:  # raised again in the thread that asks
            self._queue.put((False, error))

    def _items(self) -> Iterator[T]:
        while True:
            more, item = self._queue.get()
            if more:
                yield item
            elif item is None:
                return
            else:
                raise item
