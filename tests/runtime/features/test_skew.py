"""A difference between training and serving must stop a release; what the stream made fresher must not."""

from __future__ import annotations

import dataclasses

import pytest

from runtime.features.declaration import Declaration
from runtime.features.encoding import encode_value, hash_field, key_encoder
from runtime.features.errors import SkewError
from runtime.features.generations import physical_project
from runtime.features.materialise import apply, materialise
from runtime.features.push import FeatureWriter
from runtime.features.release import check_skew
from runtime.features.skew import FeatureSkew, SkewReport
from runtime.features.snapshots import Snapshot
from runtime.features.valkey_store import connect
from runtime.settings import Settings
from tests.support.ride_project import RIDE_FINISHED, RIDES, SERVICE, FrameTables, at, ride_tables


@pytest.fixture
def live(online: Settings, declared: Declaration, snapshot: Snapshot) -> Settings:
    materialise(online, declared, snapshot, as_of=at(48))
    return online


def _by_name(report: SkewReport) -> dict[str, FeatureSkew]:
    return {feature.feature: feature for feature in report.features}


def test_both_paths_agree_on_every_feature(live: Settings, rides: FrameTables, snapshot: Snapshot) -> None:
    report = check_skew(live, RIDES, rides, service=SERVICE, sample_rows=50)
    assert report.passed
    report.raise_if_failed()
    assert [feature.different for feature in report.features] == [0] * 12
    assert {feature.compared for feature in report.features} == {50}
    assert (report.rows, report.generation, report.snapshot_id, report.as_of) == (
        50,
        1,
        snapshot.id,
        at(48).isoformat(),
    )


def test_one_wrong_value_is_found_named_and_stops_the_release(live: Settings, rides: FrameTables) -> None:
    key = key_encoder([("driver_id", "int64")], physical_project("rides", 1))([3])
    connect(live).hset(key, hash_field("driver_stats_v1", "rides"), encode_value(999, "int64"))
    report = check_skew(live, RIDES, rides, service=SERVICE, sample_rows=60)
    wrong = _by_name(report)["rides"]
    assert (wrong.different, wrong.largest_difference) == (10, 999.0 - 8)
    assert wrong.example.startswith("3/")
    assert "8 in training, 999 in serving" in wrong.example
    assert [feature.feature for feature in report.features if feature.different] == ["rides"]
    with pytest.raises(SkewError, match=r"rides differs in 10 of 60 values \(16.67%, allowed 0.10%\)"):
        report.raise_if_failed()


def test_a_missing_value_is_a_difference(live: Settings, rides: FrameTables) -> None:
    key = key_encoder([("driver_id", "int64")], physical_project("rides", 1))([3])
    connect(live).hdel(key, hash_field("driver_stats_v1", "last_city"))
    report = check_skew(live, RIDES, rides, service=SERVICE, sample_rows=60)
    assert _by_name(report)["last_city"].different == 10


def test_skew_goes_on_into_what_is_computed_from_it(live: Settings, rides: FrameTables) -> None:
    key = key_encoder([("driver_id", "int64")], physical_project("rides", 1))([3])
    connect(live).hset(key, hash_field("driver_stats_v1", "mean_rating"), encode_value(1000.0, "float64"))
    found = _by_name(check_skew(live, RIDES, rides, service=SERVICE, sample_rows=60))
    assert found["mean_rating"].different == 10
    assert found["expected_fare"].different >= 9  # a trip of 0 km costs nothing at any rating


def test_the_threshold_decides(live: Settings, rides: FrameTables) -> None:
    key = key_encoder([("driver_id", "int64")], physical_project("rides", 1))([3])
    connect(live).hset(key, hash_field("driver_stats_v1", "rides"), encode_value(999, "int64"))
    assert check_skew(live, RIDES, rides, service=SERVICE, sample_rows=60, threshold=0.17).passed
    assert not check_skew(live, RIDES, rides, service=SERVICE, sample_rows=60, threshold=0.16).passed


def test_rows_that_the_stream_made_fresher_are_counted_apart(live: Settings, rides: FrameTables) -> None:
    later = ride_tables(120)["rides.rides"].filter(ride_tables(120)["rides.rides"]["known_at"] > at(100))
    FeatureWriter(live, RIDES).write_events(RIDE_FINISHED, later.filter(later["driver_id"] == 2))
    report = check_skew(live, RIDES, rides, service=SERVICE, sample_rows=60)
    fresher = _by_name(report)["last_distance_km"]
    assert (fresher.different, fresher.fresher_online, fresher.compared) == (0, 10, 50)
    assert report.passed


def test_a_feature_that_could_not_be_compared_proves_nothing(live: Settings, rides: FrameTables) -> None:
    report = check_skew(live, RIDES, rides, service=SERVICE, sample_rows=10)
    none = dataclasses.replace(report.features[0], compared=0, fresher_online=10)
    empty = dataclasses.replace(report, features=(none, *report.features[1:]))
    assert not empty.passed
    with pytest.raises(SkewError, match="nothing to compare for mean_rating"):
        empty.raise_if_failed()


def test_a_generation_that_was_never_materialised_cannot_be_compared(
    online: Settings, declared: Declaration, rides: FrameTables
) -> None:
    apply(online, declared)
    with pytest.raises(SkewError, match="was never materialised"):
        check_skew(online, RIDES, rides, service=SERVICE)


def test_no_examples_is_no_pass(live: Settings) -> None:
    with pytest.raises(SkewError, match="no examples"):
        check_skew(
            live,
            RIDES,
            FrameTables({**ride_tables(), "rides.rides": ride_tables()["rides.rides"].head(0)}),
            service=SERVICE,
        )


def test_the_sample_is_the_same_in_every_run(live: Settings, rides: FrameTables) -> None:
    reports = [check_skew(live, RIDES, rides, service=SERVICE, sample_rows=20, seed=7) for _ in range(2)]
    assert reports[0] == reports[1]
