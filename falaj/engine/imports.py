"""Takes single resources that exist outside into the state, without a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from falaj.engine.decisions import Aborted, Refused
from falaj.engine.events import Severity
from falaj.engine.executor import Executor
from falaj.engine.goal import Goal, is_root_stack
from falaj.engine.lookups import ImportStep
from falaj.engine.provider import ProviderError
from falaj.engine.resource_state import ResourceState
from falaj.engine.step_generator import StepGenerator
from falaj.engine.steps import CreateStep, SameStep
from falaj.engine.urn import (
    STACK_TYPE,
    ProviderReference,
    default_provider_name,
    default_provider_urn,
    make_urn,
    package_of,
    provider_type,
    stack_urn,
)
from falaj.engine.values import Value


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """``id`` is what the provider's Read takes.  ``parent`` and ``provider`` are URNs in the state, or empty."""

    type: str
    name: str
    id: str
    protect: bool
    parent: str = ""
    provider: str = ""


class Imports:
    def __init__(
        self, stack: str, project: str, generator: StepGenerator, executor: Executor, config: Mapping[str, Value]
    ) -> None:
        self._stack, self._project = stack, project
        self._generator, self._executor, self._config = generator, executor, config
        self._base: Sequence[ResourceState] = generator.base

    async def carry_out(self, request: ImportRequest) -> None:
        """Raises Refused for an unknown parent or provider, Aborted when the import failed."""
        for state in self._base:
            if not state.delete:
                await self._executor.carry_out([SameStep(state, state)])
        root = await self._root()
        parent = request.parent or root
        by_urn = {state.urn: state for state in self._base if not state.delete}
        if request.parent and request.parent not in by_urn:
            raise Refused(f"could not find parent resource {request.parent}")
        urn = make_urn(self._stack, self._project, parent, request.type, request.name)
        new = ResourceState(
            urn,
            request.type,
            True,
            id=request.id,
            parent=parent,
            protect=request.protect,
            provider=await self._provider(request, by_urn),
        )
        step = ImportStep(None, new, obstacle=f"resource '{urn}' already exists" if urn in by_urn else "")
        if not await self._executor.carry_out([step]):
            raise Aborted
        await self._check(new)

    async def _root(self) -> str:
        """The URN of the Stack resource, which is made if there is none."""
        for state in self._base:
            if is_root_stack(state.type):
                return state.urn
        urn = stack_urn(self._stack, self._project)
        await self._executor.carry_out([CreateStep(None, ResourceState(urn, STACK_TYPE, False))])
        return urn

    async def _provider(self, request: ImportRequest, by_urn: Mapping[str, ResourceState]) -> str:
        """The reference of the provider that reads the resource.  Raises Refused."""
        package = package_of(request.type)
        urn = request.provider or default_provider_urn(self._stack, self._project, package)
        if urn in by_urn:
            return str(ProviderReference(urn, by_urn[urn].id))
        if request.provider:
            raise Refused(f"could not find provider {urn} in the state")
        prefix = f"{package}:"
        inputs = {key[len(prefix) :]: value for key, value in self._config.items() if key.startswith(prefix)}
        goal = Goal(urn, provider_type(package), default_provider_name(), True, inputs)
        async with self._generator.turn:
            steps = await self._generator.register(goal)
        if not await self._executor.carry_out(steps):
            raise Aborted
        return str(ProviderReference(urn, steps[-1].state.id))

    async def _check(self, new: ResourceState) -> None:
        """Says what the provider would not accept of its own answer: the next update will stumble over it."""
        try:
            instance = self._generator.run.registry.usable(new.provider)
            result = await instance.check(new.urn, new.type, new.inputs, new.inputs, b"", unknowns=False)
        except ProviderError as error:
            self._generator.tell(Severity.WARNING, str(error), new.urn)
            return
        for failure in result.failures:
            self._generator.tell(Severity.WARNING, f"property {failure.property}: {failure.reason}", new.urn)
