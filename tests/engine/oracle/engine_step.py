"""Runs one command of a scenario through the engine and leaves an event log behind.

``perform`` serves the replay in its own process; ``python -m tests.engine.oracle.engine_step REQUEST.json`` the steps
that are killed or interrupted.  Exit codes are those of the CLI: 1 for every failure, 7 when changes came although none
were expected.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from falaj.engine.errors import DeploymentError, EngineError, UnsupportedError
from falaj.engine.events import (
    Diagnostic,
    Event,
    PolicyRemediation,
    PolicyViolation,
    StepDone,
    StepFailed,
    StepInfo,
    StepStarted,
    Summary,
)
from falaj.engine.options import Interrupt, Options, PolicyPack
from falaj.engine.stack import Stack
from tests.engine.oracle.fake_provider import FakeHost
from tests.engine.oracle.fake_world import CallLog, MortalLog, World
from tests.engine.oracle.request import Outcome, Request
from tests.engine.oracle.wire import readable, to_wire

CHANGES_EXIT_CODE = 7
EXCEPTION_EXIT_CODE = 70


def open_stack(request: Request) -> Stack:
    """Raises EngineError."""
    log = MortalLog(Path(request.call_log), request.die_at) if request.die_at else CallLog(Path(request.call_log))
    host = FakeHost(World(Path(request.world)), log)
    return Stack.open(
        Path(request.project_dir),
        request.stack,
        state_dir=Path(request.state_dir),
        host=host,
        passphrase=request.passphrase,
    )


def perform(request: Request, interrupt: Interrupt | None = None) -> Outcome:
    """Runs the command; an error of the engine is its outcome, any other exception too (with its traceback)."""
    log = EventLog(Path(request.event_log))
    try:
        with _environment(request.environment):
            _dispatch(open_stack(request), request, log, interrupt or Interrupt())
    except EngineError as error:
        return Outcome(error_exit_code(error), f"{type(error).__name__}: {error}")
    except Exception:
        return Outcome(EXCEPTION_EXIT_CODE, traceback.format_exc())
    return Outcome(0)


def error_exit_code(error: EngineError) -> int:
    return CHANGES_EXIT_CODE if isinstance(error, DeploymentError) and "no changes were expected" in str(error) else 1


def _dispatch(stack: Stack, request: Request, log: EventLog, interrupt: Interrupt) -> None:
    flags = _Flags(request.flags)
    if request.command == "cancel":
        stack.cancel()
    elif request.command == "state unprotect":
        stack.unprotect(None if flags.take("--all") else list(request.args))
    elif request.command == "state taint":
        stack.taint(list(request.args))
    elif request.command == "import":
        type_, name, id_ = request.args
        stack.import_resource(
            type_, name, id_, protect=flags.value("--protect", "true") == "true", sink=log, interrupt=interrupt
        )
    else:
        deploy = {"up": stack.up, "preview": stack.preview, "refresh": stack.refresh, "destroy": stack.destroy}
        options = flags.options(request.parallel)
        flags.finish()
        deploy[request.command](options, log, interrupt=interrupt)
        return
    flags.finish()


class _Flags:
    """Flags of the CLI, taken one by one so that none is overlooked."""

    def __init__(self, flags: Sequence[str]) -> None:
        self._left = list(flags)

    def take(self, name: str) -> bool:
        if name not in self._left:
            return False
        self._left.remove(name)
        return True

    def values(self, name: str) -> tuple[str, ...]:
        found = []
        while name in self._left:
            place = self._left.index(name)
            found.append(self._left[place + 1])
            del self._left[place : place + 2]
        return tuple(found)

    def value(self, name: str, default: str) -> str:
        """Of ``--name=value``."""
        for flag in self._left:
            if flag.startswith(name + "="):
                self._left.remove(flag)
                return flag.partition("=")[2]
        return default

    def finish(self) -> None:
        """Raises UnsupportedError for what the engine has no option for."""
        if self._left:
            raise UnsupportedError(f"the engine has no option for these flags: {self._left}")

    def options(self, parallel: int) -> Options:
        configs = self.values("--policy-pack-config") or (None,)
        packs = tuple(
            PolicyPack(Path(path), Path(config) if config else None)
            for path, config in zip(self.values("--policy-pack"), configs, strict=False)
        )
        return Options(
            parallel=parallel,
            refresh=self.take("--refresh"),
            continue_on_error=self.take("--continue-on-error"),
            target_dependents=self.take("--target-dependents"),
            targets=self.values("--target"),
            exclude_dependents=self.take("--exclude-dependents"),
            excludes=self.values("--exclude"),
            replace=self.values("--replace"),
            target_replace=self.values("--target-replace"),
            expect_no_changes=self.take("--expect-no-changes"),
            exclude_protected=self.take("--exclude-protected"),
            run_program=self.take("--run-program"),
            clear_pending_creates=self.take("--clear-pending-creates"),
            preview_only=self.take("--preview-only"),
            policy_packs=packs,
        )


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


# -- events --------------------------------------------------------------------------------------


class EventLog:
    """An event sink that writes one JSON line per event; those of a killed process stay readable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        line = _encoded(event)
        if line is not None:
            with self._lock, self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")


def _encoded(event: Event) -> dict[str, Any] | None:
    if isinstance(event, StepStarted):
        return {"event": "started", **_step(event.step)}
    if isinstance(event, StepDone):
        return {"event": "done", **_step(event.step)}
    if isinstance(event, StepFailed):
        return {"event": "failed", **_step(event.step)}
    if isinstance(event, Diagnostic):
        return {"event": "diagnostic", "severity": str(event.severity), "urn": event.urn, "message": event.message}
    if isinstance(event, PolicyViolation):
        return {
            "event": "violation",
            "urn": event.urn,
            "policy": event.policy,
            "pack": event.pack,
            "pack_version": event.pack_version,
            "level": event.level,
            "message": event.message,
        }
    if isinstance(event, PolicyRemediation):
        return {
            "event": "remediation",
            "urn": event.urn,
            "policy": event.policy,
            "pack": event.pack,
            "before": readable(to_wire(dict(event.before))),
            "after": readable(to_wire(dict(event.after))),
        }
    if isinstance(event, Summary):
        changes = {str(op): count for op, count in event.changes.items() if count}
        return {"event": "summary", "changes": changes, "result": event.result}
    return None


def _step(step: StepInfo) -> dict[str, Any]:
    detailed = {}
    for path, diff in sorted((step.detailed_diff or {}).items()):
        kind = diff.kind.name.lower().replace("_", "-")
        detailed[path] = kind if diff.input_diff else f"{kind} (output)"
    return {
        "op": str(step.op),
        "urn": step.urn,
        "keys": sorted(step.keys),
        "diffs": sorted(step.diffs),
        "detailed_diff": detailed,
    }


def main(path: Path) -> int:
    interrupt = Interrupt()
    signal.signal(signal.SIGINT, lambda *_: interrupt.cancel())
    outcome = perform(Request.read(path), interrupt)
    if outcome.problem:
        print(outcome.problem, file=sys.stderr)
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
