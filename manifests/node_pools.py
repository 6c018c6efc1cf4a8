"""Karpenter's node pools and node classes from the blueprint's pools.

A NodePool says which nodes may come, how many and when they go; its EC2NodeClass says what machine each is.  Every pool
that is not a system pool gets one of either, of the same name.  ``on_kwok`` puts simulated machines in place of EC2's
and leaves the pools as they are, so that a rehearsal judges the pools that will run.

Pure; a pool that could never make a node is refused by ``check_schedulable``, with the constraint that is in the way.

Source of the fields: the CRDs of Karpenter 1.13 and of its AWS provider 1.14.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from blueprints.errors import PlacementError
from blueprints.placement import Placement, region_of
from blueprints.region import Catalogue, InstanceType
from blueprints.schema import Blueprint, NodePool
from manifests.objects import Manifest, labels, manifest
from manifests.scheduling import (
    GPU_RESOURCE,
    WORKLOAD_LABEL,
    ZONE_ID_LABEL,
    capacity_type,
    is_gang,
    pool_labels,
    pool_taints,
    taint,
)
from manifests.userdata import MAX_PODS, mime_document, node_config

POOL_VERSION: Final = "karpenter.sh/v1"
EC2_NODE_CLASS: Final = ("karpenter.k8s.aws", "v1", "EC2NodeClass")
KWOK_NODE_CLASS: Final = ("karpenter.kwok.sh", "v1alpha1", "KWOKNodeClass")
CAPACITY_TYPE: Final = "karpenter.sh/capacity-type"
INSTANCE_TYPE: Final = "node.kubernetes.io/instance-type"

_ARCHITECTURES: Final = {"arm64": "arm64", "x86_64": "amd64"}
_GPU_FAMILIES_WITH_DISKS: Final = frozenset({"g5", "g6", "g6e", "p5en"})
"""GPU families of the region with local NVMe disks (EC2 instance type guide, accelerated computing)."""

WEIGHTS: Final = {"spot": 60, "on-demand": 40, "gang": 20}
"""Karpenter tries heavier pools first: what is cheap before what is sure, and a gang's nodes last.  A pool loses one
for each GPU of its nodes, so that a pod with one GPU does not start a node with eight."""

SERVING_EXPIRY: Final = "336h"
"""Two weeks: no node that serves is older than the image that the platform pins by then, with its fixes."""
NEVER: Final = "Never"
"""Expiry waits for nobody, and a training job may run for weeks; its nodes go when they are empty instead."""


class UnschedulablePoolError(PlacementError):
    """A node pool that could never make a node; the text names the constraint and the way out."""


@dataclass(frozen=True)
class Machines:
    """What only a deployment knows of its machines; put in place and never looked into (may be Pulumi outputs).

    ``image``: alias of the machine image with its version, such as ``al2023@v20260903``; the NVIDIA variant of it is
    Karpenter's choice on GPU types.  ``subnet_ids``: zone id -> private subnet.  ``tags``: on instances and volumes.
    """

    instance_profile: Any
    subnet_ids: Mapping[str, Any]
    security_group_id: Any
    key_arn: Any
    image: str
    tags: Mapping[str, str]


def karpenter_pools(blueprint: Blueprint) -> tuple[NodePool, ...]:
    """The blueprint's pools that Karpenter makes: all but the system pools."""
    return tuple(pool for pool in blueprint.node_pools if pool.purpose != "system")


def node_pool_objects(
    blueprint: Blueprint, placement: Placement, machines: Machines | None = None, *, region: Catalogue | None = None
) -> list[Manifest]:
    """Node classes and then node pools, in the order of the blueprint.

    Without ``machines`` the classes are kwok's, for a rehearsal or a local cluster.  ``region`` defaults to the
    blueprint's.  Raises UnschedulablePoolError.
    """
    region = region or region_of(blueprint)
    pools = karpenter_pools(blueprint)
    made = [_node_pool(pool, placement, region) for pool in pools]
    check_schedulable(made, region)
    if machines is None:
        return on_kwok(made)
    return [_node_class(pool, placement, machines) for pool in pools] + made


def on_kwok(objects: Sequence[Manifest]) -> list[Manifest]:
    """The same pools on simulated machines: a KWOKNodeClass for each in place of its EC2NodeClass."""
    pools = [copy.deepcopy(made) for made in objects if made["kind"] == "NodePool"]
    group, version, kind = KWOK_NODE_CLASS
    for pool in pools:
        pool["spec"]["template"]["spec"]["nodeClassRef"] |= {"group": group, "kind": kind}
    classes = [
        manifest(f"{group}/{version}", kind, pool["metadata"]["name"], labels=pool["metadata"]["labels"], spec={})
        for pool in pools
    ]
    return classes + pools


def has_instance_store(pool: NodePool) -> bool:
    """Whether every instance type of a pool brings local disks: the GPU families, and those with a ``d`` (``m7gd``)."""
    families = {instance_type.partition(".")[0] for instance_type in pool.instance_types}
    return all(
        family in _GPU_FAMILIES_WITH_DISKS or "d" in family.lstrip("abcdefghijklmnopqrstuvwxyz") for family in families
    )


# -- node pools --------------------------------------------------------------------------------------------------------


def _node_pool(pool: NodePool, placement: Placement, region: Catalogue) -> Manifest:
    types = [region.instance(name) for name in pool.instance_types]
    placed = placement.pools[pool.name]
    group, _, kind = EC2_NODE_CLASS
    requirements = {
        "kubernetes.io/arch": [_ARCHITECTURES[placed.architecture]],
        "kubernetes.io/os": ["linux"],
        CAPACITY_TYPE: [capacity_type(pool)],
        INSTANCE_TYPE: list(pool.instance_types),
        ZONE_ID_LABEL: sorted(placed.zones),
    }
    expiry, grace = _lifetime(pool)
    return manifest(
        POOL_VERSION,
        "NodePool",
        pool.name,
        labels=labels(pool.name, "node-pool"),
        spec={
            "weight": _weight(pool, placed.gpus_per_node),
            "limits": _limits(pool, types),
            "disruption": _disruption(pool),
            "template": {
                "metadata": {"labels": pool_labels(pool)},
                "spec": {
                    "nodeClassRef": {"group": group, "kind": kind, "name": pool.name},
                    "requirements": [
                        {"key": key, "operator": "In", "values": values} for key, values in requirements.items()
                    ],
                    "taints": [taint(spec) for spec in pool_taints(pool)],
                    "expireAfter": expiry,
                    "terminationGracePeriod": grace,
                },
            },
        },
    )


def _weight(pool: NodePool, gpus_per_node: int) -> int:
    return WEIGHTS["gang" if is_gang(pool) else capacity_type(pool)] - min(gpus_per_node, 16)


def _limits(pool: NodePool, types: Sequence[InstanceType]) -> dict[str, str]:
    """``max_nodes`` in what Karpenter counts: resources of so many of the pool's largest nodes."""
    limits = {
        "cpu": str(pool.max_nodes * max(kind.vcpu for kind in types)),
        "memory": f"{pool.max_nodes * math.ceil(max(kind.memory_gib for kind in types))}Gi",
    }
    gpus = max((kind.gpu.count for kind in types if kind.gpu), default=0)
    return limits | ({GPU_RESOURCE: str(pool.max_nodes * gpus)} if gpus else {})


def _trains(pool: NodePool) -> bool:
    return pool.purpose == "gpu" and pool.labels.get(WORKLOAD_LABEL) != "inference"


def _disruption(pool: NodePool) -> dict[str, Any]:
    """When Karpenter may take a node away of its own accord; an interruption by EC2 asks nobody."""
    if _trains(pool):
        # A training worker that is moved costs everything since its last checkpoint, times the size of its gang.
        return {
            "consolidationPolicy": "WhenEmpty",
            "consolidateAfter": "5m",
            "budgets": [
                {"nodes": "100%", "reasons": ["Empty"]},
                {"nodes": "0", "reasons": ["Drifted", "Underutilized"]},
            ],
        }
    if pool.labels.get(WORKLOAD_LABEL) == "batch":
        return {
            "consolidationPolicy": "WhenEmptyOrUnderutilized",
            "consolidateAfter": "1m",
            "budgets": [{"nodes": "20%"}],
        }
    # One node in ten at a time, and not at every dip: a replica that moves starts with cold caches, one with a GPU
    # loads its weights again.
    return {
        "consolidationPolicy": "WhenEmptyOrUnderutilized",
        "consolidateAfter": "10m" if pool.purpose == "gpu" else "5m",
        "budgets": [{"nodes": "10%"}],
    }


def _lifetime(pool: NodePool) -> tuple[str, str]:
    """(expireAfter, terminationGracePeriod): the longest life of a node, and how long its pods may take to leave it."""
    return (NEVER, "1h") if _trains(pool) else (SERVING_EXPIRY, "15m")


# -- node classes ------------------------------------------------------------------------------------------------------


def _node_class(pool: NodePool, placement: Placement, machines: Machines) -> Manifest:
    group, version, kind = EC2_NODE_CLASS
    zones = placement.pools[pool.name].zones
    spec: dict[str, Any] = {
        # Not a role: Karpenter would make an instance profile of it, through an IAM endpoint that the network's
        # allow-list does not have.
        "instanceProfile": machines.instance_profile,
        # One alias and nothing else: the version is in the deployment's diff, and nodes of another one drift.
        "amiSelectorTerms": [{"alias": machines.image}],
        "subnetSelectorTerms": [{"id": machines.subnet_ids[zone]} for zone in sorted(zones)],
        "securityGroupSelectorTerms": [{"id": machines.security_group_id}],
        "associatePublicIPAddress": False,
        "metadataOptions": {
            "httpEndpoint": "enabled",
            "httpProtocolIPv6": "disabled",
            "httpTokens": "required",
            # One hop: a pod on the pod network cannot reach the node's credentials.
            "httpPutResponseHopLimit": 1,
        },
        "blockDeviceMappings": [
            {
                "deviceName": "/dev/xvda",
                "rootVolume": True,
                "ebs": {
                    "volumeType": "gp3",
                    "volumeSize": f"{pool.volume_gib}Gi",
                    "encrypted": True,
                    "kmsKeyID": machines.key_arn,
                    "deleteOnTermination": True,
                },
            }
        ],
        "detailedMonitoring": True,
        # Said here too, for Karpenter's own arithmetic: it does not read user data.
        "kubelet": {"maxPods": MAX_PODS},
        "userData": mime_document(node_config(instance_store_raid=False)),
        "tags": {**machines.tags, "Name": f"{machines.tags['Name']}-{pool.name}"},
    }
    if has_instance_store(pool):
        # Karpenter writes the striping into the user data itself, and counts the disks as ephemeral storage.
        spec["instanceStorePolicy"] = "RAID0"
    return manifest(f"{group}/{version}", kind, pool.name, labels=labels(pool.name, "node-pool"), spec=spec)


# -- whether a pool can make a node ------------------------------------------------------------------------------------


def check_schedulable(objects: Sequence[Manifest], region: Catalogue) -> None:
    """Raise UnschedulablePoolError for a NodePool in ``objects`` that can never make a node in ``region``.

    Narrows the region's offerings by one requirement after the other and names the one that leaves nothing; then holds
    the limits against the smallest node that is left.
    """
    for made in objects:
        if made["kind"] == "NodePool":
            _check_pool(made, region)


def _check_pool(made: Manifest, region: Catalogue) -> None:
    where = f"node_pools.{made['metadata']['name']}"
    template = made["spec"]["template"]["spec"]
    wanted = {each["key"]: each["values"] for each in template["requirements"] if each["operator"] == "In"}
    # What has no price is not offered: Karpenter chooses by price, and leaves out what it has none for.
    offerings = [
        (kind, zone, capacity)
        for kind in region.instance_types.values()
        for zone in kind.zones
        for capacity, price in (("on-demand", kind.on_demand), ("spot", kind.spot.get(zone)))
        if price is not None
    ]
    for key, what in (
        (INSTANCE_TYPE, lambda offering: offering[0].name),
        ("kubernetes.io/arch", lambda offering: _ARCHITECTURES[offering[0].architecture]),
        (ZONE_ID_LABEL, lambda offering: offering[1]),
        (CAPACITY_TYPE, lambda offering: offering[2]),
    ):
        if key not in wanted:
            continue
        left = [offering for offering in offerings if what(offering) in wanted[key]]
        if not left:
            offered = ", ".join(sorted({what(offering) for offering in offerings}))
            raise UnschedulablePoolError(
                f"{where}: no node can come; {key} is kept to {', '.join(wanted[key])}, and what the requirements "
                f"before it leave is offered with {offered or 'nothing'}; change the one or the other"
            )
        offerings = left
    _check_limits(where, made["spec"].get("limits", {}), [offering[0] for offering in offerings])


def _check_limits(where: str, limits: Mapping[str, str], kinds: Sequence[InstanceType]) -> None:
    for name, limit in limits.items():
        smallest = min(kinds, key=lambda kind: _size(kind, name))
        if _quantity(limit) < _size(smallest, name):
            raise UnschedulablePoolError(
                f"{where}: no node can come; limits.{name}={limit} is below its smallest node, {smallest.name} with "
                f"{_size(smallest, name):g}; raise max_nodes or the limit"
            )


def _size(kind: InstanceType, resource: str) -> float:
    if resource == GPU_RESOURCE:
        return kind.gpu.count if kind.gpu else 0
    return kind.vcpu if resource == "cpu" else kind.memory_gib


def _quantity(text: str) -> float:
    return float(text.removesuffix("Gi"))
