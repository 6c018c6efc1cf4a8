"""How much a rehearsal's realism costs over bare Karpenter.

    python benchmarks/rehearsal.py [--gpus 400] [--repeats 1] [--json] [--most-seconds 45] [--most-ratio 3]

Both are measured in one run, in turns, on a fresh control plane each:

- bare: one node pool on spot, as many pods as GPUs, a GPU each, nothing else asked of the scheduler;
- rehearsal: the drill `scale-from-zero` of the enterprise blueprint: its real node pools with limits and weights, gangs
  that keep to a zone, serving spread over zones under disruption budgets, batch work and the platform's services.

Elapsed time is from the ask until the last pod stands; processor time is that of all programs of the control plane in
between, which depends less on what else the machine does.  ``--most-seconds`` and ``--most-ratio`` (of processor time)
set the exit code: 1 when the rehearsal took more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from blueprints import load
from falaj.cluster.binaries import Binaries, BinaryStore
from falaj.cluster.control_plane import ControlPlane
from falaj.rehearse.observer import Observer
from falaj.rehearse.plan import plan
from falaj.rehearse.rehearsal import rehearse
from falaj.rehearse.stage import Stage
from falaj.rehearse.workload import GROUP_LABEL, NAMESPACE, ROLE_LABEL

LIMIT_SECONDS: Final = 600.0
TICKS_PER_SECOND: Final = 100.0
"""Of /proc: USER_HZ, the same on every architecture that Linux runs on here."""


@dataclass(frozen=True)
class Run:
    """One measurement.  ``cpu_seconds``: of all programs of the control plane."""

    what: str
    gpus: int
    pods: int
    nodes: int
    first_seconds: float
    p50_seconds: float
    last_seconds: float
    cpu_seconds: float
    resident_mebibytes: int


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A rehearsal against bare Karpenter with one node pool.")
    parser.add_argument("--gpus", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--most-seconds", type=float)
    parser.add_argument("--most-ratio", type=float)
    given = parser.parse_args(arguments)
    binaries = BinaryStore().ensure()
    runs: list[Run] = []
    for _ in range(given.repeats):
        for measure in (bare, rehearsal):
            with tempfile.TemporaryDirectory(prefix="falaj-") as folder:
                runs.append(measure(Path(folder) / "cluster", binaries, given.gpus))
            if given.json:
                print(json.dumps(asdict(runs[-1])), flush=True)
    ours, theirs = ([run for run in runs if run.what == what] for what in ("rehearsal", "bare"))
    if not given.json:
        print_table(runs)
    seconds = statistics.median(run.last_seconds for run in ours)
    elapsed = seconds / statistics.median(run.last_seconds for run in theirs)
    ratio = statistics.median(run.cpu_seconds for run in ours) / statistics.median(run.cpu_seconds for run in theirs)
    if not given.json:
        print(f"rehearsal / bare: {elapsed:.2f} of elapsed time, {ratio:.2f} of processor time")
    late = given.most_seconds is not None and seconds > given.most_seconds
    dear = given.most_ratio is not None and ratio > given.most_ratio
    return 1 if late or dear else 0


def rehearsal(directory: Path, binaries: Binaries, gpus: int) -> Run:
    """The drill `scale-from-zero` of the enterprise blueprint."""
    plane, planned = ControlPlane(directory), plan(load("enterprise"), gpus=gpus)
    with Stage(plane, binaries, planned, zone_to_lose=None, keep=False, progress=lambda *_: None) as stage:
        before = cpu_seconds(plane)
        (drill,) = rehearse(stage, ("scale-from-zero",), start_seconds=0.0).drills
        placed = drill.placement
        if placed is None or drill.pending:
            raise SystemExit(f"{drill.pending_pods} pods were left: {[reason.words for reason in drill.pending]}")
        return Run(
            "rehearsal",
            gpus,
            placed.pods,
            drill.after.nodes,
            placed.first_seconds,
            placed.p50_seconds,
            placed.last_seconds,
            cpu_seconds(plane) - before,
            resident_mebibytes(plane),
        )


def bare(directory: Path, binaries: Binaries, gpus: int) -> Run:
    """One pool, one Deployment."""
    plane = ControlPlane(directory)
    try:
        plane.up(binaries)
        with plane.client() as client:
            client.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
            account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"
            client.wait_for(account, lambda _: True, timeout_seconds=30, what="no service account")
            client.create("/apis/karpenter.kwok.sh/v1alpha1/kwoknodeclasses", named("KWOKNodeClass", {}))
            client.create("/apis/karpenter.sh/v1/nodepools", named("NodePool", ONE_POOL))
            with Observer(client.endpoint, NAMESPACE) as observer:
                before, began = cpu_seconds(plane), time.monotonic()
                client.create(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments", deployment(gpus))
                while time.monotonic() - began < LIMIT_SECONDS:
                    observer.raise_if_blind()
                    with observer.lock:
                        placed = sorted(
                            pod.placed_at - began for pod in observer.sightings.pods.values() if pod.placed_at
                        )
                        nodes = len(observer.sightings.standing_nodes())
                    if len(placed) >= gpus:
                        break
                    time.sleep(0.1)
                else:
                    raise SystemExit(f"bare: {gpus - len(placed)} pods were left after {LIMIT_SECONDS:g} s")
                spent = cpu_seconds(plane) - before
            return Run(
                "bare",
                gpus,
                len(placed),
                nodes,
                placed[0],
                statistics.median(placed),
                placed[-1],
                spent,
                resident_mebibytes(plane),
            )
    finally:
        plane.down(purge=True)


ONE_POOL: Final[dict[str, Any]] = {
    "template": {
        "spec": {
            "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "one"},
            "requirements": [
                {"key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["g5", "g6"]},
                {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
            ],
        }
    },
    "disruption": {"consolidateAfter": "Never"},
}


def named(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    version = "karpenter.sh/v1" if kind == "NodePool" else "karpenter.kwok.sh/v1alpha1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "one"}, "spec": spec}


def deployment(pods: int) -> dict[str, Any]:
    labels = {"app": "one", ROLE_LABEL: "training", GROUP_LABEL: "one"}
    resources = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"nvidia.com/gpu": "1"}}
    container = {"name": "main", "image": "registry.invalid/none:1", "resources": resources}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "one"},
        "spec": {
            "replicas": pods,
            "selector": {"matchLabels": {"app": "one"}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def cpu_seconds(plane: ControlPlane) -> float:
    """Processor time of every program of the control plane so far."""
    status = plane.status()
    assert status is not None
    spent = 0
    for process in status.processes:
        fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        spent += int(fields[11]) + int(fields[12])
    return spent / TICKS_PER_SECOND


def resident_mebibytes(plane: ControlPlane) -> int:
    status = plane.status()
    return 0 if status is None else status.resident_bytes >> 20


def print_table(runs: Sequence[Run]) -> None:
    columns = ("", "GPUs", "pods", "nodes", "first, s", "p50, s", "last, s", "CPU, s", "MiB")
    print("| " + " | ".join(columns) + " |")
    print("|---|" + "---:|" * (len(columns) - 1))
    for run in runs:
        seconds = (run.first_seconds, run.p50_seconds, run.last_seconds, run.cpu_seconds)
        shown = (run.what, f"{run.gpus:,}", f"{run.pods:,}", f"{run.nodes:,}", *(f"{each:.1f}" for each in seconds))
        print("| " + " | ".join((*shown, f"{run.resident_mebibytes:,}")) + " |")


if __name__ == "__main__":
    sys.exit(main())
