"""From an event of the stream to a row of a stream view."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from runtime.features.project import StreamRow


def tail_last_flight(event: Mapping[str, Any]) -> StreamRow | None:
    """The row of ``tail_last_flight_v1`` from the data of a ``falaj.flights.completed`` event.

    None for a flight without a plane.  Raises KeyError or ValueError for an event that breaks its contract.
    """
    tailnum = event["tailnum"]
    if tailnum is None:
        return None
    known_at = _instant(event["known_at"])
    return StreamRow(
        keys={"tailnum": tailnum},
        features={
            "tail_arr_delay_minutes": _whole(event["arr_delay_minutes"]),
            "tail_dep_delay_minutes": _whole(event["dep_delay_minutes"]),
            "tail_last_airport": event["dest"],
            "tail_known_at_seconds": int(known_at.timestamp()),
        },
        known_at=known_at,
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _instant(value: str | datetime) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
