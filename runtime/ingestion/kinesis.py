"""The stream ports over Amazon Kinesis Data Streams."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runtime.aws import client
from runtime.ingestion.errors import StreamError
from runtime.ingestion.outage import Patience
from runtime.ingestion.ports import Record, Start

if TYPE_CHECKING:
    from runtime.settings import Settings

READ_INTERVAL_SECONDS: Final = 0.2
"""Kinesis allows five reads a second and shard."""
LOCAL_READ_INTERVAL_SECONDS: Final = 0.02
MAX_RECORDS_PER_READ: Final = 10_000
MAX_RECORDS_PER_WRITE: Final = 500
MAX_BYTES_PER_WRITE: Final = 4 * 1024 * 1024
"""PutRecords takes 500 records and 5 MiB, keys included."""

_GONE: Final = ("ResourceNotFoundException", "AccessDeniedException", "InvalidArgumentException")


@dataclass
class _Shard:
    start: Start
    iterator: str | None = None
    last: str | None = None
    next_read: float = 0.0
    behind_seconds: float = 0.0
    ended: bool = False


class KinesisConsumer:
    """Reads all begun shards in turn.  Of a resharded stream the children may be read while their parents still are."""

    def __init__(self, settings: Settings) -> None:
        self._stream = settings.stream_endpoint
        self._kinesis = client(settings, "kinesis")
        self._interval = LOCAL_READ_INTERVAL_SECONDS if settings.is_local else READ_INTERVAL_SECONDS
        self._shards: dict[str, _Shard] = {}
        self._turn = 0

    def shards(self) -> Sequence[str]:
        found: dict[str, set[str]] = {}
        request: dict[str, Any] = {"StreamName": self._stream}
        while True:
            answer = self._call("list_shards", **request)
            for shard in answer["Shards"]:
                parents = {shard.get("ParentShardId"), shard.get("AdjacentParentShardId")} - {None}
                found[shard["ShardId"]] = {str(parent) for parent in parents}
            if not answer.get("NextToken"):
                break
            request = {"NextToken": answer["NextToken"]}
        return list(_parents_first(found))

    def begin(self, starts: Mapping[str, Start]) -> None:
        for shard, start in starts.items():
            self._shards[shard] = _Shard(start)

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        deadline = time.monotonic() + timeout_seconds
        while True:
            records = self._read_round(max_records)
            now = time.monotonic()
            if records or now >= deadline:
                return records
            due = min((shard.next_read for shard in self._shards.values() if not shard.ended), default=deadline)
            time.sleep(max(0.0, min(due, deadline) - now))

    def lag_seconds(self) -> float:
        return max((shard.behind_seconds for shard in self._shards.values() if not shard.ended), default=0.0)

    def close(self) -> None:
        """The client is shared by the process and stays."""

    def _read_round(self, max_records: int) -> list[Record]:
        """One read of each shard that is due, a different one first each time, so that none is starved."""
        names = [name for name, shard in self._shards.items() if not shard.ended]
        records: list[Record] = []
        self._turn += 1
        for place in range(len(names)):
            name = names[(place + self._turn) % len(names)]
            shard = self._shards[name]
            if time.monotonic() < shard.next_read or len(records) >= max_records:
                continue
            try:
                records += self._read(name, shard, max_records - len(records))
            except Exception:
                if records:  # these have been read; the failure will show again in the next round
                    return records
                raise
        return records

    def _read(self, name: str, shard: _Shard, limit: int) -> list[Record]:
        from botocore.exceptions import ClientError

        if shard.iterator is None:
            shard.iterator = self._iterator(name, shard)
        shard.next_read = time.monotonic() + self._interval
        try:
            answer = self._call("get_records", ShardIterator=shard.iterator, Limit=min(limit, MAX_RECORDS_PER_READ))
        except ClientError as error:
            if error.response["Error"]["Code"] == "ExpiredIteratorException":
                shard.iterator = None
                return []
            raise
        shard.iterator = answer.get("NextShardIterator")
        shard.behind_seconds = answer.get("MillisBehindLatest", 0) / 1000
        shard.ended = shard.iterator is None
        records = [
            Record(
                name,
                entry["SequenceNumber"],
                entry["Data"],
                entry["ApproximateArrivalTimestamp"].astimezone(datetime.UTC),
            )
            for entry in answer["Records"]
        ]
        if records:
            shard.last = records[-1].position
        begin = shard.start.at
        # The API takes whole seconds: it may begin almost a second before what was asked for.
        return records if begin is None else [record for record in records if record.arrived_at >= begin]

    def _iterator(self, name: str, shard: _Shard) -> str:
        where: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
        if (after := shard.last or shard.start.after) is not None:
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": after}
        elif shard.start.at is not None:
            where = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": shard.start.at}
        return str(self._call("get_shard_iterator", StreamName=self._stream, ShardId=name, **where)["ShardIterator"])

    def _call(self, operation: str, **request: Any) -> Any:
        from botocore.exceptions import ClientError

        try:
            return getattr(self._kinesis, operation)(**request)
        except ClientError as error:
            if (code := error.response["Error"]["Code"]) in _GONE:
                todo = "check FALAJ_STREAM_ENDPOINT"
                if "StartingSequenceNumber" in request and code == "InvalidArgumentException":
                    todo += ", or, if it was made anew, read again with --from TIME: nothing comes in twice"
                raise StreamError(f"Kinesis stream {self._stream}: {operation}: {code}; {todo}") from error
            raise


class KinesisProducer:
    """Writes in batches.  What Kinesis refused of a batch is sent again: order holds only while nothing is refused."""

    def __init__(self, settings: Settings, patience: Patience | None = None) -> None:
        self._stream = settings.stream_endpoint
        self._kinesis = client(settings, "kinesis")
        self._patience = patience or Patience(limit_seconds=60)
        self._queued: list[dict[str, Any]] = []
        self._bytes = 0

    def send(self, key: str, value: bytes) -> None:
        size = len(value) + len(key.encode())
        if len(self._queued) == MAX_RECORDS_PER_WRITE or self._bytes + size > MAX_BYTES_PER_WRITE:
            self.flush()
        self._queued.append({"Data": value, "PartitionKey": key})
        self._bytes += size

    def flush(self) -> None:
        if self._queued:
            self._patience.call("kinesis", self._write)

    def close(self) -> None:
        self.flush()

    def _write(self) -> None:
        """Takes what was accepted off the queue; raises OSError while anything is left."""
        from botocore.exceptions import ClientError

        try:
            answer = self._kinesis.put_records(StreamName=self._stream, Records=self._queued)
        except ClientError as error:
            if (code := error.response["Error"]["Code"]) in _GONE:
                raise StreamError(f"Kinesis stream {self._stream}: {code}; check FALAJ_STREAM_ENDPOINT") from error
            raise
        refused = [
            (entry, result["ErrorCode"])
            for entry, result in zip(self._queued, answer["Records"], strict=True)
            if result.get("ErrorCode")
        ]
        self._queued = [entry for entry, _ in refused]
        self._bytes = sum(len(entry["Data"]) + len(entry["PartitionKey"].encode()) for entry in self._queued)
        if refused:
            raise OSError(f"{len(refused)} records were refused, the first with {refused[0][1]}")


def _parents_first(parents: Mapping[str, set[str]]) -> Iterator[str]:
    """Shards so that each comes after those that it was split or merged from."""
    waiting = dict(parents)
    while waiting:
        ready = [shard for shard, before in waiting.items() if not (before & waiting.keys())]
        for shard in ready or list(waiting):
            del waiting[shard]
            yield shard
