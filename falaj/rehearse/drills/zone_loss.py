"""A zone is gone: its nodes and their pods at once, and Karpenter offers nothing there any more.

The managed node group of the system nodes, which no autoscaler makes, is played: its nodes stand in the zones that are
left.  Nothing else is done: what recovers does so by itself.
"""

from __future__ import annotations

import time

from falaj.rehearse.drills.drill import Drill, Goal, Played
from falaj.rehearse.plan import survivable_zones, without_zone
from falaj.rehearse.sightings import Sightings
from falaj.rehearse.stage import Stage


def play(stage: Stage) -> Played:
    zone = stage.zone_to_lose
    assert zone is not None, "chosen before the stage was set"
    left = tuple(each for each in stage.planned.placement.zones if each != zone)

    def gone(sightings: Sightings) -> bool:
        return not any(node.zone == zone for node in sightings.standing_nodes())

    stage.learn(without_zone(stage.planned, zone))
    since = time.monotonic()
    with stage.seen() as sightings:
        lost = [node for node in sightings.standing_nodes() if node.zone == zone]
    pods = stage.take_away(lost)
    stage.stand_system_nodes(left)
    stage.wait_until_whole(f"after the loss of {zone}", timeout_seconds=stage.patience_seconds, and_also=gone)
    risks = tuple(
        f"the loss of {other} would not be survived: {reason}"
        for other, reason in survivable_zones(stage.planned).items()
        if reason
    )
    return Played(since, (f"{zone} was lost with {len(lost)} nodes and {pods} pods", *risks))


DRILL = Drill("zone-loss", "loss of a zone", "zone loss", Goal.RECOVERY, play)
