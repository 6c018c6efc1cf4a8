"""What ingestion needs from the outside: a stream to read, a stream to write, an online store to push to.

Small on purpose.  Kinesis and Kafka implement the stream ports (``kinesis``, ``kafka``); the feature store implements
the online writer.  ``stream_consumer`` and ``stream_producer`` choose by the settings.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import polars

    from runtime.ingestion.contract import Contract
    from runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a stream.  ``position`` tells it from all others of its ``shard``; ``arrived_at`` is in UTC."""

    shard: str
    position: str
    value: bytes
    arrived_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading of a shard begins: after a position, at a time (of arrival in the stream), or at the very first."""

    after: str | None = None
    at: datetime.datetime | None = None


class StreamConsumer(Protocol):
    """Reads the shards of a stream in the order of each shard."""

    def shards(self) -> Sequence[str]:
        """The shards that there are now, parents before children.  Raises StreamError, or what means an outage."""

    def begin(self, starts: Mapping[str, Start]) -> None:
        """Reads the shards of ``starts`` from there on; shards read before keep their place."""

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        """The next records of any shard, at most ``max_records``; [] when none came in time.

        A record that was returned is not returned again.  Raises what ``outage.is_outage`` knows while the stream is
        away: then nothing is skipped, and the next poll goes on.
        """

    def lag_seconds(self) -> float:
        """How far the oldest unread record is behind now, as far as the last poll could tell."""

    def close(self) -> None:
        """Frees connections.  No other method may follow."""


class StreamProducer(Protocol):
    """Writes to a stream."""

    def send(self, key: str, value: bytes) -> None:
        """Queues a record; records with one key keep their order.  Sends when enough are queued."""

    def flush(self) -> None:
        """Returns when every queued record was accepted.  Raises OutageError or StreamError."""

    def close(self) -> None:
        """Flushes, then frees connections."""


@runtime_checkable
class OnlineWriter(Protocol):
    """Brings accepted records of a stream into the online store.

    At least once: after a crash the same records come again, so a write must be idempotent, and an older record must
    not replace a newer one of the same entity.
    """

    def write(self, contract: Contract, rows: polars.DataFrame) -> None:
        """``rows`` have the contract's columns and types.  Raises what ``outage.is_outage`` knows when it is away."""


def stream_consumer(settings: Settings) -> StreamConsumer:
    """The consumer of the configured stream."""
    settings.require("stream_endpoint")
    if settings.stream_engine == "kafka":
        from runtime.ingestion.kafka import KafkaStreamConsumer

        return KafkaStreamConsumer(settings)
    from runtime.ingestion.kinesis import KinesisConsumer

    return KinesisConsumer(settings)


def stream_producer(settings: Settings) -> StreamProducer:
    """The producer of the configured stream."""
    settings.require("stream_endpoint")
    if settings.stream_engine == "kafka":
        from runtime.ingestion.kafka import KafkaStreamProducer

        return KafkaStreamProducer(settings)
    from runtime.ingestion.kinesis import KinesisProducer

    return KinesisProducer(settings)
