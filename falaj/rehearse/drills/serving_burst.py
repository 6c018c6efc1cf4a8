"""Requests grow by the blueprint's ``burst_factor`` at once; every model gets the replicas that they need."""

from __future__ import annotations

import time

from falaj.rehearse.drills.drill import Drill, Goal, Played
from falaj.rehearse.stage import Stage


def play(stage: Stage) -> Played:
    since = time.monotonic()
    for each in stage.planned.serving:
        stage.scale(each.model.name, each.burst_replicas)
    stage.wait_until_whole("placing the burst", timeout_seconds=stage.patience_seconds)
    grown = ", ".join(f"{each.model.name} {each.replicas} to {each.burst_replicas}" for each in stage.planned.serving)
    return Played(
        since, (f"replicas for {stage.planned.blueprint.rehearsal.burst_factor:g} times the requests: {grown}",)
    )


DRILL = Drill("serving-burst", "burst of serving", "burst", Goal.BURST, play)
