"""The blueprint's own node pools and system nodes, as the rehearsal's control plane takes them.  Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from falaj.cluster.managed_nodes import managed_nodes
from falaj.rehearse.plan import Plan
from manifests.node_pools import node_pool_objects
from manifests.objects import Manifest
from manifests.scheduling import GPU_RESOURCE

_QUANTITY: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[A-Za-z]*)")


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


def system_nodes(planned: Plan, zones: Sequence[str] = ()) -> list[Manifest]:
    """Nodes of the managed node groups, which no autoscaler makes: spread over ``zones`` (default: those they use)."""
    return managed_nodes(planned.blueprint, planned.placement, planned.region, zones=zones)
