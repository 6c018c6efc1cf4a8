"""A seeded share of the spot nodes is taken back at once.

Karpenter's answer to a notice of interruption is to delete the NodeClaim: the node is tainted, its pods are evicted
under their disruption budgets, and nodes for them are made meanwhile.  The drill deletes the same NodeClaims.  What has
not left when the notice is over ends with its machine; EC2 gives two minutes, the drill waits less.
"""

from __future__ import annotations

import math
import random
import time
from typing import Final

from falaj.rehearse.drills.drill import Drill, Goal, Played
from falaj.rehearse.sightings import Node, Sightings
from falaj.rehearse.stage import Stage

NOTICE_SECONDS: Final = 15.0
"""Enough to evict whatever can be evicted here, where processes end at once."""


def play(stage: Stage) -> Played:
    with stage.seen() as sightings:
        spot = [node for node in sightings.standing_nodes() if node.capacity == "spot" and node.claim]
    taken = chosen(spot, stage.planned.blueprint.rehearsal.spot_interrupted_percent, stage.planned.seed)
    since = time.monotonic()
    if not taken:
        return Played(since, ("no spot node stands, so none could be taken back",))
    names = {node.name for node in taken}

    def gone(sightings: Sightings) -> bool:
        return not any(node.name in names for node in sightings.standing_nodes())

    stage.interrupt(taken)
    notes = [f"{len(taken)} of {len(spot)} spot nodes were taken back"]
    what = "after the interruption"
    if not stage.wait_until_whole(what, timeout_seconds=NOTICE_SECONDS, and_also=gone):
        with stage.seen() as sightings:
            left = [node for node in sightings.standing_nodes() if node.name in names]
        if left:
            pods = stage.take_away(left)
            notes.append(
                f"{pods} pods had not left within {NOTICE_SECONDS:g} s of notice and ended with {len(left)} nodes"
            )
        stage.wait_until_whole(what, timeout_seconds=stage.patience_seconds, and_also=gone)
    return Played(since, tuple(notes))


def chosen(spot: list[Node], percent: float, seed: int) -> list[Node]:
    """``percent`` of the nodes, at least one: the same for the same pools, zones and seed, whatever their names."""
    alike = sorted(spot, key=lambda node: (node.pool, node.instance_type, node.zone, node.created_at, node.name))
    count = min(len(alike), math.ceil(len(alike) * percent / 100))
    return random.Random(seed).sample(alike, count)  # noqa: S311 - which nodes, not a secret


DRILL = Drill("spot-interruption", "spot interruption", "interruption", Goal.RECOVERY, play)
