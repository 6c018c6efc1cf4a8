"""A stream in memory behind the stream port: for tests of what a consumer does, record by record."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

from runtime.ingestion.ports import Record, Start


class MemoryStream:
    """Shards of values.  ``failures`` are raised by the next polls, one each."""

    def __init__(self, shards: Mapping[str, Sequence[bytes]], *, arrived_at: datetime.datetime | None = None) -> None:
        self.values = {shard: list(values) for shard, values in shards.items()}
        self.arrived_at = arrived_at or datetime.datetime.now(datetime.UTC)
        self.begun: dict[str, Start] = {}
        self.failures: list[Exception] = []
        self.polls = 0
        self._next: dict[str, int] = {}

    def shards(self) -> Sequence[str]:
        return list(self.values)

    def begin(self, starts: Mapping[str, Start]) -> None:
        for shard, start in starts.items():
            self.begun[shard] = start
            self._next[shard] = int(start.after) + 1 if start.after is not None else 0

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        self.polls += 1
        if self.failures:
            raise self.failures.pop(0)
        records = []
        for shard, first in self._next.items():
            values = self.values[shard][first : first + max_records - len(records)]
            records += [Record(shard, str(first + place), value, self.arrived_at) for place, value in enumerate(values)]
            self._next[shard] = first + len(values)
        return records

    def lag_seconds(self) -> float:
        return 0.0

    def close(self) -> None:
        pass
