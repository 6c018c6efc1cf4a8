"""The account and region that a stack deploys into: one explicit provider, one naming environment."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.naming import Environment
from stacks.settings import SettingsError, StackSettings

PROJECT = "falaj"

ENDPOINT_SERVICES = (
    "accessanalyzer",
    "autoscaling",
    "backup",
    "budgets",
    "cloudtrail",
    "cloudwatch",
    "configservice",
    "dynamodb",
    "ec2",
    "ecr",
    "eks",
    "elasticache",
    "events",
    "guardduty",
    "iam",
    "kafka",
    "kinesis",
    "kms",
    "logs",
    "networkfirewall",
    "rds",
    "s3",
    "secretsmanager",
    "securityhub",
    "sns",
    "sqs",
    "sts",
)
"""Services that the program declares resources of; the local stack points each at the emulated account."""


@dataclass(frozen=True)
class Account:
    """Where everything goes.  Each component is given ``options``, so that no default provider is ever made."""

    provider: aws.Provider
    environment: Environment

    @property
    def options(self) -> pulumi.ResourceOptions:
        """Options for a top-level component."""
        return pulumi.ResourceOptions(provider=self.provider)


def open_account(settings: StackSettings) -> Account:
    """Declare the provider and look up which account its credentials belong to.

    Raises SettingsError if the account is not on the stack's list.  The provider carries the list as well; this check
    says so before anything is planned.
    """
    region = settings.blueprint.region
    unplaced = Environment.of(settings.blueprint, project=PROJECT, stack=settings.environment, account_id="0" * 12)
    local = bool(settings.aws_endpoint_url)
    provider = aws.Provider(
        "aws",
        region=region,
        allowed_account_ids=list(settings.allowed_account_ids) or None,
        default_tags=aws.ProviderDefaultTagsArgs(tags=unplaced.default_tags()),
        endpoints=[aws.ProviderEndpointArgs(**dict.fromkeys(ENDPOINT_SERVICES, settings.aws_endpoint_url))]
        if local
        else None,
        s3_use_path_style=local or None,
        skip_credentials_validation=local or None,
        skip_metadata_api_check=local or None,
        skip_requesting_account_id=local or None,
    )
    caller = aws.get_caller_identity(opts=pulumi.InvokeOptions(provider=provider))
    if settings.allowed_account_ids and caller.account_id not in settings.allowed_account_ids:
        raise SettingsError(
            f"falaj:allowedAccountIds: the credentials belong to account {caller.account_id}; "
            f"allowed: {', '.join(settings.allowed_account_ids)}; use other credentials or extend the list"
        )
    environment = Environment.of(
        settings.blueprint, project=PROJECT, stack=settings.environment, account_id=caller.account_id
    )
    return Account(provider=provider, environment=environment)
