"""What the example's tables promise: ``flights.flights``, ``.weather``, ``.planes`` and ``.airports``."""

from __future__ import annotations

from typing import Any, Final

import pandera.polars as pa
import polars as pl

from examples.flights import curation
from examples.flights.source import NULLS
from runtime.ingestion.contract import Contract

TIME: Final = pl.Datetime("us", "UTC")
ORIGINS: Final = ("EWR", "JFK", "LGA")
EVENT_TYPE: Final = "falaj.flights.completed"
_OWNER: Final = "flights-data"


def _text(description: str, pattern: str, *, nullable: bool = False) -> pa.Column:
    return pa.Column(pl.String, pa.Check.str_matches(pattern), nullable=nullable, description=description)


def _measure(description: str, low: float, high: float, kind: Any = pl.Float64, *, nullable: bool = True) -> pa.Column:
    return pa.Column(kind, pa.Check.in_range(low, high), nullable=nullable, description=description)


def _known_after_departure(data: pa.PolarsData) -> pl.LazyFrame:
    return data.lazyframe.select(pl.col("known_at") > pl.col("scheduled_departure"))


def _cancelled_without_delays(data: pa.PolarsData) -> pl.LazyFrame:
    return data.lazyframe.select(~pl.col("cancelled") | pl.col("arr_delay_minutes").is_null())


FLIGHTS: Final = Contract(
    table="flights.flights",
    version=1,
    owner=_OWNER,
    description="Flights that left New York, with their outcome once it is known.",
    key=("flight_id",),
    event_time="known_at",
    partition_by="scheduled_departure",
    personal_data=frozenset({"tailnum"}),
    event_type=EVENT_TYPE,
    csv_nulls=NULLS,
    max_failed_fraction=0.01,
    prepare=curation.flights,
    schema=pa.DataFrameSchema(
        {
            "flight_id": _text("16 hex characters; see curation.flight_ids.", r"^[0-9a-f]{16}$"),
            "carrier": _text("IATA code of the airline.", r"^[A-Z0-9]{2}$"),
            "flight": _measure("Flight number.", 1, 9999, pl.Int64, nullable=False),
            "tailnum": _text("Registration of the plane.", r"^[A-Z0-9]{3,8}$", nullable=True),
            "origin": pa.Column(pl.String, pa.Check.isin(ORIGINS), description="FAA code of the airport of departure."),
            "dest": _text("FAA code of the destination.", r"^[A-Z]{3}$"),
            "distance_miles": _measure("Between the airports.", 10, 10_000, pl.Int64, nullable=False),
            "scheduled_departure": pa.Column(TIME),
            "scheduled_arrival": pa.Column(TIME, nullable=True),
            "dep_delay_minutes": _measure("Negative: early.", -120, 3000, pl.Int64),
            "arr_delay_minutes": _measure("Negative: early.  Null: cancelled or diverted.", -240, 3000, pl.Int64),
            "cancelled": pa.Column(pl.Boolean, description="Never departed."),
            "known_at": pa.Column(TIME, description="When the outcome is known."),
        },
        checks=[
            pa.Check(_known_after_departure, error="known_at: must be after scheduled_departure"),
            pa.Check(_cancelled_without_delays, error="arr_delay_minutes: a cancelled flight cannot arrive"),
        ],
        strict=True,
    ),
)

WEATHER: Final = Contract(
    table="flights.weather",
    version=1,
    owner=_OWNER,
    description="Hourly weather at New York's airports.",
    key=("origin", "observed_at"),
    event_time="known_at",
    partition_by="observed_at",
    csv_nulls=NULLS,
    prepare=curation.weather,
    schema=pa.DataFrameSchema(
        {
            "origin": pa.Column(pl.String, pa.Check.isin(ORIGINS), description="FAA code of the airport."),
            "observed_at": pa.Column(TIME),
            "temp_fahrenheit": _measure("", -60, 130),
            "dew_point_fahrenheit": _measure("", -60, 130),
            "humidity_percent": _measure("", 0, 100),
            "wind_direction_degrees": _measure("", 0, 360),
            "wind_speed_mph": _measure("", 0, 250),
            "wind_gust_mph": _measure("", 0, 250),
            "precip_inches": _measure("", 0, 20),
            "pressure_millibars": _measure("", 850, 1100),
            "visibility_miles": _measure("", 0, 10),
            "known_at": pa.Column(TIME, description="An hour after the observation."),
        },
        strict=True,
    ),
)

PLANES: Final = Contract(
    table="flights.planes",
    version=1,
    owner=_OWNER,
    description="The registry of planes, whole.",
    mode="replace",
    key=("tailnum",),
    personal_data=frozenset({"tailnum"}),
    csv_nulls=NULLS,
    schema=pa.DataFrameSchema(
        {
            "tailnum": _text("Registration of the plane.", r"^[A-Z0-9]{3,8}$"),
            "year": _measure("Of manufacture.", 1930, 2013, pl.Int64),
            "type": pa.Column(pl.String, nullable=True),
            "manufacturer": pa.Column(pl.String, nullable=True),
            "model": pa.Column(pl.String, nullable=True),
            "engines": _measure("", 1, 8, pl.Int64, nullable=False),
            "seats": _measure("", 1, 900, pl.Int64, nullable=False),
            "speed": _measure("Cruising, miles per hour.", 1, 1000, pl.Int64),
            "engine": pa.Column(pl.String, nullable=True),
        },
        strict=True,
    ),
)

AIRPORTS: Final = Contract(
    table="flights.airports",
    version=1,
    owner=_OWNER,
    description="Airports of the United States, whole.",
    mode="replace",
    key=("faa",),
    csv_nulls=NULLS,
    prepare=curation.airports,
    schema=pa.DataFrameSchema(
        {
            "faa": _text("FAA code.", r"^[A-Z0-9]{3}$"),
            "name": pa.Column(pl.String),
            "latitude_degrees": _measure("", -90, 90, nullable=False),
            "longitude_degrees": _measure("", -180, 180, nullable=False),
            "altitude_feet": _measure("", -500, 20_000, pl.Int64),
            "time_zone": pa.Column(pl.String, nullable=True, description="IANA name."),
        },
        strict=True,
    ),
)

ALL: Final = {"flights": FLIGHTS, "weather": WEATHER, "planes": PLANES, "airports": AIRPORTS}
