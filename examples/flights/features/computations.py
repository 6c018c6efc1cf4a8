"""How the stored feature views are computed from the curated tables.  Pure polars; no Feast.

Each function returns one row per key and instant; its ``event_timestamp`` is the instant from which the row was known.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from runtime.features.project import EVENT_TIMESTAMP, Tables
from runtime.features.windows import ratio, window_sums

LATE_MINUTES: Final = 15
"""A flight is late when it arrives this many minutes after schedule, or more (the US Department of Transportation's
definition)."""

PLANES_KNOWN_SINCE: Final = datetime(2013, 1, 1, tzinfo=UTC)
"""The registry of planes carries no date; it is taken as known before the year it describes."""

FLIGHTS: Final = "flights.flights"
WEATHER: Final = "flights.weather"
PLANES: Final = "flights.planes"


def delay_windows(
    tables: Tables, *, keys: Mapping[str, str], prefix: str, windows: Mapping[str, timedelta]
) -> pl.DataFrame:
    """Flights, share of late arrivals, share of cancellations and mean delays per key and window.

    ``keys``: column of the flights table -> name of the join key.
    """
    flights = tables[FLIGHTS].rename(dict(keys)) if any(a != b for a, b in keys.items()) else tables[FLIGHTS]
    arrived = pl.col("arr_delay_minutes").is_not_null()
    sums = window_sums(
        flights,
        keys=list(keys.values()),
        known_at="known_at",
        measures={
            "late": (pl.col("arr_delay_minutes") >= LATE_MINUTES).fill_null(False),
            "arrived": arrived,
            "arr_delay": pl.col("arr_delay_minutes"),
            "departed": pl.col("dep_delay_minutes").is_not_null(),
            "dep_delay": pl.col("dep_delay_minutes"),
            "cancelled": pl.col("cancelled"),
        },
        windows=windows,
    )
    features = []
    for label in windows:
        features += [
            pl.col(f"count_{label}").alias(f"{prefix}_flights_{label}"),
            ratio(f"late_{label}", f"arrived_{label}").alias(f"{prefix}_late_share_{label}"),
            ratio(f"cancelled_{label}", f"count_{label}").alias(f"{prefix}_cancelled_share_{label}"),
            ratio(f"arr_delay_{label}", f"arrived_{label}").alias(f"{prefix}_mean_arr_delay_minutes_{label}"),
            ratio(f"dep_delay_{label}", f"departed_{label}").alias(f"{prefix}_mean_dep_delay_minutes_{label}"),
        ]
    return sums.select([*keys.values(), EVENT_TIMESTAMP, *features])


DAY_AND_WEEK: Final = {"24h": timedelta(hours=24), "7d": timedelta(days=7)}
HOURS_AND_DAY: Final = {"3h": timedelta(hours=3), "24h": timedelta(hours=24)}


def carrier_delays_v1(tables: Tables) -> pl.DataFrame:
    return delay_windows(tables, keys={"carrier": "carrier"}, prefix="carrier", windows=DAY_AND_WEEK)


def origin_delays_v1(tables: Tables) -> pl.DataFrame:
    return delay_windows(tables, keys={"origin": "origin"}, prefix="origin", windows=DAY_AND_WEEK)


def origin_delays_v2(tables: Tables) -> pl.DataFrame:
    return delay_windows(tables, keys={"origin": "origin"}, prefix="origin", windows=HOURS_AND_DAY)


def route_delays_v1(tables: Tables) -> pl.DataFrame:
    return delay_windows(tables, keys={"origin": "origin", "dest": "dest"}, prefix="route", windows=DAY_AND_WEEK)


def origin_weather_v1(tables: Tables) -> pl.DataFrame:
    return (
        tables[WEATHER]
        .drop_nulls(["origin", "known_at"])
        .select(
            "origin",
            pl.col("known_at").alias(EVENT_TIMESTAMP),
            *(pl.col(column).cast(pl.Float64).alias(f"origin_{column}") for column in WEATHER_COLUMNS),
        )
        .unique(["origin", EVENT_TIMESTAMP], keep="last", maintain_order=True)
        .sort("origin", EVENT_TIMESTAMP)
    )


WEATHER_COLUMNS: Final = (
    "temp_fahrenheit",
    "humidity_percent",
    "wind_speed_mph",
    "precip_inches",
    "pressure_millibars",
    "visibility_miles",
)


def plane_attributes_v1(tables: Tables) -> pl.DataFrame:
    return (
        tables[PLANES]
        .drop_nulls("tailnum")
        .select(
            "tailnum",
            pl.lit(PLANES_KNOWN_SINCE).dt.cast_time_unit("us").alias(EVENT_TIMESTAMP),
            pl.col("year").cast(pl.Int64).alias("plane_year"),
            pl.col("seats").cast(pl.Int64).alias("plane_seats"),
            pl.col("engines").cast(pl.Int64).alias("plane_engines"),
        )
        .unique("tailnum", keep="last", maintain_order=True)
        .sort("tailnum")
    )


def tail_last_flight_v1(tables: Tables) -> pl.DataFrame:
    """The last flight of a plane whose outcome is known: what the stream keeps up to date between two batches."""
    return (
        tables[FLIGHTS]
        .drop_nulls(["tailnum", "known_at"])
        .sort("tailnum", "known_at", "scheduled_departure", "flight_id")
        .unique(["tailnum", "known_at"], keep="last", maintain_order=True)
        .select(
            "tailnum",
            pl.col("known_at").alias(EVENT_TIMESTAMP),
            pl.col("arr_delay_minutes").cast(pl.Int64).alias("tail_arr_delay_minutes"),
            pl.col("dep_delay_minutes").cast(pl.Int64).alias("tail_dep_delay_minutes"),
            pl.col("dest").alias("tail_last_airport"),
            pl.col("known_at").dt.epoch("s").alias("tail_known_at_seconds"),
        )
    )


def late_arrival_examples(tables: Tables) -> pl.DataFrame:
    """One row per flight that arrived: what is known of it one hour before departure, and whether it came late."""
    return (
        tables[FLIGHTS]
        .filter(~pl.col("cancelled"))
        .drop_nulls(["arr_delay_minutes", "tailnum", "scheduled_departure"])
        .select(
            "flight_id",
            "carrier",
            "origin",
            "dest",
            "tailnum",
            (pl.col("scheduled_departure") - PREDICTION_LEAD).alias(EVENT_TIMESTAMP),
            "scheduled_departure",
            pl.col("scheduled_departure").dt.epoch("s").alias("scheduled_departure_seconds"),
            pl.col("distance_miles").cast(pl.Float64),
            (pl.col("arr_delay_minutes") >= LATE_MINUTES).alias(LABEL),
        )
        .sort(EVENT_TIMESTAMP, "flight_id")
    )


PREDICTION_LEAD: Final = timedelta(hours=1)
"""A prediction is made this long before the scheduled departure."""

LABEL: Final = "is_late"
