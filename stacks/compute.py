"""What workloads run on: the control plane, its add-ons and the node groups, in the order in which nodes can join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import pulumi

from blueprints import Blueprint
from blueprints.placement import Placement
from components.addons import Addons
from components.cluster import Cluster
from components.node_pools import NodePools, PlacedPool
from components.registry import Registry
from stacks.account import Account
from stacks.foundation import Foundation
from stacks.settings import StackSettings


@dataclass(frozen=True)
class Compute:
    cluster: Cluster
    node_pools: NodePools
    registry: Registry
    ready: Sequence[pulumi.Resource]
    """What stands once a pod can be scheduled and finds its way: system nodes and add-ons."""


def build_compute(settings: StackSettings, account: Account, placement: Placement, foundation: Foundation) -> Compute:
    """Declare the registry, the cluster and its nodes."""
    blueprint, environment = settings.blueprint, account.environment
    platform_key = foundation.encryption.key_arns["platform"]
    boundary_arn = foundation.boundary.arn
    version = blueprint.cluster.kubernetes_version
    network = foundation.network

    registry = Registry(
        "registry",
        blueprint.registry,
        environment=environment,
        key_arn=platform_key,
        boundary_arn=boundary_arn,
        force_delete=not settings.protect_data_stores,
        opts=account.options,
    )
    cluster = Cluster(
        "cluster",
        blueprint.cluster,
        environment=environment,
        vpc_id=network.vpc_id,
        vpc_cidr=network.vpc_cidr,
        subnet_ids=[network.intra_subnet_ids[zone] for zone in sorted(network.intra_subnet_ids)],
        key_arn=platform_key,
        boundary_arn=boundary_arn,
        opts=account.options,
    )
    networking = Addons(
        "networking-addons",
        "before-nodes",
        kubernetes_version=version,
        environment=environment,
        cluster_name=cluster.cluster_name,
        key_arn=platform_key,
        boundary_arn=boundary_arn,
        depends_on=[cluster.resource],
        opts=account.options,
    )
    node_pools = NodePools(
        "node-pools",
        placed_pools(blueprint, placement),
        environment=environment,
        cluster_name=cluster.cluster_name,
        kubernetes_version=version,
        subnet_ids=network.private_subnet_ids,
        security_group_id=cluster.node_security_group_id,
        key_arn=platform_key,
        boundary_arn=boundary_arn,
        pull_through_prefixes=registry.mirror_prefixes,
        depends_on=networking.resources,
        opts=account.options,
    )
    system_nodes = [node_pools.groups[pool.name] for pool in blueprint.node_pools if pool.purpose == "system"]
    workload_addons = Addons(
        "workload-addons",
        "after-nodes",
        kubernetes_version=version,
        environment=environment,
        cluster_name=cluster.cluster_name,
        key_arn=platform_key,
        boundary_arn=boundary_arn,
        depends_on=system_nodes,
        opts=account.options,
    )
    return Compute(
        cluster=cluster, node_pools=node_pools, registry=registry, ready=[*system_nodes, *workload_addons.resources]
    )


def placed_pools(blueprint: Blueprint, placement: Placement) -> list[PlacedPool]:
    """Return the system pools with the zones and the processor that the placement found for them."""
    return [
        PlacedPool(
            spec=pool,
            zone_ids=placement.pools[pool.name].zones,
            architecture=cast(Literal["arm64", "x86_64"], placement.pools[pool.name].architecture),
        )
        for pool in blueprint.node_pools
        if pool.purpose == "system"
    ]
