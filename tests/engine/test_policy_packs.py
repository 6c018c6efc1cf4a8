import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from falaj.engine.decisions import Refused
from falaj.engine.errors import ConfigError
from falaj.engine.events import Event, PolicyLoaded, PolicyRemediation, PolicyViolation
from falaj.engine.goal import Goal
from falaj.engine.options import PolicyPack
from falaj.engine.policy import PolicyContext
from falaj.engine.policy_packs import PolicyPacks
from falaj.engine.project import Configuration
from falaj.engine.resource_state import ResourceState
from falaj.engine.values import Secret

PACK = Path(__file__).parent / "oracle" / "data" / "scenarios" / "38-policy" / "policy"
CONTEXT = PolicyContext("oracle", "dev", False, Configuration({}))
PROVIDER = "urn:pulumi:dev::oracle::pulumi:providers:fake::default"
TYPE = "fake:index:Thing"


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def packs(events: list[Event]) -> Iterator[PolicyPacks]:
    started = PolicyPacks([PolicyPack(PACK), PolicyPack(PACK, PACK / "strict.json")], CONTEXT, events.append)
    asyncio.run(started.start())
    yield started
    started.close()


def registered(name: str, **inputs: Any) -> tuple[ResourceState, Goal, dict[str, ResourceState]]:
    urn = f"urn:pulumi:dev::oracle::{TYPE}::{name}"
    state = ResourceState(urn, TYPE, True, inputs=inputs, provider=f"{PROVIDER}::1")
    provider = ResourceState(PROVIDER, "pulumi:providers:fake", True, id="1", inputs={"region": "eu"})
    return state, Goal(urn, TYPE, name, True, inputs), {PROVIDER: provider}


def test_all_packs_are_up_before_the_first_resource(packs: PolicyPacks, events: list[Event]) -> None:
    assert [type(event) for event in events] == [PolicyLoaded, PolicyLoaded]


def test_a_resource_passes_when_no_pack_forbids_it(packs: PolicyPacks) -> None:
    assert asyncio.run(packs.analyze(*registered("a", value="even")))
    assert packs.violations == {}
    assert packs.evaluated == 6 + 5  # one policy is switched off in the second


def test_remediated_inputs_are_what_the_resource_gets(packs: PolicyPacks, events: list[Event]) -> None:
    state, goal, providers = registered("a", tags={"env": "dev"}, password=Secret("x"))
    asyncio.run(packs.remediate(state, goal, providers))
    assert state.inputs == {"tags": {"env": "dev", "owner": "policy"}, "password": Secret("x")}
    assert goal.inputs["tags"] == {"env": "dev"}
    assert isinstance(events[-1], PolicyRemediation)


def test_one_mandatory_violation_of_any_pack_is_enough(packs: PolicyPacks, events: list[Event]) -> None:
    assert not asyncio.run(packs.analyze(*registered("a", value="odd")))
    levels = [event.level for event in events if isinstance(event, PolicyViolation)]
    assert levels == ["advisory", "mandatory"]
    assert packs.violations == {"advisory": 1, "mandatory": 1}


def test_the_whole_stack_is_judged_by_all_packs(packs: PolicyPacks) -> None:
    states = []
    for name in "abc":
        state, _, providers = registered(name)
        state.outputs = {"serial": 1}
        states.append(state)
    assert not asyncio.run(packs.analyze_stack([*providers.values(), *states]))
    assert packs.violations == {"mandatory": 1}
    assert asyncio.run(packs.analyze_stack(states[:2]))


def test_a_pack_that_does_not_come_up_stops_the_deployment(tmp_path: Path) -> None:
    (tmp_path / "PulumiPolicy.yaml").write_text("runtime: python\n")
    (tmp_path / "__main__.py").write_text("raise SystemExit(5)")
    packs = PolicyPacks([PolicyPack(tmp_path)], CONTEXT, lambda event: None)
    try:
        with pytest.raises(Refused, match="exit code 5"):
            asyncio.run(packs.start())
    finally:
        packs.close()


def test_unfit_settings_stop_the_deployment(tmp_path: Path) -> None:
    (tmp_path / "levels.json").write_text(json.dumps({"count": {"most": "many"}}))
    packs = PolicyPacks([PolicyPack(PACK, tmp_path / "levels.json")], CONTEXT, lambda event: None)
    try:
        with pytest.raises(Refused, match="'many', which is no integer"):
            asyncio.run(packs.start())
    finally:
        packs.close()


def test_a_pack_that_died_lets_nothing_pass(packs: PolicyPacks) -> None:
    packs._clients[1]._process.kill()
    with pytest.raises(Refused, match=r"corpus (ended with exit code -9|failed)"):
        asyncio.run(packs.analyze(*registered("a", value="even")))


def test_a_folder_without_a_pack_is_refused_and_the_others_are_ended(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"PulumiPolicy\.yaml"):
        PolicyPacks([PolicyPack(PACK), PolicyPack(tmp_path)], CONTEXT, lambda event: None)
