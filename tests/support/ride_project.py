"""A small feature project that has every kind of view, key and type, over tables held in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from runtime.features.project import (
    EVENT_TIMESTAMP,
    Computation,
    Examples,
    FeatureProject,
    PathOf,
    StreamSource,
    Tables,
    python_transformation,
)
from runtime.features.snapshots import TableInput

START = datetime(2026, 1, 1, tzinfo=UTC)
RIDE_FINISHED = "tests.rides.finished"
SERVICE = "fare_v1"


def at(hours: float) -> datetime:
    """An instant, in hours since START."""
    return START + timedelta(hours=hours)


def ride_tables(rides: int = 60, drivers: int = 6) -> dict[str, pl.DataFrame]:
    """One ride an hour, drivers in turn; a zone price every four hours."""
    numbers = range(rides)
    return {
        "rides.rides": pl.DataFrame(
            {
                "ride_id": [f"r{n}" for n in numbers],
                "driver_id": [n % drivers for n in numbers],
                "city": [("dubai", "al ain")[n % 2] for n in numbers],
                "zone": [f"z{n % 3}" for n in numbers],
                "rating": [None if n % 7 == 0 else (n % 5) / 4 for n in numbers],
                "distance_km": [float(n % 40) for n in numbers],
                "requested_at": [at(n - 0.5) for n in numbers],
                "known_at": [at(n) for n in numbers],
            },
            schema_overrides={"requested_at": pl.Datetime("us", "UTC"), "known_at": pl.Datetime("us", "UTC")},
        ),
        "rides.prices": pl.DataFrame(
            {
                "city": [city for city in ("dubai", "al ain") for _ in range(rides // 4)],
                "zone": [f"z{n % 3}" for _ in range(2) for n in range(rides // 4)],
                "price": [1.5 + n / 8 for _ in range(2) for n in range(rides // 4)],
                "known_at": [at(4 * n) for _ in range(2) for n in range(rides // 4)],
            },
            schema_overrides={"known_at": pl.Datetime("us", "UTC")},
        ),
    }


def driver_stats(tables: Tables) -> pl.DataFrame:
    rides = tables["rides.rides"].sort("driver_id", "known_at")
    over = {"partition_by": "driver_id"}
    return rides.select(
        "driver_id",
        pl.col("known_at").alias(EVENT_TIMESTAMP),
        pl.col("rating").fill_null(0).cum_sum().over(**over).alias("mean_rating"),
        pl.int_range(1, pl.len() + 1).over(**over).alias("rides"),
        pl.col("rating").is_not_null().alias("rated"),
        pl.col("rating").cast(pl.Float32).alias("last_rating"),
        pl.int_range(1, pl.len() + 1).over(**over).cast(pl.Int32).alias("rides_short"),
        pl.col("city").alias("last_city"),
        pl.col("requested_at").alias("last_request"),
    )


def last_ride(tables: Tables) -> pl.DataFrame:
    return tables["rides.rides"].select(
        "driver_id",
        pl.col("known_at").alias(EVENT_TIMESTAMP),
        pl.col("distance_km").alias("last_distance_km"),
        pl.col("zone").alias("last_zone"),
    )


def zone_prices(tables: Tables) -> pl.DataFrame:
    return (
        tables["rides.prices"]
        .select("city", "zone", pl.col("known_at").alias(EVENT_TIMESTAMP), "price")
        .unique(["city", "zone", EVENT_TIMESTAMP], keep="last", maintain_order=True)
    )


def ride_examples(tables: Tables) -> pl.DataFrame:
    return tables["rides.rides"].select(
        "ride_id",
        "driver_id",
        "city",
        "zone",
        "distance_km",
        pl.col("requested_at").alias(EVENT_TIMESTAMP),
        (pl.col("rating") > 0.5).fill_null(False).alias("was_good"),
    )


def declare_rides(path_of: PathOf) -> Sequence[Any]:
    from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, RequestSource, ValueType
    from feast.on_demand_feature_view import OnDemandFeatureView
    from feast.types import Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

    driver = Entity(name="driver_id", join_keys=["driver_id"], value_type=ValueType.INT64)
    zone = Entity(name="zone", join_keys=["zone"], value_type=ValueType.STRING)
    city = Entity(name="city", join_keys=["city"], value_type=ValueType.STRING)
    papers = {
        "ttl": timedelta(0),
        "owner": "rides",
        "tags": {"pii": "false", "lineage.inputs": "rides.rides", "freshness_seconds": "3600"},
    }

    def source(name: str) -> FileSource:
        return FileSource(name=f"{name}_file", path=path_of(name), timestamp_field=EVENT_TIMESTAMP)

    stats = FeatureView(
        name="driver_stats_v1",
        entities=[driver],
        description="What a driver did so far",
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name="mean_rating", dtype=Float64),
            Field(name="rides", dtype=Int64),
            Field(name="rated", dtype=Bool),
            Field(name="last_rating", dtype=Float32),
            Field(name="rides_short", dtype=Int32),
            Field(name="last_city", dtype=String),
            Field(name="last_request", dtype=UnixTimestamp),
        ],
        source=source("driver_stats_v1"),
        **papers,
    )
    last = FeatureView(
        name="driver_last_ride_v1",
        entities=[driver],
        description="A driver's last ride, from the stream",
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name="last_distance_km", dtype=Float64),
            Field(name="last_zone", dtype=String),
        ],
        source=PushSource(name="last_ride_push", batch_source=source("driver_last_ride_v1")),
        **papers,
    )
    prices = FeatureView(
        name="zone_prices_v2",
        entities=[zone, city],
        description="What a kilometre costs",
        schema=[Field(name="zone", dtype=String), Field(name="city", dtype=String), Field(name="price", dtype=Float64)],
        source=source("zone_prices_v2"),
        **papers,
    )
    trip = OnDemandFeatureView(
        name="trip_value_v1",
        sources=[
            RequestSource(name="trip", schema=[Field(name="distance_km", dtype=Float64)]),
            stats[["mean_rating"]],
        ],
        schema=[Field(name="expected_fare", dtype=Float64), Field(name="is_long", dtype=Bool)],
        mode="python",
        feature_transformation=python_transformation("tests.support.ride_transformations:trip_value"),
        description="What a trip may bring",
        owner="rides",
        tags={"pii": "false", "lineage.inputs": "request,driver_stats_v1"},
    )
    return [
        driver,
        zone,
        city,
        stats,
        last,
        prices,
        trip,
        FeatureService(name=SERVICE, features=[stats, last, prices, trip]),
    ]


RIDES = FeatureProject(
    name="rides",
    declare=declare_rides,
    computations={
        "driver_stats_v1": Computation(("rides.rides",), driver_stats),
        "driver_last_ride_v1": Computation(("rides.rides",), last_ride),
        "zone_prices_v2": Computation(("rides.prices",), zone_prices),
    },
    examples=Examples(("rides.rides",), ride_examples, label="was_good"),
    streams={RIDE_FINISHED: StreamSource("driver_last_ride_v1", lambda events: last_ride({"rides.rides": events}))},
    subject_key="driver_id",
)


def renamed(name: str) -> FeatureProject:
    """The project under another name: tests that share a server do not share data."""
    return dataclasses.replace(RIDES, name=name)


class FrameTables:
    """A TableSource of frames; a table's snapshot id is given or counts from 1."""

    def __init__(self, frames: Mapping[str, pl.DataFrame], snapshot_id: str = "1") -> None:
        self._frames = frames
        self._snapshot_id = snapshot_id

    def read(self, name: str) -> tuple[pl.DataFrame, TableInput]:
        frame = self._frames[name]
        return frame, TableInput(name=name, snapshot_id=self._snapshot_id, rows=frame.height)
