"""Refresh: what the providers find outside becomes the state."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from falaj.engine.checkpoint import timestamp
from falaj.engine.decisions import Refused
from falaj.engine.diffs import compared_inputs, inverted
from falaj.engine.events import Op, Severity, StepInfo
from falaj.engine.executor import Executor
from falaj.engine.properties import equal, mark_secrets
from falaj.engine.provider import Changes, InitializationError, PropertyDiff, ProviderError, ReadResult
from falaj.engine.providers import is_provider
from falaj.engine.report import Reporter
from falaj.engine.resource_state import ResourceState
from falaj.engine.snapshot import SnapshotWriter
from falaj.engine.steps import Run, Step, StepError
from falaj.engine.targets import UrnPatterns


@dataclass(eq=False, slots=True)
class RefreshStep(Step):
    """Reads one resource.  Afterwards ``found`` is its new state (None: it is gone) and ``outcome`` what that means."""

    op = Op.REFRESH
    logical: bool = False
    found: ResourceState | None = None
    outcome: Op = Op.SAME
    drift: dict[str, PropertyDiff] | None = None
    warning: str = ""
    alone: bool = False
    finished: bool = False

    def info(self) -> StepInfo:
        """In a deployment of its own a finished refresh is called by what it found."""
        told = Step.info(self)
        if not self.finished:
            return told
        return replace(told, op=self.outcome if self.alone else Op.REFRESH, detailed_diff=self.drift)

    async def apply(self, run: Run) -> None:
        await self._look(run)
        self.finished = True

    async def _look(self, run: Run) -> None:
        old = self.old
        assert old is not None
        self.found = old
        if not old.custom or is_provider(old) or old.pending_replacement:
            return
        try:
            instance = run.registry.usable(old.provider)
            reasons: Sequence[str] = ()
            try:
                result = await instance.read(old, old.id)
            except InitializationError as error:
                result, reasons = ReadResult(error.id or old.id, error.outputs, error.inputs), error.reasons
            if not result.id:
                self.found, self.outcome = None, Op.DELETE
                return
            self.found = self._taken_over(old, result, reasons)
            if reasons:
                self.warning = "Refreshed resource is in an unhealthy state:\n" + "\n".join(f"* {r}" for r in reasons)
            if old.external:
                self.found.outputs = mark_secrets(self.found.outputs, old.additional_secret_outputs)
                self.outcome = Op.SAME if equal(self.found.outputs, old.outputs) else Op.UPDATE
                return
            diff = await instance.diff(old.type, self.found, old.inputs, old.ignore_changes, unknowns=True)
            self.found.outputs = mark_secrets(self.found.outputs, old.additional_secret_outputs)
        except ProviderError as error:
            raise StepError(str(error)) from error
        if diff.changes is Changes.UNKNOWN:
            diff = compared_inputs(self.found.inputs, old.inputs)
        self.outcome = Op.UPDATE if diff.changes is Changes.SOME else Op.SAME
        self.drift = inverted(diff.detailed)

    def _taken_over(self, old: ResourceState, result: ReadResult, reasons: Sequence[str]) -> ResourceState:
        inputs = old.inputs if result.inputs is None else result.inputs
        outputs = result.outputs
        changed = not equal(inputs, old.inputs) or not equal(outputs, old.outputs)
        return old.copy(
            id=result.id,
            inputs=inputs,
            outputs=outputs,
            init_errors=list(reasons),
            modified=timestamp() if changed else old.modified,
        )


class Refresh:
    """Reads the resources of a state and makes the state that results."""

    def __init__(
        self,
        run: Run,
        executor: Executor,
        reporter: Reporter,
        snapshot: SnapshotWriter,
        targets: UrnPatterns,
        excludes: UrnPatterns,
    ) -> None:
        self._run, self._executor, self._reporter, self._snapshot = run, executor, reporter, snapshot
        self._targets, self._excludes = targets, excludes

    async def carry_out(self, base: Sequence[ResourceState], *, alone: bool) -> list[ResourceState]:
        """``alone``: this is a deployment of its own, which counts and shows what was found.

        Raises Refused when a provider cannot be configured, Aborted after a failed read.
        """
        steps = [RefreshStep(state, alone=alone) for state in base if self._is_target(state)]
        for step in steps:
            state = step.state
            if state.custom and not is_provider(state) and state.provider:
                try:
                    await self._run.registry.ensure(state.provider, base)
                except ProviderError as error:
                    raise Refused(str(error), state.urn) from error
        outcomes = await asyncio.gather(*(self._read(step, alone) for step in steps), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        found = {step.state: step.found for step in steps}
        resources = surviving([found.get(state, state) for state in base])
        self._snapshot.rebase(resources)
        return resources

    def _is_target(self, state: ResourceState) -> bool:
        if self._excludes:
            return state.urn not in self._excludes
        return not self._targets or state.urn in self._targets

    async def _read(self, step: RefreshStep, alone: bool) -> None:
        await self._executor.carry_out([step])
        if step.warning:
            self._reporter.tell(Severity.WARNING, step.warning, step.state.urn)
        if alone:
            self._reporter.count(step.state.urn, step.outcome)


def surviving(found: Sequence[ResourceState | None]) -> list[ResourceState]:
    """The found states without those that are gone (None), and without any reference to them; pure.

    A child of one that is gone has no parent any more, until the program registers it again.
    """
    left = {state.urn for state in found if state is not None}
    return [_without(state, left) for state in found if state is not None]


def _without(state: ResourceState, left: set[str]) -> ResourceState:
    parent = state.parent if state.parent in left else ""
    properties = {
        key: [urn for urn in urns if urn in left] for key, urns in (state.property_dependencies or {}).items()
    }
    changes = {
        "parent": parent,
        "dependencies": [urn for urn in state.dependencies if urn in left],
        "property_dependencies": {key: urns for key, urns in properties.items() if urns},
        "deleted_with": state.deleted_with if state.deleted_with in left else "",
        "replace_with": [urn for urn in state.replace_with if urn in left],
    }
    if (
        parent == state.parent
        and state.deleted_with == changes["deleted_with"]
        and list(state.dependencies) == changes["dependencies"]
        and list(state.replace_with) == changes["replace_with"]
        and dict(state.property_dependencies or {}) == changes["property_dependencies"]
    ):
        return state
    return state.copy(**changes)
