"""Replays the recorded scenarios through the embedded engine and shows where it differs from the CLI.

    python -m tests.engine.oracle.replay [SCENARIO ...] [--step K] [--keep FOLDER] [--all-fields]

A scenario is a number (``10``) or a name; without one all are replayed.  ``--step K`` shows step K only (those before
it run all the same), ``--keep`` leaves the scratch folder (backend, world, call and event logs) behind,
``--all-fields`` shows the differences that do not decide as well.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engine.oracle.comparison import DECISIVE, Call, Difference, Observation, agrees, compare
from tests.engine.oracle.engine_step import open_stack, perform
from tests.engine.oracle.logs import id_pairs, joined_calls, log_lines, told_by
from tests.engine.oracle.normalise import Normaliser, resources_of
from tests.engine.oracle.processes import LIMIT_SECONDS, perform_elsewhere
from tests.engine.oracle.request import Request
from tests.engine.oracle.scenario import PASSPHRASE, Scenario, Step, scenarios
from tests.engine.oracle.scratch import Scratch
from tests.engine.oracle.wire import readable

Json = dict[str, Any]


@dataclass(frozen=True)
class StepResult:
    step: Step
    differences: list[Difference]
    problem: str

    @property
    def agrees(self) -> bool:
        return agrees(self.differences)


class Replay:
    """One scenario in a scratch folder."""

    def __init__(self, scenario: Scenario, work: Path) -> None:
        self.scenario = scenario
        self._scratch = Scratch(work, scenario.folder / "program")
        self._policy = self._scratch.work / "policy"
        if (scenario.folder / "policy").is_dir():
            shutil.copytree(scenario.folder / "policy", self._policy)
        self._config: dict[str, Json] = {}
        self._normaliser = Normaliser(
            PASSPHRASE,
            {
                self._scratch.program: "<program>",
                self._policy: "<policy>",
                self._scratch.state: "<backend>",
                self._scratch.work: "<work>",
            },
        )

    def run(self) -> Iterator[StepResult]:
        """Runs the steps one after the other.  Raises AssertionError when a state breaks its own rules."""
        for step in self.scenario.steps:
            observation = self._observe(step)
            yield StepResult(step, compare(self.scenario.expected(step.number), observation), observation.problem)

    def _prepare(self, step: Step) -> None:
        if step.stack not in self._config:
            self._scratch.init_stack(step.stack)
            self._config[step.stack] = {}
        config = self._config[step.stack]
        config.update(step.config)
        if "step" not in step.config:
            config["step"] = str(step.number)
        self._scratch.configure(step.stack, config)
        self._scratch.world.edit(step.world)

    def _observe(self, step: Step) -> Observation:
        self._prepare(step)
        self._normaliser.step = step.number
        mark = len(log_lines(self._scratch.calls))
        history = set(self._scratch.history_files(step.stack))
        request = self._request(step)
        if step.kill:
            outcome = perform_elsewhere(request, self._scratch.work / f"request-{step.number}.json", step.kill)
        else:
            outcome = perform(request)
        breaches = self._scratch.breaches(step.stack)
        assert not breaches, f"{self.scenario.name} step {step.number}: {breaches}"
        raw = self._scratch.raw_checkpoint(step.stack)
        calls = joined_calls(log_lines(self._scratch.calls)[mark:])
        self._normaliser.learn_uuids(id_pairs(raw, calls, self.scenario.expected(step.number)))
        events = told_by(log_lines(Path(request.event_log)))
        written = sorted(set(self._scratch.history_files(step.stack)) - history)
        entry = json.loads(written[-1].read_text()) if written else None
        checkpoint = self._normaliser.checkpoint(raw)
        return Observation(
            exit_code="killed" if outcome.exit_code < 0 else outcome.exit_code,
            checkpoint=checkpoint,
            op_counts=events["op_counts"],
            result=events["result"],
            operations=self._normaliser.deep(events["operations"]),
            diagnostics=self._normaliser.deep(events["diagnostics"]),
            policies=self._normaliser.deep(events["policies"]),
            calls=[Call(self._normaliser.deep(call.fields), call.begun, call.ended) for call in calls],
            stack_outputs=self._outputs(request, checkpoint),
            history=entry and {key: entry.get(key) for key in ("kind", "result", "resourceChanges")},
            locks=len(self._scratch.lock_files(step.stack)),
            world=self._normaliser.deep(self._things()),
            problem=outcome.problem,
        )

    def _request(self, step: Step) -> Request:
        return self._scratch.request(
            step.command,
            step.stack,
            f"events-{step.number}.jsonl",
            flags=[flag.replace("{policy}", str(self._policy)) for flag in step.flags],
            args=step.args,
            parallel=step.parallel,
            environment={**self.scenario.env, **step.env},
        )

    def _outputs(self, request: Request, checkpoint: Json) -> Json | None:
        if not any(item["type"] == "pulumi:pulumi:Stack" for item in resources_of(checkpoint)):
            return None
        return dict(self._normaliser.deep(open_stack(request).outputs(show_secrets=True)))

    def _things(self) -> Json:
        things = self._scratch.world.load()["things"]
        return {id_: {**thing, "inputs": readable(thing.get("inputs", {}))} for id_, thing in sorted(things.items())}


# -- command line ---------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.engine.oracle.replay")
    parser.add_argument("scenario", nargs="*", help="number or name; all when none is given")
    parser.add_argument("--step", type=int, help="show this step only")
    parser.add_argument("--keep", type=Path, help="leave the scratch folders of the scenarios in this one")
    parser.add_argument("--all-fields", action="store_true", help="show differences that do not decide as well")
    chosen = parser.parse_args(arguments)
    known = {scenario.name: scenario for scenario in scenarios()}
    names = {
        alias: name for name in known for alias in (name, name.partition("-")[0], str(int(name.partition("-")[0])))
    }
    unknown = [name for name in chosen.scenario if name not in names]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}")
    wanted = [known[names[name]] for name in chosen.scenario] or list(known.values())
    agreeing = steps = 0
    with tempfile.TemporaryDirectory() as scratch:
        for scenario in wanted:
            work = (chosen.keep or Path(scratch)) / scenario.name
            shutil.rmtree(work, ignore_errors=True)
            faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True)
            steps += len(scenario.steps) if chosen.step is None else 1
            try:
                for result in Replay(scenario, work).run():
                    faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True)  # a step that hangs shows where
                    if chosen.step in (None, result.step.number):
                        agreeing += result.agrees
                        _show(scenario, result, chosen.all_fields)
                    if chosen.step == result.step.number:
                        break
            except Exception:
                print(f"{scenario.name} broke off:\n{traceback.format_exc()}")
    faulthandler.cancel_dump_traceback_later()
    print(f"oracle: {agreeing} of {steps} steps agree")
    return 0 if agreeing == steps else 1


def _show(scenario: Scenario, result: StepResult, all_fields: bool) -> None:
    shown = [item for item in result.differences if all_fields or item.field in DECISIVE]
    rest = [item.field for item in result.differences if item not in shown]
    verdict = "agrees" if result.agrees else "DIFFERS"
    also = f" (also different: {', '.join(rest)})" if rest else ""
    print(f"{scenario.number:02}/{result.step.number} {result.step.command}: {verdict}{also}", flush=True)
    for item in shown:
        print("    " + str(item).replace("\n", "\n    "))
    if result.problem and not result.agrees:
        print("    the step ended with: " + result.problem.rstrip().replace("\n", "\n    "))


if __name__ == "__main__":
    sys.exit(main())
