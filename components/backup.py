"""Backups that neither a mistake nor a stolen administrator can delete.

One unit because a vault without its lock, or a plan without its role, protects nothing.  Copies stay in the region: the
plan has no copy action, since every destination AWS offers besides this region is outside the country.  The second
in-country copy is made outside AWS (``backup.in_country_copy_target``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pulumi
from pulumi_aws import backup, cloudwatch, iam

from blueprints.schema import Backup as BackupSpec
from components.base import PlatformComponent
from components.key_policies import BACKUP_ROLE_PURPOSES
from components.naming import BACKUP_TAG, Environment
from components.trust_documents import service_trust_document

SCHEDULE = "cron(0 22 ? * * *)"
"""22:00 UTC is 02:00 in the UAE."""
START_WINDOW_MINUTES = 60
COMPLETION_WINDOW_MINUTES = 480
LOCK_GRACE_DAYS = 3
"""The fewest days AWS allows before a compliance lock becomes final (Backup API reference, PutBackupVaultLock)."""

BACKUP_POLICIES = {
    "stores": "service-role/AWSBackupServiceRolePolicyForBackup",
    "buckets": "AWSBackupServiceRolePolicyForS3Backup",
}
RESTORE_POLICIES = {
    "stores": "service-role/AWSBackupServiceRolePolicyForRestores",
    "buckets": "AWSBackupServiceRolePolicyForS3Restore",
}
"""Logical name -> AWS managed policy.  Source: AWS Backup developer guide, "Managed policies for AWS Backup"."""
NAME_LIMIT = 50
"""Characters of a vault's name (Backup API reference, CreateBackupVault)."""


class Backup(PlatformComponent):
    """A locked vault and a daily plan for every store tagged ``backup-plan=daily``.

    Children: vault, vault lock, plan, selection; one role that backs up and another that restores, so that reading all
    data into a backup does not include writing it anywhere; an event rule for jobs that fail.
    """

    vault_name: pulumi.Output[str]
    vault_arn: pulumi.Output[str]
    plan_id: pulumi.Output[str]
    role_arn: pulumi.Output[str]
    restore_role_arn: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: BackupSpec,
        *,
        environment: Environment,
        key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        permissions_boundary_arn: pulumi.Input[str] | None = None,
        compliance_lock: bool = False,
        protect: bool = True,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``compliance_lock``: after three days not even AWS can shorten or remove the lock, nor delete the vault while
        it holds anything.  Without it, administrators with ``backup:DeleteBackupVaultLockConfiguration`` still can.
        """
        super().__init__("falaj:backup:Backup", name, opts, protect=protect)
        vault = backup.Vault(
            name,
            name=environment.physical_name("vault", limit=NAME_LIMIT),
            kms_key_arn=key_arn,
            force_destroy=False,
            opts=self.child_opts(protect=self.protect_data),
        )
        backup.VaultLockConfiguration(
            name,
            backup_vault_name=vault.name,
            min_retention_days=spec.vault_lock_min_days,
            max_retention_days=spec.vault_lock_max_days,
            changeable_for_days=LOCK_GRACE_DAYS if compliance_lock else None,
            # A vault has one lock: deleting the old one last would delete the new one.
            opts=self.child_opts(delete_before_replace=True),
        )
        plan = backup.Plan(
            name,
            rules=[
                {
                    "rule_name": "daily",
                    "target_vault_name": vault.name,
                    "schedule": SCHEDULE,
                    "start_window": START_WINDOW_MINUTES,
                    "completion_window": COMPLETION_WINDOW_MINUTES,
                    "lifecycle": {"delete_after": spec.daily_retention_days},
                    "recovery_point_tags": {BACKUP_TAG: "daily"},
                }
            ],
            opts=self.child_opts(),
        )

        def role_of(purpose: str, description: str, policies: Mapping[str, str]) -> iam.Role:
            return self._role(
                f"{name}-{purpose}", purpose, description, policies, environment, permissions_boundary_arn
            )

        backs_up, restores = BACKUP_ROLE_PURPOSES
        role = role_of(backs_up, "Backs up the platform's data stores", BACKUP_POLICIES)
        restore_role = role_of(restores, "Restores the platform's data stores", RESTORE_POLICIES)
        backup.Selection(
            name,
            plan_id=plan.id,
            iam_role_arn=role.arn,
            selection_tags=[{"type": "STRINGEQUALS", "key": BACKUP_TAG, "value": "daily"}],
            opts=self.child_opts(),
        )
        self._failure_alert(environment, vault, alerts_topic_arn)
        self.vault_name = vault.name
        self.vault_arn = vault.arn
        self.plan_id = plan.id
        self.role_arn = role.arn
        self.restore_role_arn = restore_role.arn
        self.register_declared_outputs()

    def _role(
        self,
        logical_name: str,
        purpose: str,
        description: str,
        policies: Mapping[str, str],
        environment: Environment,
        permissions_boundary_arn: pulumi.Input[str] | None,
    ) -> iam.Role:
        role = iam.Role(
            logical_name,
            # The key policies of tenants name it before it exists.
            name=environment.physical_name(purpose),
            description=description,
            assume_role_policy=service_trust_document(
                "backup.amazonaws.com",
                account_id=environment.account_id,
                source_arn=environment.arn("backup", "*"),
            ),
            permissions_boundary=permissions_boundary_arn,
            opts=self.child_opts(),
        )
        for subject, policy in policies.items():
            iam.RolePolicyAttachment(
                f"{logical_name}-{subject}",
                role=role.name,
                policy_arn=f"arn:{environment.partition}:iam::aws:policy/{policy}",
                opts=self.child_opts(),
            )
        return role

    def _failure_alert(
        self, environment: Environment, vault: backup.Vault, alerts_topic_arn: pulumi.Input[str]
    ) -> None:
        logical_name = f"{self.pulumi_resource_name}-failures"
        rule = cloudwatch.EventRule(
            logical_name,
            name=environment.physical_name("alert-backup-failures"),
            description="Sends failed and expired backup jobs to the alerts topic",
            event_pattern=vault.name.apply(failure_pattern),
            opts=self.child_opts(),
        )
        cloudwatch.EventTarget(logical_name, rule=rule.name, arn=alerts_topic_arn, opts=self.child_opts())


def failure_pattern(vault_name: str) -> str:
    """Return the EventBridge pattern, as JSON text, of jobs into a vault that made no backup."""
    return json.dumps(
        {
            "source": ["aws.backup"],
            "detail-type": ["Backup Job State Change"],
            "detail": {"state": ["ABORTED", "EXPIRED", "FAILED"], "backupVaultName": [vault_name]},
        },
        sort_keys=True,
    )
