"""The feature project of the flights example: ``examples.flights.features:PROJECT``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from examples.flights.features import computations as c
from runtime.features.project import Computation, Examples, FeatureProject, PathOf, StreamSource

if TYPE_CHECKING:
    from runtime.features.push import FeatureWriter
    from runtime.settings import Settings

COMPLETED: Final = "falaj.flights.completed"
"""Event type of the stream; its records have the columns of ``flights.flights``."""


def _declare(path_of: PathOf) -> Sequence[Any]:
    # Importing Feast takes seconds; online reads and computations do without.
    from examples.flights.features.definitions import declare

    return declare(path_of)


def _tail_rows(events: pl.DataFrame) -> pl.DataFrame:
    # The computation of the batch: stream and batch cannot drift apart.
    return c.tail_last_flight_v1({c.FLIGHTS: events})


PROJECT: Final = FeatureProject(
    name="flights",
    declare=_declare,
    computations={
        "carrier_delays_v1": Computation((c.FLIGHTS,), c.carrier_delays_v1),
        "origin_delays_v1": Computation((c.FLIGHTS,), c.origin_delays_v1),
        "origin_delays_v2": Computation((c.FLIGHTS,), c.origin_delays_v2),
        "route_delays_v1": Computation((c.FLIGHTS,), c.route_delays_v1),
        "origin_weather_v1": Computation((c.WEATHER,), c.origin_weather_v1),
        "plane_attributes_v1": Computation((c.PLANES,), c.plane_attributes_v1),
        "tail_last_flight_v1": Computation((c.FLIGHTS,), c.tail_last_flight_v1),
    },
    examples=Examples((c.FLIGHTS,), c.late_arrival_examples, label=c.LABEL),
    streams={COMPLETED: StreamSource("tail_last_flight_v1", _tail_rows)},
    subject_key="tailnum",
)


def online_writer(settings: Settings) -> FeatureWriter:
    """The online store's writer of this project: ``ingest stream --online examples.flights.features:online_writer``."""
    from runtime.features.push import FeatureWriter

    return FeatureWriter(settings, PROJECT)
