"""DynamoDB handler on a real server.  Guards: tables without recovery or encryption, lost indexes, protection."""

from __future__ import annotations

from typing import Any

import pytest

from falaj.engine.provider import ProviderError
from tests.support.aws_lifecycle import Account, assert_full_life, assert_settled
from tests.support.moto_server import ACCOUNT_ID, REGION, client

TABLE = "aws:dynamodb/table:Table"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/0b8f6a5e-0000-4000-8000-000000000001"


def table_inputs(**more: Any) -> dict[str, Any]:
    return {
        "attributes": [{"name": "entity", "type": "S"}, {"name": "feature", "type": "S"}],
        "billingMode": "PAY_PER_REQUEST",
        "hashKey": "entity",
        "rangeKey": "feature",
        "pointInTimeRecovery": {"enabled": True},
        "serverSideEncryption": {"enabled": True, "kmsKeyArn": KEY},
        "ttl": {"enabled": True, "attributeName": "expires_at"},
        **more,
    }


def test_table_lives_through_create_update_and_delete(account: Account) -> None:
    second = table_inputs(
        pointInTimeRecovery={"enabled": False},
        streamEnabled=True,
        streamViewType="NEW_IMAGE",
        tableClass="STANDARD_INFREQUENT_ACCESS",
        tags={"tier": "online"},
    )
    assert_full_life(account, TABLE, "features", table_inputs(), second)


def test_independent_client_sees_keys_encryption_ttl_and_recovery(account: Account) -> None:
    table = account.created(TABLE, "seen", table_inputs())
    dynamodb = client(account.endpoint_url, "dynamodb")
    seen = dynamodb.describe_table(TableName=table.id)["Table"]
    assert [key["AttributeName"] for key in seen["KeySchema"]] == ["entity", "feature"]
    assert seen["SSEDescription"]["KMSMasterKeyArn"] == KEY
    ttl = dynamodb.describe_time_to_live(TableName=table.id)["TimeToLiveDescription"]
    assert (ttl["TimeToLiveStatus"], ttl["AttributeName"]) == ("ENABLED", "expires_at")
    backups = dynamodb.describe_continuous_backups(TableName=table.id)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"


def test_indexes_come_and_go_in_place(account: Account) -> None:
    attributes = [*table_inputs()["attributes"], {"name": "owner", "type": "S"}]
    by_owner = {"name": "by-owner", "hashKey": "owner", "projectionType": "ALL"}
    table = account.created(TABLE, "indexed", table_inputs())
    table.update(table_inputs(attributes=attributes, globalSecondaryIndexes=[by_owner]))
    dynamodb = client(account.endpoint_url, "dynamodb")
    indexes = dynamodb.describe_table(TableName=table.id)["Table"]["GlobalSecondaryIndexes"]
    assert [index["IndexName"] for index in indexes] == ["by-owner"]
    table.update(table_inputs())
    assert not dynamodb.describe_table(TableName=table.id)["Table"].get("GlobalSecondaryIndexes")


def test_provisioned_capacity_changes_in_place(account: Account) -> None:
    first = table_inputs(billingMode="PROVISIONED", readCapacity=5, writeCapacity=5)
    assert_full_life(account, TABLE, "provisioned", first, {**first, "readCapacity": 10})


def test_protected_table_refuses_to_go_until_an_update(account: Account) -> None:
    table = account.created(TABLE, "guarded", table_inputs(deletionProtectionEnabled=True))
    with pytest.raises(ProviderError, match="DeletionProtection"):
        table.delete()
    table.update(table_inputs())
    table.delete()
    assert not table.refresh()


def test_another_hash_key_replaces_the_table(account: Account) -> None:
    table = account.created(TABLE, "keyed", table_inputs())
    assert table.diff(table_inputs(hashKey="feature", rangeKey="entity")).replaces == ("hashKey", "rangeKey")


def test_more_tags_than_a_page_holds_are_no_drift(account: Account) -> None:
    inputs = table_inputs(tags={f"tag-{number:02}": "x" for number in range(25)})
    assert_settled(account.created(TABLE, "tagged", inputs), inputs)
