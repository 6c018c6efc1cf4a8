"""The nodes of managed node groups, simulated by kwok: in the cloud EKS would run them, and Karpenter all others.

They carry the labels, taints and sizes that EKS gives them, so that what is scheduled here is scheduled there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from blueprints import Blueprint
from blueprints.placement import PoolPlacement, place, region_of
from blueprints.region import InstanceType
from blueprints.schema import NodePool
from falaj.cluster import karpenter
from manifests.scheduling import CAPACITY_LABEL, HOST_LABEL, POOL_LABEL, PURPOSE_LABEL, ZONE_LABEL, taint


def managed_nodes(blueprint: Blueprint) -> list[dict[str, Any]]:
    """Nodes to create: ``desired_nodes`` of each system pool, in turn over the zones where the blueprint places it.

    Raises PlacementError for a blueprint that has no place.
    """
    placement, region = place(blueprint), region_of(blueprint)
    made: list[dict[str, Any]] = []
    for pool in blueprint.node_pools:
        if pool.purpose == "system":
            made += _nodes(pool, placement.pools[pool.name], region.instance(pool.instance_types[0]))
    return made


def _nodes(pool: NodePool, placed: PoolPlacement, kind: InstanceType) -> Iterator[dict[str, Any]]:
    capacity = {"cpu": str(kind.vcpu), "memory": f"{int(kind.memory_gib)}Gi", "pods": str(kind.max_pods)}
    for index in range(pool.desired_nodes):
        zone = placed.zones[index % len(placed.zones)]
        name = f"{pool.name}-{zone}-{index}"
        labels = {
            HOST_LABEL: name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": karpenter.ARCHITECTURES[kind.architecture],
            "node.kubernetes.io/instance-type": kind.name,
            "eks.amazonaws.com/nodegroup": pool.name,
            "topology.k8s.aws/zone-id": zone,
            ZONE_LABEL: zone,
            POOL_LABEL: pool.name,
            PURPOSE_LABEL: pool.purpose,
            CAPACITY_LABEL: pool.capacity.replace("_", "-"),
            **pool.labels,
        }
        yield {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": labels},
            "spec": {"taints": [taint(each) for each in pool.taints]},
            "status": {"capacity": capacity, "allocatable": karpenter.allocatable(kind)},
        }
