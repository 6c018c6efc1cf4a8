"""One customer managed key per tenant, for the objects under the tenant's prefix of each bucket.

The domain keys of ``encryption.py`` keep bodies of data apart, these keep teams apart: the bucket policies demand a
tenant's own key under its prefix, and no role but the tenant's may use it.  Losing or disabling one concerns one team.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi

from blueprints.schema import Tenant
from components.base import PlatformComponent
from components.encryption import customer_managed_key
from components.key_policies import tenant_key_policy
from components.naming import Environment, check_tags
from components.workloads import tenant_workload

TENANT_TAG = "tenant"
"""Names the tenant on its key; the rule TEN-001 finds the key by it."""


class TenantKeys(PlatformComponent):
    """The keys of all tenants.

    Children: per tenant a key and an alias.
    """

    key_arns: Mapping[str, pulumi.Output[str]]
    """Tenant -> key ARN."""
    alias_names: Mapping[str, pulumi.Output[str]]

    def __init__(
        self,
        name: str,
        tenants: Sequence[Tenant],
        *,
        environment: Environment,
        protect: bool = True,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        tags = {tenant.name: tenant_tags(tenant, environment) for tenant in tenants}
        super().__init__("falaj:encryption:TenantKeys", name, opts, protect=protect)
        key_arns: dict[str, pulumi.Output[str]] = {}
        alias_names: dict[str, pulumi.Output[str]] = {}
        for tenant in sorted(tenants, key=lambda tenant: tenant.name):
            key, alias = customer_managed_key(
                self,
                f"{name}-{tenant.name}",
                alias_name=f"alias/{environment.project}/{environment.stack}/tenants/{tenant.name}",
                description=f"{environment.prefix}: tenant {tenant.name} ({tenant.data_class.value})",
                policy=tenant_key_policy(
                    environment, role_name=environment.physical_name(tenant_workload(tenant).name)
                ),
                tags=tags[tenant.name],
            )
            key_arns[tenant.name] = key.arn
            alias_names[tenant.name] = alias.name
        self.key_arns = key_arns
        self.alias_names = alias_names
        self.register_declared_outputs()


def tenant_tags(tenant: Tenant, environment: Environment) -> dict[str, str]:
    """Return the tags of a tenant's key.  Raises NamingError for an owner that AWS would refuse as a tag."""
    tags = {
        TENANT_TAG: tenant.name,
        "data-class": tenant.data_class.value,
        "owner": tenant.owner_email,
        "lineage": f"{environment.project}/{environment.stack}/tenants/{tenant.name}",
    }
    check_tags(tags)
    return tags
