"""On-demand transformations: lists in, lists of the same length out, in training and in serving alike.

Plain Python over Feast's columns, so that one flight costs microseconds online.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

MAX_MINUTES_SINCE_ARRIVAL = 7 * 24 * 60
"""A plane idle for longer says nothing more about its next flight."""


def flight_schedule(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Local hour, weekday and month of the departure, and how long before it the plane's last outcome was known."""
    departures = inputs["scheduled_departure_seconds"]
    local = [_local_time(_hour_start(seconds)) for seconds in departures]
    return {
        "departure_hour": [None if moment is None else moment[0] for moment in local],
        "departure_weekday": [None if moment is None else moment[1] for moment in local],
        "departure_month": [None if moment is None else moment[2] for moment in local],
        "minutes_since_tail_arrival": [
            _minutes_between(known_at, departure)
            for known_at, departure in zip(inputs["tail_known_at_seconds"], departures, strict=True)
        ],
        "flight_distance_miles": [
            None if _missing(distance) else float(distance) for distance in inputs["distance_miles"]
        ],
    }


def _minutes_between(known_at: Any, departure: Any) -> float | None:
    if _missing(known_at) or _missing(departure):
        return None
    return float(min((departure - known_at) / 60, MAX_MINUTES_SINCE_ARRIVAL))


def _missing(value: Any) -> bool:
    # Feast's offline path brings nulls of whole-number columns as NaN, its online path as None.
    return value is None or value != value


def _hour_start(seconds: Any) -> int | None:
    return None if _missing(seconds) else int(seconds) // 3600 * 3600


@lru_cache(maxsize=20_000)
def _local_time(seconds: int | None) -> tuple[int, int, int] | None:
    """(hour, ISO weekday, month) in New York, whose three airports are the origins; offsets there are whole hours."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, tz=UTC).astimezone(ZoneInfo("America/New_York"))
    return moment.hour, moment.isoweekday(), moment.month
