"""Plays the drills one after the other and reports each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from falaj.rehearse.drills import DRILLS, Drill
from falaj.rehearse.drills.drill import Played
from falaj.rehearse.errors import AskError
from falaj.rehearse.picture import picture
from falaj.rehearse.plan import Plan
from falaj.rehearse.reasons import never_made, reasons
from falaj.rehearse.report import DrillReport, Report, placement_of, serving_seconds, verdicts
from falaj.rehearse.sightings import placed_over_time
from falaj.rehearse.stage import Stage

FIRST: Final = "scale-from-zero"
"""Every other drill begins with what this one placed."""
ZONE_LOSS: Final = "zone-loss"


def choose(names: Sequence[str]) -> tuple[str, ...]:
    """The drills to judge, in their own order; all of them when none is named.  Raises AskError for an unknown one."""
    for name in names:
        if name not in DRILLS:
            raise AskError(f"--drill {name}: no such drill; allowed: {', '.join(DRILLS)}")
    return tuple(name for name in DRILLS if not names or name in names)


def rehearse(
    stage: Stage, chosen: Sequence[str], *, start_seconds: float, told: Callable[[DrillReport], None] | None = None
) -> Report:
    """Plays ``chosen`` on a stage that is open.  ``told`` hears of each drill when it is over.

    Raises StageError when the control plane fails under it.
    """
    made = []
    for drill in DRILLS.values():
        if drill.name not in chosen and drill.name != FIRST:
            continue
        found = _play(stage, drill, judged=drill.name in chosen)
        made.append(found)
        if told is not None:
            told(found)
        if drill.name == ZONE_LOSS and chosen[-1] != ZONE_LOSS:
            stage.restore()
    planned = stage.planned
    return Report(
        blueprint=planned.blueprint.name,
        region=planned.region.region,
        zones=planned.placement.zones,
        gpus=planned.gpus,
        pods=sum(workload.pods for workload in stage.workloads),
        limit_factor=planned.limit_factor,
        seed=planned.seed,
        aed_per_usd=planned.region.figure("aed_per_usd").value,
        start_seconds=start_seconds,
        drills=tuple(made),
        warnings=planned.warnings,
    )


def _play(stage: Stage, drill: Drill, *, judged: bool) -> DrillReport:
    planned: Plan = stage.planned
    with stage.seen() as sightings:
        before = picture(sightings, planned.region, stage.workloads)
    played: Played = drill.play(stage)
    refusals = {each.pod: each.words for each in stage.refusals()}
    with stage.seen() as sightings:
        after = picture(sightings, planned.region, stage.workloads)
        pods = list(sightings.pods.values())
        pending = (*reasons(sightings.waiting_pods(), refusals), *never_made(stage.wanted, pods))
        ended = sightings.changed_at
        timeline = tuple(placed_over_time(pods, played.since))
    placement = placement_of(pods, played.since)
    serving = serving_seconds(pods, played.since)
    return DrillReport(
        name=drill.name,
        title=drill.title,
        short=drill.short,
        judged=judged,
        seconds=max(0.0, (time.monotonic() if pending else ended) - played.since),
        placement=placement,
        serving_seconds=serving,
        pending=pending,
        before=before,
        after=after,
        timeline=timeline,
        verdicts=verdicts(planned, drill.goal, placement, serving, pending, before, after),
        notes=played.notes,
    )
