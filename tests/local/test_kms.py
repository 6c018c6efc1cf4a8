"""KMS handlers on a real server.  Guards: keys without rotation or policy, aliases that point elsewhere, leaks."""

from __future__ import annotations

import json

import pytest

from tests.support.aws_lifecycle import DEFAULT_TAGS, Account, assert_full_life, provider
from tests.support.moto_server import ACCOUNT_ID, client

KEY = "aws:kms/key:Key"
ALIAS = "aws:kms/alias:Alias"
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "account",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:root"},
                "Action": "kms:*",
                "Resource": "*",
            }
        ],
    }
)


def test_key_lives_through_create_update_and_delete(account: Account) -> None:
    first = {"description": "lake", "enableKeyRotation": True, "deletionWindowInDays": 7, "policy": POLICY}
    assert_full_life(account, KEY, "lake", first, {**first, "description": "lake data", "tags": {"domain": "lake"}})


def test_independent_client_sees_rotation_policy_and_tags(account: Account) -> None:
    inputs = {"enableKeyRotation": True, "rotationPeriodInDays": 180, "policy": POLICY, "tags": {"domain": "model"}}
    key = account.created(KEY, "model", inputs)
    kms = client(account.endpoint_url, "kms")
    assert kms.get_key_rotation_status(KeyId=key.id)["KeyRotationEnabled"] is True
    assert json.loads(kms.get_key_policy(KeyId=key.id, PolicyName="default")["Policy"]) == json.loads(POLICY)
    tags = {tag["TagKey"]: tag["TagValue"] for tag in kms.list_resource_tags(KeyId=key.id)["Tags"]}
    assert tags == {**DEFAULT_TAGS, "domain": "model"}


def test_deleted_key_is_scheduled_with_the_declared_window(account: Account) -> None:
    key = account.created(KEY, "short-lived", {"deletionWindowInDays": 7})
    key.delete()
    metadata = client(account.endpoint_url, "kms").describe_key(KeyId=key.id)["KeyMetadata"]
    assert metadata["KeyState"] == "PendingDeletion"


def test_rotation_switched_off_outside_is_found_and_repaired(account: Account) -> None:
    inputs = {"enableKeyRotation": True}
    key = account.created(KEY, "drifting", inputs)
    kms = client(account.endpoint_url, "kms")
    kms.disable_key_rotation(KeyId=key.id)
    assert key.refresh()
    key.update(inputs)
    assert kms.get_key_rotation_status(KeyId=key.id)["KeyRotationEnabled"] is True


def test_alias_moves_to_another_key(account: Account) -> None:
    old, new = account.created(KEY, "old", {}), account.created(KEY, "new", {})
    assert_full_life(account, ALIAS, "data", {"targetKeyId": old.id}, {"targetKeyId": new.id})


def test_alias_given_a_key_arn_does_not_drift(account: Account) -> None:
    key = account.created(KEY, "by-arn", {})
    alias = account.created(ALIAS, "by-arn", {"name": "alias/by-arn", "targetKeyId": key.outputs["arn"]})
    assert alias.refresh()
    assert alias.diff({"name": "alias/by-arn", "targetKeyId": key.outputs["arn"]}).changes.name == "NONE"


def test_the_callers_shell_changes_nothing(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = {
        "AWS_PROFILE": "somebody-else",
        "AWS_ENDPOINT_URL": "http://192.0.2.1",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "real",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    for name, text in foreign.items():
        monkeypatch.setenv(name, text)
    fresh = Account(account.endpoint_url, provider(account.endpoint_url))
    assert fresh.created(KEY, "isolated", {}).outputs["arn"].startswith("arn:aws:kms:me-central-1:")
