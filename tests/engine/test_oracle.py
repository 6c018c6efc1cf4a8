"""The embedded engine does what the Pulumi CLI was recorded to do (tests/engine/oracle/README.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.oracle.comparison import DECISIVE
from tests.engine.oracle.known_differences import KnownDifference, known_differences, listed
from tests.engine.oracle.replay import Replay, StepResult
from tests.engine.oracle.scenario import REQUIRED_SCENARIOS, REQUIRED_STEPS, Scenario, scenarios

SCENARIOS = scenarios()
KNOWN = known_differences(SCENARIOS)
CROWDED = (7, 10, 23, 52)  # diamonds, delete before replace, refresh, and everything together


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_engine_does_what_the_cli_did(
    scenario: Scenario, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """It differs from the recordings exactly where differences.toml says so; the state is sound after every step."""
    results = list(Replay(scenario, tmp_path).run())
    agreeing = sum(result.agrees for result in results)
    record_property("oracle", json.dumps({"steps": len(scenario.steps), "agree": agreeing}))
    news = surprises(results, listed(KNOWN, scenario.name))
    assert not news, "\n".join(news)


def surprises(results: list[StepResult], known: Mapping[tuple[int, str], KnownDifference]) -> list[str]:
    """Differences that are not listed, and entries of the list that no longer differ."""
    news = []
    found = set()
    for result in results:
        step = result.step.number
        found |= {(step, difference.field) for difference in result.differences}
        unlisted = [difference for difference in result.differences if (step, difference.field) not in known]
        news += [f"step {step} differs in {difference}" for difference in unlisted]
        if unlisted and result.problem:
            news.append(f"(step {step} ended with {result.problem})")
    return news + [
        f"step {step} no longer differs in {field}: take it out of differences.toml"
        for (step, field), entry in known.items()
        if (step, field) not in found and entry.kind != "varies"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("number", CROWDED)
def test_sixteen_operations_at_once_come_to_the_same(number: int, tmp_path: Path) -> None:
    """The recordings were made with one operation at a time; what they decide must not hang on that."""
    scenario = next(item for item in SCENARIOS if item.number == number)
    crowded = replace(scenario, steps=tuple(replace(step, parallel=16) for step in scenario.steps))
    found = [
        f"step {result.step.number} differs in {difference}"
        for result in Replay(crowded, tmp_path).run()
        for difference in result.differences
        if difference.field in DECISIVE
    ]
    assert not found, "\n".join(found)


def test_at_least_300_of_370_steps_agree() -> None:
    """The other test holds the list of differences to be complete and true, so the list tells how many there are."""
    differing = {(entry.scenario, step) for entry in KNOWN if entry.decides for step in entry.steps}
    total = sum(len(scenario.steps) for scenario in SCENARIOS)
    assert total - len(differing) >= REQUIRED_STEPS


@pytest.mark.parametrize("number", REQUIRED_SCENARIOS)
def test_a_required_scenario_differs_only_where_the_cli_is_at_fault_or_chance_decides(number: int) -> None:
    name = next(scenario.name for scenario in SCENARIOS if scenario.number == number)
    deciding = [entry for entry in KNOWN if entry.scenario == name and entry.decides]
    assert [entry for entry in deciding if entry.kind not in ("cli-defect", "varies")] == []
