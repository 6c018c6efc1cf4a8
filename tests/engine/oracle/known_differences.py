"""The list of differences that stay (differences.toml), read and checked."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.engine.oracle.comparison import DECISIVE, FIELDS
from tests.engine.oracle.scenario import Scenario

LIST: Final = Path(__file__).with_name("differences.toml")
KINDS: Final = ("cli-defect", "choice", "unsupported", "varies", "open")
"""``cli-defect``: the recording's README or data/DIFFERENCES.md calls it a defect of the CLI, or it follows from one.
``choice``: the engine does otherwise on purpose.  ``unsupported``: refused before anything is touched.  ``varies``:
hangs on the timing of the program's threads, so it may differ or not.  ``open``: a shortcoming of the engine."""


@dataclass(frozen=True)
class KnownDifference:
    scenario: str
    steps: tuple[int, ...]
    fields: tuple[str, ...]
    kind: str
    reason: str

    @property
    def decides(self) -> bool:
        return any(field in DECISIVE for field in self.fields)


def known_differences(scenarios: list[Scenario], path: Path = LIST) -> list[KnownDifference]:
    """Raises ValueError for an entry that names no scenario, step, field or kind that exists, or gives no reason."""
    steps = {scenario.name: {step.number for step in scenario.steps} for scenario in scenarios}
    out = []
    for place, entry in enumerate(tomllib.loads(path.read_text()).get("difference", []), 1):
        known = KnownDifference(
            entry["scenario"], tuple(entry["steps"]), tuple(entry["fields"]), entry["kind"], entry["reason"].strip()
        )
        where = f"{path.name}, entry {place} ({known.scenario})"
        if not known.steps or not set(known.steps) <= steps.get(known.scenario, set()):
            raise ValueError(f"{where}: no such scenario, or no such steps: {known.steps}")
        if not known.fields or not set(known.fields) <= set(FIELDS):
            raise ValueError(f"{where}: fields are {', '.join(FIELDS)}; given: {known.fields}")
        if known.kind not in KINDS or not known.reason:
            raise ValueError(f"{where}: kind is one of {', '.join(KINDS)}, and a reason is needed; given: {known.kind}")
        out.append(known)
    return out


def listed(known: list[KnownDifference], scenario: str) -> dict[tuple[int, str], KnownDifference]:
    """By step and field.  Raises ValueError when one is listed twice."""
    out: dict[tuple[int, str], KnownDifference] = {}
    for entry in known:
        if entry.scenario == scenario:
            for place in ((step, field) for step in entry.steps for field in entry.fields):
                if place in out:
                    raise ValueError(f"differences.toml lists {place[1]} of {scenario} step {place[0]} twice")
                out[place] = entry
    return out
