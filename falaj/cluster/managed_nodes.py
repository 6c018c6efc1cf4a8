"""The nodes of managed node groups, simulated by kwok: in the cloud EKS would run them, and Karpenter all others.

They carry the labels, taints and sizes that EKS gives them, so that what is scheduled here is scheduled there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from blueprints import Blueprint
from blueprints.placement import Placement, place, region_of
from blueprints.region import Catalogue, InstanceType
from blueprints.schema import NodePool
from falaj.cluster import karpenter
from falaj.cluster.kwok import fake_node
from manifests.node_pools import INSTANCE_TYPE
from manifests.scheduling import ZONE_ID_LABEL, ZONE_LABEL, pool_labels, taint


def managed_nodes(
    blueprint: Blueprint,
    placement: Placement | None = None,
    region: Catalogue | None = None,
    *,
    zones: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Nodes to create: ``desired_nodes`` of each system pool, in turn over ``zones`` (default: where it is placed).

    Raises PlacementError for a blueprint that has no place.
    """
    region = region or region_of(blueprint)
    placement = placement or place(blueprint, region)
    return [
        node
        for pool in blueprint.node_pools
        if pool.purpose == "system"
        for node in _nodes(pool, zones or placement.pools[pool.name].zones, region.instance(pool.instance_types[0]))
    ]


def _nodes(pool: NodePool, zones: Sequence[str], kind: InstanceType) -> Iterator[dict[str, Any]]:
    capacity = {"cpu": str(kind.vcpu), "memory": f"{int(kind.memory_gib)}Gi", "pods": str(kind.max_pods)}
    for number in range(pool.desired_nodes):
        zone = zones[number % len(zones)]
        labels = {
            **pool_labels(pool),
            "kubernetes.io/arch": karpenter.ARCHITECTURES[kind.architecture],
            "eks.amazonaws.com/nodegroup": pool.name,
            INSTANCE_TYPE: kind.name,
            ZONE_LABEL: zone,
            ZONE_ID_LABEL: zone,
        }
        yield {
            **fake_node(f"{pool.name}-{number + 1}-{zone}", labels=labels),
            "spec": {"taints": [taint(each) for each in pool.taints]},
            "status": {"capacity": capacity, "allocatable": karpenter.allocatable(kind)},
        }
