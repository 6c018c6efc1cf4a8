"""A stream into a table and the online store: at least once on the way, exactly once in the table.

The loop polls, sorts (``triage``), puts refused records aside, drops what is known, pushes the rest online and gathers
it into a micro-batch; another thread commits the batch before.  Rows and positions are one commit (``checkpoints``):
a crash at any moment costs repeated work, never a row.  What is pushed online is pushed before its commit: after a
crash it is pushed again, which an online writer must bear.

Memory is bounded: at most ``max_uncommitted_rows`` wait for a commit, then polling stops until there is room.
"""

from __future__ import annotations

import datetime
import random
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from runtime import metrics
from runtime.ingestion import checkpoints
from runtime.ingestion.batch import count
from runtime.ingestion.checkpoints import Checkpoint
from runtime.ingestion.dead_letters import DeadLetterQueue
from runtime.ingestion.errors import FencedError
from runtime.ingestion.known_keys import Days, KnownKeys, unknown
from runtime.ingestion.lake import ConflictError, LakeTable
from runtime.ingestion.outage import DEFAULT_LIMIT_SECONDS, Outage, Patience
from runtime.ingestion.ports import OnlineWriter, Record, Start, StreamConsumer
from runtime.ingestion.triage import Rules, Triaged, triage

if TYPE_CHECKING:
    from runtime.ingestion.contract import Contract
    from runtime.ingestion.lake import Lake
    from runtime.settings import Settings

SHARD_REFRESH_SECONDS: Final = 30.0
CONFLICT_PAUSE_SECONDS: Final = 0.3
LATENCY_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

Observer = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class ConsumerOptions:
    """How a consumer works.

    ``name``                  whose checkpoints; two consumers of one name and shard fence each other off
    ``batch_rows``            a batch is committed at this size,
    ``batch_seconds``         or at this age
    ``max_uncommitted_rows``  back-pressure: no polling while more wait
    ``worker, workers``       this process reads the shards that fall to it of ``workers`` in all
    ``start_at``              where shards without a checkpoint begin: at their first record, or at this time of arrival
    ``replay_from``           begin there whatever the checkpoints say; what is in the table is not taken twice
    ``idle_seconds``          end when nothing has come for this long; None: run until told to stop
    """

    name: str = "lake"
    batch_rows: int = 5_000
    batch_seconds: float = 5.0
    poll_records: int = 1_000
    poll_seconds: float = 0.2
    max_uncommitted_rows: int = 50_000
    worker: int = 0
    workers: int = 1
    start_at: datetime.datetime | None = None
    replay_from: datetime.datetime | None = None
    idle_seconds: float | None = None
    outage_limit_seconds: float = DEFAULT_LIMIT_SECONDS
    rules: Rules = field(default_factory=Rules)


@dataclass
class StreamResult:
    """What a run did: all that lineage needs.  ``positions``: the last committed of each shard."""

    stream: str
    table: str
    contract_version: int
    first_snapshot_id: int | None = None
    last_snapshot_id: int | None = None
    accepted: int = 0
    duplicates: int = 0
    late: int = 0
    dead_letters: int = 0
    batches: int = 0
    positions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Commit:
    """What one commit added: ``accepted`` of ``rows``, the others were in already.

    ``positions``: the last of each shard in it; ``batch`` is in the snapshot's summary; ``snapshot_before_run``: what
    the table stood at when the run began.
    """

    stream: str
    batch: str
    positions: Mapping[str, str]
    snapshot_before_run: int | None
    snapshot_id: int
    accepted: int
    rows: pl.DataFrame


@dataclass
class _Batch:
    foreign_commits: int
    opened_at: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    frames: list[pl.DataFrame] = field(default_factory=list)
    rows: int = 0
    positions: dict[str, Checkpoint] = field(default_factory=dict)
    days: list[Days] = field(default_factory=list)


class StreamIngestion:
    """One consumer: ``run`` it once."""

    def __init__(
        self,
        settings: Settings,
        contract: Contract,
        options: ConsumerOptions,
        *,
        lake: Lake,
        stream: StreamConsumer,
        online: OnlineWriter | None = None,
        observe: Observer = lambda _name, _facts: None,
        record: Callable[[Commit], None] | None = None,
        now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        self._contract = contract
        self._options = options
        self._lake = lake
        self._stream = stream
        self._online = online
        self._observe = observe
        self._record = record
        self._now = now
        self._patience = Patience(options.outage_limit_seconds)
        self._dead_letters = DeadLetterQueue(settings, settings.stream_endpoint)
        self._result = StreamResult(settings.stream_endpoint, contract.table, contract.version)
        self._begun: set[str] = set()
        self._newest: dict[str, datetime.datetime] = {}
        self._fences: dict[str, str | None] = {}
        self._table: LakeTable
        self._snapshot_before_run: int | None
        self._known: KnownKeys
        self._batch: _Batch
        self._commit: Future[tuple[_Batch, int]] | None = None
        self._uncommitted_rows = 0

    def run(self, stop: threading.Event) -> StreamResult:
        """Consumes until ``stop`` is set (then commits what it holds) or the stream is idle; says what it did.

        Raises FencedError when another consumer of this name reads one of its shards, OutageError when a service stays
        away, StreamError, ContractError.  Whatever it raises, what it had not committed is read again by the next run.
        """
        self._table = self._patience.call("catalogue", lambda: self._lake.open(self._contract))
        self._snapshot_before_run = self._table.snapshot_id
        self._known = KnownKeys(self._table)
        self._batch = self._new_batch()
        self._patience.call("stream", self._begin_shards)
        self._observe("started", {"shards": sorted(self._begun)})
        with ThreadPoolExecutor(1, thread_name_prefix="commit") as committer:
            self._loop(stop, committer)
            self._settle(wait=True)
            if self._batch.positions:
                self._hand_over(committer)
                self._settle(wait=True)
        self._observe("stopped", {"accepted": self._result.accepted})
        return self._result

    def _loop(self, stop: threading.Event, committer: ThreadPoolExecutor) -> None:
        outage = Outage("stream", self._patience)
        last_record = refreshed = time.monotonic()
        while not stop.is_set():
            self._settle(wait=False)
            if self._is_due():
                if self._commit is None:
                    self._hand_over(committer)
                elif self._uncommitted_rows >= self._options.max_uncommitted_rows:
                    self._wait_for_room()
                    continue
            try:
                if time.monotonic() - refreshed > SHARD_REFRESH_SECONDS:
                    self._begin_shards()
                    refreshed = time.monotonic()
                records = self._stream.poll(self._options.poll_records, self._options.poll_seconds)
            except Exception as error:
                outage.failed(error)  # returns after a pause; batches are committed meanwhile
                last_record = time.monotonic()
                continue
            outage.over()
            self._measure()
            if records:
                last_record = time.monotonic()
                self._take(records)
            elif self._options.idle_seconds is not None and time.monotonic() - last_record > self._options.idle_seconds:
                return

    # -- the loop's parts --------------------------------------------------------------------------------------------

    def _begin_shards(self) -> None:
        """Begins the shards of this worker that have not begun yet, where their checkpoints or the options say."""
        options = self._options
        starts = {}
        for shard in self._stream.shards():
            if shard in self._begun or zlib.crc32(shard.encode()) % options.workers != options.worker:
                continue
            name = checkpoints.property_name(options.name, shard)
            self._fences[shard] = self._table.properties.get(name)
            if options.replay_from is not None:
                starts[shard] = Start(at=options.replay_from)
                continue
            found = checkpoints.read(self._table.properties, options.name, shard)
            starts[shard] = Start(at=options.start_at) if found is None else Start(after=found.position)
            if found is not None and found.newest is not None:
                self._newest[shard] = found.newest
        if starts:
            self._stream.begin(starts)
            self._begun |= set(starts)

    def _take(self, records: list[Record]) -> None:
        sorted_out = triage(records, self._contract, self._options.rules, self._now(), self._newest)
        self._patience.call("dead-letter queue", lambda: self._dead_letters.send(sorted_out.dead))
        rows, days = self._patience.call("lake", lambda: self._known.accept(sorted_out.rows))
        self._push(rows, sorted_out)
        batch = self._batch
        for record in records:
            newest = self._newest.get(record.shard)
            batch.positions[record.shard] = Checkpoint(record.position, batch.id, newest)
        if days:
            batch.days.append(days)
            batch.frames.append(rows)
            batch.rows += rows.height
            self._uncommitted_rows += rows.height
        duplicates = sorted_out.rows.height - rows.height
        self._result.duplicates += duplicates
        self._result.dead_letters += len(sorted_out.dead)
        self._result.late += sum(sorted_out.outcomes.get(outcome, 0) for outcome in ("late", "too_late"))
        for outcome, number in {**sorted_out.outcomes, "duplicate": duplicates}.items():
            count(self._contract, outcome, number)
        self._observe("taken", {"records": len(records), "rows": rows.height, "dead_letters": len(sorted_out.dead)})

    def _push(self, rows: pl.DataFrame, sorted_out: Triaged) -> None:
        """Brings the new rows that are not late to the online store, and measures how long they took to get there."""
        online = self._online
        if online is None or rows.is_empty():
            return
        about = {
            key: (is_late, arrived_at)
            for key, is_late, arrived_at in zip(
                self._keys(sorted_out.rows), sorted_out.late, sorted_out.arrived_at, strict=True
            )
        }
        facts = [about[key] for key in self._keys(rows)]
        fresh = rows.filter(pl.Series([not is_late for is_late, _ in facts], dtype=pl.Boolean))
        if fresh.is_empty():
            return
        self._patience.call("online store", lambda: online.write(self._contract, fresh))
        now = datetime.datetime.now(datetime.UTC)
        latency = metrics.histogram(
            "falaj_ingestion_online_latency_seconds",
            "From a record's arrival in the stream to the online store.",
            ["table"],
            buckets=LATENCY_BUCKETS,
        ).labels(self._contract.table)
        for is_late, arrived_at in facts:
            if not is_late:
                latency.observe(max(0.0, (now - arrived_at).total_seconds()))
        self._observe("pushed", {"rows": fresh.height})

    def _keys(self, rows: pl.DataFrame) -> list[tuple[Any, ...]]:
        return rows.select(self._contract.key).rows()

    # -- commits -----------------------------------------------------------------------------------------------------

    def _new_batch(self) -> _Batch:
        return _Batch(self._table.foreign_commits, time.monotonic())

    def _is_due(self) -> bool:
        batch = self._batch
        if not batch.positions:
            batch.opened_at = time.monotonic()
            return False
        return (
            batch.rows >= self._options.batch_rows or time.monotonic() - batch.opened_at > self._options.batch_seconds
        )

    def _hand_over(self, committer: ThreadPoolExecutor) -> None:
        """Gives the open batch to the committing thread and opens the next."""
        batch, self._batch = self._batch, self._new_batch()
        self._commit = committer.submit(self._commit_batch, batch)

    def _wait_for_room(self) -> None:
        started = time.monotonic()
        self._settle(wait=True)
        metrics.counter(
            "falaj_ingestion_back_pressure_seconds_total",
            "Time in which a stream was not read for want of room.",
            ["table"],
        ).labels(self._contract.table).inc(time.monotonic() - started)

    def _settle(self, *, wait: bool) -> None:
        """Takes note of the commit that is under way, if it is done; raises what it raised."""
        commit = self._commit
        if commit is None or not (wait or commit.done()):
            return
        batch, accepted = commit.result()
        self._commit = None
        for days in batch.days:
            self._known.settle(days)
        self._uncommitted_rows -= batch.rows
        result = self._result
        result.accepted += accepted
        result.duplicates += batch.rows - accepted
        result.batches += 1
        positions = {shard: checkpoint.position for shard, checkpoint in batch.positions.items()}
        result.positions |= positions
        if accepted:
            result.last_snapshot_id = self._table.snapshot_id
            result.first_snapshot_id = result.first_snapshot_id or result.last_snapshot_id
        count(self._contract, "accepted", accepted)
        count(self._contract, "duplicate", batch.rows - accepted)
        self._observe("committed", {"rows": accepted, "total": result.accepted})
        # Last: where lineage cannot be told and ends the run, what was committed is in the result and counted.
        if accepted and self._record is not None and result.last_snapshot_id is not None:
            self._record(
                Commit(
                    stream=result.stream,
                    batch=batch.id,
                    positions=positions,
                    snapshot_before_run=self._snapshot_before_run,
                    snapshot_id=result.last_snapshot_id,
                    accepted=accepted,
                    rows=pl.concat(batch.frames),
                )
            )

    def _commit_batch(self, batch: _Batch) -> tuple[_Batch, int]:
        """Runs in the committing thread: the rows and positions of ``batch``, both or neither."""
        rows = pl.concat(batch.frames) if batch.frames else None
        names = {shard: checkpoints.property_name(self._options.name, shard) for shard in batch.positions}
        wanted = {names[shard]: checkpoint.encode() for shard, checkpoint in batch.positions.items()}
        in_doubt = False

        def attempt() -> int:
            nonlocal in_doubt
            if in_doubt:
                self._table.refresh()
                if all(self._table.properties.get(name) == text for name, text in wanted.items()):
                    return rows.height if rows is not None else 0  # the attempt before was made after all
            while True:
                self._check_fences(batch, names)
                new = rows
                if rows is not None and (in_doubt or self._table.foreign_commits != batch.foreign_commits):
                    new = unknown(rows, self._table)
                in_doubt = True
                try:
                    self._table.commit(new, wanted, {"falaj.stream": self._result.stream, "falaj.batch": batch.id})
                except ConflictError:
                    time.sleep(random.uniform(0, CONFLICT_PAUSE_SECONDS))  # noqa: S311 (lets the others go first)
                    continue
                return new.height if new is not None else 0

        self._observe("committing", {"rows": batch.rows})
        started = time.monotonic()
        accepted = self._patience.call("lake", attempt)
        self._fences |= {shard: wanted[name] for shard, name in names.items()}
        metrics.histogram("falaj_ingestion_commit_seconds", "Time of a commit to the lake.", ["table"]).labels(
            self._contract.table
        ).observe(time.monotonic() - started)
        return batch, accepted

    def _check_fences(self, batch: _Batch, names: dict[str, str]) -> None:
        """Raises FencedError unless the checkpoints of the batch's shards are what this consumer left or found."""
        for shard in batch.positions:
            if self._table.properties.get(names[shard]) != self._fences[shard]:
                raise FencedError(
                    f"{self._contract.table}: another consumer named {self._options.name} reads shard {shard}; this "
                    "one stops, nothing of its batch was taken; give each its own --worker, or another --name"
                )

    def _measure(self) -> None:
        labels = (self._contract.table,)
        metrics.gauge("falaj_ingestion_uncommitted_rows", "Rows that wait for a commit.", ["table"]).labels(
            *labels
        ).set(self._uncommitted_rows)
        metrics.gauge("falaj_ingestion_lag_seconds", "How far the reading of the stream is behind.", ["table"]).labels(
            *labels
        ).set(self._stream.lag_seconds())
