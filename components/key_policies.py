"""Who may use which data domain's key, as key policy statements.

Pure.  A key policy says three things: the account administers the key but does not decrypt with it; principals of the
account use it only through the services that store this domain's data, or for envelopes that say in their encryption
context what they hold (IAM policies still decide which principals); and named AWS services use it on their own, for
this account's resources only.

Sources: KMS developer guide, "Key policies in AWS KMS", ``kms:ViaService`` and ``kms:GrantIsForAWSResource``; the
encryption chapters of CloudTrail, CloudWatch Logs, AWS Config, Network Firewall and EKS for their service principals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blueprints.schema import DataDomain
from components.iam_documents import (
    Statement,
    allow,
    key_document,
    key_use_by_service_statement,
)
from components.naming import Environment

ADMINISTRATION_ACTIONS = (
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListAliases",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
)
"""Everything about a key except using it, exporting it (ReplicateKey) or importing material into it."""

USE_ACTIONS = ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*")

AUTO_SCALING_ROLE = "role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
"""Starts the nodes of managed node groups, and so must be able to use the key of their volumes.  IAM creates it with an
account's first Auto Scaling group; a key policy that names it before that is refused by KMS.
Source: EC2 Auto Scaling user guide, "Required AWS KMS key policy for use with encrypted volumes"."""


BACKUP_ROLE_PURPOSES = ("backup", "restore")
"""``Environment.physical_name`` of them names the roles of the backups, which tenants' key policies spell out."""


@dataclass(frozen=True)
class KeyUse:
    """How one data domain's key is used.

    ``via_services``: services (without region and suffix) through which principals of the account may use it.
    ``service_principals``: AWS services that use it on their own, for resources of this account.
    """

    via_services: tuple[str, ...]
    service_principals: tuple[str, ...] = ()
    log_groups: bool = False
    """CloudWatch Logs encrypts the platform's log groups with it."""
    node_volumes: bool = False
    """Volumes of nodes are encrypted with it."""
    envelope_context: tuple[str, ...] = ()
    """Principals of the account also use it directly, for data keys whose encryption context has all of these names."""


KEY_USES: Mapping[str, KeyUse] = {
    "lake": KeyUse(("s3", "kinesis", "kafka", "backup"), ("events.amazonaws.com",)),
    "feature": KeyUse(("s3", "dynamodb", "elasticache", "rds", "backup")),
    # The registry encrypts packages before they come to S3, as runtime.registry.envelope says.
    "model": KeyUse(("s3", "ecr", "backup"), envelope_context=("tenant", "model", "digest")),
    "audit": KeyUse(
        ("s3", "backup"),
        ("cloudtrail.amazonaws.com", "config.amazonaws.com"),
    ),
    "platform": KeyUse(
        ("ec2", "rds", "ecr", "sqs", "sns", "secretsmanager", "eks", "backup", "kafka", "ssm", "network-firewall"),
        ("backup.amazonaws.com", "budgets.amazonaws.com", "cloudwatch.amazonaws.com", "events.amazonaws.com"),
        log_groups=True,
        node_volumes=True,
    ),
}
"""Per data domain.  A service that is missing here cannot decrypt the domain's data, whatever IAM says."""


def key_policy(domain: DataDomain, environment: Environment, *, trail_name: str, auto_scaling_role_exists: bool) -> str:
    """Return the text of the key policy for ``domain``'s key.

    ``trail_name``: the only trail whose log files the audit key encrypts.  ``auto_scaling_role_exists``: the account
    has the Auto Scaling service-linked role, so the platform key's policy can name it.
    """
    use = KEY_USES[domain.name]
    statements = [
        _account_administers(environment),
        _account_uses_through_services(environment, use.via_services),
        _account_grants_to_services(environment),
    ]
    if use.envelope_context:
        statements.append(_account_encrypts_envelopes(environment, use.envelope_context))
    for service in use.service_principals:
        name = service.split(".")[0].title().replace("-", "")
        if service == "cloudtrail.amazonaws.com":
            statements.append(_trail_encrypts(environment, trail_name))
        else:
            statements.append(
                key_use_by_service_statement(f"{name}UsesKey", service, account_id=environment.account_id)
            )
    if use.log_groups:
        for sid, log_groups in _log_groups(environment).items():
            statements.append(
                key_use_by_service_statement(
                    sid,
                    f"logs.{environment.region}.amazonaws.com",
                    account_id=environment.account_id,
                    encryption_context={"aws:logs:arn": environment.arn("logs", f"log-group:{log_groups}")},
                )
            )
    if use.node_volumes and auto_scaling_role_exists:
        statements += _auto_scaling_uses(environment)
    return key_document(statements)


def tenant_key_policy(environment: Environment, *, role_name: str) -> str:
    """Return the text of the key policy for a tenant's key: one role uses it through S3, and so do the backups.

    Roles are named in conditions, for KMS refuses a policy whose principal does not exist yet.  What a role may do is
    still up to its own policy as well.
    """
    backup, restore = (environment.physical_name(purpose) for purpose in BACKUP_ROLE_PURPOSES)
    return key_document(
        [
            _account_administers(environment),
            _role_uses_through(
                environment, "TenantUsesKey", role_name, ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"), "s3"
            ),
            _role_uses_through(environment, "BackupReads", backup, ("kms:Decrypt", "kms:DescribeKey"), "backup", "s3"),
            _role_uses_through(
                environment, "RestoreWrites", restore, ("kms:DescribeKey", "kms:GenerateDataKey"), "backup", "s3"
            ),
        ]
    )


SIGNING_ALGORITHM = "ECDSA_SHA_256"
"""Of the registry's signatures, as ``runtime.registry.signing`` asks for them."""


def signing_key_policy(environment: Environment, *, role_name: str) -> str:
    """Return the text of the key policy for the key that signs model packages: one role signs, the account verifies.

    A public key is no secret, and whoever opens a package has to have it.
    """
    caller = {"kms:CallerAccount": environment.account_id}
    return key_document(
        [
            _account_administers(environment),
            allow(
                "ReleaserSigns",
                ("kms:Sign",),
                ("*",),
                principals=_account(environment),
                conditions={
                    "ArnEquals": {"aws:PrincipalArn": environment.arn("iam", f"role/{role_name}", regional=False)},
                    "StringEquals": {**caller, "kms:SigningAlgorithm": SIGNING_ALGORITHM},
                },
            ),
            allow(
                "AccountVerifies",
                ("kms:DescribeKey", "kms:GetPublicKey"),
                ("*",),
                principals=_account(environment),
                conditions={"StringEquals": caller},
            ),
        ]
    )


def _role_uses_through(
    environment: Environment, sid: str, role_name: str, actions: tuple[str, ...], *services: str
) -> Statement:
    return allow(
        sid,
        actions,
        ("*",),
        principals=_account(environment),
        conditions={
            "ArnEquals": {"aws:PrincipalArn": environment.arn("iam", f"role/{role_name}", regional=False)},
            "StringEquals": {
                "kms:CallerAccount": environment.account_id,
                "kms:ViaService": [f"{service}.{environment.region}.amazonaws.com" for service in services],
            },
        },
    )


def _log_groups(environment: Environment) -> dict[str, str]:
    """Statement id -> the log groups it admits: the platform's own, and those whose names EKS and RDS dictate."""
    return {
        "LogsUseKey": f"{environment.log_prefix}/*",
        "ClusterLogsUseKey": f"/aws/eks/{environment.prefix}*",
        "DatabaseLogsUseKey": f"/aws/rds/*/{environment.prefix}*",
    }


def _account(environment: Environment) -> dict[str, list[str]]:
    return {"AWS": [environment.arn("iam", "root", regional=False)]}


def _account_administers(environment: Environment) -> Statement:
    return allow(
        "AccountAdministersKey",
        ADMINISTRATION_ACTIONS,
        ("*",),
        principals=_account(environment),
        conditions={"StringEquals": {"kms:CallerAccount": environment.account_id}},
    )


def _account_uses_through_services(environment: Environment, services: tuple[str, ...]) -> Statement:
    return allow(
        "AccountUsesKeyThroughServices",
        USE_ACTIONS,
        ("*",),
        principals=_account(environment),
        conditions={
            "StringEquals": {
                "kms:CallerAccount": environment.account_id,
                "kms:ViaService": [f"{service}.{environment.region}.amazonaws.com" for service in services],
            }
        },
    )


def _account_encrypts_envelopes(environment: Environment, names: tuple[str, ...]) -> Statement:
    return allow(
        "AccountEncryptsEnvelopes",
        ("kms:Decrypt", "kms:GenerateDataKey"),
        ("*",),
        principals=_account(environment),
        conditions={
            "StringEquals": {"kms:CallerAccount": environment.account_id},
            "StringLike": {f"kms:EncryptionContext:{name}": "?*" for name in names},
        },
    )


def _account_grants_to_services(environment: Environment) -> Statement:
    """EBS, RDS, EKS and ECR work with grants; a grant for anything but an AWS service is not possible."""
    return allow(
        "AccountGrantsKeyToServices",
        ("kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"),
        ("*",),
        principals=_account(environment),
        conditions={
            "StringEquals": {"kms:CallerAccount": environment.account_id},
            "Bool": {"kms:GrantIsForAWSResource": "true"},
        },
    )


def _trail_encrypts(environment: Environment, trail_name: str) -> Statement:
    return allow(
        "TrailEncryptsLogFiles",
        ("kms:DescribeKey", "kms:GenerateDataKey*"),
        ("*",),
        principals={"Service": ["cloudtrail.amazonaws.com"]},
        conditions={
            "StringEquals": {
                "aws:SourceArn": environment.arn("cloudtrail", f"trail/{trail_name}"),
                "aws:SourceAccount": environment.account_id,
            }
        },
    )


def _auto_scaling_uses(environment: Environment) -> list[Statement]:
    principals = {"AWS": [environment.arn("iam", AUTO_SCALING_ROLE, regional=False)]}
    return [
        allow("AutoScalingUsesKey", USE_ACTIONS, ("*",), principals=principals),
        allow(
            "AutoScalingGrantsKeyToVolumes",
            ("kms:CreateGrant",),
            ("*",),
            principals=principals,
            conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
        ),
    ]
