"""Training sets for tests: small made-up ones with a known signal, and the real flights."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from examples.flights.features import PROJECT
from examples.flights.features.transformations import flight_schedule
from tests.support.curated_flights import curated_tables

ROOT = Path(__file__).parents[2]
START = datetime(2024, 1, 1, tzinfo=UTC)
PERIODS = {
    "train": {"start": "2024-01-01", "end": "2024-01-21"},
    "validation": {"start": "2024-01-21", "end": "2024-01-25"},
    "test": {"start": "2024-01-25", "end": "2024-01-31"},
}


def write_training_set(directory: Path, tables: list[pa.Table], *, rows_per_group: int = 1000) -> Path:
    """Parquet files and their manifest; returns the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, table in enumerate(tables):
        path = directory / f"part-{number:03d}.parquet"
        pq.write_table(table, path, row_group_size=rows_per_group)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries.append({"path": path.name, "bytes": path.stat().st_size, "sha256": digest, "rows": table.num_rows})
    (directory / "manifest.json").write_text(json.dumps({"name": directory.name, "files": entries}))
    return directory


def made_up_table(rows: int, seed: int = 7) -> pa.Table:
    """Thirty days in time order: two categoricals, three numbers (one with nulls), a label that depends on them."""
    rng = np.random.default_rng(seed)
    city = rng.choice(["abu dhabi", "dubai", "sharjah", "al ain"], size=rows, p=[0.4, 0.3, 0.2, 0.1])
    hour = rng.integers(0, 24, size=rows)
    heat = rng.normal(38, 6, size=rows)
    wind = rng.gamma(2, 5, size=rows)
    wind[rng.random(rows) < 0.1] = np.nan
    noise = rng.normal(size=rows)
    logit = (city == "dubai") * 1.5 - 1.2 + 0.12 * (heat - 38) + 0.8 * np.isnan(wind) + 0.5 * np.sin(hour / 4)
    late = rng.random(rows) < 1 / (1 + np.exp(-logit))
    seconds = np.arange(rows) * (30 * 86_400 / rows)
    times = np.datetime64(START.replace(tzinfo=None), "us") + (seconds * 1e6).astype("timedelta64[us]")
    return pa.table(
        {
            "event_timestamp": pa.array(times).cast(pa.timestamp("us", "UTC")),
            "row": pa.array(np.arange(rows)),
            "city": pa.array([None if value == "al ain" and n % 3 == 0 else value for n, value in enumerate(city)]),
            "hour": pa.array(hour),
            "heat": pa.array(heat),
            "wind": pa.array(wind, from_pandas=True),
            "noise": pa.array(noise.astype(np.float32)),
            "late": pa.array(late),
        }
    )


def made_up_set(directory: Path, rows: int = 6000, *, rows_per_group: int = 500, files: int = 2) -> Path:
    table = made_up_table(rows)
    size = -(-rows // files)
    return write_training_set(
        directory, [table.slice(start, size) for start in range(0, rows, size)], rows_per_group=rows_per_group
    )


def made_up_configuration(**changes: Any) -> dict[str, Any]:
    """A configuration file's content for a made-up set; ``changes`` replace or extend whole sections."""
    document: dict[str, Any] = {
        "seed": 11,
        "data": {
            "label": "late",
            "time_column": "event_timestamp",
            "categoricals": ["city", "hour"],
            "numericals": ["heat", "wind", "noise"],
            **PERIODS,
        },
        "checkpoints": {"every_steps": 10, "every_seconds": 0, "keep": 3, "retry_seconds": 2},
        "tabular_network": {
            "embedding_size": 4, "width": 16, "blocks": 1, "epochs": 3, "batch_rows": 128, "data_shards": 4,
            "shuffle_rows": 2048, "warmup_steps": 5, "log_every_steps": 1, "threads_per_worker": 1,
        },
        "boosted_trees": {"members": 2, "rounds": 40, "leaves": 15, "least_leaf_rows": 20, "threads": 1},
    }  # fmt: skip
    for section, values in changes.items():
        document[section] = {**document.get(section, {}), **values} if isinstance(values, dict) else values
    return document


VIEWS = {
    "carrier_delays_v1": ["carrier"],
    "origin_delays_v2": ["origin"],
    "route_delays_v1": ["origin", "dest"],
    "origin_weather_v1": ["origin"],
    "plane_attributes_v1": ["tailnum"],
    "tail_last_flight_v1": ["tailnum"],
}


def flights_table() -> pa.Table:
    """The example's training rows from its own computations, joined as of prediction time, without Feast or a lake."""
    tables = curated_tables()
    rows = PROJECT.examples.build(tables).sort("event_timestamp", maintain_order=True)
    for view, keys in VIEWS.items():
        known = PROJECT.computations[view].compute(tables).sort("event_timestamp")
        rows = rows.join_asof(known, on="event_timestamp", by=keys, check_sortedness=False)
    asked = rows.select("scheduled_departure_seconds", "tail_known_at_seconds", "distance_miles")
    schedule = flight_schedule(asked.to_dict(as_series=False))
    return rows.hstack(pl.DataFrame(schedule, strict=False)).to_arrow()


def flights_set(directory: Path) -> Path:
    table = flights_table()
    return write_training_set(directory, [table], rows_per_group=20_000)
