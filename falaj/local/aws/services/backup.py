"""AWS Backup: vaults with their lock, and plans; what a plan selects lives in the state."""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, StateOnly, Update
from falaj.local.aws.shapes import request
from falaj.local.aws.tagging import apply_tag_map


class Vault(Handler):
    type = "aws:backup/vault:Vault"
    auto_name = AutoName(max_length=50)
    defaults = {"forceDestroy": False}
    force_new = frozenset({"kmsKeyArn", "name"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        vault = aws.client("backup").create_backup_vault(
            BackupVaultName=inputs["name"],
            BackupVaultTags=inputs.get("tagsAll") or {},
            **request(inputs, {"kmsKeyArn": "EncryptionKeyArn"}),
        )
        return inputs["name"], {"arn": vault["BackupVaultArn"], "recoveryPoints": 0}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        backup = aws.client("backup")
        vault = backup.describe_backup_vault(BackupVaultName=id)
        return {
            "arn": vault["BackupVaultArn"],
            "name": vault["BackupVaultName"],
            "kmsKeyArn": vault.get("EncryptionKeyArn"),
            "recoveryPoints": vault.get("NumberOfRecoveryPoints", 0),
            "tagsAll": backup.list_tags(ResourceArn=vault["BackupVaultArn"])["Tags"],
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        _apply_tags(aws, update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("backup").delete_backup_vault(BackupVaultName=id)


class VaultLockConfiguration(Handler):
    type = "aws:backup/vaultLockConfiguration:VaultLockConfiguration"
    force_new = frozenset({"backupVaultName", "changeableForDays", "maxRetentionDays", "minRetentionDays"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        backup, vault = aws.client("backup"), inputs["backupVaultName"]
        names = {
            "changeableForDays": "ChangeableForDays",
            "maxRetentionDays": "MaxRetentionDays",
            "minRetentionDays": "MinRetentionDays",
        }
        backup.put_backup_vault_lock_configuration(BackupVaultName=vault, **request(inputs, names))
        return vault, {"backupVaultArn": backup.describe_backup_vault(BackupVaultName=vault)["BackupVaultArn"]}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        vault = aws.client("backup").describe_backup_vault(BackupVaultName=id)
        if not vault.get("Locked"):
            return None
        return {
            "backupVaultArn": vault["BackupVaultArn"],
            "backupVaultName": id,
            "maxRetentionDays": vault.get("MaxRetentionDays"),
            "minRetentionDays": vault.get("MinRetentionDays"),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("backup").delete_backup_vault_lock_configuration(BackupVaultName=id)


class Plan(Handler):
    type = "aws:backup/plan:Plan"
    auto_name = AutoName(max_length=50)
    force_new = frozenset({"name"})
    unordered = frozenset({"advancedBackupSettings", "rules"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        document: dict[str, Any] = {
            "BackupPlanName": inputs["name"],
            "Rules": [_rule(rule) for rule in inputs["rules"]],
        }
        if settings := inputs.get("advancedBackupSettings"):
            document["AdvancedBackupSettings"] = [
                {"ResourceType": item["resourceType"], "BackupOptions": item["backupOptions"]} for item in settings
            ]
        plan = aws.client("backup").create_backup_plan(BackupPlan=document, BackupPlanTags=inputs.get("tagsAll") or {})
        return plan["BackupPlanId"], {"arn": plan["BackupPlanArn"], "version": plan["VersionId"]}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        backup = aws.client("backup")
        plan = backup.get_backup_plan(BackupPlanId=id)
        return {
            "arn": plan["BackupPlanArn"],
            "name": plan["BackupPlan"]["BackupPlanName"],
            "version": plan["VersionId"],
            "tagsAll": backup.list_tags(ResourceArn=plan["BackupPlanArn"])["Tags"],
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        _apply_tags(aws, update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("backup").delete_backup_plan(BackupPlanId=id)


def _apply_tags(aws: Aws, update: Update) -> None:
    backup, arn = aws.client("backup"), update.outputs["arn"]
    apply_tag_map(
        update,
        lambda tags: backup.tag_resource(ResourceArn=arn, Tags=tags),
        lambda keys: backup.untag_resource(ResourceArn=arn, TagKeyList=keys),
    )


def _rule(rule: Properties) -> dict[str, Any]:
    parameters = request(
        rule,
        {
            "ruleName": "RuleName",
            "targetVaultName": "TargetBackupVaultName",
            "completionWindow": "CompletionWindowMinutes",
            "enableContinuousBackup": "EnableContinuousBackup",
            "recoveryPointTags": "RecoveryPointTags",
            "schedule": "ScheduleExpression",
            "scheduleExpressionTimezone": "ScheduleExpressionTimezone",
            "startWindow": "StartWindowMinutes",
        },
    )
    if rule.get("lifecycle"):
        parameters["Lifecycle"] = _lifecycle(rule["lifecycle"])
    if actions := rule.get("copyActions"):
        parameters["CopyActions"] = [
            {
                "DestinationBackupVaultArn": action["destinationVaultArn"],
                **({"Lifecycle": _lifecycle(action["lifecycle"])} if action.get("lifecycle") else {}),
            }
            for action in actions
        ]
    return parameters


def _lifecycle(lifecycle: Properties) -> dict[str, Any]:
    return request(
        lifecycle,
        {
            "coldStorageAfter": "MoveToColdStorageAfterDays",
            "deleteAfter": "DeleteAfterDays",
            "optInToArchiveForSupportedResources": "OptInToArchiveForSupportedResources",
        },
    )


class Selection(StateOnly):
    type = "aws:backup/selection:Selection"
    auto_name = AutoName(max_length=50)
    force_new = frozenset({"conditions", "iamRoleArn", "name", "notResources", "planId", "resources", "selectionTags"})
    unordered = frozenset({"notResources", "resources", "selectionTags"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        import uuid

        aws.client("backup").get_backup_plan(BackupPlanId=inputs["planId"])
        return str(uuid.uuid4()), {}


HANDLERS = (Vault, VaultLockConfiguration, Plan, Selection)
