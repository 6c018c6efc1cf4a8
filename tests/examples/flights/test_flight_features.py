"""The features of the flights example on the whole data set: known at prediction time, by construction and by test."""

from __future__ import annotations

import functools
import random
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from examples.flights import contracts
from examples.flights.features import COMPLETED, PROJECT, computations
from examples.flights.features.transformations import flight_schedule
from runtime.features.catalogue import ReadPlan
from runtime.features.project import EVENT_TIMESTAMP
from runtime.features.snapshots import conform
from runtime.features.training_set import point_in_time_join
from tests.support.curated_flights import curated_tables

SERVICE = "late_arrival_v1"
SPRING = datetime(2013, 4, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> ReadPlan:
    from runtime.features.declaration import declare

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        catalogue = declare(PROJECT, tmp_path_factory.mktemp("flights")).catalogue
    return catalogue.plan(catalogue.service(SERVICE))


def _features(tables: Any, plan: ReadPlan) -> dict[str, pl.DataFrame]:
    return {view.name: conform(view, PROJECT.computations[view.name].compute(tables)) for view, _ in plan.stored}


@functools.cache
def _first_months() -> dict[str, pl.DataFrame]:
    """January to May: enough for every window to be full, little enough for a test."""
    tables = dict(curated_tables())
    tables["flights.flights"] = tables["flights.flights"].filter(pl.col("scheduled_departure") < SPRING + timedelta(60))
    return tables


def test_every_view_fits_its_declaration_on_the_whole_data_set(plan: ReadPlan) -> None:
    rows = _features(curated_tables(), plan)
    assert rows["tail_last_flight_v1"].height > 330_000
    assert rows["carrier_delays_v1"]["carrier"].n_unique() == 16
    assert rows["origin_delays_v2"]["origin"].n_unique() == 3
    assert rows["route_delays_v1"].select("origin", "dest").unique().height == 224


def test_every_feature_is_known_at_prediction_time(plan: ReadPlan) -> None:
    """By perturbing the future: whatever becomes known after a chosen instant is replaced by something else, and no
    feature of a prediction made up to that instant may move."""
    tables = _first_months()
    late = pl.col("known_at") > SPRING
    other = dict(tables)
    other["flights.flights"] = tables["flights.flights"].with_columns(
        pl.when(late).then(pl.col("arr_delay_minutes") + 500).otherwise("arr_delay_minutes").alias("arr_delay_minutes"),
        pl.when(late).then(pl.col("dep_delay_minutes") + 500).otherwise("dep_delay_minutes").alias("dep_delay_minutes"),
        pl.when(late).then(~pl.col("cancelled")).otherwise("cancelled").alias("cancelled"),
        pl.when(late).then(pl.lit("XXX")).otherwise("dest").alias("dest"),
    )
    other["flights.weather"] = tables["flights.weather"].with_columns(
        pl.when(late).then(-40.0).otherwise("temp_fahrenheit").alias("temp_fahrenheit")
    )
    examples = PROJECT.examples.build(tables)
    one, two = (point_in_time_join(examples, plan, _features(frames, plan)) for frames in (tables, other))
    before, after = pl.col(EVENT_TIMESTAMP) <= SPRING, pl.col(EVENT_TIMESTAMP) > SPRING
    features = [reference.partition(":")[2] for reference in plan.references]
    assert one.filter(before).height > 70_000
    assert one.filter(before).select(features).equals(two.filter(before).select(features))
    moved = [name for name in features if not one.filter(after)[name].equals(two.filter(after)[name])]
    # The perturbation reached what it should; what is known of the schedule and of planes never moves.
    assert {"carrier_late_share_24h", "origin_mean_dep_delay_minutes_3h", "route_flights_7d"} <= set(moved)
    assert {"origin_temp_fahrenheit", "tail_arr_delay_minutes"} <= set(moved)
    assert not {"departure_hour", "flight_distance_miles", "plane_seats"} & set(moved)


def test_a_flights_own_outcome_is_never_among_its_features(plan: ReadPlan) -> None:
    """One flight after the other gets another outcome; its own row must stay."""
    tables = _first_months()
    examples = PROJECT.examples.build(tables).filter(pl.col(EVENT_TIMESTAMP) > SPRING)
    chosen = random.Random(1).sample(examples["flight_id"].to_list(), 5)
    small = examples.filter(pl.col("flight_id").is_in(chosen))
    one = point_in_time_join(small, plan, _features(tables, plan))
    for flight_id in chosen:
        own = pl.col("flight_id") == flight_id
        outcome = pl.when(own).then(1_000).otherwise("arr_delay_minutes").alias("arr_delay_minutes")
        other = {**tables, "flights.flights": tables["flights.flights"].with_columns(outcome)}
        two = point_in_time_join(small, plan, _features(other, plan))
        assert one.filter(own).equals(two.filter(own))


def test_windows_are_those_of_the_definition_on_real_flights() -> None:
    flights = _first_months()["flights.flights"]
    rows = computations.carrier_delays_v1(_first_months())
    for carrier, moment in (("UA", SPRING), ("B6", SPRING - timedelta(days=20, hours=5)), ("HA", SPRING)):
        row = rows.filter((pl.col("carrier") == carrier) & (pl.col(EVENT_TIMESTAMP) <= moment)).sort(EVENT_TIMESTAMP)[
            -1
        ]
        inside = flights.filter(
            (pl.col("carrier") == carrier)
            & (pl.col("known_at") <= moment)
            & (pl.col("known_at") > moment - timedelta(days=7))
        )
        arrived = inside.filter(pl.col("arr_delay_minutes").is_not_null())
        late = arrived.filter(pl.col("arr_delay_minutes") >= 15).height
        assert row["carrier_flights_7d"].item() == inside.height
        assert row["carrier_late_share_7d"].item() == pytest.approx(late / arrived.height)
        assert row["carrier_mean_arr_delay_minutes_7d"].item() == pytest.approx(arrived["arr_delay_minutes"].mean())
        assert row["carrier_cancelled_share_7d"].item() == pytest.approx(inside["cancelled"].mean())


def test_examples_are_flights_that_arrived_an_hour_before_they_left() -> None:
    examples = PROJECT.examples.build(curated_tables())
    flights = curated_tables()["flights.flights"]
    assert examples.height == flights["arr_delay_minutes"].is_not_null().sum() == 327_346
    assert examples["flight_id"].n_unique() == examples.height
    lead = (examples["scheduled_departure"] - examples[EVENT_TIMESTAMP]).unique().to_list()
    assert lead == [timedelta(hours=1)]
    late = flights.filter(pl.col("arr_delay_minutes") >= 15).height
    assert examples["is_late"].sum() == late


def test_the_stream_gives_the_rows_of_the_batch() -> None:
    day = curated_tables()["flights.flights"].filter(pl.col("known_at").dt.date() == datetime(2013, 6, 1).date())
    source = PROJECT.streams[COMPLETED]
    assert source.view == "tail_last_flight_v1"
    assert contracts.EVENT_TYPE == COMPLETED
    assert source.rows(day).equals(computations.tail_last_flight_v1({"flights.flights": day}))


def test_the_computations_use_columns_of_the_contracts() -> None:
    """Only what is promised may be read."""
    promised = {
        "flights.flights": set(contracts.FLIGHTS.types),
        "flights.weather": set(contracts.WEATHER.types),
        "flights.planes": set(contracts.PLANES.types),
    }
    tables = {name: frame.select(sorted(promised[name])) for name, frame in _first_months().items()}
    for name, computation in PROJECT.computations.items():
        assert computation.compute(tables).height > 0, name
    assert PROJECT.examples.build(tables).height > 0


@pytest.mark.parametrize(
    ("departure", "hour", "weekday", "month"),
    [
        ("2013-01-01T10:15:00+00:00", 5, 2, 1),
        ("2013-07-05T03:59:00+00:00", 23, 4, 7),
        ("2013-03-10T06:59:59+00:00", 1, 7, 3),  # the last second before the clocks went forward
        ("2013-03-10T07:00:00+00:00", 3, 7, 3),
    ],
)
def test_the_schedule_is_in_local_time(departure: str, hour: int, weekday: int, month: int) -> None:
    seconds = int(datetime.fromisoformat(departure).timestamp())
    out = flight_schedule(
        {"scheduled_departure_seconds": [seconds], "tail_known_at_seconds": [None], "distance_miles": [200]}
    )
    assert (out["departure_hour"], out["departure_weekday"], out["departure_month"]) == ([hour], [weekday], [month])
    assert (out["minutes_since_tail_arrival"], out["flight_distance_miles"]) == ([None], [200.0])


def test_missing_values_are_none_or_not_a_number_and_mean_the_same() -> None:
    base = {"scheduled_departure_seconds": [7200, 7200], "distance_miles": [float("nan"), None]}
    out = flight_schedule({**base, "tail_known_at_seconds": [float("nan"), None]})
    assert out["minutes_since_tail_arrival"] == [None, None]
    assert out["flight_distance_miles"] == [None, None]


def test_views_about_planes_say_that_they_are_about_a_subject(plan: ReadPlan) -> None:
    views = {view.name: view for view, _ in plan.stored}
    about = {name for name, view in views.items() if PROJECT.subject_key in {key.name for key in view.join_keys}}
    assert about == {"plane_attributes_v1", "tail_last_flight_v1"}
    assert {name for name, view in views.items() if view.pii} == about


def test_importing_the_project_does_not_import_feast() -> None:
    import subprocess
    import sys

    root = Path(__file__).parents[3]
    program = "import sys; import examples.flights.features; assert 'feast' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
