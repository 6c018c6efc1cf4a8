"""A deployment that is killed or interrupted leaves a state from which the next one converges.

What Pulumi's protocol allows, and no more, may be left over outside: a create whose effect came, but whose answer never
reached the engine, has made a thing that no state knows.  The engine then holds a pending operation "creating" for that
resource, and the next `up` makes a second thing.  Nothing else is ever made twice, and nothing that the state knows is
forgotten.  The other way round a delete whose answer got lost leaves a resource in the state whose thing has gone: only
`up --refresh` can tell.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from falaj.engine.errors import DeploymentError
from falaj.engine.options import Interrupt, Options
from falaj.engine.stack import Stack
from tests.engine.oracle.engine_step import perform
from tests.engine.oracle.fake_provider import HANG_SECONDS, FakeHost
from tests.engine.oracle.fake_world import CallLog
from tests.engine.oracle.logs import log_lines
from tests.engine.oracle.normalise import resources_of
from tests.engine.oracle.processes import perform_elsewhere
from tests.engine.oracle.request import Request
from tests.engine.oracle.scenario import PASSPHRASE
from tests.engine.oracle.scratch import Scratch

RESOURCES = 20
PARALLEL = 4
SEED = 20
PROGRAM = f"""
import pulumi
from pulumi import ResourceOptions as Opts
from fake_sdk import Group, Thing, step

n = step()
groups = [Group("left"), Group("right")]
things = []
for i in range({RESOURCES}):
    inputs = {{"value": things[i - 3].serial if i >= 3 else i, "round": n if i % 3 == 0 else 0}}
    if i % 4 == 1:
        inputs["replace" if i % 8 == 1 else "dbr_replace"] = str(n)
    things.append(Thing(f"t{{i:02}}", **inputs, opts=Opts(parent=groups[i % 2])))
pulumi.export("last", things[-1].id)
"""


def plans() -> list[tuple[str, int, str]]:
    """(operation, number of the provider call, moment): four kills in each of three operations."""
    dice = random.Random(SEED)
    calls = {"create": 2 + 2 * RESOURCES, "change": 2 + 3 * RESOURCES, "destroy": 1 + RESOURCES}
    return [
        (operation, dice.randint(3, most), moment)
        for operation, most in calls.items()
        for moment in ("begin", "end", "begin", "end")
    ]


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    source = tmp_path / "source"
    source.mkdir()
    (source / "Pulumi.yaml").write_text("name: oracle\nruntime: python\n")
    (source / "__main__.py").write_text(PROGRAM)
    made = Scratch(tmp_path / "work", source)
    made.init_stack("dev")
    configure(made, 1)
    return made


def configure(scratch: Scratch, round_: int) -> None:
    scratch.configure("dev", {"step": str(round_)})


def request(scratch: Scratch, command: str, **fields: Any) -> Request:
    return scratch.request(command, "dev", f"events-{command}.jsonl", parallel=PARALLEL, **fields)


def succeed(scratch: Scratch, command: str, flag: str | None = None) -> None:
    outcome = perform(request(scratch, command, flags=[flag] if flag else []))
    assert outcome.exit_code == 0, outcome.problem
    assert scratch.breaches("dev") == []


def ids_in_state(scratch: Scratch) -> Counter[str]:
    return Counter(
        item["id"] for item in resources_of(scratch.raw_checkpoint("dev")) if item.get("id", "").startswith("thing-")
    )


def creating(scratch: Scratch) -> set[str]:
    """Names of the things whose create was in flight."""
    pending = scratch.raw_checkpoint("dev")["checkpoint"]["latest"].get("pending_operations", [])
    return {item["resource"]["urn"].rpartition("::")[2] for item in pending if item["type"] == "creating"}


@pytest.mark.slow
@pytest.mark.parametrize(("operation", "call", "moment"), plans())
def test_after_a_kill_the_next_up_converges_and_makes_nothing_twice(
    scratch: Scratch, operation: str, call: int, moment: str
) -> None:
    command = "destroy" if operation == "destroy" else "up"
    if operation != "create":
        succeed(scratch, "up")
        configure(scratch, 2)
    killed = perform_elsewhere(request(scratch, command, die_at=[call, moment]), scratch.work / "request.json")
    assert killed.exit_code == -9, killed.problem
    assert scratch.breaches("dev") == []
    in_flight = creating(scratch)
    known = set(ids_in_state(scratch))
    assert len(in_flight) <= PARALLEL
    lost = set(scratch.world.load()["things"]) - known
    assert {id_.split("-")[1] for id_ in lost} <= in_flight, "a thing exists that neither the state nor a record names"

    refused = perform(request(scratch, "up"))
    assert refused.exit_code == 1, "the lock of the killed deployment is still there"
    assert "LockError" in refused.problem
    succeed(scratch, "cancel")
    assert scratch.lock_files("dev") == []
    succeed(scratch, "up", "--refresh" if operation == "destroy" else None)

    things = scratch.world.load()["things"]
    state = ids_in_state(scratch)
    assert sorted(id_.split("-")[1] for id_ in state) == [f"t{i:02}" for i in range(RESOURCES)]
    assert set(state.values()) == {1}
    assert set(state) <= set(things), "the state names a thing that does not exist"
    assert set(things) - set(state) == lost, "only what was in flight at the kill is left over"
    scratch.calls.unlink()
    succeed(scratch, "up")
    changes = {line["call"]["method"] for line in log_lines(scratch.calls) if "call" in line}
    assert changes.isdisjoint({"Create", "Update", "Delete"}), "a further up changes nothing"


class InterruptingLog(CallLog):
    """Interrupts the deployment when the create of ``name`` has begun."""

    def __init__(self, path: Path, name: str, times: int) -> None:
        super().__init__(path)
        self.interrupt = Interrupt()
        self._name, self._times = name, times

    def begin(self, method: str, fields: Mapping[str, Any]) -> int:
        number = super().begin(method, fields)
        if method == "Create" and fields["urn"].endswith(f"::{self._name}"):
            for _ in range(self._times):
                self.interrupt.cancel()
        return number


def interrupted_up(scratch: Scratch, monkeypatch: pytest.MonkeyPatch, name: str, times: int, parallel: int) -> None:
    log = InterruptingLog(scratch.calls, name, times)
    stack = Stack.open(
        scratch.program, "dev", state_dir=scratch.state, host=FakeHost(scratch.world, log), passphrase=PASSPHRASE
    )
    monkeypatch.setenv("PYTHONPATH", request(scratch, "up").environment["PYTHONPATH"])
    with pytest.raises(DeploymentError):
        stack.up(Options(parallel=parallel), lambda event: None, interrupt=log.interrupt)
    assert scratch.lock_files("dev") == []
    assert scratch.breaches("dev") == []


@pytest.mark.slow
def test_an_interrupt_lets_running_steps_finish_and_starts_no_others(
    scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_up(scratch, monkeypatch, "t05", times=1, parallel=1)
    things = scratch.world.load()["things"]
    assert "thing-t05-1" in things, "the step that was running finishes"
    assert len(things) < RESOURCES
    assert set(ids_in_state(scratch)) == set(things), "everything that was made is saved"
    assert creating(scratch) == set()
    begun = [line["call"] for line in log_lines(scratch.calls) if "call" in line]
    assert [call["urn"] for call in begun if call["method"] == "Create"][-1].endswith("::t05"), "nothing comes after it"
    succeed(scratch, "up")
    assert len(scratch.world.load()["things"]) == RESOURCES


@pytest.mark.slow
def test_a_second_interrupt_ends_even_a_create_that_hangs(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    (scratch.program / "__main__.py").write_text(
        'from fake_sdk import Thing\nThing("done", value=1)\nThing("stuck", value=2, hang=True)\n'
    )
    start = time.monotonic()
    interrupted_up(scratch, monkeypatch, "stuck", times=2, parallel=4)
    assert time.monotonic() - start < HANG_SECONDS / 2
    assert "thing-stuck-1" not in ids_in_state(scratch)
