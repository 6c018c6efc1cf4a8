"""How far a consumer is, shard by shard, as it stands in the properties of the table that it fills.

``falaj.stream.<consumer>.<shard> = <position>|<batch>|<newest event time, or ->``: set by the very commit that adds the
rows up to that position, so it is never ahead of them nor behind.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from runtime import metrics
from runtime.ingestion.errors import StreamError
from runtime.ingestion.lake import STREAM_PROPERTY

_PARTS: Final = 3
_NO_EVENT: Final = "-"
"""Something must stand there: else a checkpoint that was cut short could not be told from one without an event."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """``batch`` names the commit that wrote it: two consumers at one position differ in it."""

    position: str
    batch: str
    newest: datetime.datetime | None

    def encode(self) -> str:
        return f"{self.position}|{self.batch}|{self.newest.isoformat() if self.newest else _NO_EVENT}"


def decode(name: str, text: str) -> Checkpoint:
    """Raises StreamError for a checkpoint that was cut short, at any place, or written by something else."""
    parts = text.split("|")
    try:
        if len(parts) != _PARTS or not parts[0] or not parts[1]:
            raise ValueError("three parts are needed")
        newest = None if parts[2] == _NO_EVENT else datetime.datetime.fromisoformat(parts[2])
        if newest is not None and (newest.tzinfo is None or newest.isoformat() != parts[2]):
            raise ValueError("its time is not whole")
    except ValueError as error:
        metrics.counter("falaj_ingestion_checkpoints_refused_total", "Checkpoints found damaged.").inc()
        raise StreamError(
            f"checkpoint {name} is damaged ({error}); start the consumer with --from TIME to read again from there: "
            "what is in the table is not taken twice"
        ) from None
    return Checkpoint(parts[0], parts[1], newest)


def property_name(consumer: str, shard: str) -> str:
    return f"{STREAM_PROPERTY}{consumer}.{shard}"


def read(properties: Mapping[str, str], consumer: str, shard: str) -> Checkpoint | None:
    """The checkpoint of a shard, None if it was never read.  Raises StreamError for a damaged one."""
    name = property_name(consumer, shard)
    text = properties.get(name)
    return None if text is None else decode(name, text)
