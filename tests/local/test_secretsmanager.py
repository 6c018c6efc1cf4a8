"""Secrets Manager handler on a real server.  Guards: secrets without key or policy, deletions without a way back."""

from __future__ import annotations

import json

from tests.support.aws_lifecycle import Account, assert_full_life
from tests.support.moto_server import client

SECRET = "aws:secretsmanager/secret:Secret"
STATEMENT = {"Effect": "Deny", "Principal": "*", "Action": "secretsmanager:DeleteSecret", "Resource": "*"}
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [STATEMENT]})


def test_secret_lives_through_create_update_and_delete(account: Account) -> None:
    first = {"description": "registry login", "kmsKeyId": "alias/platform", "recoveryWindowInDays": 0}
    second = {**first, "description": "login", "policy": POLICY, "tags": {"a": "b"}}
    assert_full_life(account, SECRET, "login", first, second)


def test_independent_client_sees_key_and_policy_but_no_value(account: Account) -> None:
    secret = account.created(SECRET, "seen", {"kmsKeyId": "alias/platform", "policy": POLICY})
    secrets = client(account.endpoint_url, "secretsmanager")
    assert secrets.describe_secret(SecretId=secret.id)["KmsKeyId"] == "alias/platform"
    assert json.loads(secrets.get_resource_policy(SecretId=secret.id)["ResourcePolicy"]) == json.loads(POLICY)
    assert not secrets.describe_secret(SecretId=secret.id).get("VersionIdsToStages")


def test_deleted_secret_can_be_restored_within_its_window(account: Account) -> None:
    secret = account.created(SECRET, "window", {"recoveryWindowInDays": 7})
    secret.delete()
    assert not secret.refresh()
    secrets = client(account.endpoint_url, "secretsmanager")
    secrets.restore_secret(SecretId=secret.id)
    assert secret.refresh()
