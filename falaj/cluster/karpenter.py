"""Karpenter with its kwok provider, and the region's instance types as it reads them.

Each offering carries the labels that Karpenter's AWS provider would put on the node (``karpenter.k8s.aws/...``), so
that node pools written for the cloud select the same types here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from blueprints.region import Catalogue, Condition, Figure, InstanceType
from falaj.cluster.configuration import KARPENTER, Layout
from manifests.efa import EFA_RESOURCE, efa_interfaces

GPU_RESOURCE: Final = "nvidia.com/gpu"
SPOT, ON_DEMAND = "spot", "on-demand"

ARCHITECTURES: Final = {"x86_64": "amd64", "arm64": "arm64"}
"""What the catalogue and Kubernetes call a processor."""
_NAME = re.compile(r"^(?P<family>(?P<category>[a-z]+?)(?P<generation>\d+)[a-z-]*)\.(?P<size>.+)$")
_MEBIBYTES_PER_GIB: Final = 1024

VM_MEMORY_OVERHEAD: Final = 0.075
"""Share of the memory that the hypervisor keeps.  Source: Karpenter AWS provider, setting vmMemoryOverheadPercent."""
EVICTION_MEBIBYTES: Final = 100
"""Hard eviction threshold.  Source: Amazon EKS AMI, kubelet configuration."""
PROVIDER_RESERVED_MILLICORES: Final = 100
PROVIDER_RESERVED_MEBIBYTES: Final = 10
"""What the kwok provider takes off by itself, whatever the type.  Source: its newInstanceType."""
NODE_EPHEMERAL_STORAGE_GIB: Final = 100
"""Root volume of the platform's node pools."""


def command(program: Path, layout: Layout, ports: Mapping[str, int]) -> tuple[str, ...]:
    """The program binds its two ports on loopback (tools/karpenter)."""
    return (
        str(program),
        f"--instance-types-file-path={layout.config('instance-types.json')}",
        f"--metrics-port={ports['karpenter-metrics']}",
        f"--health-probe-port={ports['karpenter']}",
    )


def environment(layout: Layout) -> tuple[tuple[str, str], ...]:
    return (
        ("CLUSTER_NAME", "falaj"),
        ("DISABLE_LEADER_ELECTION", "true"),
        ("KARPENTER_SERVICE", ""),
        # A soft rule to spread is the scheduler's to follow over the nodes there are.  Karpenter would by default buy a
        # node for each replica to follow it.  The platform's own Karpenter is set up in the same way.
        ("PREFERENCE_POLICY", "Ignore"),
        ("KUBECONFIG", str(layout.client_config(KARPENTER))),
        ("SYSTEM_NAMESPACE", "kube-system"),
    )


def instance_types(region: Catalogue) -> list[dict[str, Any]]:
    """The region's instance types with an offering for each zone and capacity type that has a price.

    Left out: zones marked lost (the kwok provider takes every offering it reads for available), bare metal (minutes to
    start, never chosen by the blueprints), and whatever has no price, since Karpenter chooses by price.
    """
    standing = {zone.zone_id for zone in region.zones if zone.condition is not Condition.LOST}
    made = []
    for _, kind in sorted(region.instance_types.items()):
        offerings = [] if kind.bare_metal else list(_offerings(kind, standing))
        if offerings:
            made.append(
                {
                    "name": kind.name,
                    "architecture": ARCHITECTURES[kind.architecture],
                    "operatingSystems": ["linux"],
                    "resources": _resources(kind),
                    "offerings": offerings,
                }
            )
    return made


def reserved_millicores(vcpu: int) -> int:
    """What the node keeps of its cores.  Source: Amazon EKS AMI: 6 % of the first, 1 % of the second, 0.5 % of the next
    two, 0.25 % of the rest."""
    shares = [60, 10, 5, 5]
    return math.ceil(sum(shares[:vcpu]) + 2.5 * max(0, vcpu - len(shares)))


def reserved_mebibytes(max_pods: int) -> int:
    """What the node keeps of its memory.  Source: Amazon EKS AMI: 255 MiB and 11 MiB for each pod it may hold."""
    return 255 + 11 * max_pods


def allocatable(kind: InstanceType) -> dict[str, str]:
    """What pods find on a node of this type, after the hypervisor, the kubelet and the system took their share."""
    return _quantities(kind, _free_millicores(kind), _free_mebibytes(kind))


def _resources(kind: InstanceType) -> dict[str, str]:
    """Resources such that, less what the kwok provider reserves, a pod sees what a real node would offer it."""
    return _quantities(
        kind,
        _free_millicores(kind) + PROVIDER_RESERVED_MILLICORES,
        _free_mebibytes(kind) + PROVIDER_RESERVED_MEBIBYTES,
    )


def _free_millicores(kind: InstanceType) -> int:
    return 1000 * kind.vcpu - reserved_millicores(kind.vcpu)


def _free_mebibytes(kind: InstanceType) -> int:
    given = math.floor(kind.memory_gib * _MEBIBYTES_PER_GIB * (1 - VM_MEMORY_OVERHEAD))
    return given - reserved_mebibytes(kind.max_pods) - EVICTION_MEBIBYTES


def _quantities(kind: InstanceType, millicores: int, mebibytes: int) -> dict[str, str]:
    made = {
        "cpu": f"{millicores}m",
        "memory": f"{mebibytes}Mi",
        "pods": str(kind.max_pods),
        "ephemeral-storage": f"{NODE_EPHEMERAL_STORAGE_GIB}Gi",
    }
    if kind.gpu is not None:
        made[GPU_RESOURCE] = str(kind.gpu.count)
    if kind.efa:
        made[EFA_RESOURCE] = str(efa_interfaces(kind))
    return made


def _offerings(kind: InstanceType, standing: set[str]) -> Iterator[dict[str, Any]]:
    labels = _labels(kind)
    for zone in kind.zones:
        if zone not in standing:
            continue
        for capacity, price in ((ON_DEMAND, kind.on_demand), (SPOT, kind.spot.get(zone))):
            if price is not None:
                yield _offering(labels, zone, capacity, price)


def _offering(labels: Mapping[str, str], zone: str, capacity: str, price: Figure) -> dict[str, Any]:
    wanted = {
        "karpenter.sh/capacity-type": capacity,
        "topology.kubernetes.io/zone": zone,
        "topology.k8s.aws/zone-id": zone,
        **labels,
    }
    return {
        "Price": price.value,
        "Available": True,
        "Requirements": [{"key": key, "operator": "In", "values": [value]} for key, value in sorted(wanted.items())],
    }


def _labels(kind: InstanceType) -> dict[str, str]:
    """Labels of Karpenter's AWS provider that follow from the type.  Source: its documentation, well-known labels."""
    parts = _NAME.match(kind.name)
    assert parts is not None, kind.name
    group = "karpenter.k8s.aws"
    labels = {
        f"{group}/instance-family": parts["family"],
        f"{group}/instance-category": parts["category"],
        f"{group}/instance-generation": parts["generation"],
        f"{group}/instance-size": parts["size"],
        f"{group}/instance-cpu": str(kind.vcpu),
        f"{group}/instance-memory": str(math.floor(kind.memory_gib * _MEBIBYTES_PER_GIB)),
    }
    if kind.gpu is not None:
        labels |= {
            f"{group}/instance-gpu-name": kind.gpu.kind.lower(),
            f"{group}/instance-gpu-count": str(kind.gpu.count),
            f"{group}/instance-gpu-memory": str(math.floor(kind.gpu.memory_gib * _MEBIBYTES_PER_GIB)),
            f"{group}/instance-gpu-manufacturer": "nvidia",
        }
    return labels
