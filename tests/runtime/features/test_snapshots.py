"""Feature files must be what their manifest says, the same for the same input, and refused when computed wrong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from runtime.aws import client
from runtime.features.declaration import Declaration
from runtime.features.errors import DeclarationError, SnapshotError
from runtime.features.project import EVENT_TIMESTAMP, Computation
from runtime.features.snapshots import Snapshot, compute_snapshot, conform, fetch_views, load_catalogue, load_snapshot
from runtime.settings import Settings
from tests.support.ride_project import RIDES, FrameTables, driver_stats, ride_tables


def _objects(settings: Settings) -> dict[str, Any]:
    s3 = client(settings, "s3")
    listed = s3.list_objects_v2(Bucket=settings.feature_bucket).get("Contents", [])
    return {entry["Key"]: entry["LastModified"] for entry in listed}


def test_the_same_tables_give_the_same_snapshot_and_no_new_files(
    settings: Settings, declared: Declaration, rides: FrameTables, snapshot: Snapshot
) -> None:
    before = _objects(settings)
    again = compute_snapshot(settings, RIDES, declared.catalogue, rides)
    assert again == snapshot
    assert set(_objects(settings)) == set(before)


def test_another_table_snapshot_gives_another_id(settings: Settings, declared: Declaration, snapshot: Snapshot) -> None:
    other = compute_snapshot(settings, RIDES, declared.catalogue, FrameTables(ride_tables(61), "2"))
    assert other.id != snapshot.id
    assert load_snapshot(settings, "rides").id == other.id
    assert load_snapshot(settings, "rides", snapshot.id) == snapshot


def test_a_snapshot_says_what_it_was_made_from(snapshot: Snapshot, declared: Declaration) -> None:
    assert {(table.name, table.snapshot_id, table.rows) for table in snapshot.inputs} == {
        ("rides.rides", "1", 60),
        ("rides.prices", "1", 30),
    }
    assert snapshot.catalogue_digest == declared.catalogue.digest
    assert snapshot.view("driver_stats_v1").rows == 60
    assert snapshot.view("driver_stats_v1").last_known_at == "2026-01-03T11:00:00+00:00"
    assert snapshot.view("driver_stats_v1").null_rates["last_rating"] == pytest.approx(9 / 60, abs=1e-6)


def test_fetched_rows_are_the_computed_rows(settings: Settings, snapshot: Snapshot, directory: Path) -> None:
    paths = fetch_views(settings, snapshot, ["driver_stats_v1"], directory)
    rows = pl.read_parquet(paths["driver_stats_v1"])
    expected = driver_stats(ride_tables()).sort(EVENT_TIMESTAMP, "driver_id")
    assert rows["rides"].to_list() == expected["rides"].to_list()
    assert rows.schema["rides_short"] == pl.Int32


def test_a_tampered_file_is_refused(settings: Settings, snapshot: Snapshot, directory: Path) -> None:
    key = f"features/rides/{snapshot.view('driver_stats_v1').key}"
    client(settings, "s3").put_object(Bucket=settings.feature_bucket, Key=key, Body=b"PAR1 something else")
    with pytest.raises(SnapshotError, match=r"has sha256 [0-9a-f]{64}, its manifest says"):
        fetch_views(settings, snapshot, ["driver_stats_v1"], directory)
    assert list(directory.glob("*.parquet*")) == []


def test_a_missing_file_is_named(settings: Settings, snapshot: Snapshot, directory: Path) -> None:
    key = f"features/rides/{snapshot.view('zone_prices_v2').key}"
    client(settings, "s3").delete_object(Bucket=settings.feature_bucket, Key=key)
    with pytest.raises(SnapshotError, match=f"{key}: there is no such object"):
        fetch_views(settings, snapshot, ["zone_prices_v2"], directory)


def test_an_altered_catalogue_is_refused(settings: Settings, snapshot: Snapshot, declared: Declaration) -> None:
    document = json.loads(declared.catalogue.to_json())
    document["views"][0]["owner"] = "somebody else"
    key = f"features/rides/catalogues/{declared.catalogue.digest.removeprefix('sha256:')}.json"
    client(settings, "s3").put_object(Bucket=settings.feature_bucket, Key=key, Body=json.dumps(document).encode())
    with pytest.raises(SnapshotError, match="has digest"):
        load_catalogue(settings, "rides", snapshot.catalogue_digest)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff\xfe", b'{"id": 1}'])
def test_a_broken_manifest_is_refused(settings: Settings, snapshot: Snapshot, body: bytes) -> None:
    key = f"features/rides/snapshots/{snapshot.id}.json"
    client(settings, "s3").put_object(Bucket=settings.feature_bucket, Key=key, Body=body)
    with pytest.raises(SnapshotError):
        load_snapshot(settings, "rides", snapshot.id)


@pytest.mark.parametrize("snapshot_id", ["../../x", "", "a/b"])
def test_a_snapshot_id_is_no_path(settings: Settings, snapshot_id: str) -> None:
    with pytest.raises(SnapshotError, match="letters and digits only"):
        load_snapshot(settings, "rides", snapshot_id)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda rows: rows.drop("rides"), "returned no column rides"),
        (lambda rows: rows.with_columns(rides=pl.lit("many")), "does not fit the declared types"),
        (lambda rows: pl.concat([rows, rows.head(2)]), "2 rows repeat a key at one instant"),
        (lambda rows: rows.with_columns(driver_id=pl.lit(None, pl.Int64)), "60 rows have no key"),
    ],
)
def test_a_computation_that_breaks_its_view_writes_nothing(
    settings: Settings, declared: Declaration, rides: FrameTables, broken: Any, message: str
) -> None:
    wrong = Computation(("rides.rides",), lambda tables: broken(driver_stats(tables)))
    project = dataclasses.replace(RIDES, computations={**RIDES.computations, "driver_stats_v1": wrong})
    with pytest.raises(DeclarationError, match=f"driver_stats_v1: .*{message}"):
        compute_snapshot(settings, project, declared.catalogue, rides)
    assert _objects(settings) == {}


def test_not_a_number_becomes_null_as_it_does_online(declared: Declaration) -> None:
    view = next(view for view in declared.catalogue.views if view.name == "driver_last_ride_v1")
    rows = pl.DataFrame(
        {"driver_id": [1], EVENT_TIMESTAMP: [None], "last_distance_km": [float("nan")], "last_zone": ["z"]}
    ).with_columns(pl.lit(ride_tables()["rides.rides"]["known_at"][0]).alias(EVENT_TIMESTAMP))
    assert conform(view, rows)["last_distance_km"].to_list() == [None]
