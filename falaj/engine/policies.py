"""The policy packs of a deployment, as its decisions see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    async def analyze(self, state: ResourceState, goal: Goal, providers: Mapping[str, ResourceState]) -> bool:
        """Remediates, then validates the checked inputs of ``state``; False when a mandatory policy is violated."""
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

    async def analyze(self, state: ResourceState, goal: Goal, providers: Mapping[str, ResourceState]) -> bool:
        return True

    async def analyze_stack(self, states: Sequence[ResourceState]) -> bool:
        return True

    def close(self) -> None:
        return


NO_POLICIES: Final = NoPolicies()
