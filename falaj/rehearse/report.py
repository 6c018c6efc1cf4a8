"""What a rehearsal found, drill by drill, and whether it met the blueprint's targets.  Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from blueprints.cost import HOURS_PER_MONTH, estimate
from falaj.rehearse.drills.drill import Goal
from falaj.rehearse.picture import Picture
from falaj.rehearse.plan import Plan
from falaj.rehearse.reasons import Reason
from falaj.rehearse.sightings import Pod
from falaj.rehearse.workload import SERVING


@dataclass(frozen=True)
class Placement:
    """Seconds from the start of a drill until its pods stood; of those that did."""

    pods: int
    first_seconds: float
    p50_seconds: float
    p99_seconds: float
    last_seconds: float


@dataclass(frozen=True)
class Verdict:
    """One target.  ``wanted`` and ``got`` are for people; ``passed`` is what counts."""

    target: str
    wanted: str
    got: str
    passed: bool


@dataclass(frozen=True)
class DrillReport:
    """One drill.  ``judged`` is False for one that was played only because another needed it."""

    name: str
    title: str
    short: str
    judged: bool
    seconds: float
    placement: Placement | None
    serving_seconds: float | None
    """Until serving was whole; None when nothing of it had to be placed, or it never was."""
    pending: tuple[Reason, ...]
    before: Picture
    after: Picture
    timeline: tuple[tuple[float, int], ...]
    """(seconds, pods that stand)."""
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return all(verdict.passed for verdict in self.verdicts)

    @property
    def pending_pods(self) -> int:
        return sum(reason.pods for reason in self.pending)


@dataclass(frozen=True)
class Report:
    """A whole rehearsal."""

    blueprint: str
    region: str
    zones: tuple[str, ...]
    gpus: int
    pods: int
    limit_factor: float
    seed: int
    aed_per_usd: float
    start_seconds: float
    """Until the control plane was ready."""
    drills: tuple[DrillReport, ...]
    warnings: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return all(drill.passed for drill in self.drills if drill.judged)

    def aed(self, usd: float) -> float:
        return usd * self.aed_per_usd


def placement_of(pods: Sequence[Pod], since: float) -> Placement | None:
    """How long the pods that were placed after ``since`` took; None if there are none."""
    taken = sorted(pod.placed_at - since for pod in pods if pod.placed_at is not None and pod.placed_at >= since)
    if not taken:
        return None
    return Placement(len(taken), taken[0], percentile(taken, 50), percentile(taken, 99), taken[-1])


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of them do not exceed.  ``ordered`` rises and is not empty."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def serving_seconds(pods: Sequence[Pod], since: float) -> float | None:
    """Until the last serving pod stood; None when none was placed or one still waits."""
    serving = [pod for pod in pods if pod.role == SERVING]
    if any(pod.waits for pod in serving):
        return None
    found = placement_of(serving, since)
    return None if found is None else found.last_seconds


def verdicts(
    planned: Plan,
    goal: Goal,
    placement: Placement | None,
    serving: float | None,
    pending: Sequence[Reason],
    before: Picture,
    after: Picture,
) -> tuple[Verdict, ...]:
    """A drill held to the targets that belong to it."""
    targets = planned.blueprint.rehearsal
    left = sum(reason.pods for reason in pending)
    made = [_at_most("pods left pending", targets.pending_pods, left, "")]
    last = 0.0 if placement is None else placement.last_seconds
    if goal in (Goal.PLACEMENT, Goal.BURST):
        made.append(_at_most("seconds to placement", targets.placement_seconds, last, " s"))
    if goal is Goal.RECOVERY:
        whole = 0.0 if placement is None else serving
        if any(group for reason in pending for group in reason.groups if group in _models(planned)):
            made.append(Verdict("serving recovers", f"{targets.recovery_seconds:g} s", "never", False))
        else:
            made.append(_at_most("serving recovers", targets.recovery_seconds, whole or 0.0, " s"))
    if goal is Goal.PLACEMENT:
        made += _packing(targets.gpu_packing_percent, after)
        made += _month(planned, after)
    if goal is Goal.SAVING:
        wanted, got = f"under USD {before.usd_per_hour:,.2f}/h", f"USD {after.usd_per_hour:,.2f}/h"
        made.append(Verdict("cost falls", wanted, got, after.usd_per_hour < before.usd_per_hour))
    if after.gangs:
        together = after.gangs_in_one_zone == after.gangs
        made.append(Verdict("gangs in one zone", str(after.gangs), str(after.gangs_in_one_zone), together))
    return tuple(made)


def _month(planned: Plan, after: Picture) -> list[Verdict]:
    """Nothing for a scaled ask without a target of its own: the budget is for what the blueprint itself asks."""
    stated = planned.blueprint.rehearsal.usd_per_month
    if planned.scaled and not stated:
        return []
    month, cap = month_usd(planned, after), stated or planned.blueprint.budget.usd_per_month
    return [Verdict("a month at these nodes", f"USD {cap:,.0f}", f"USD {month:,.0f}", month <= cap)]


def month_usd(planned: Plan, placed: Picture) -> float:
    """What a month costs when what does not train stands all month, and training takes the hours that the blueprint
    states at the price of a GPU-hour that was rehearsed.  What is not a node is priced by the blueprint's bill."""
    bill = estimate(planned.blueprint, planned.region, planned.placement)
    pools = {pool.name for pool in planned.blueprint.node_pools}
    nodes = sum(
        item.expected_usd
        for item in bill.items
        if item.group == "compute" and (item.name.partition(":")[0] in pools or item.name.startswith("training:"))
    )
    trained = placed.gpus_held - placed.serving_gpus_held
    per_gpu_hour = placed.training_usd_per_hour / trained if trained else 0.0
    standing = (placed.usd_per_hour - placed.training_usd_per_hour) * HOURS_PER_MONTH
    return bill.expected_usd - nodes + standing + planned.blueprint.training.gpu_hours_per_month * per_gpu_hour


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain data; the form is docs/rehearsal.md's."""
    return {
        "blueprint": report.blueprint,
        "region": report.region,
        "zones": list(report.zones),
        "gpus": report.gpus,
        "pods": report.pods,
        "limit_factor": round(report.limit_factor, 3),
        "seed": report.seed,
        "passed": report.passed,
        "start_seconds": round(report.start_seconds, 2),
        "drills": [_drill_json(report, drill) for drill in report.drills],
        "warnings": list(report.warnings),
    }


def _drill_json(report: Report, drill: DrillReport) -> dict[str, Any]:
    placement = drill.placement
    return {
        "name": drill.name,
        "judged": drill.judged,
        "passed": drill.passed,
        "seconds": round(drill.seconds, 2),
        "placement": None if placement is None else _rounded(asdict(placement)),
        "serving_seconds": None if drill.serving_seconds is None else round(drill.serving_seconds, 2),
        "pending_pods": drill.pending_pods,
        "pending": [asdict(reason) for reason in drill.pending],
        "before": _picture_json(report, drill.before),
        "after": _picture_json(report, drill.after),
        "verdicts": [asdict(verdict) for verdict in drill.verdicts],
        "notes": list(drill.notes),
        "timeline": [list(point) for point in drill.timeline],
    }


def _picture_json(report: Report, picture: Picture) -> dict[str, Any]:
    packing = picture.gpu_packing_percent
    return {
        "nodes": picture.nodes,
        "node_groups": [_rounded(asdict(group)) for group in picture.node_groups],
        "pods": picture.pods,
        "gpus": picture.gpus,
        "gpus_held": picture.gpus_held,
        "gpu_packing_percent": None if packing is None else round(packing, 1),
        "gangs": picture.gangs,
        "gangs_in_one_zone": picture.gangs_in_one_zone,
        "usd_per_hour": round(picture.usd_per_hour, 2),
        "aed_per_hour": round(report.aed(picture.usd_per_hour), 2),
    }


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: round(value, 2) if isinstance(value, float) else value for key, value in values.items()}


def _packing(wanted: float, after: Picture) -> list[Verdict]:
    got = after.gpu_packing_percent
    return [] if got is None else [Verdict("GPU packing", f"{wanted:g} %", f"{got:.0f} %", got >= wanted)]


def _at_most(target: str, wanted: float, got: float, unit: str) -> Verdict:
    shown = f"{got:.1f}" if isinstance(got, float) else str(got)
    return Verdict(target, f"at most {wanted:g}{unit}", f"{shown}{unit}", got <= wanted)


def _models(planned: Plan) -> set[str]:
    return {each.model.name for each in planned.serving}
