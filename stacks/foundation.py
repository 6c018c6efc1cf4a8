"""What everything else stands on: the boundary, keys, network, buckets, and the records that outlive all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blueprints.placement import Placement
from blueprints.region import catalogue
from blueprints.schema import DataDomain
from components.boundary import PermissionsBoundary
from components.encryption import Encryption
from components.network import Network
from components.signing import PackageSigning
from components.storage import Storage
from components.tenant_keys import TenantKeys
from stacks.account import Account
from stacks.settings import StackSettings


@dataclass(frozen=True)
class Foundation:
    boundary: PermissionsBoundary
    encryption: Encryption
    network: Network
    storage: Storage
    tenant_keys: TenantKeys
    signing: PackageSigning
    domains: Mapping[str, DataDomain]


def build_foundation(settings: StackSettings, account: Account, placement: Placement) -> Foundation:
    """Declare the foundation of a stack in the zones that ``placement`` chose."""
    blueprint, environment = settings.blueprint, account.environment
    protect = settings.protect_data_stores
    boundary = PermissionsBoundary("boundary", environment=environment, opts=account.options)
    encryption = Encryption(
        "encryption",
        blueprint.data_domains,
        environment=environment,
        protect=protect,
        auto_scaling_role_exists=settings.auto_scaling_role_exists,
        opts=account.options,
    )
    network = Network(
        "network",
        blueprint.network,
        environment=environment,
        region_zones=[zone.zone_id for zone in catalogue(blueprint.region).zones],
        usable_zones=placement.zones,
        key_arn=encryption.key_arns["platform"],
        permissions_boundary_arn=boundary.arn,
        organization_id=settings.organization_id,
        cluster_name=environment.physical_name("cluster", limit=100),
        protect=protect,
        opts=account.options,
    )
    tenant_keys = TenantKeys(
        "tenant-keys",
        blueprint.tenants,
        environment=environment,
        protect=protect,
        opts=account.options,
    )
    storage = Storage(
        "storage",
        blueprint.data_domains,
        environment=environment,
        key_arns=encryption.key_arns,
        tenant_key_arns=tenant_keys.key_arns,
        protect=protect,
        opts=account.options,
    )
    domains: dict[str, DataDomain] = {domain.name: domain for domain in blueprint.data_domains}
    signing = PackageSigning(
        "package-signing",
        domains["model"],
        environment=environment,
        protect=protect,
        opts=account.options,
    )
    return Foundation(
        boundary=boundary,
        encryption=encryption,
        network=network,
        storage=storage,
        tenant_keys=tenant_keys,
        signing=signing,
        domains=domains,
    )
