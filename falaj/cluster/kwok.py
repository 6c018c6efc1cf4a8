"""kwok: nodes and pods without machines.  Every node is managed: there are no others here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from falaj.cluster.configuration import KWOK, LOOPBACK, Layout
from falaj.cluster.errors import BinariesError

POD_RANGE: Final = "10.244.0.1/16"


def command(program: Path, layout: Layout, ports: Mapping[str, int], stages: Iterable[Path]) -> tuple[str, ...]:
    """Raises BinariesError without stage files: kwok ends at once when it has none."""
    files = sorted(stages)
    if not files:
        raise BinariesError("kwok has no stage files; remove its build from the cache and run `falaj cluster up` again")
    return (
        str(program),
        f"--kubeconfig={layout.client_config(KWOK)}",
        "--manage-all-nodes=true",
        f"--cidr={POD_RANGE}",
        f"--server-address={LOOPBACK}:{ports['kwok']}",
        *(f"--config={path}" for path in files),
    )


def fake_node(
    name: str, *, cpu: int = 4, memory_gib: int = 16, labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A node to create by hand, where Karpenter is not to make it; kwok makes it Ready."""
    capacity = {"cpu": str(cpu), "memory": f"{memory_gib}Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **(labels or {})},
        },
        "status": {"capacity": capacity, "allocatable": capacity},
    }
