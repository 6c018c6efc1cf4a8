"""Which flights a demonstration takes: what comes in files, what comes as events, what trains and what judges."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.training.configuration import TrainingConfiguration, load_configuration

TRAINING_CONFIGURATION: Final = Path(__file__).parents[1] / "training" / "cpu.yaml"


@dataclass(frozen=True)
class Scope:
    """Times are in UTC, and of when a flight's outcome became known.

    Outcomes of [``first``, ``stream_from``) come in files, those of [``stream_from``, ``until``) as events.
    """

    first: datetime.datetime
    stream_from: datetime.datetime
    until: datetime.datetime
    training: TrainingConfiguration
    workers: int = 2
    """Of the network, under torchrun."""
    skew_rows: int = 300
    """Keys for which training and serving are compared."""


def year() -> Scope:
    """2013: all outcomes up to 30 December in files, the last day as events."""
    # Midnight in New York, so that the day is one of the schedule's.
    last_day = datetime.datetime(2013, 12, 31, 5, tzinfo=datetime.UTC)
    return Scope(
        first=datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC),
        stream_from=last_day,
        # A day and a half: flights of the last evening land the next morning.
        until=last_day + datetime.timedelta(hours=36),
        training=load_configuration(TRAINING_CONFIGURATION),
    )
