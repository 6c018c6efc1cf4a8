"""The blueprint's own node pools and system nodes, as the rehearsal's control plane takes them.  Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from falaj.cluster.karpenter import reserved_mebibytes, reserved_millicores
from falaj.cluster.kwok import fake_node
from falaj.rehearse.plan import Plan
from manifests.node_pools import INSTANCE_TYPE, node_pool_objects
from manifests.objects import Manifest
from manifests.scheduling import GPU_RESOURCE, ZONE_ID_LABEL, ZONE_LABEL, pool_labels

_QUANTITY: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[A-Za-z]*)")
_ARCHITECTURES: Final = {"arm64": "arm64", "x86_64": "amd64"}


def pool_objects(planned: Plan) -> list[Manifest]:
    """Node classes and node pools: the real ones on simulated machines, which Karpenter leaves alone for now.

    Raises UnschedulablePoolError for a pool that could never make a node.
    """
    made = node_pool_objects(planned.blueprint, planned.placement, region=planned.region)
    return [_rehearsed(each, planned.limit_factor) if each["kind"] == "NodePool" else each for each in made]


def _rehearsed(pool: Mapping[str, Any], limit_factor: float) -> Manifest:
    """A pool that consolidates nothing before its drill; a GPU pool gets limits for the ask."""
    spec = dict(pool["spec"])
    limits = spec.get("limits") or {}
    if GPU_RESOURCE in limits:
        spec["limits"] = {name: times(str(value), limit_factor) for name, value in limits.items()}
    spec["disruption"] = spec["disruption"] | {"consolidateAfter": "Never"}
    return {**pool, "spec": spec}


def times(quantity: str, factor: float) -> str:
    """A whole quantity of Kubernetes, such as ``640`` or ``2560Gi``, ``factor`` times, rounded up."""
    found = _QUANTITY.fullmatch(quantity)
    if found is None:
        raise ValueError(f"quantity {quantity!r}; allowed: a number and a unit, e.g. 2560Gi")
    return f"{math.ceil(float(found['number']) * factor - 1e-9)}{found['unit']}"


def system_nodes(planned: Plan, zones: Sequence[str] = ()) -> Iterator[Manifest]:
    """Nodes of the managed node groups, which no autoscaler makes: spread over ``zones`` (default: those they use)."""
    for pool in planned.blueprint.node_pools:
        if pool.purpose != "system":
            continue
        kind = planned.region.instance(pool.instance_types[0])
        stood = zones or planned.placement.pools[pool.name].zones
        for number in range(pool.desired_nodes):
            zone = stood[number % len(stood)]
            labels = {
                **pool_labels(pool),
                ZONE_LABEL: zone,
                ZONE_ID_LABEL: zone,
                INSTANCE_TYPE: kind.name,
                "kubernetes.io/arch": _ARCHITECTURES[kind.architecture],
            }
            node = fake_node(f"{pool.name}-{number + 1}-{zone}", labels=labels)
            memory = math.floor(kind.memory_gib * 1024) - reserved_mebibytes(kind.max_pods)
            room = {
                "cpu": f"{1000 * kind.vcpu - reserved_millicores(kind.vcpu)}m",
                "memory": f"{memory}Mi",
                "pods": str(kind.max_pods),
            }
            yield {**node, "status": {"capacity": room, "allocatable": room}}
