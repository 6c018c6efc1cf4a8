"""A backup that can be deleted by whoever deleted the data is no backup; one that finds nothing is none either."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from components.backup import Backup
from components.naming import BACKUP_TAG
from tests.support.platforms import BOUNDARY_ARN, NAMES, TOPIC_ARN, Platform, platform
from tests.support.recorder import Recording, record

VAULT = "aws:backup/vault:Vault"
LOCK = "aws:backup/vaultLockConfiguration:VaultLockConfiguration"
PLAN = "aws:backup/plan:Plan"
SELECTION = "aws:backup/selection:Selection"
ROLE = "aws:iam/role:Role"
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"


def build(subject: Platform, **options: Any) -> Recording:
    return record(
        lambda: Backup(
            "backup",
            subject.blueprint.backup,
            environment=subject.environment,
            key_arn=subject.key_arns["platform"],
            alerts_topic_arn=TOPIC_ARN,
            permissions_boundary_arn=BOUNDARY_ARN,
            **options,
        )
    )


@cache
def recorded(name: str) -> Recording:
    """The backups of a shipped blueprint as it is; shared, since no test changes a recording."""
    return build(platform(name))


@pytest.mark.parametrize("name", NAMES)
def test_there_is_a_locked_vault_a_plan_and_a_role_for_each_direction(name: str) -> None:
    recording = recorded(name)
    assert recording.types() == {
        "falaj:backup:Backup": 1,
        VAULT: 1,
        LOCK: 1,
        PLAN: 1,
        SELECTION: 1,
        ROLE: 2,
        ATTACHMENT: 4,
        "aws:cloudwatch/eventRule:EventRule": 1,
        "aws:cloudwatch/eventTarget:EventTarget": 1,
    }
    assert {resource.parent for resource in recording.resources if resource.custom} == {recording.resources[0].urn}


@pytest.mark.parametrize("name", NAMES)
def test_the_vault_is_encrypted_protected_and_locked_between_the_stated_days(name: str) -> None:
    subject = platform(name)
    recording = recorded(subject.blueprint.name)
    vault = recording.one(VAULT)
    assert vault.inputs["kmsKeyArn"] == subject.key_arns["platform"]
    assert vault.inputs["forceDestroy"] is False
    assert vault.protect
    lock = recording.one(LOCK).inputs
    assert (lock["minRetentionDays"], lock["maxRetentionDays"]) == (
        subject.blueprint.backup.vault_lock_min_days,
        subject.blueprint.backup.vault_lock_max_days,
    )
    assert lock["backupVaultName"] == vault.inputs["name"]


@pytest.mark.parametrize(("compliance", "grace"), [(True, 3), (False, None)])
def test_only_a_compliance_lock_becomes_final(compliance: bool, grace: int | None) -> None:
    lock = build(platform("enterprise"), compliance_lock=compliance).one(LOCK)
    assert lock.inputs.get("changeableForDays") == grace


@pytest.mark.parametrize("name", NAMES)
def test_backups_are_daily_kept_as_stated_and_never_leave_the_region(name: str) -> None:
    subject = platform(name)
    recording = recorded(subject.blueprint.name)
    (rule,) = recording.one(PLAN).inputs["rules"]
    assert rule["lifecycle"] == {"deleteAfter": subject.blueprint.backup.daily_retention_days}
    assert rule["schedule"] == "cron(0 22 ? * * *)"
    assert rule["targetVaultName"] == recording.one(VAULT).inputs["name"]
    assert "copyActions" not in rule


def test_the_plan_finds_exactly_the_stores_that_carry_the_tag() -> None:
    subject = platform("smb")
    recording = recorded(subject.blueprint.name)
    selection = recording.one(SELECTION).inputs
    assert selection["selectionTags"] == [{"type": "STRINGEQUALS", "key": BACKUP_TAG, "value": "daily"}]
    lake = next(domain for domain in subject.blueprint.data_domains if domain.name == "lake")
    assert subject.environment.data_tags(lake, backup=True)[BACKUP_TAG] == "daily"
    assert selection["planId"] == recording.one(PLAN).id
    assert selection["iamRoleArn"].endswith("role/falaj-dev-backup")


def test_the_role_that_reads_everything_cannot_restore_it_anywhere() -> None:
    recording = recorded("smb")
    policies: dict[str, set[str]] = {}
    for attachment in recording.of(ATTACHMENT):
        policies.setdefault(attachment.inputs["role"], set()).add(attachment.inputs["policyArn"].split("/")[-1])
    assert policies == {
        "falaj-dev-backup": {"AWSBackupServiceRolePolicyForBackup", "AWSBackupServiceRolePolicyForS3Backup"},
        "falaj-dev-restore": {"AWSBackupServiceRolePolicyForRestores", "AWSBackupServiceRolePolicyForS3Restore"},
    }


def test_roles_are_bounded_and_only_for_this_accounts_backups() -> None:
    for role in recorded("smb").of(ROLE):
        assert role.inputs["permissionsBoundary"] == BOUNDARY_ARN
        trust = role.statement("ServiceAssumesRole", "assumeRolePolicy")
        assert trust["Principal"] == {"Service": ["backup.amazonaws.com"]}
        assert trust["Condition"] == {
            "ArnLike": {"aws:SourceArn": "arn:aws:backup:me-central-1:123456789012:*"},
            "StringEquals": {"aws:SourceAccount": "123456789012"},
        }


def test_a_failed_job_is_told() -> None:
    recording = recorded("smb")
    rule = recording.one("aws:cloudwatch/eventRule:EventRule").inputs
    pattern = json.loads(rule["eventPattern"])
    assert pattern["detail"] == {"state": ["ABORTED", "EXPIRED", "FAILED"], "backupVaultName": ["falaj-dev-vault"]}
    target = recording.one("aws:cloudwatch/eventTarget:EventTarget").inputs
    assert (target["rule"], target["arn"]) == (rule["name"], TOPIC_ARN)


def test_a_new_lock_is_not_undone_by_the_removal_of_the_old_one() -> None:
    assert recorded("smb").one(LOCK).delete_before_replace


def test_the_vaults_name_fits_what_the_service_accepts() -> None:
    assert len(recorded("enterprise").one(VAULT).inputs["name"]) <= 50


def test_outputs_name_vault_plan_and_roles() -> None:
    outputs = recorded("smb").outputs_of("falaj:backup:Backup")
    assert sorted(outputs) == ["plan_id", "restore_role_arn", "role_arn", "vault_arn", "vault_name"]
    assert outputs["vault_name"] == "falaj-dev-vault"
