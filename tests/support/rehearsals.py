"""Watch events, and whole reports, for tests of the rehearsal's pure parts."""

from __future__ import annotations

from typing import Any

from falaj.rehearse.picture import NodeGroup, Picture
from falaj.rehearse.reasons import Reason
from falaj.rehearse.report import DrillReport, Placement, Report, Verdict
from falaj.rehearse.workload import GROUP_LABEL, ROLE_LABEL


def pod_event(
    uid: str,
    *,
    role: str = "training",
    group: str = "jobs",
    gpus: int = 1,
    node: str = "",
    ready: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """A pod as the API server tells of it; ``more``: ``deleted``, ``refusal``."""
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    if more.get("refusal"):
        conditions.append({"type": "PodScheduled", "status": "False", "message": more["refusal"]})
    metadata: dict[str, Any] = {"name": uid, "uid": uid, "labels": {ROLE_LABEL: role, GROUP_LABEL: group}}
    if more.get("deleted"):
        metadata["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    limits = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    return {
        "metadata": metadata,
        "spec": {"nodeName": node, "containers": [{"resources": {"limits": limits}}]},
        "status": {"phase": "Running" if ready else "Pending", "conditions": conditions},
    }


def node_event(name: str, kind: str, zone: str, *, capacity: str = "spot", gpus: int = 0) -> dict[str, Any]:
    """A node of Karpenter's as the API server tells of it."""
    labels = {
        "karpenter.sh/nodepool": "pool",
        "karpenter.sh/capacity-type": capacity,
        "node.kubernetes.io/instance-type": kind,
        "topology.kubernetes.io/zone": zone,
        "kubernetes.io/hostname": f"claim-of-{name}",
    }
    allocatable = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    return {"metadata": {"name": name, "uid": name, "labels": labels}, "status": {"allocatable": allocatable}}


def picture_of(*groups: NodeGroup, **more: Any) -> Picture:
    """A picture with these nodes."""
    values: dict[str, Any] = {
        "pods": {"training": 8},
        "gpus": sum(group.gpus for group in groups),
        "gpus_held": 0,
        "serving_gpus_held": 0,
        "training_usd_per_hour": 0.0,
        "gangs": 0,
        "gangs_in_one_zone": 0,
    }
    return Picture(node_groups=groups, **(values | more))


def report_of(*, passed: bool = True, pending: tuple[Reason, ...] = ()) -> Report:
    """A report of one drill."""
    before = picture_of()
    after = picture_of(NodeGroup("gpu-spot", "g6.12xlarge", "mec1-az1", "spot", 2, 8, 10.0), gpus_held=8)
    drill = DrillReport(
        name="scale-from-zero",
        title="scale from zero",
        short="from zero",
        judged=True,
        seconds=12.5,
        placement=Placement(8, 3.0, 5.0, 12.0, 12.5),
        serving_seconds=None,
        pending=pending,
        before=before,
        after=after,
        timeline=((0.0, 0), (3.0, 1), (12.5, 8)),
        verdicts=(Verdict("seconds to placement", "at most 120 s", "12.5 s", passed),),
        notes=("a <note> & more",),
    )
    return Report(
        blueprint="enterprise",
        region="me-central-1",
        zones=("mec1-az1",),
        gpus=8,
        pods=8,
        limit_factor=1.0,
        seed=0,
        aed_per_usd=3.6725,
        start_seconds=6.0,
        drills=(drill,),
        warnings=(),
    )
