"""What a drill is, and what it says when it was played."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from falaj.rehearse.stage import Stage


class Goal(enum.Enum):
    """Which of the blueprint's targets a drill is held to, beside that no pod is left."""

    PLACEMENT = "placement"
    """Pods placed in time, GPUs packed, a month within the budget."""
    BURST = "burst"
    """Pods placed in time."""
    RECOVERY = "recovery"
    """Serving whole again in time."""
    SAVING = "saving"
    """Less cost than before."""


@dataclass(frozen=True)
class Played:
    """``since``: when it began, on the monotonic clock.  ``notes``: what a reader should know of how it was played."""

    since: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drill:
    """``play`` begins when everything before it has settled, and returns when its outcome is clear."""

    name: str
    title: str
    short: str
    """Title where there is little room."""
    goal: Goal
    play: Callable[[Stage], Played]
