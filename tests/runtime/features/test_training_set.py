"""A training set must hold what was known at each prediction time: as Feast finds it, and nothing from the future."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from runtime.aws import client
from runtime.features.declaration import Declaration, declare
from runtime.features.errors import LeakageError, RequestError, UnknownFeatureError
from runtime.features.feast_store import open_generation, quiet_feast
from runtime.features.project import EVENT_TIMESTAMP
from runtime.features.snapshots import Snapshot, compute_snapshot, fetch_views
from runtime.features.training_set import TrainingSet, build_training_set, point_in_time_join
from runtime.settings import Settings
from tests.support.ride_project import RIDES, SERVICE, FrameTables, at, ride_examples, ride_tables


def _build(
    settings: Settings, declared: Declaration, snapshot: Snapshot, rides: FrameTables, **kept: Any
) -> TrainingSet:
    return build_training_set(settings, RIDES, declared.catalogue, snapshot, rides, service=SERVICE, **kept)


def _rows(settings: Settings, made: TrainingSet, directory: Path) -> pl.DataFrame:
    bucket, _, key = made.uri.removeprefix("s3://").partition("/")
    client(settings, "s3").download_file(bucket, key, str(directory / "set.parquet"))
    return pl.read_parquet(directory / "set.parquet")


def _same(ours: Any, theirs: Any) -> bool:
    def gone(value: Any) -> bool:
        return value is None or (isinstance(value, float) and math.isnan(value)) or str(value) == "NaT"

    if gone(ours) or gone(theirs):
        return gone(ours) and gone(theirs)
    if hasattr(ours, "timestamp"):
        return bool(ours.timestamp() == theirs.timestamp())
    return bool(ours == theirs)


def test_the_join_equals_feasts_historical_retrieval(
    online: Settings, declared: Declaration, snapshot: Snapshot, rides: FrameTables, directory: Path
) -> None:
    ours = _rows(online, _build(online, declared, snapshot, rides), directory)
    fetch_views(online, snapshot, [view.name for view in declared.catalogue.views], directory)
    examples = ride_examples(ride_tables())
    with quiet_feast():
        store = open_generation(online, declare(RIDES, directory), 1, directory / "registry.db")
        theirs = store.get_historical_features(
            entity_df=examples.to_pandas(), features=store.get_feature_service(SERVICE)
        ).to_df()
    found = {row["ride_id"]: row for row in theirs.to_dict("records")}
    # Feast's file store drops an example whose key has rows in a view, but none in time; here it stays, with nulls.
    first_known = {
        driver: rows[EVENT_TIMESTAMP].min()
        for (driver,), rows in RIDES.computations["driver_stats_v1"].compute(ride_tables()).group_by("driver_id")
    }
    too_early = {r["ride_id"] for r in examples.to_dicts() if r[EVENT_TIMESTAMP] < first_known[r["driver_id"]]}
    prices_from = {
        key: rows[EVENT_TIMESTAMP].min()
        for key, rows in RIDES.computations["zone_prices_v2"].compute(ride_tables()).group_by("city", "zone")
    }
    too_early |= {r["ride_id"] for r in examples.to_dicts() if r[EVENT_TIMESTAMP] < prices_from[(r["city"], r["zone"])]}
    assert ours.height == 60
    assert set(ours["ride_id"]) - set(found) == too_early
    assert len(found) > 45
    features = [reference.partition(":")[2] for reference in declared.catalogue.service(SERVICE)]
    for row in ours.filter(pl.col("ride_id").is_in(list(found))).iter_rows(named=True):
        for feature in features:
            assert _same(row[feature], found[row["ride_id"]][feature]), (row["ride_id"], feature)


def test_columns_are_the_examples_then_the_features_in_the_services_order(
    settings: Settings, declared: Declaration, snapshot: Snapshot, rides: FrameTables, directory: Path
) -> None:
    made = _build(settings, declared, snapshot, rides)
    rows = _rows(settings, made, directory)
    assert tuple(rows.columns) == made.columns
    assert made.columns[-12:] == made.features
    assert rows["ride_id"].to_list() == [f"r{n}" for n in range(60)]
    assert made.features == tuple(r.partition(":")[2] for r in declared.catalogue.service(SERVICE))


def test_the_manifest_carries_what_lineage_needs(
    settings: Settings, declared: Declaration, snapshot: Snapshot, rides: FrameTables
) -> None:
    made = _build(settings, declared, snapshot, rides)
    bucket, _, key = made.manifest_uri.removeprefix("s3://").partition("/")
    stored = json.loads(client(settings, "s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    assert stored == json.loads(json.dumps(dataclasses.asdict(made)))
    assert [(view["view"], view["sha256"]) for view in stored["views"]] == [
        (file.view, file.sha256) for file in snapshot.views
    ]
    assert stored["snapshot_id"] == snapshot.id
    assert {table["name"]: table["snapshot_id"] for table in stored["inputs"]} == {
        "rides.rides": "1",
        "rides.prices": "1",
    }
    assert stored["rows"] == 60


def test_the_training_part_takes_the_set_as_it_is_written(
    settings: Settings, declared: Declaration, snapshot: Snapshot, rides: FrameTables
) -> None:
    """Digest, place and form of the manifest are what the trainers' loader verifies."""
    from runtime.training.dataset import open_training_set

    made = _build(settings, declared, snapshot, rides)
    opened = open_training_set(settings, made.uri.rpartition("/")[0])
    assert [f"s3://{file.path}" for file in opened.files] == [made.uri]
    assert opened.origin["snapshot_id"] == snapshot.id


def test_the_same_input_gives_the_same_training_set(
    settings: Settings, declared: Declaration, snapshot: Snapshot, rides: FrameTables
) -> None:
    assert _build(settings, declared, snapshot, rides) == _build(settings, declared, snapshot, rides)


def test_since_is_in_and_until_is_out(
    settings: Settings, declared: Declaration, snapshot: Snapshot, rides: FrameTables
) -> None:
    made = _build(settings, declared, snapshot, rides, since=at(9.5), until=at(19.5))
    assert (made.rows, made.first_prediction_at, made.last_prediction_at) == (
        10,
        at(9.5).isoformat(),
        at(18.5).isoformat(),
    )


def test_another_future_changes_no_row_before_it(settings: Settings, declared: Declaration, directory: Path) -> None:
    """Every value known after hour 30 is replaced; what was predicted up to then must not move."""
    tables = ride_tables()
    later = pl.col("known_at") > at(30)
    other = dict(tables)
    other["rides.rides"] = tables["rides.rides"].with_columns(
        pl.when(later).then(9.0).otherwise("rating").alias("rating"),
        pl.when(later).then(pl.lit("nowhere")).otherwise("city").alias("city"),
    )
    other["rides.prices"] = tables["rides.prices"].with_columns(
        pl.when(later).then(-1.0).otherwise("price").alias("price")
    )
    plan = declared.catalogue.plan(declared.catalogue.service(SERVICE))
    sets = []
    for frames in (tables, other):
        snapshot = compute_snapshot(settings, RIDES, declared.catalogue, FrameTables(frames))
        paths = fetch_views(settings, snapshot, [view.name for view, _ in plan.stored], directory)
        examples = ride_examples(tables)
        sets.append(point_in_time_join(examples, plan, {name: pl.read_parquet(path) for name, path in paths.items()}))
    before = pl.col(EVENT_TIMESTAMP) <= at(30)
    assert sets[0].filter(before).equals(sets[1].filter(before))
    assert not sets[0].equals(sets[1])  # the other future was there to be seen


def test_a_value_from_the_future_stops_the_build(monkeypatch: pytest.MonkeyPatch, declared: Declaration) -> None:
    """The check does not trust the join: a join that looks forward is caught."""
    backward = pl.DataFrame.join_asof

    def forward(self: pl.DataFrame, other: pl.DataFrame, **options: Any) -> pl.DataFrame:
        return backward(self, other, **{**options, "strategy": "forward"})

    monkeypatch.setattr(pl.DataFrame, "join_asof", forward)
    tables = ride_tables()
    plan = declared.catalogue.plan(["driver_stats_v1:rides"])
    rows = RIDES.computations["driver_stats_v1"].compute(tables)
    with pytest.raises(LeakageError, match="driver_stats_v1: 60 training rows would see a value from after"):
        point_in_time_join(ride_examples(tables), plan, {"driver_stats_v1": rows})


def test_examples_without_a_needed_column_are_refused(declared: Declaration) -> None:
    plan = declared.catalogue.plan(["trip_value_v1:is_long"])
    with pytest.raises(RequestError, match="no column distance_km"):
        point_in_time_join(ride_examples(ride_tables()).drop("distance_km"), plan, {})


def test_a_service_that_is_not_declared_is_refused(
    settings: Settings, declared: Declaration, snapshot: Snapshot, rides: FrameTables
) -> None:
    with pytest.raises(UnknownFeatureError, match="fare_v9"):
        build_training_set(settings, RIDES, declared.catalogue, snapshot, rides, service="fare_v9")
