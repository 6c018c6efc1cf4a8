"""Backup handlers on a real server.  Guards: unlocked vaults, plans without copies, names that stay taken."""

from __future__ import annotations

from typing import Any

import pytest

from falaj.engine.provider import ProviderError
from tests.support.aws_lifecycle import DEFAULT_TAGS, Account, assert_full_life, assert_settled
from tests.support.moto_server import ACCOUNT_ID, REGION, client

VAULT = "aws:backup/vault:Vault"
LOCK = "aws:backup/vaultLockConfiguration:VaultLockConfiguration"
PLAN = "aws:backup/plan:Plan"
SELECTION = "aws:backup/selection:Selection"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/0b8f6a5e-0000-4000-8000-000000000001"
COPY = f"arn:aws:backup:{REGION}:{ACCOUNT_ID}:backup-vault:copy"


def test_vault_lives_through_create_update_and_delete(account: Account) -> None:
    assert_full_life(account, VAULT, "data", {"kmsKeyArn": KEY}, {"kmsKeyArn": KEY, "tags": {"a": "b"}})


def test_lock_holds_the_vault_and_is_replaced_when_it_changes(account: Account) -> None:
    vault = account.created(VAULT, "locked", {"kmsKeyArn": KEY})
    inputs = {"backupVaultName": vault.id, "minRetentionDays": 7, "maxRetentionDays": 90, "changeableForDays": 3}
    lock = account.created(LOCK, "locked", inputs)
    backup = client(account.endpoint_url, "backup")
    assert backup.describe_backup_vault(BackupVaultName=vault.id)["Locked"] is True
    assert lock.outputs["backupVaultArn"] == vault.outputs["arn"]
    assert_settled(lock, inputs)
    assert lock.diff({**inputs, "minRetentionDays": 14}).replaces == ("minRetentionDays",)
    lock.delete()
    assert not lock.refresh()
    assert not backup.describe_backup_vault(BackupVaultName=vault.id).get("Locked")


def plan_inputs(**more: Any) -> dict[str, Any]:
    rule = {
        "ruleName": "daily",
        "targetVaultName": "data",
        "schedule": "cron(0 1 * * ? *)",
        "lifecycle": {"deleteAfter": 35},
        "copyActions": [{"destinationVaultArn": COPY, "lifecycle": {"deleteAfter": 35}}],
    }
    return {"rules": [rule], **more}


def test_plan_lives_through_create_update_and_delete(account: Account) -> None:
    weekly = {**plan_inputs()["rules"][0], "ruleName": "weekly", "schedule": "cron(0 1 ? * 1 *)"}
    second = plan_inputs(rules=[*plan_inputs()["rules"], weekly], tags={"a": "b"})
    assert_full_life(account, PLAN, "data", plan_inputs(), second)


def test_independent_client_sees_schedule_copy_and_tags(account: Account) -> None:
    plan = account.created(PLAN, "seen", plan_inputs())
    backup = client(account.endpoint_url, "backup")
    rule = backup.get_backup_plan(BackupPlanId=plan.id)["BackupPlan"]["Rules"][0]
    assert rule["ScheduleExpression"] == "cron(0 1 * * ? *)"
    assert rule["CopyActions"] == [{"DestinationBackupVaultArn": COPY, "Lifecycle": {"DeleteAfterDays": 35}}]
    assert backup.list_tags(ResourceArn=plan.outputs["arn"])["Tags"] == DEFAULT_TAGS


def test_name_of_a_deleted_plan_is_free_again(account: Account) -> None:
    first = account.created(PLAN, "fixed", plan_inputs(name="fixed"))
    first.delete()
    second = account.created(PLAN, "fixed", plan_inputs(name="fixed"))
    assert second.refresh()
    assert second.id != first.id


def test_selection_is_marked_and_needs_its_plan(account: Account) -> None:
    plan = account.created(PLAN, "selecting", plan_inputs())
    tag = {"type": "STRINGEQUALS", "key": "backup", "value": "daily"}
    inputs = {"planId": plan.id, "iamRoleArn": f"arn:aws:iam::{ACCOUNT_ID}:role/backup", "selectionTags": [tag]}
    selection = account.created(SELECTION, "tagged", inputs)
    assert selection.outputs["__falaj"] == {"emulated": "state"}
    assert_settled(selection, inputs)
    with pytest.raises(ProviderError, match="ResourceNotFound"):
        account.created(SELECTION, "stray", {**inputs, "planId": "no-such-plan"})
