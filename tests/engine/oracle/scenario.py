"""The recordings: scenarios with their steps and what the CLI did at each (format: data/README.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

DATA: Final = Path(__file__).with_name("data")
PASSPHRASE: Final = "falaj"
PROJECT: Final = "oracle"
DEPLOYMENTS: Final = ("up", "preview", "refresh", "destroy", "import")
REQUIRED_SCENARIOS: Final = (*range(1, 19), 22, 23, *range(25, 36), 38, 40, 41, 42, 48, 49, 52)
"""Numbers of the scenarios in which every step has to agree."""
REQUIRED_STEPS: Final = 300


@dataclass(frozen=True)
class Kill:
    """Send ``signal`` to the deployment a moment after this provider call began for the resource named ``name``."""

    method: str
    name: str
    signal: str  # KILL | INT


@dataclass(frozen=True)
class Step:
    number: int
    command: str
    note: str = ""
    flags: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    stack: str = "dev"
    config: Mapping[str, Any] = field(default_factory=dict)
    world: Sequence[Mapping[str, Any]] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    parallel: int = 1
    kill: Kill | None = None

    @property
    def is_deployment(self) -> bool:
        return self.command in DEPLOYMENTS


@dataclass(frozen=True)
class Scenario:
    name: str
    folder: Path
    steps: tuple[Step, ...]
    env: Mapping[str, str]

    @property
    def number(self) -> int:
        return int(self.name.partition("-")[0])

    def expected(self, step: int) -> dict[str, Any]:
        """What the CLI did at this step."""
        return dict(json.loads((self.folder / "expected" / f"step-{step}.json").read_text()))


def load_scenario(folder: Path) -> Scenario:
    plan = json.loads((folder / "steps.json").read_text())
    steps = []
    for number, step in enumerate(plan["steps"], 1):
        kill = step.get("kill")
        steps.append(
            Step(
                number,
                step["command"],
                step.get("note", ""),
                tuple(step.get("flags", ())),
                tuple(step.get("args", ())),
                step.get("stack", "dev"),
                step.get("config", {}),
                step.get("world", ()),
                step.get("env", {}),
                step.get("parallel", 1),
                Kill(kill["method"], kill["name"], kill["signal"]) if kill else None,
            )
        )
    return Scenario(folder.name, folder, tuple(steps), plan.get("env", {}))


def scenarios() -> list[Scenario]:
    """All scenarios, by number."""
    return [load_scenario(path.parent) for path in sorted((DATA / "scenarios").glob("*/steps.json"))]
