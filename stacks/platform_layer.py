"""What runs on the cluster: tenants, charts, node pools, GPU sharing, observability and the platform's own releases."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from blueprints.placement import Placement
from blueprints.region import catalogue
from components.chart_values import wants_trainer
from components.charts import Charts
from components.gpu_sharing import GpuDevicePlugin
from components.karpenter import KarpenterAccess, KarpenterPools
from components.observability import Observability
from components.release_settings import Wiring
from components.releases import Releases
from components.tenancy import Tenancy
from stacks.account import Account
from stacks.compute import Compute
from stacks.data import Data
from stacks.foundation import Foundation
from stacks.governance import Governance
from stacks.images import images_of, registry_of
from stacks.kubernetes import open_kubernetes
from stacks.settings import StackSettings


@dataclass(frozen=True)
class PlatformLayer:
    tenancy: Tenancy
    releases: Releases


def build_platform_layer(
    settings: StackSettings,
    account: Account,
    placement: Placement,
    foundation: Foundation,
    compute: Compute,
    data: Data,
    governance: Governance,
) -> PlatformLayer:
    """Declare the layer, in the order in which each part finds what it needs."""
    blueprint, environment, cluster = settings.blueprint, account.environment, compute.cluster
    platform_key, registry = foundation.encryption.key_arns["platform"], registry_of(environment)
    karpenter = KarpenterAccess(
        "karpenter",
        environment=environment,
        cluster_name=cluster.cluster_name,
        cluster_ready=cluster.resource,
        node_role_arn=compute.node_pools.node_role_arn,
        node_role_name=compute.node_pools.node_role_name,
        key_arn=platform_key,
        boundary_arn=foundation.boundary.arn,
        opts=account.options,
    )
    kubernetes = open_kubernetes(settings, account, cluster, compute.ready)
    tenancy = Tenancy(
        "tenancy",
        blueprint,
        registry=registry,
        region_zones=[zone.zone_id for zone in catalogue(blueprint.region).zones],
        cluster_name=cluster.cluster_name,
        cluster_ready=cluster.resource,
        bucket_names=foundation.storage.bucket_names,
        key_arns=foundation.tenant_keys.key_arns,
        opts=kubernetes.options,
    )
    charts = Charts(
        "charts",
        blueprint,
        registry=registry,
        cluster_name=cluster.cluster_name,
        interruption_queue=karpenter.interruption_queue_name,
        depends_on=[*tenancy.resources, *karpenter.resources],
        opts=kubernetes.options,
    )
    pools = KarpenterPools(
        "karpenter-pools",
        blueprint,
        placement,
        environment=environment,
        instance_profile_name=karpenter.instance_profile_name,
        subnet_ids=foundation.network.private_subnet_ids,
        security_group_id=cluster.node_security_group_id,
        key_arn=platform_key,
        # The local control plane's Karpenter buys simulated machines; everything else about a pool is the same.
        simulated=bool(settings.kubeconfig),
        depends_on=charts.resources,
        opts=kubernetes.options,
    )
    GpuDevicePlugin(
        "gpu-device-plugin", blueprint, registry=registry, depends_on=tenancy.resources, opts=kubernetes.options
    )
    Observability(
        "observability",
        blueprint,
        alerts_topic_arn=governance.audit.alerts_topic_arn,
        depends_on=charts.resources,
        opts=kubernetes.options,
    )
    releases = Releases(
        "releases",
        blueprint,
        images=images_of(settings, environment),
        wiring=wiring(settings, foundation, data, catalogue_prefix=environment.catalogue_prefix),
        rollouts=settings.rollouts,
        trainer=wants_trainer(blueprint),
        depends_on=[*charts.resources, *pools.resources],
        opts=kubernetes.options,
    )
    return PlatformLayer(tenancy=tenancy, releases=releases)


def wiring(settings: StackSettings, foundation: Foundation, data: Data, *, catalogue_prefix: str) -> Wiring:
    """Return where everything is that a service talks to."""
    buckets = foundation.storage.bucket_names
    queue_urls: dict[str, pulumi.Input[str]] = dict(data.events.queue_urls)
    return Wiring(
        region=settings.blueprint.region,
        lake_bucket=buckets["lake"],
        catalogue_prefix=catalogue_prefix,
        feature_bucket=buckets["feature"],
        model_bucket=buckets["model"],
        model_key_arn=foundation.encryption.key_arns["model"],
        feature_key_arn=foundation.encryption.key_arns["feature"],
        signing_key_arn=foundation.signing.key_arn,
        audit_bucket=buckets["audit"],
        postgres_endpoint=data.postgres.endpoint,
        postgres_port=data.postgres.port,
        postgres_database=data.postgres.database_name,
        postgres_admin_secret_arn=data.postgres.master_secret_arn,
        online_store_engine=data.online_store.engine,
        online_store_endpoint=data.online_store.endpoint,
        online_store_port=data.online_store.port,
        stream_engine=data.streaming.engine,
        stream_endpoint=data.streaming.endpoint,
        event_bus_name=data.events.bus_name,
        queue_urls=queue_urls,
        dead_letter_queue_url=data.events.stream_dead_letter_queue_url,
        aws_endpoint_url=settings.aws_endpoint_url,
    )
