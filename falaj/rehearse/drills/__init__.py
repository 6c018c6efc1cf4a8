"""The drills: one function each, which plays it on a stage and says what was played.

``DRILLS`` holds them in the order in which they are played: each begins where the one before it ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from falaj.rehearse.drills import consolidation, scale_from_zero, serving_burst, spot_interruption, zone_loss
from falaj.rehearse.drills.drill import Drill

DRILLS: Final[Mapping[str, Drill]] = {
    drill.name: drill
    for drill in (
        scale_from_zero.DRILL,
        spot_interruption.DRILL,
        zone_loss.DRILL,
        serving_burst.DRILL,
        consolidation.DRILL,
    )
}

__all__ = ["DRILLS", "Drill"]
