"""On DynamoDB a generation goes live as it does on Valkey: one write, newest row wins, old tables gone."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from runtime.aws import client
from runtime.features.declaration import Declaration
from runtime.features.dynamodb import DynamoPointer
from runtime.features.errors import MaterialisationError, OnlineStoreAwayError, OnlineStoreError
from runtime.features.generations import GenerationRecord, Generations
from runtime.features.materialise import apply, materialise
from runtime.features.online import open_reader
from runtime.features.push import FeatureWriter
from runtime.features.release import check_skew, online_reads
from runtime.features.snapshots import Snapshot
from runtime.settings import Settings
from tests.support.moto_server import free_port
from tests.support.ride_project import RIDE_FINISHED, RIDES, SERVICE, FrameTables, at, ride_tables

ENTITIES = {"driver_id": [0, 77], "zone": ["z0", "z0"], "city": ["dubai", "x"], "distance_km": [30.0, 1.0]}


@pytest.fixture
def dynamo(settings: Settings) -> Settings:
    prefix = f"t{uuid.uuid4().hex[:8]}"
    return settings.model_copy(update={"online_store_engine": "dynamodb", "online_store_endpoint": prefix})


def _tables(settings: Settings) -> list[str]:
    names = client(settings, "dynamodb").get_paginator("list_tables").paginate().build_full_result()["TableNames"]
    return sorted(name.partition(".")[2] for name in names if name.startswith(settings.online_store_endpoint + "."))


def _events(rides: int = 60) -> pl.DataFrame:
    return ride_tables(rides)["rides.rides"]


def test_a_generation_is_filled_served_and_cleaned_up(
    dynamo: Settings, declared: Declaration, snapshot: Snapshot
) -> None:
    assert apply(dynamo, declared) == 1
    first = materialise(dynamo, declared, snapshot, as_of=at(12), keep_previous=0)
    with online_reads(dynamo, RIDES) as read:
        assert read(["driver_stats_v1:rides", "zone_prices_v2:price"], ENTITIES).to_dict() | ENTITIES == {
            **ENTITIES,
            "rides": [3, None],
            "price": [pytest.approx(1.875), None],
        }
        second = materialise(dynamo, declared, snapshot, as_of=at(47), keep_previous=0)
        answer = read(["driver_stats_v1:rides"], {"driver_id": [0]})
    assert (first.generation, second.generation, answer.generation, answer.to_dict()["rides"]) == (2, 3, 3, [8])
    assert (first.dropped, second.dropped) == ((1,), (2,))
    assert _tables(dynamo) == [
        "rides.generations",
        "rides_g3.driver_last_ride_v1",
        "rides_g3.driver_stats_v1",
        "rides_g3.zone_prices_v2",
    ]


def test_pushed_rows_are_served_and_carried_over_a_flip(
    dynamo: Settings, declared: Declaration, snapshot: Snapshot
) -> None:
    apply(dynamo, declared)
    writer = FeatureWriter(dynamo, RIDES)
    newest = list(_events().sort("known_at").group_by("driver_id").last().sort("driver_id")["distance_km"])
    writer.write_events(RIDE_FINISHED, _events())
    writer.write_events(RIDE_FINISHED, _events(30))  # older ones, again and late
    with online_reads(dynamo, RIDES) as read:
        wanted = (["driver_last_ride_v1:last_distance_km"], {"driver_id": list(range(6))})
        assert read(*wanted).to_dict()["last_distance_km"] == newest
        done = materialise(dynamo, declared, snapshot, as_of=at(30), keep_previous=0)
        assert done.carried_forward == 6
        assert read(*wanted).to_dict()["last_distance_km"] == newest


def test_training_and_serving_agree(
    dynamo: Settings, declared: Declaration, snapshot: Snapshot, rides: FrameTables
) -> None:
    materialise(dynamo, declared, snapshot, as_of=at(48))
    report = check_skew(dynamo, RIDES, rides, service=SERVICE, sample_rows=40)
    assert report.passed
    assert {feature.compared for feature in report.features} == {40}


def test_the_pointers_leases_follow_the_clock(dynamo: Settings, declared: Declaration) -> None:
    now = [1000.0]
    pointer = DynamoPointer(dynamo, "rides", lease_seconds=30, clock=lambda: now[0])
    record = GenerationRecord(catalogue=declared.catalogue, snapshot_id="s", as_of="")
    assert pointer.read() == Generations(live=None, building=None)
    build = pointer.begin(record)
    with pytest.raises(MaterialisationError, match="generation 1 is being built"):
        pointer.begin(record)
    now[0] += 20
    pointer.renew(build)
    now[0] += 20
    assert pointer.read() == Generations(live=None, building=1)
    now[0] += 11
    assert pointer.read() == Generations(live=None, building=None)
    for refused in (pointer.renew, pointer.flip):
        with pytest.raises(MaterialisationError, match="generation 1 lost its lease"):
            refused(build)
    second = pointer.begin(record)
    pointer.flip(second)
    assert (pointer.read(), pointer.known(), pointer.lived()) == (
        Generations(live=2, building=None),
        frozenset({1, 2}),
        frozenset({2}),
    )
    assert pointer.record(2) == record
    pointer.forget(1)
    assert pointer.known() == {2}
    with pytest.raises(OnlineStoreError, match="generation 1 of rides is not"):
        pointer.record(1)


def test_the_fast_path_says_that_it_reads_valkey_only(dynamo: Settings) -> None:
    with pytest.raises(OnlineStoreError, match="reads Valkey"):
        open_reader(dynamo, "rides")


def test_an_account_that_is_away_counts_as_an_outage(dynamo: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import runtime.aws

    monkeypatch.setattr(runtime.aws, "ATTEMPTS", 1)
    away = dynamo.model_copy(update={"aws_endpoint_url": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(OnlineStoreAwayError, match="does not answer"):
        DynamoPointer(away, "rides").read()


def test_feasts_own_write_and_ours_make_the_same_item(
    dynamo: Settings, declared: Declaration, snapshot: Snapshot, directory: Path
) -> None:
    """The push and the materialisation of one row are the same bytes."""
    materialise(dynamo, declared, snapshot, as_of=at(48))

    def items() -> list[dict[str, Any]]:
        table = f"{dynamo.online_store_endpoint}.rides_g1.driver_last_ride_v1"
        found = client(dynamo, "dynamodb").scan(TableName=table)["Items"]
        return sorted(found, key=lambda item: item["entity_id"]["S"])

    materialised = items()
    dynamodb = client(dynamo, "dynamodb")
    for item in materialised:
        dynamodb.delete_item(
            TableName=f"{dynamo.online_store_endpoint}.rides_g1.driver_last_ride_v1",
            Key={"entity_id": item["entity_id"]},
        )
    FeatureWriter(dynamo, RIDES).write_events(RIDE_FINISHED, _events(49))
    assert items() == materialised
