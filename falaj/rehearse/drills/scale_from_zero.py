"""Everything is asked at once of a cluster that has only its system nodes."""

from __future__ import annotations

import time

from falaj.rehearse.drills.drill import Drill, Goal, Played
from falaj.rehearse.stage import Stage


def play(stage: Stage) -> Played:
    since = time.monotonic()
    stage.ask()
    stage.wait_until_whole("placing everything", timeout_seconds=stage.patience_seconds)
    return Played(since)


DRILL = Drill("scale-from-zero", "scale from zero", "from zero", Goal.PLACEMENT, play)
