"""The online store on DynamoDB: exactly the calls that its roles may make, on tables under the platform's key."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import botocore.client
import pytest

from components.grants import ONLINE_MODEL, ONLINE_READ, ONLINE_WRITE
from runtime.features.declaration import Declaration
from runtime.features.materialise import apply, materialise
from runtime.features.push import FeatureWriter
from runtime.features.release import online_reads
from runtime.features.snapshots import Snapshot
from runtime.settings import Settings
from tests.support.ride_project import RIDE_FINISHED, RIDES, at, ride_tables
from tests.support.runtime_servers import Aws

TAGS = [{"Key": "owner", "Value": "features"}, {"Key": "data-class", "Value": "confidential"}]


@pytest.fixture
def store(settings: Settings, aws: Aws) -> Settings:
    """As the platform's stack leaves it: a table with tags, and a key."""
    name = f"t{uuid.uuid4().hex[:8]}"
    key = str(aws.client("kms").create_key(Description="feature")["KeyMetadata"]["Arn"])
    aws.client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "entity_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "entity_id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        Tags=TAGS,
    )
    return settings.model_copy(
        update={"online_store_engine": "dynamodb", "online_store_endpoint": name, "kms_key_arn": key}
    )


@contextmanager
def watched(store: Settings) -> Iterator[dict[str, set[str]]]:
    """What is asked of DynamoDB, as IAM writes it: of the platform's own ``table``, of those of ``generations``."""
    asked: dict[str, set[str]] = {"table": set(), "generations": set()}
    own = store.online_store_endpoint

    def tables(asked_for: dict[str, Any]) -> list[str]:
        if "ResourceArn" in asked_for:
            return [asked_for["ResourceArn"].partition(":table/")[2]]
        # A call that names no table cannot be limited to one.
        return list(asked_for.get("RequestItems", ())) or [asked_for["TableName"]]

    call = botocore.client.BaseClient._make_api_call

    def note(client: Any, operation: str, asked_for: dict[str, Any]) -> Any:
        if client.meta.service_model.service_name == "dynamodb":
            for table in tables(asked_for):
                assert table == own or table.startswith(f"{own}.")
                asked["table" if table == own else "generations"].add(f"dynamodb:{operation}")
        return call(client, operation, asked_for)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", note)
        yield asked


def fill(store: Settings, declared: Declaration, snapshot: Snapshot) -> None:
    """Two generations, the second with rows of the stream carried over and the first cleaned up."""
    apply(store, declared)
    materialise(store, declared, snapshot, as_of=at(12), keep_previous=0)
    materialise(store, declared, snapshot, as_of=at(47), keep_previous=0)


def test_materialising_asks_for_exactly_what_the_materialisers_role_may(
    store: Settings, declared: Declaration, snapshot: Snapshot
) -> None:
    with watched(store) as asked:
        fill(store, declared, snapshot)
    assert asked == {"table": set(ONLINE_MODEL), "generations": set(ONLINE_WRITE)}


def test_answering_asks_for_exactly_what_a_readers_role_may(
    store: Settings, declared: Declaration, snapshot: Snapshot
) -> None:
    fill(store, declared, snapshot)
    with watched(store) as asked, online_reads(store, RIDES) as read:
        assert read(["driver_stats_v1:rides"], {"driver_id": [0]}).to_dict()["rides"] == [8]
    assert asked == {"table": set(), "generations": set(ONLINE_READ)}


def test_pushing_the_stream_asks_for_less_than_the_materialisers_role_may(
    store: Settings, declared: Declaration, snapshot: Snapshot
) -> None:
    fill(store, declared, snapshot)
    with watched(store) as asked:
        FeatureWriter(store, RIDES).write_events(RIDE_FINISHED, ride_tables()["rides.rides"])
    assert asked == {"table": set(), "generations": {"dynamodb:GetItem", "dynamodb:PutItem"}}


def test_every_table_is_under_the_platforms_key_and_has_the_tags_of_its_table(
    store: Settings, declared: Declaration, snapshot: Snapshot, aws: Aws
) -> None:
    fill(store, declared, snapshot)
    dynamodb, prefix = aws.client("dynamodb"), f"{store.online_store_endpoint}."
    names = [
        name
        for page in dynamodb.get_paginator("list_tables").paginate()
        for name in page["TableNames"]
        if name.startswith(prefix)
    ]
    assert len(names) == 4
    for name in names:
        table = dynamodb.describe_table(TableName=name)["Table"]
        assert table["SSEDescription"]["KMSMasterKeyArn"] == store.kms_key_arn
        tags = dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]
        assert sorted(tags, key=str) == sorted(TAGS, key=str)


def test_tables_of_another_catalogue_are_not_made_in_a_generation_that_does_not_record_them(
    store: Settings, declared: Declaration
) -> None:
    apply(store, declared)
    catalogue = replace(declared.catalogue, views=declared.catalogue.views[:1])
    with watched(store) as asked:
        assert apply(store, Declaration(declared.project, declared.objects, catalogue)) == 1
    assert asked["generations"] == {"dynamodb:GetItem"}
