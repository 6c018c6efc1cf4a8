"""From the columns of the data set's CSV files to those of the contracts.  Pure polars: a row for each row, in order.

Times of day in the files are local to an airport; here they become instants in UTC.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Final

import polars as pl

from examples.flights.source import airport_zones

DEPARTURE_ZONE: Final = "America/New_York"
"""All flights of the data set leave from New York."""

FLIGHT_ID_CHARACTERS: Final = 16
_IDENTITY: Final = ("year", "month", "day", "carrier", "flight", "origin", "sched_dep_time")


def flights(raw: pl.DataFrame) -> pl.DataFrame:
    """``flights.csv`` -> the columns of ``flights.flights``.

    A flight's outcome is known when it has arrived; of one that was cancelled or diverted, at its scheduled arrival.
    """
    departure = _instant("sched_dep_time", DEPARTURE_ZONE)
    timed = raw.with_columns(
        departure.alias("scheduled_departure"),
        pl.coalesce(_arrival(zone, codes) for zone, codes in _codes_by_zone().items()).alias("scheduled_arrival"),
        pl.Series("flight_id", flight_ids(raw), dtype=pl.String),
        *(
            _number(column).alias(name)
            for column, name in (("dep_delay", "dep_delay_minutes"), ("arr_delay", "arr_delay_minutes"))
        ),
    ).with_columns(
        # A local time of day before the departure's is the next day's.
        pl.when(pl.col("scheduled_arrival") <= pl.col("scheduled_departure"))
        .then(pl.col("scheduled_arrival").dt.offset_by("1d"))
        .otherwise(pl.col("scheduled_arrival"))
    )
    delay = pl.duration(minutes=pl.col("arr_delay_minutes").fill_null(0))
    return timed.select(
        "flight_id",
        "carrier",
        "flight",
        "tailnum",
        "origin",
        "dest",
        pl.col("distance").alias("distance_miles"),
        "scheduled_departure",
        "scheduled_arrival",
        "dep_delay_minutes",
        "arr_delay_minutes",
        pl.col("dep_time").is_null().alias("cancelled"),
        (pl.col("scheduled_arrival") + delay).alias("known_at"),
    )


def weather(raw: pl.DataFrame) -> pl.DataFrame:
    """``weather.csv`` -> the columns of ``flights.weather``.  An hour's reading is known an hour later."""
    observed = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", strict=False)
    observed = observed.dt.replace_time_zone("UTC")
    return raw.select(
        "origin",
        observed.alias("observed_at"),
        pl.col("temp").alias("temp_fahrenheit"),
        pl.col("dewp").alias("dew_point_fahrenheit"),
        pl.col("humid").alias("humidity_percent"),
        pl.col("wind_dir").alias("wind_direction_degrees"),
        pl.col("wind_speed").alias("wind_speed_mph"),
        pl.col("wind_gust").alias("wind_gust_mph"),
        pl.col("precip").alias("precip_inches"),
        pl.col("pressure").alias("pressure_millibars"),
        pl.col("visib").alias("visibility_miles"),
        observed.dt.offset_by("1h").alias("known_at"),
    )


def airports(raw: pl.DataFrame) -> pl.DataFrame:
    """``airports.csv`` -> the columns of ``flights.airports``."""
    return raw.select(
        "faa",
        "name",
        pl.col("lat").alias("latitude_degrees"),
        pl.col("lon").alias("longitude_degrees"),
        pl.col("alt").alias("altitude_feet"),
        pl.col("tzone").alias("time_zone"),
    )


def flight_ids(raw: pl.DataFrame) -> list[str]:
    """The sha256, cut to 16 hex characters, of a flight's identity and its rank among repeats of it in the file."""
    rank = pl.int_range(pl.len()).over(*_IDENTITY)
    texts = raw.select(pl.concat_str([*(pl.col(name) for name in _IDENTITY), rank.cast(pl.String)], separator="-"))
    return [
        hashlib.sha256((text or "").encode()).hexdigest()[:FLIGHT_ID_CHARACTERS] for text in texts.to_series().to_list()
    ]


def _number(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Int64, strict=False)


def _instant(clock_column: str, zone: str) -> pl.Expr:
    """A local time of day such as ``517`` on the row's date, in UTC; null where there is no such time."""
    clock = _number(clock_column)
    local = pl.datetime(_number("year"), _number("month"), _number("day"), clock // 100, clock % 100, time_unit="us")
    zoned = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return zoned.dt.convert_time_zone("UTC")


def _arrival(zone: str, codes: list[str]) -> pl.Expr:
    return pl.when(pl.col("dest").is_in(codes)).then(_instant("sched_arr_time", zone))


@functools.cache
def _codes_by_zone() -> dict[str, list[str]]:
    codes: dict[str, list[str]] = {}
    for code, zone in airport_zones().items():
        codes.setdefault(zone, []).append(code)
    return codes
