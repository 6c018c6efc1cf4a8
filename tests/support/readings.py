"""A small contract of its own for tests of ingestion: meter readings."""

from __future__ import annotations

import datetime
import random
from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl

from runtime.ingestion.contract import Contract

FIRST = datetime.datetime(2024, 3, 1, tzinfo=datetime.UTC)
TIME = pl.Datetime("us", "UTC")


def contract(**changes: Any) -> Contract:
    columns = {
        "reading_id": pa.Column(pl.String, pa.Check.str_length(1, 40)),
        "meter": pa.Column(pl.String, description="Number on the meter."),
        "read_at": pa.Column(TIME),
        "litres": pa.Column(pl.Float64, pa.Check.in_range(0, 10_000), nullable=True),
        "pulses": pa.Column(pl.Int64, nullable=True),
    }
    given: dict[str, Any] = {
        "table": "water.readings",
        "version": 1,
        "schema": pa.DataFrameSchema(columns, strict=True),
        "key": ("reading_id",),
        "owner": "water",
        "description": "What the meters read.",
        "event_time": "read_at",
        "partition_by": "read_at",
        "personal_data": frozenset({"meter"}),
        "event_type": "falaj.water.read",
        "max_failed_fraction": 0.1,
    }
    return Contract(**{**given, **changes})


READINGS = contract()
"""Named ``tests.support.readings:READINGS`` by child processes."""


def readings(count: int, *, days: int = 3, seed: int = 7, start: int = 0) -> list[dict[str, Any]]:
    """``count`` readings in order of time, spread over ``days``."""
    chance = random.Random(seed)
    step = datetime.timedelta(days=days) / max(count, 1)
    return [
        {
            "reading_id": f"r{start + number:07d}",
            "meter": f"m{chance.randrange(50)}",
            "read_at": (FIRST + number * step).isoformat(),
            "litres": round(chance.uniform(0, 500), 3),
            "pulses": chance.randrange(1000) if chance.random() > 0.1 else None,
        }
        for number in range(count)
    ]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    pl.DataFrame(rows, infer_schema_length=None).write_csv(path)
    return path
