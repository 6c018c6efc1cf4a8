"""Where pods may run: the taints and labels of node pools, and the parts of a pod's spec that answer them.

One file for both sides, because a label that a pool does not carry is a pod that never runs.  Managed node groups and
Karpenter's node pools carry the same labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from blueprints.schema import Taint
from manifests.objects import LABEL_PREFIX

GPU_TAINT: Final = Taint(key="nvidia.com/gpu", value="true", effect="NO_SCHEDULE")
"""Keeps CPU pods off GPU nodes; the NVIDIA device plugin and every GPU job tolerate it by convention."""
SPOT_TAINT: Final = Taint(key=f"{LABEL_PREFIX}/interruptible", value="true", effect="NO_SCHEDULE")
"""On every spot node: only a pod that says it survives two minutes of notice lands there, so nothing stateful does."""
GANG_TAINT: Final = Taint(key=f"{LABEL_PREFIX}/gang", value="true", effect="NO_SCHEDULE")
"""On the nodes of gangs: a single job there would keep a whole gang waiting."""

POOL_LABEL: Final = f"{LABEL_PREFIX}/pool"
PURPOSE_LABEL: Final = f"{LABEL_PREFIX}/purpose"
CAPACITY_LABEL: Final = f"{LABEL_PREFIX}/capacity"
"""``on-demand`` or ``spot``; unlike ``karpenter.sh/capacity-type`` also on the nodes of managed node groups."""
ZONE_LABEL: Final = "topology.kubernetes.io/zone"
HOST_LABEL: Final = "kubernetes.io/hostname"
GPU_RESOURCE: Final = "nvidia.com/gpu"

_EFFECTS: Final = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}


def taint(spec: Taint) -> dict[str, str]:
    """A taint as Kubernetes spells it (EKS spells effects in capitals)."""
    return {"key": spec.key, "value": spec.value, "effect": _EFFECTS[spec.effect]}


def toleration(spec: Taint) -> dict[str, str]:
    """What a pod says to stand a taint."""
    return {"key": spec.key, "operator": "Equal", "value": spec.value, "effect": _EFFECTS[spec.effect]}


def require_labels(wanted: Mapping[str, str | tuple[str, ...]]) -> dict[str, Any]:
    """A node affinity that admits only nodes with these labels; a tuple lists alternatives."""
    expressions = [
        {"key": key, "operator": "In", "values": [values] if isinstance(values, str) else list(values)}
        for key, values in sorted(wanted.items())
    ]
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
        }
    }


def spread_over_zones(match_labels: Mapping[str, str], *, hard: bool = True) -> list[dict[str, Any]]:
    """Topology spread: over zones, never worse than one apart if ``hard``; over nodes where that is possible.

    The pods of a roll-out that ends are not counted (``matchLabelKeys``), or the new ones would wait for them.
    """
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "DoNotSchedule" if hard and key == ZONE_LABEL else "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(match_labels)},
            "matchLabelKeys": ["pod-template-hash"],
        }
        for key in (ZONE_LABEL, HOST_LABEL)
    ]


def same_zone_as(match_labels: Mapping[str, str]) -> dict[str, Any]:
    """A pod affinity that keeps a gang in its first pod's zone: gradients that cross zones are slow and billed."""
    term = {"topologyKey": ZONE_LABEL, "labelSelector": {"matchLabels": dict(match_labels)}}
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def on_demand() -> dict[str, Any]:
    """Scheduling of what must not be taken back: platform services, stateful ones, online features."""
    return {"affinity": require_labels({CAPACITY_LABEL: "on-demand"}), "tolerations": []}


def interruptible() -> dict[str, Any]:
    """Scheduling of what survives two minutes of notice: spot where there is, on demand otherwise (pool weights)."""
    return {"tolerations": [toleration(SPOT_TAINT)]}


def on_gpu(*, spot: bool, gang: bool = False) -> dict[str, Any]:
    """Scheduling of a GPU pod; with ``spot`` it survives two minutes of notice, with ``gang`` it is one of many."""
    stood = [GPU_TAINT, *([SPOT_TAINT] if spot else []), *([GANG_TAINT] if gang else [])]
    affinity = require_labels({PURPOSE_LABEL: "gpu"} if spot else {PURPOSE_LABEL: "gpu", CAPACITY_LABEL: "on-demand"})
    return {"affinity": affinity, "tolerations": [toleration(spec) for spec in stood]}
