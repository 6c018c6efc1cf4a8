"""The flights project's Feast objects: entities, views, on-demand transformation, the service a model asks for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, RequestSource, ValueType
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import Float64, Int64, String

from examples.flights.features.computations import DAY_AND_WEEK, HOURS_AND_DAY, WEATHER_COLUMNS
from runtime.features.project import EVENT_TIMESTAMP, PathOf, python_transformation

OWNER: Final = "flight-operations"

# 0: a value lives until a newer one comes.  Feast's online stores do not expire values on read while its offline
# retrieval does; a limit here would make training and serving differ.
NO_EXPIRY: Final = timedelta(0)

DELAY_FEATURES: Final = {
    "flights": Int64,
    "late_share": Float64,
    "cancelled_share": Float64,
    "mean_arr_delay_minutes": Float64,
    "mean_dep_delay_minutes": Float64,
}


def declare(path_of: PathOf) -> Sequence[Any]:
    """All objects; batch sources read the Parquet files that ``path_of`` names."""
    carrier, origin, dest, tailnum = (
        Entity(name=name, join_keys=[name], value_type=ValueType.STRING, description=description)
        for name, description in (
            ("carrier", "Airline, two characters"),
            ("origin", "Airport of departure, IATA code"),
            ("dest", "Airport of arrival, IATA code"),
            ("tailnum", "Registration of the plane; stands for a person in erasure requests"),
        )
    )

    def source(view: str) -> FileSource:
        return FileSource(name=f"{view}_file", path=path_of(view), timestamp_field=EVENT_TIMESTAMP)

    def view(
        name: str,
        entities: list[Entity],
        features: dict[str, Any],
        *,
        purpose: str,
        inputs: str,
        freshness_hours: int,
        pii: bool = False,
        stream: bool = False,
    ) -> FeatureView:
        batch = source(name)
        return FeatureView(
            name=name,
            entities=entities,
            ttl=NO_EXPIRY,
            schema=[
                *(Field(name=entity.join_key, dtype=String) for entity in entities),
                *(Field(name=feature, dtype=dtype) for feature, dtype in features.items()),
            ],
            source=PushSource(name=f"{name}_push", batch_source=batch) if stream else batch,
            owner=OWNER,
            description=purpose,
            tags={
                "pii": "true" if pii else "false",
                "lineage.inputs": inputs,
                "freshness_seconds": str(freshness_hours * 3600),
            },
        )

    def delays(prefix: str, windows: dict[str, timedelta]) -> dict[str, Any]:
        return {f"{prefix}_{name}_{label}": dtype for label in windows for name, dtype in DELAY_FEATURES.items()}

    carrier_delays = view(
        "carrier_delays_v1",
        [carrier],
        delays("carrier", DAY_AND_WEEK),
        purpose="How late an airline has been in the last day and week",
        inputs="flights.flights",
        freshness_hours=24,
    )
    origin_delays_v1 = view(
        "origin_delays_v1",
        [origin],
        delays("origin", DAY_AND_WEEK),
        purpose="How late departures of an airport have been in the last day and week",
        inputs="flights.flights",
        freshness_hours=24,
    )
    origin_delays = view(
        "origin_delays_v2",
        [origin],
        delays("origin", HOURS_AND_DAY),
        purpose="How late departures of an airport have been in the last three hours and the last day",
        inputs="flights.flights",
        freshness_hours=3,
    )
    route_delays = view(
        "route_delays_v1",
        [origin, dest],
        delays("route", DAY_AND_WEEK),
        purpose="How late flights between two airports have been in the last day and week",
        inputs="flights.flights",
        freshness_hours=168,
    )
    weather = view(
        "origin_weather_v1",
        [origin],
        {f"origin_{column}": Float64 for column in WEATHER_COLUMNS},
        purpose="Last weather observation at the airport of departure that was published in time",
        inputs="flights.weather",
        freshness_hours=3,
    )
    plane = view(
        "plane_attributes_v1",
        [tailnum],
        {"plane_year": Int64, "plane_seats": Int64, "plane_engines": Int64},
        purpose="What kind of plane flies",
        inputs="flights.planes",
        freshness_hours=24 * 366,
        pii=True,
    )
    tail = view(
        "tail_last_flight_v1",
        [tailnum],
        {
            "tail_arr_delay_minutes": Int64,
            "tail_dep_delay_minutes": Int64,
            "tail_last_airport": String,
            "tail_known_at_seconds": Int64,
        },
        purpose="How the plane's last flight with a known outcome went, from the event stream",
        inputs="flights.flights,falaj.flights.completed",
        freshness_hours=24,
        pii=True,
        stream=True,
    )
    schedule = OnDemandFeatureView(
        name="flight_schedule_v1",
        sources=[
            RequestSource(
                name="flight_request",
                schema=[
                    Field(name="scheduled_departure_seconds", dtype=Int64),
                    Field(name="distance_miles", dtype=Float64),
                ],
            ),
            tail[["tail_known_at_seconds"]],
        ],
        schema=[
            Field(name="departure_hour", dtype=Int64),
            Field(name="departure_weekday", dtype=Int64),
            Field(name="departure_month", dtype=Int64),
            Field(name="minutes_since_tail_arrival", dtype=Float64),
            Field(name="flight_distance_miles", dtype=Float64),
        ],
        mode="python",
        feature_transformation=python_transformation("examples.flights.features.transformations:flight_schedule"),
        owner=OWNER,
        description="When the flight leaves, local time, how far it goes, and how long ago its plane last arrived",
        tags={"pii": "true", "lineage.inputs": "request,tail_last_flight_v1"},
    )
    service = FeatureService(
        name="late_arrival_v1",
        features=[
            carrier_delays,
            origin_delays,
            route_delays,
            weather,
            plane,
            tail[["tail_arr_delay_minutes", "tail_dep_delay_minutes"]],
            schedule,
        ],
        owner=OWNER,
        description="Features of the late-arrival models",
    )
    views = [carrier_delays, origin_delays_v1, origin_delays, route_delays, weather, plane, tail, schedule]
    return [carrier, origin, dest, tailnum, *views, service]
