"""Encryption at rest: one customer managed key per data domain, and volumes encrypted unless someone says otherwise.

One unit because the keys partition the platform's data: losing, disabling or auditing one key concerns exactly one
domain.  Keys rotate every year, wait 30 days before they are deleted, and never leave the region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_aws import ebs, kms

from blueprints.schema import DataDomain
from components.base import ComponentSpecError, PlatformComponent
from components.key_policies import KEY_USES, key_policy
from components.naming import Environment

ROTATION_PERIOD_DAYS = 365
DELETION_WINDOW_DAYS = 30
"""The longest that KMS allows; a key deleted by mistake takes every byte under it along."""
TRAIL_PURPOSE = "trail"
"""``Environment.physical_name`` of it is the audit trail's name, which the audit key and bucket policies spell out."""


class Encryption(PlatformComponent):
    """The keys of all data domains.

    Children: per domain a key and an alias; the region's default of encrypted volumes and the key they use.

    ``key_arns``, ``key_ids`` and ``alias_names`` are keyed by domain name.  Raises ComponentSpecError if a domain is
    missing, repeated or unknown: every component asks for its key by domain.
    """

    key_arns: dict[str, pulumi.Output[str]]
    key_ids: dict[str, pulumi.Output[str]]
    alias_names: dict[str, pulumi.Output[str]]

    def __init__(
        self,
        name: str,
        domains: Sequence[DataDomain],
        *,
        environment: Environment,
        protect: bool = True,
        auto_scaling_role_exists: bool = True,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``auto_scaling_role_exists``: false only in an account that never had an Auto Scaling group."""
        _check_domains(domains)
        trail_name = environment.physical_name(TRAIL_PURPOSE)
        super().__init__("falaj:encryption:Encryption", name, opts, protect=protect)
        self.key_arns = {}
        self.key_ids = {}
        self.alias_names = {}
        for domain in sorted(domains, key=lambda domain: domain.name):
            key, alias = customer_managed_key(
                self,
                f"{name}-{domain.name}",
                alias_name=f"alias/{environment.project}/{environment.stack}/{domain.name}",
                description=f"{environment.prefix}: {domain.name} data ({domain.data_class.value})",
                policy=key_policy(
                    domain,
                    environment,
                    trail_name=trail_name,
                    auto_scaling_role_exists=auto_scaling_role_exists,
                ),
                tags=environment.data_tags(domain),
            )
            self.key_arns[domain.name] = key.arn
            self.key_ids[domain.name] = key.key_id
            self.alias_names[domain.name] = alias.name
        default_key = ebs.DefaultKmsKey(
            f"{name}-volumes",
            key_arn=self.key_arns["platform"],
            # The region has one default: deleting the old setting last would reset the new one to AWS's own key.
            opts=self.child_opts(delete_before_replace=True),
        )
        ebs.EncryptionByDefault(f"{name}-volumes", enabled=True, opts=self.child_opts(depends_on=[default_key]))
        self.register_declared_outputs()


def customer_managed_key(
    component: PlatformComponent,
    name: str,
    *,
    alias_name: str,
    description: str,
    policy: pulumi.Input[str],
    tags: Mapping[str, str],
) -> tuple[kms.Key, kms.Alias]:
    """Declare a key and its alias as children of ``component``: rotating, of one Region, protected as its data is."""
    key = kms.Key(
        name,
        description=description,
        key_usage="ENCRYPT_DECRYPT",
        customer_master_key_spec="SYMMETRIC_DEFAULT",
        enable_key_rotation=True,
        rotation_period_in_days=ROTATION_PERIOD_DAYS,
        deletion_window_in_days=DELETION_WINDOW_DAYS,
        multi_region=False,
        policy=policy,
        tags=dict(tags),
        opts=component.child_opts(protect=component.protect_data),
    )
    alias = kms.Alias(name, name=alias_name, target_key_id=key.key_id, opts=component.child_opts())
    return key, alias


def _check_domains(domains: Sequence[DataDomain]) -> None:
    names = [domain.name for domain in domains]
    for name in names:
        if names.count(name) > 1:
            raise ComponentSpecError("data_domains", f'"{name}" is listed twice; give each domain once')
    missing = sorted(set(KEY_USES) - set(names))
    if missing:
        raise ComponentSpecError(
            "data_domains", f"{', '.join(missing)} missing; every domain of {', '.join(KEY_USES)} needs its own key"
        )
