"""Events on the wire: CloudEvents 1.0 in JSON (structured mode), bounded, flat data."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from runtime.ingestion.sources import flat_record

SPECIFICATION_VERSION: Final = "1.0"
MAX_EVENT_BYTES: Final = 256 * 1024
"""A larger record is refused; the CloudEvents specification asks intermediaries for 64 KiB only."""
MAX_ID_CHARACTERS: Final = 256


class PoisonedError(ValueError):
    """A record of a stream that is no event.  The message never holds the record."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.  ``data`` values are texts as far as they are there, to be read as the contract says."""

    id: str
    type: str
    source: str
    time: datetime.datetime
    data: dict[str, str | None]


class _Envelope(msgspec.Struct):
    specversion: str
    id: str
    type: str
    source: str
    time: datetime.datetime
    data: dict[str, Any]


_decoder = msgspec.json.Decoder(_Envelope)


def encode(*, id: str, type: str, source: str, time: datetime.datetime, data: Mapping[str, Any]) -> bytes:
    """The event as a record of a stream.  Times in ``data`` become RFC 3339 texts."""
    return msgspec.json.encode(
        {
            "specversion": SPECIFICATION_VERSION,
            "id": id,
            "type": type,
            "source": source,
            "time": time,
            "datacontenttype": "application/json",
            "data": dict(data),
        }
    )


def decode(value: bytes) -> Event:
    """The event in a record.  Raises PoisonedError, which says what is wrong with it."""
    if len(value) > MAX_EVENT_BYTES:
        raise PoisonedError(f"{len(value):,} bytes; allowed: {MAX_EVENT_BYTES:,}")
    try:
        envelope = _decoder.decode(value)
        data = flat_record(envelope.data)
    except msgspec.ValidationError as error:
        raise PoisonedError(f"not a CloudEvent: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise PoisonedError("not JSON") from None
    except ValueError as error:
        raise PoisonedError(f"data: {error}") from None
    if envelope.specversion != SPECIFICATION_VERSION:
        raise PoisonedError(f"CloudEvents {envelope.specversion[:10]}; allowed: {SPECIFICATION_VERSION}")
    if not 0 < len(envelope.id) <= MAX_ID_CHARACTERS:
        raise PoisonedError(f"id: {len(envelope.id)} characters; allowed: 1 to {MAX_ID_CHARACTERS}")
    if envelope.time.tzinfo is None:
        raise PoisonedError("time: no zone")
    try:
        time = envelope.time.astimezone(datetime.UTC)
    except OverflowError:
        raise PoisonedError("time: outside the years 1 to 9999 in UTC") from None
    return Event(envelope.id, envelope.type, envelope.source, time, data)
