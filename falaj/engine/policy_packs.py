"""All policy packs of one deployment together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TypeVar

from falaj.engine.decisions import Refused
from falaj.engine.errors import EngineError
from falaj.engine.events import Diagnostic, Event, PolicyViolation, Severity
from falaj.engine.goal import Goal
from falaj.engine.options import PolicyPack
from falaj.engine.policy import AnalyzedResource, PolicyClient, PolicyContext
from falaj.engine.policy_process import PackProcess
from falaj.engine.resource_state import ResourceState
from falaj.engine.urn import parse_reference

Q = TypeVar("Q")
A = TypeVar("A")


class PolicyPacks:
    """Implements ``falaj.engine.policies.Policies``.

    The constructor starts the processes, so that they come up while the program does; ``start`` waits for them.
    Raises ConfigError or UnsupportedError for folders and settings that cannot be used.
    """

    def __init__(
        self,
        packs: Sequence[PolicyPack],
        context: PolicyContext,
        emit: Callable[[Event], None],
        started: MutableMapping[Path, PackProcess] | None = None,
    ) -> None:
        """``started``: processes of packs by folder, where they run already; those that are used are taken out."""
        self.evaluated = 0
        self.violations: Counter[str] = Counter()
        self._emit = emit
        self._clients: list[PolicyClient] = []
        try:
            for pack in packs:
                folder, waiting = pack.path.resolve(), started or {}
                self._clients.append(PolicyClient(pack, context, self._pass_on, waiting.get(folder)))
                waiting.pop(folder, None)
        except BaseException:
            self.close()
            raise

    async def start(self) -> None:
        """Raises Refused when a pack does not come up or its settings are wrong."""
        try:
            for loaded in await asyncio.gather(*(asyncio.to_thread(client.connect) for client in self._clients)):
                self._emit(loaded)
        except EngineError as error:
            raise Refused(str(error)) from error

    async def remediate(self, state: ResourceState, goal: Goal, providers: Mapping[str, ResourceState]) -> None:
        """Lets remediating policies change the checked inputs of ``state``.  Raises Refused when a pack fails.

        ``providers``: provider resources by URN.
        """
        for client in self._clients:
            if not client.remediates:
                continue
            found = await self._asked(state.urn, client.remediate, _from_goal(state, goal, providers))
            if found.remediations:
                state.inputs = found.inputs
            for remediation in found.remediations:
                self._emit(remediation)
            self._report(found.violations)

    def analyze(self, state: ResourceState, goal: Goal, providers: Mapping[str, ResourceState]) -> Awaitable[bool]:
        """Validates the inputs of ``state``; False when a mandatory policy is violated.

        ``providers``: provider resources by URN.  Raises Refused when a pack fails: then nothing is known.
        """
        return self._judged(_from_goal(state, goal, providers))  # here and now: the state goes on changing

    async def _judged(self, resource: AnalyzedResource) -> bool:
        passed = True
        for client in self._clients:
            passed &= self._report(await self._asked(resource.urn, client.analyze, resource))
            self.evaluated += len(client.policies)
        return passed

    async def analyze_stack(self, states: Sequence[ResourceState]) -> bool:
        """Validates the whole stack; False when a mandatory policy is violated.  Raises Refused when a pack fails."""
        by_urn = {state.urn: state for state in states}
        resources = [_from_state(state, by_urn) for state in states]
        passed = True
        for client in self._clients:
            passed &= self._report(await self._asked("", client.analyze_stack, resources))
        return passed

    def close(self) -> None:
        """Ends all processes."""
        for client in self._clients:
            client.close()

    async def _asked(self, urn: str, question: Callable[[Q], A], about: Q) -> A:
        """Asks a pack in a thread.  Raises Refused when it fails."""
        try:
            return await asyncio.to_thread(question, about)
        except EngineError as error:
            raise Refused(str(error), urn) from error

    def _report(self, violations: Sequence[PolicyViolation]) -> bool:
        for violation in violations:
            self.violations[violation.level] += 1
            self._emit(violation)
        return not any(violation.level == "mandatory" for violation in violations)

    def _pass_on(self, line: str, is_error: bool) -> None:
        self._emit(Diagnostic(Severity.INFO_STDERR if is_error else Severity.INFO, line))


def _from_goal(state: ResourceState, goal: Goal, providers: Mapping[str, ResourceState]) -> AnalyzedResource:
    return AnalyzedResource(
        urn=goal.urn,
        properties=state.inputs,
        parent=goal.parent,
        protect=state.protect,
        ignore_changes=goal.ignore_changes,
        delete_before_replace=goal.delete_before_replace,
        additional_secret_outputs=goal.additional_secret_outputs,
        aliases=goal.aliases,
        custom_timeouts=goal.custom_timeouts,
        provider=_provider(state.provider or goal.provider, providers),
    )


def _from_state(state: ResourceState, by_urn: Mapping[str, ResourceState]) -> AnalyzedResource:
    return AnalyzedResource(
        urn=state.urn,
        properties=state.outputs,
        parent=state.parent,
        protect=state.protect,
        ignore_changes=state.ignore_changes,
        additional_secret_outputs=state.additional_secret_outputs,
        aliases=state.aliases,
        custom_timeouts=state.custom_timeouts,
        provider=_provider(state.provider, by_urn),
        dependencies=state.dependencies,
        property_dependencies=state.property_dependencies or {},
    )


def _provider(reference: str, by_urn: Mapping[str, ResourceState]) -> tuple[str, Mapping[str, object]] | None:
    if not reference:
        return None
    state = by_urn.get(parse_reference(reference).urn)
    return (state.urn, state.inputs) if state is not None else None
