"""The burst is over and most of the training is done; Karpenter takes away what is not needed.

It does so under the pools' own policies, but at once: the waiting times and budgets that slow it down in production,
on purpose, are lifted for the drill.
"""

from __future__ import annotations

import math
import time
from typing import Final

from falaj.rehearse.drills.drill import Drill, Goal, Played
from falaj.rehearse.stage import Stage
from falaj.rehearse.workload import SINGLE_JOBS

GANGS_LEFT_PERCENT: Final = 25
QUIET_SECONDS: Final = 30.0
"""Karpenter looks every 10 s and waits 15 s before it acts: who is quiet for longer has nothing left to do."""
MOST_SECONDS: Final = 150.0
"""Karpenter moves node after node where pods have to move first; by then the direction is clear."""


def play(stage: Stage) -> Played:
    planned = stage.planned
    since = time.monotonic()
    for each in planned.serving:
        stage.scale(each.model.name, each.replicas)
    gangs = [workload.group for workload in stage.workloads if workload.gang]
    done = gangs[math.ceil(len(gangs) * GANGS_LEFT_PERCENT / 100) :]
    if planned.single_jobs:
        done.append(SINGLE_JOBS)
    for group in done:
        stage.finish(group)
    stage.let_consolidate("0s")
    settled = stage.wait_until_settled("consolidating", quiet_seconds=QUIET_SECONDS, timeout_seconds=MOST_SECONDS)
    if not settled:
        stage.let_consolidate("Never")
        stage.wait_until_whole("ending the consolidation", timeout_seconds=stage.patience_seconds)
    jobs = len(gangs) + bool(planned.single_jobs)
    return Played(
        since,
        (
            f"serving is back to its stated load, {len(done)} of {jobs} training jobs are done",
            "consolidateAfter and budgets are lifted for the drill; on the cluster they make this slower",
            *(() if settled else (f"Karpenter was still at it after {MOST_SECONDS:g} s",)),
        ),
    )


DRILL = Drill("consolidation", "consolidation after load falls", "consolidation", Goal.SAVING, play)
