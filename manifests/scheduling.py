"""Where pods may run: the taints and labels of node pools, and the parts of a pod's spec that answer them.

One file for both sides, because a label that a pool does not carry is a pod that never runs.  Managed node groups and
Karpenter's node pools carry the same labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from blueprints.schema import NodePool, Taint
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
WORKLOAD_LABEL: Final = f"{LABEL_PREFIX}/workload"
"""What a blueprint means a pool for: ``inference``, ``batch``, ``training`` or ``gang``."""
GANG_LABEL: Final = GANG_TAINT.key
"""On the nodes of gangs, beside the taint of the same key."""
GPU_PRESENT_LABEL: Final = f"{GPU_TAINT.key}.present"
"""On GPU nodes: where the device plugin and the exporter of metrics run."""
GPU_CONFIG_LABEL: Final = "nvidia.com/device-plugin.config"
"""How the device plugin divides the GPUs of a node: a profile of ``manifests.gpu``."""
ZONE_LABEL: Final = "topology.kubernetes.io/zone"
"""A letter in the cloud, which means another zone in every account: only to spread by, never to name one."""
ZONE_ID_LABEL: Final = "topology.k8s.aws/zone-id"
"""``mec1-az1``: to name a zone."""
HOST_LABEL: Final = "kubernetes.io/hostname"
GPU_RESOURCE: Final = "nvidia.com/gpu"

_EFFECTS: Final = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}


def capacity_type(pool: NodePool) -> str:
    """``on-demand`` or ``spot``."""
    return pool.capacity.replace("_", "-")


def is_gang(pool: NodePool) -> bool:
    """Whether a pool admits only jobs that start on many nodes or not at all."""
    return any(taint.key == GANG_TAINT.key for taint in pool.taints)


def gpu_profile(pool: NodePool) -> str:
    """Value of ``GPU_CONFIG_LABEL`` on the nodes of a GPU pool: ``whole``, ``time-sliced-4``, ``mps-4``."""
    sharing = pool.gpu_sharing
    return "whole" if sharing.strategy == "whole" else f"{sharing.strategy.replace('_', '-')}-{sharing.replicas}"


def pool_taints(pool: NodePool) -> tuple[Taint, ...]:
    """The blueprint's taints and those that the purpose and the capacity demand, by key."""
    taints = {taint.key: taint for taint in pool.taints}
    if pool.purpose == "gpu":
        taints.setdefault(GPU_TAINT.key, GPU_TAINT)
    if pool.capacity == "spot":
        taints.setdefault(SPOT_TAINT.key, SPOT_TAINT)
    return tuple(taints[key] for key in sorted(taints))


def pool_labels(pool: NodePool) -> dict[str, str]:
    """The blueprint's labels and those by which pods and people find the nodes of a pool."""
    labels = {
        POOL_LABEL: pool.name,
        PURPOSE_LABEL: pool.purpose,
        CAPACITY_LABEL: capacity_type(pool),
        **pool.labels,
    }
    if pool.purpose == "gpu":
        labels |= {GPU_PRESENT_LABEL: "true", GPU_CONFIG_LABEL: gpu_profile(pool)}
    if is_gang(pool):
        labels[GANG_LABEL] = "true"
    return dict(sorted(labels.items()))


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


def on_gpu(*, spot: bool, gang: bool = False, workload: str = "") -> dict[str, Any]:
    """Scheduling of a GPU pod; with ``spot`` it survives two minutes of notice and falls back to on demand.

    With ``gang`` it is one of many that start together, and runs only on nodes of gangs (``is_gang``).  ``workload``
    keeps it to the pools that the blueprint means for it, so that training does not take the room of serving.
    """
    stood = [GPU_TAINT, *([SPOT_TAINT] if spot else []), *([GANG_TAINT] if gang else [])]
    wanted = {PURPOSE_LABEL: "gpu"}
    if not spot:
        wanted[CAPACITY_LABEL] = "on-demand"
    if gang:
        wanted[GANG_LABEL] = "true"
    if workload:
        wanted[WORKLOAD_LABEL] = workload
    return {"affinity": require_labels(wanted), "tolerations": [toleration(spec) for spec in stood]}
