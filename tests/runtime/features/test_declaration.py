"""A view without owner, purpose, PII flag or lineage must not get in; an unknown version must say which there are."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.features.catalogue import Catalogue
from runtime.features.declaration import Declaration, declare
from runtime.features.errors import DeclarationError, UnknownFeatureError
from runtime.features.project import EVENT_TIMESTAMP, load_project, python_transformation
from tests.support.ride_project import RIDES, SERVICE, declare_rides, renamed

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:feast.*")


def _with_view(change: Callable[[Any], None], view: str = "driver_stats_v1") -> Any:
    def objects(path_of: Any) -> list[Any]:
        found = list(declare_rides(path_of))
        for index, candidate in enumerate(found):
            if getattr(candidate, "name", "") == view:
                found[index] = copy.copy(candidate)
                found[index].tags = dict(candidate.tags)
                change(found[index])
        return found

    return dataclasses.replace(RIDES, declare=objects)


@pytest.mark.parametrize(
    ("change", "lacks"),
    [
        (lambda view: setattr(view, "owner", " "), "an owner"),
        (lambda view: setattr(view, "description", ""), "a purpose"),
        (lambda view: view.tags.pop("pii"), "the tag pii"),
        (lambda view: view.tags.update(pii="maybe"), "the tag pii"),
        (lambda view: view.tags.update({"lineage.inputs": ""}), "the tag lineage.inputs"),
        (lambda view: view.tags.update(freshness_seconds="soon"), "a whole number of seconds"),
    ],
)
def test_a_view_without_its_papers_is_refused(change: Callable[[Any], None], lacks: str, directory: Path) -> None:
    with pytest.raises(DeclarationError, match=f"driver_stats_v1: lacks {lacks}"):
        declare(_with_view(change), directory)


def test_all_gaps_are_named_at_once(directory: Path) -> None:
    def strip(view: Any) -> None:
        view.owner, view.description, view.tags = "", "", {}

    with pytest.raises(DeclarationError, match=r"an owner, a purpose .*, the tag pii .*, the tag lineage.inputs"):
        declare(_with_view(strip), directory)


def test_an_on_demand_view_needs_its_papers_too(directory: Path) -> None:
    with pytest.raises(DeclarationError, match="trip_value_v1: lacks an owner"):
        declare(_with_view(lambda view: setattr(view, "owner", ""), "trip_value_v1"), directory)


def test_a_view_that_nothing_computes_is_refused(directory: Path) -> None:
    fewer = {name: c for name, c in RIDES.computations.items() if name != "zone_prices_v2"}
    with pytest.raises(DeclarationError, match="zone_prices_v2: has no computation"):
        declare(dataclasses.replace(RIDES, computations=fewer), directory)


def test_an_event_may_feed_a_stream_view_only(directory: Path) -> None:
    wrong = {"tests.event": dataclasses.replace(next(iter(RIDES.streams.values())), view="zone_prices_v2")}
    with pytest.raises(DeclarationError, match=r"zone_prices_v2: is fed by tests\.event but is no stream view"):
        declare(dataclasses.replace(RIDES, streams=wrong), directory)


@pytest.mark.parametrize("name", ["", "Rides", "1rides", "rides_g7", "r" * 41, "rides-x"])
def test_a_project_name_that_could_be_taken_for_a_generation_is_refused(name: str) -> None:
    with pytest.raises(DeclarationError, match="feature project"):
        renamed(name)


def test_a_catalogue_survives_the_wire(declared: Declaration) -> None:
    assert Catalogue.from_json(declared.catalogue.to_json()) == declared.catalogue


def test_the_digest_changes_with_the_definition(declared: Declaration, directory: Path) -> None:
    other = declare(_with_view(lambda view: setattr(view, "description", "Another purpose")), directory)
    assert other.catalogue.digest != declared.catalogue.digest


def test_the_service_lists_every_feature_in_its_order(declared: Declaration) -> None:
    references = declared.catalogue.service(SERVICE)
    assert references[0] == "driver_stats_v1:mean_rating"
    assert references[-2:] == ("trip_value_v1:expected_fare", "trip_value_v1:is_long")
    assert len(references) == 12


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("driver_stats_v9:rides", "'driver_stats' has no version 9; declared: driver_stats_v1"),
        ("zone_prices_v1:price", "'zone_prices' has no version 1; declared: zone_prices_v2"),
        ("zone_prices:price", "'zone_prices' is asked for without a version; declared: zone_prices_v2"),
        ("nothing_v1:x", "'nothing_v1' is not declared in project 'rides'"),
        ("driver_stats_v1:tips", "view driver_stats_v1 has no feature 'tips': declared: last_city"),
        ("driver_stats_v1", "not of the form"),
        ("driver_stats_v1:", "not of the form"),
        ("trip_value_v2:is_long", "'trip_value' has no version 2; declared: trip_value_v1"),
    ],
)
def test_an_unknown_version_is_an_error_that_says_what_there_is(
    declared: Declaration, reference: str, message: str
) -> None:
    with pytest.raises(UnknownFeatureError, match=message.replace("(", r"\(")):
        declared.catalogue.plan([reference])


def test_a_feature_asked_for_twice_is_refused(declared: Declaration) -> None:
    with pytest.raises(UnknownFeatureError, match="would both answer as 'rides'"):
        declared.catalogue.plan(["driver_stats_v1:rides", "driver_stats_v1:rides"])


def test_an_unknown_service_is_refused(declared: Declaration) -> None:
    with pytest.raises(UnknownFeatureError, match="feature service 'fare_v2' is not declared"):
        declared.catalogue.service("fare_v2")


def test_a_plan_reads_what_on_demand_features_need(declared: Declaration) -> None:
    plan = declared.catalogue.plan(["trip_value_v1:is_long"])
    assert [(view.name, [f.name for f in fields]) for view, fields in plan.stored] == [
        ("driver_stats_v1", ["mean_rating"])
    ]
    assert [field.name for field in plan.request] == ["distance_km"]


@pytest.mark.parametrize(
    "reference", ["examples.flights.features", "no.such.module:PROJECT", "runtime.errors:FalajError"]
)
def test_a_project_that_cannot_be_loaded_is_refused(reference: str) -> None:
    with pytest.raises(DeclarationError, match="feature project"):
        load_project(reference)


@pytest.mark.parametrize("reference", ["os:system('x')", "a b:c", "tests.support.ride_transformations:nothing"])
def test_a_transformation_is_an_import_and_nothing_else(reference: str) -> None:
    with pytest.raises(DeclarationError, match="transformation"):
        python_transformation(reference)


def test_the_registry_carries_no_code_of_the_customer() -> None:
    source = python_transformation("tests.support.ride_transformations:trip_value").udf_string
    assert "from tests.support.ride_transformations import trip_value" in source
    assert "rating" not in source


def test_event_timestamp_is_the_only_time_column(directory: Path) -> None:
    def objects(path_of: Any) -> list[Any]:
        found = list(declare_rides(path_of))
        stats = next(o for o in found if getattr(o, "name", "") == "driver_stats_v1")
        stats.batch_source.timestamp_field = "known_at"
        return found

    with pytest.raises(DeclarationError, match=f"timestamp_field='{EVENT_TIMESTAMP}'"):
        declare(dataclasses.replace(RIDES, declare=objects), directory)
