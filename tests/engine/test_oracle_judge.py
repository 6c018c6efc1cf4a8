"""The judge of the differential test is judged: it finds nothing in a recording, and any change made to one."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from falaj.engine.backend import read_state
from tests.engine.oracle.comparison import DECISIVE, FIELDS, Call, Observation, agrees, compare
from tests.engine.oracle.fake_provider import HUNG, changed_paths, equal
from tests.engine.oracle.scenario import DATA, Scenario, scenarios
from tests.engine.oracle.wire import from_wire, to_wire

SCENARIOS = {scenario.number: scenario for scenario in scenarios()}
DIAMOND, CASCADE, SECRETS, POLICY, PARALLEL, CRASH = (SCENARIOS[number] for number in (7, 11, 33, 38, 41, 25))


def as_observed(expected: dict[str, Any]) -> Observation:
    """A recording as if a deployment had done just that."""
    expected = copy.deepcopy(expected)
    counts = expected.get("provider_call_counts", {})
    calls = expected.get("provider_calls") or [{"method": method} for method, n in counts.items() for _ in range(n)]
    return Observation(
        **{
            name: expected[name]
            for name in (
                "exit_code",
                "checkpoint",
                "op_counts",
                "result",
                "operations",
                "diagnostics",
                "stack_outputs",
                "history",
                "locks",
                "world",
            )
        },
        policies=expected.get("policies", []),
        calls=[
            Call({key: value for key, value in call.items() if key not in ("i", "after")}, 2 * place, 2 * place + 1)
            for place, call in enumerate(calls)
        ],
    )


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda scenario: scenario.name)
def test_a_recording_agrees_with_itself(scenario: Scenario) -> None:
    found = {
        step.number: compare(scenario.expected(step.number), as_observed(scenario.expected(step.number)))
        for step in scenario.steps
    }
    assert found == {step.number: [] for step in scenario.steps}


def test_there_are_370_steps_in_52_scenarios() -> None:
    assert (len(SCENARIOS), sum(len(scenario.steps) for scenario in SCENARIOS.values())) == (52, 370)


def _thing(observation: Observation, name: str) -> dict[str, Any]:
    assert observation.checkpoint is not None
    resources = observation.checkpoint["latest"]["resources"]
    return dict(next(item for item in resources if item["urn"].endswith(f"::{name}")))


def _put(observation: Observation, name: str, **changes: Any) -> None:
    assert observation.checkpoint is not None
    resources = observation.checkpoint["latest"]["resources"]
    place = next(place for place, item in enumerate(resources) if item["urn"].endswith(f"::{name}"))
    resources[place] = {**resources[place], **changes}


def _exit_code(observation: Observation) -> None:
    observation.exit_code = 1


def _forgotten_thing(observation: Observation) -> None:
    observation.world.pop(next(iter(observation.world)))


def _second_thing(observation: Observation) -> None:
    observation.world["thing-b-2"] = copy.deepcopy(observation.world["thing-b-1"])


def _missing_resource(observation: Observation) -> None:
    assert observation.checkpoint is not None
    del observation.checkpoint["latest"]["resources"][-1]


def _other_input(observation: Observation) -> None:
    _put(observation, "b", inputs={**_thing(observation, "b")["inputs"], "value": "other"})


def _number_for_text(observation: Observation) -> None:
    _put(observation, "b", outputs={**_thing(observation, "b")["outputs"], "serial": True})


def _forgotten_dependency(observation: Observation) -> None:
    _put(observation, "d", dependencies=_thing(observation, "d")["dependencies"][:1])


def _touched_again(observation: Observation) -> None:
    _put(observation, "b", modified="<time:9>")


def _left_over_operation(observation: Observation) -> None:
    assert observation.checkpoint is not None
    observation.checkpoint["latest"]["pending_operations"] = [{"type": "creating", "resource": {"urn": "x"}}]


def _uncounted(observation: Observation) -> None:
    assert observation.op_counts is not None
    observation.op_counts = {**observation.op_counts, "create": 99}


def _call_twice(observation: Observation) -> None:
    last = observation.calls[-1]
    observation.calls.append(Call(last.fields, 1000, 1001))


def _call_left_out(observation: Observation) -> None:
    observation.calls = [call for call in observation.calls if call.fields["method"] != "Configure"]


def _other_argument(observation: Observation) -> None:
    place = next(i for i, call in enumerate(observation.calls) if call.fields["method"] == "Create")
    call = observation.calls[place]
    observation.calls[place] = Call({**call.fields, "timeout": 5.0}, call.begun, call.ended)


def _create_before_check(observation: Observation) -> None:
    """Changes places with the call before, which is about the same resource."""
    place = next(i for i, call in enumerate(observation.calls) if call.fields["method"] == "Create")
    one, other = observation.calls[place - 1 : place + 1]
    observation.calls[place - 1 : place + 1] = [
        Call(other.fields, one.begun, one.ended),
        Call(one.fields, other.begun, other.ended),
    ]


def _dependent_too_early(observation: Observation) -> None:
    """All calls about d are begun before anything else has ended."""
    observation.calls = [
        Call(call.fields, call.begun - 1000, call.ended) if call.fields.get("urn", "").endswith("::d") else call
        for call in observation.calls
    ]
    observation.calls.sort(key=lambda call: call.begun)


def _lost_output(observation: Observation) -> None:
    observation.stack_outputs = {}


def _operation_failed(observation: Observation) -> None:
    observation.operations[0]["outcome"] = "failed"


def _diagnostic_about_nothing(observation: Observation) -> None:
    observation.diagnostics.append({"severity": "error", "message": "out of the blue"})


def _history_failed(observation: Observation) -> None:
    observation.history = {"kind": "update", "result": "failed", "resourceChanges": {}}


def _lock_left(observation: Observation) -> None:
    observation.locks += 1


def _result_failed(observation: Observation) -> None:
    observation.result = "failed"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (_exit_code, "exit_code"),
        (_forgotten_thing, "world"),
        (_second_thing, "world"),
        (_missing_resource, "checkpoint"),
        (_other_input, "checkpoint"),
        (_number_for_text, "checkpoint"),
        (_forgotten_dependency, "checkpoint"),
        (_touched_again, "checkpoint"),
        (_left_over_operation, "checkpoint"),
        (_uncounted, "op_counts"),
        (_call_twice, "provider_calls"),
        (_call_left_out, "provider_calls"),
        (_other_argument, "provider_calls"),
        (_create_before_check, "provider_calls"),
        (_dependent_too_early, "provider_calls"),
        (_operation_failed, "operations"),
        (_diagnostic_about_nothing, "diagnostics"),
        (_history_failed, "history"),
        (_lock_left, "locks"),
        (_result_failed, "result"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else value,
)
def test_one_change_to_an_update_is_one_difference(change: Callable[[Observation], None], field: str) -> None:
    expected = DIAMOND.expected(1)
    observed = as_observed(expected)
    change(observed)
    assert [difference.field for difference in compare(expected, observed)] == [field]


@pytest.mark.parametrize("field", FIELDS)
def test_only_decisive_fields_keep_a_step_from_agreeing(field: str) -> None:
    from tests.engine.oracle.comparison import Difference

    assert agrees([Difference(field, ("x",))]) is (field not in DECISIVE)


def test_a_masked_secret_is_a_difference() -> None:
    expected = next(
        SECRETS.expected(k) for k in range(2, 9) if "hunter2" in json.dumps(SECRETS.expected(k)["checkpoint"])
    )
    observed = as_observed(expected)
    observed.checkpoint = json.loads(json.dumps(observed.checkpoint).replace("hunter2", "[secret]"))
    assert [difference.field for difference in compare(expected, observed)] == ["checkpoint"]


def test_a_lost_stack_output_is_a_difference() -> None:
    expected = SECRETS.expected(3)
    observed = as_observed(expected)
    _lost_output(observed)
    assert [difference.field for difference in compare(expected, observed)] == ["stack_outputs"]


def test_a_violation_of_another_level_is_a_difference() -> None:
    expected = POLICY.expected(5)
    observed = as_observed(expected)
    next(item for item in observed.policies if item["event"] == "violation")["level"] = "advisory"
    assert [difference.field for difference in compare(expected, observed)] == ["policies"]


def test_where_only_counts_were_recorded_a_further_call_is_a_difference() -> None:
    expected = PARALLEL.expected(1)
    observed = as_observed(expected)
    observed.calls.append(Call({"method": "Create"}, 10_000, 10_001))
    assert [difference.field for difference in compare(expected, observed)] == ["provider_calls"]


def test_a_call_that_failed_is_not_the_same_as_one_that_succeeded() -> None:
    expected = CRASH.expected(1)
    observed = as_observed(expected)
    last = observed.calls[-1]
    assert last.fields["error"] == HUNG
    observed.calls[-1] = Call({k: v for k, v in last.fields.items() if k != "error"}, last.begun, last.ended)
    assert [difference.field for difference in compare(expected, observed)] == ["provider_calls"]


def test_a_provider_may_be_configured_before_or_after_the_question_what_a_replacement_upstream_means() -> None:
    expected = CASCADE.expected(2)
    observed = as_observed(expected)
    about_q = [i for i, call in enumerate(observed.calls) if call.fields.get("urn", "").endswith("providers:fake::q")]
    configure, diff = about_q[:2]
    assert [observed.calls[place].fields["method"] for place in about_q[:2]] == ["Configure", "DiffConfig"]
    one, other = observed.calls[configure], observed.calls[diff]
    observed.calls[configure] = Call(other.fields, one.begun, one.ended)
    observed.calls[diff] = Call(one.fields, other.begun, other.ended)
    assert compare(expected, observed) == []


RAW = {
    "ids": re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"),
    "ciphertexts": re.compile(r"v1:[A-Za-z0-9+/=]{16}:"),
    "times": re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d"),
    "machine paths": re.compile(r"/(tmp|home|root|usr|var|opt|work)/"),
    "addresses": re.compile(r"\b(https?|ftp)://"),
}


@pytest.mark.parametrize("kind", RAW)
def test_the_recordings_hold_no(kind: str) -> None:
    holding = [path for path in sorted((DATA / "scenarios").glob("*/expected/*")) if RAW[kind].search(path.read_text())]
    assert holding == []


@pytest.mark.parametrize("kind", ["machine paths", "addresses"])
def test_neither_programs_nor_backends_hold(kind: str) -> None:
    files = [path for path in sorted(DATA.rglob("*")) if path.is_file() and path.suffix not in (".zip", ".tar", ".pyc")]
    assert files
    texts = {path: read_state(path).decode() for path in files}
    assert [path for path, text in texts.items() if RAW[kind].search(text)] == []


@pytest.mark.parametrize(
    ("old", "new", "paths"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": True}, {"a": 1}, ["a"]),
        ({"a": [1, 2]}, {"a": [1]}, ["a[1]"]),
        ({"a": {"odd key": 1}}, {"a": {}}, ['a["odd key"]']),
        ({"a": "04da6b54-80e4-46f7-96ec-b56ff0331ba9"}, {"a": "04da6b54-80e4-46f7-96ec-b56ff0331ba9"}, ["a"]),
    ],
)
def test_the_fake_provider_finds_the_paths_that_changed(old: Any, new: Any, paths: list[str]) -> None:
    assert [path for path, _ in changed_paths(old, new)] == paths
    assert equal(old, new) is (not paths)


def test_values_survive_the_way_to_the_provider_and_back() -> None:
    sent = json.loads((DATA / "scenarios/34-assets/expected/step-2.json").read_text())["checkpoint"]["latest"]
    for resource in sent["resources"]:
        value = resource.get("inputs", {})
        assert to_wire(from_wire(value)) == value
