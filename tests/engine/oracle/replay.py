"""Replays the recorded scenarios through the embedded engine and shows where it differs from the CLI.

    python -m tests.engine.oracle.replay [SCENARIO ...] [--step K] [--keep FOLDER] [--all-fields]

A scenario is a number (``10``) or a name; without one all are replayed.  ``--step K`` shows step K only (those before
it run all the same), ``--keep`` leaves the scratch folder (backend, world, call and event logs) behind,
``--all-fields`` shows the differences that do not decide as well.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from falaj.engine.checkpoint import decode
from falaj.engine.errors import StateError
from falaj.engine.integrity import problems
from falaj.engine.secrets import PassphraseCrypter
from tests.engine.oracle.comparison import DECISIVE, Call, Difference, Observation, agrees, compare
from tests.engine.oracle.fake_world import World
from tests.engine.oracle.logs import id_pairs, joined_calls, log_lines, told_by
from tests.engine.oracle.normalise import Normaliser, crypter, resources_of
from tests.engine.oracle.scenario import DATA, PASSPHRASE, PROJECT, Kill, Scenario, Step, scenarios

ROOT = Path(__file__).resolve().parents[3]
KILL_DELAY_SECONDS = 0.3  # as in the recordings: time enough for the call to have its effect
KILL_POLL_SECONDS = 0.02
STEP_LIMIT_SECONDS = 120.0

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
    """One scenario in its scratch folder: a backend as ``pulumi stack init`` leaves it, a world, and the program."""

    def __init__(self, scenario: Scenario, work: Path) -> None:
        self.scenario = scenario
        self._work = work.resolve()
        self._program = self._work / "program"
        self._policy = self._work / "policy"
        self._state = self._work / "state"
        self._calls = self._work / "calls.jsonl"
        self._world = World(self._work / "world.json")
        self._config: dict[str, Json] = {}
        self._work.mkdir(parents=True, exist_ok=True)
        shutil.copytree(scenario.folder / "program", self._program)
        if (scenario.folder / "policy").is_dir():
            shutil.copytree(scenario.folder / "policy", self._policy)
        self._normaliser = Normaliser(
            PASSPHRASE,
            {self._program: "<program>", self._policy: "<policy>", self._state: "<backend>", self._work: "<work>"},
        )

    def run(self) -> Iterator[StepResult]:
        """Runs the steps one after the other.  Raises StateError when a state breaks its own rules."""
        for step in self.scenario.steps:
            observation = self._observe(step)
            yield StepResult(step, compare(self.scenario.expected(step.number), observation), observation.problem)

    # -- before a step ----------------------------------------------------------------------------

    def _prepare(self, step: Step) -> None:
        if step.stack not in self._config:
            self._init_stack(step.stack)
        config = self._config[step.stack]
        config.update(step.config)
        if "step" not in step.config:
            config["step"] = str(step.number)
        self._write_config(step.stack)
        self._world.edit(step.world)

    def _init_stack(self, name: str) -> None:
        """Puts the files there that ``pulumi stack init`` wrote for the sample ``empty``."""
        sample = DATA / "state-samples" / "empty" / "backend" / ".pulumi"
        raw = json.loads((sample / "stacks" / PROJECT / "dev.json").read_text())
        raw["checkpoint"]["stack"] = f"organization/{PROJECT}/{name}"
        self._salt = raw["checkpoint"]["latest"]["secrets_providers"]["state"]["salt"]
        target = self._state / ".pulumi"
        (target / "stacks" / PROJECT).mkdir(parents=True, exist_ok=True)
        shutil.copy(sample / "meta.yaml", target / "meta.yaml")
        self._stack_file(name).write_text(json.dumps(raw, separators=(",", ":")))
        self._config[name] = {}

    def _write_config(self, stack: str) -> None:
        text = f"encryptionsalt: {self._salt}\nconfig:\n"
        for key, value in sorted(self._config[stack].items()):
            name = key if ":" in key else f"{PROJECT}:{key}"
            text += f"  {name}: {json.dumps(self._encrypted(value))}\n"
        (self._program / f"Pulumi.{stack}.yaml").write_text(text)

    def _encrypted(self, value: Any) -> Any:
        """{"secret": TEXT} -> {"secure": CIPHERTEXT} at any depth."""
        if isinstance(value, dict):
            if list(value) == ["secret"]:
                return {"secure": crypter(PASSPHRASE, self._salt).encrypt(value["secret"])}
            return {key: self._encrypted(item) for key, item in value.items()}
        return [self._encrypted(item) for item in value] if isinstance(value, list) else value

    # -- a step -----------------------------------------------------------------------------------

    def _observe(self, step: Step) -> Observation:
        from tests.engine.oracle.engine_step import Outcome, perform

        self._prepare(step)
        self._normaliser.step = step.number
        mark = len(log_lines(self._calls))
        history = set(self._history_files(step.stack))
        request = self._request(step)
        outcome = self._perform_elsewhere(step, step.kill, mark) if step.kill else None
        if outcome is None:
            with _environment(self._environment(step)):
                outcome = perform(request)
        assert isinstance(outcome, Outcome)
        raw = self._raw_checkpoint(step.stack)
        self._verify(step)
        calls = joined_calls(log_lines(self._calls)[mark:])
        expected = self.scenario.expected(step.number)
        self._normaliser.learn_uuids(id_pairs(raw, calls, expected))
        events = told_by(log_lines(Path(request.event_log)))
        written = sorted(set(self._history_files(step.stack)) - history)
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
            stack_outputs=self._outputs(step, checkpoint),
            history=entry and {key: entry.get(key) for key in ("kind", "result", "resourceChanges")},
            locks=len(list((self._state / ".pulumi/locks/organization" / PROJECT / step.stack).glob("*.json"))),
            world=self._normaliser.deep(self._things()),
            problem=outcome.problem,
        )

    def _request(self, step: Step) -> Any:
        from tests.engine.oracle.engine_step import Request

        return Request(
            command=step.command,
            project_dir=str(self._program),
            stack=step.stack,
            state_dir=str(self._state),
            passphrase=PASSPHRASE,
            world=str(self._world.path),
            call_log=str(self._calls),
            event_log=str(self._work / f"events-{step.number}.jsonl"),
            flags=[flag.replace("{policy}", str(self._policy)) for flag in step.flags],
            args=step.args,
            parallel=step.parallel,
        )

    def _environment(self, step: Step) -> dict[str, str]:
        return {"PYTHONPATH": str(DATA / "sdk"), **self.scenario.env, **step.env}

    def _outputs(self, step: Step, checkpoint: Json) -> Json | None:
        from tests.engine.oracle.engine_step import open_stack

        if not any(item["type"] == "pulumi:pulumi:Stack" for item in resources_of(checkpoint)):
            return None
        return dict(self._normaliser.deep(open_stack(self._request(step)).outputs(show_secrets=True)))

    # -- a step that is killed --------------------------------------------------------------------

    def _perform_elsewhere(self, step: Step, kill: Kill, mark: int) -> Any:
        """Runs the step in a process of its own and sends it the signal.  SIGKILL ends the program too."""
        from tests.engine.oracle.engine_step import Outcome

        path = self._work / f"request-{step.number}.json"
        self._request(step).write(path)
        environment = {**os.environ, **self._environment(step)}
        environment["PYTHONPATH"] = os.pathsep.join([environment["PYTHONPATH"], str(ROOT)])
        with (self._work / f"stderr-{step.number}").open("w+") as errors:
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.engine.oracle.engine_step", str(path)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
            try:
                self._wait_for_call(child, kill, mark)
                time.sleep(KILL_DELAY_SECONDS)
                below = _descendants(child.pid)
                child.send_signal(signal.Signals[f"SIG{kill.signal}"])
                code = child.wait(STEP_LIMIT_SECONDS)
                if kill.signal == "KILL":
                    _kill_all(below)
            finally:
                if child.poll() is None:
                    _kill_all([child.pid, *_descendants(child.pid)])
                    child.wait()
            errors.seek(0)
            return Outcome(code, errors.read())

    def _wait_for_call(self, child: subprocess.Popen[bytes], kill: Kill, mark: int) -> None:
        limit = time.monotonic() + STEP_LIMIT_SECONDS
        while time.monotonic() < limit and child.poll() is None:
            for line in log_lines(self._calls)[mark:]:
                call = line.get("call", {})
                if call.get("method") == kill.method and call.get("urn", "").endswith(f"::{kill.name}"):
                    return
            time.sleep(KILL_POLL_SECONDS)
        raise RuntimeError(f"the {kill.method} of {kill.name} to send SIG{kill.signal} at never came")

    # -- what is left behind ----------------------------------------------------------------------

    def _stack_file(self, stack: str) -> Path:
        return self._state / ".pulumi" / "stacks" / PROJECT / f"{stack}.json"

    def _verify(self, step: Step) -> None:
        """The engine's own integrity checker on the file as it lies there."""
        file = self._stack_file(step.stack)
        found = problems(decode(file.read_bytes(), str(file), PassphraseCrypter(PASSPHRASE, self._salt)))
        if found:
            raise StateError(f"{self.scenario.name} step {step.number}: {'; '.join(found)}")

    def _raw_checkpoint(self, stack: str) -> Json:
        return dict(json.loads(self._stack_file(stack).read_text()))

    def _history_files(self, stack: str) -> list[Path]:
        return list((self._state / ".pulumi" / "history" / PROJECT / stack).glob("*.history.json"))

    def _things(self) -> Json:
        from tests.engine.oracle.wire import readable

        things = self._world.load()["things"]
        return {id_: {**thing, "inputs": readable(thing["inputs"])} for id_, thing in sorted(things.items())}


# -- processes and environment -------------------------------------------------------------------


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets variables of this process, which the program inherits, for a while."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def _descendants(pid: int) -> list[int]:
    """Ids of the processes below ``pid``, from /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        todo = [child for parent in todo for child in children.get(parent, [])]
        found += todo
    return found


def _kill_all(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# -- command line --------------------------------------------------------------------------------


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
            faulthandler.dump_traceback_later(STEP_LIMIT_SECONDS, exit=True)
            for result in Replay(scenario, work).run():
                faulthandler.dump_traceback_later(STEP_LIMIT_SECONDS, exit=True)  # a step that hangs shows where
                steps += 1
                agreeing += result.agrees
                if chosen.step in (None, result.step.number):
                    _show(scenario, result, chosen.all_fields)
                if chosen.step == result.step.number:
                    break
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
