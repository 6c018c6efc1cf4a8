"""The policy packs of a deployment, as its decisions see them."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, Protocol

from falaj.engine.goal import Goal
from falaj.engine.resource_state import ResourceState


class Policies(Protocol):
    """All packs together.  Violations and remediations go out as events."""

    @property
    def evaluated(self) -> int:
        """How many policies have been run on resources and stacks."""
        ...

    @property
    def violations(self) -> Mapping[str, int]:
        """Violations by enforcement level."""
        ...

    async def start(self) -> None:
        """Waits until the packs are up.  Raises Refused when one is not."""
        ...

    async def remediate(self, state: ResourceState, goal: Goal, providers: Mapping[str, ResourceState]) -> None:
        """Lets remediating policies change the checked inputs of ``state``; what follows must wait for it."""
        ...

    def analyze(self, state: ResourceState, goal: Goal, providers: Mapping[str, ResourceState]) -> Awaitable[bool]:
        """Validates the inputs of ``state`` as they are when it is called; False when a mandatory policy is violated.

        Changes nothing, so that other decisions may go on meanwhile.
        """
        ...

    async def analyze_stack(self, states: Sequence[ResourceState]) -> bool:
        """Validates the whole stack; False when a mandatory policy is violated."""
        ...

    def close(self) -> None:
        """Ends the packs."""
        ...


class NoPolicies:
    evaluated = 0
    violations: Mapping[str, int] = {}

    async def start(self) -> None:
        return

    async def remediate(self, state: ResourceState, goal: Goal, providers: Mapping[str, ResourceState]) -> None:
        return

    def analyze(self, state: ResourceState, goal: Goal, providers: Mapping[str, ResourceState]) -> Awaitable[bool]:
        return _passed()

    async def analyze_stack(self, states: Sequence[ResourceState]) -> bool:
        return True

    def close(self) -> None:
        return


async def _passed() -> bool:
    return True


NO_POLICIES: Final = NoPolicies()
