"""What watches over the rest: the audit trail and detectors, backups, and the budget."""

from __future__ import annotations

from dataclasses import dataclass

from components.audit import Audit
from components.backup import Backup
from components.budget import Budget
from stacks.account import Account
from stacks.data import Data
from stacks.foundation import Foundation
from stacks.settings import StackSettings


@dataclass(frozen=True)
class Governance:
    audit: Audit
    backup: Backup
    budget: Budget


def build_governance(settings: StackSettings, account: Account, foundation: Foundation, data: Data) -> Governance:
    """Declare audit, backup and budget.  Backups find their stores by tag, so nothing else is passed on."""
    blueprint, environment = settings.blueprint, account.environment
    keys, protect = foundation.encryption.key_arns, settings.protect_data_stores
    audit = Audit(
        "audit",
        blueprint.audit,
        domains=blueprint.data_domains,
        environment=environment,
        key_arns=keys,
        bucket_names=foundation.storage.bucket_names,
        audit_bucket_policy=foundation.storage.bucket_policies["audit"],
        notify_emails=blueprint.budget.notify_emails,
        data_event_table_arns=[data.online_store.arn] if data.online_store.engine == "dynamodb" else [],
        create_config_service_role=not settings.config_service_role_exists,
        protect=protect,
        opts=account.options,
    )
    backup = Backup(
        "backup",
        blueprint.backup,
        environment=environment,
        key_arn=keys["platform"],
        alerts_topic_arn=audit.alerts_topic_arn,
        permissions_boundary_arn=foundation.boundary.arn,
        compliance_lock=settings.compliance_lock,
        protect=protect,
        opts=account.options,
    )
    budget = Budget(
        "budget",
        blueprint.budget,
        environment=environment,
        alerts_topic_arn=audit.alerts_topic_arn,
        opts=account.options,
    )
    return Governance(audit=audit, backup=backup, budget=budget)
