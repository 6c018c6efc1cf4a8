"""What goes at the end of a deployment: replaced twins, and what the program no longer wants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from falaj.engine.decisions import Decisions, Refused
from falaj.engine.events import Severity
from falaj.engine.goal import is_root_stack
from falaj.engine.graph import closure, deletion_order, dependents
from falaj.engine.provider import ProviderError
from falaj.engine.providers import is_provider
from falaj.engine.resource_state import ResourceState
from falaj.engine.step_generator import StepGenerator
from falaj.engine.steps import DeleteStep, RemovePendingReplaceStep, Run, SameStep, Step


class Removal:
    """Steps for the resources that were not registered.  Made after the program has ended well."""

    def __init__(self, generator: StepGenerator, *, destroying: bool) -> None:
        """``destroying``: the base is to go as a whole, as far as the options let it."""
        self._generator = generator
        self._run: Run = generator.run
        self._decisions: Decisions = generator.decisions
        self._base: Sequence[ResourceState] = generator.base
        self._destroying = destroying

    def untouched(self) -> list[list[Step]]:
        """Steps for what the options leave as it is, so that whoever watches sees it.  Raises Refused."""
        options = self._generator.options
        if not (options.targets or options.excludes or options.exclude_protected or options.target_replace):
            return []
        condemned = set(self._condemned())
        return [
            [SameStep(state, state)]
            for state in self._base
            if state not in condemned and not state.delete and state.urn not in self._decisions.kept
        ]

    async def steps(self) -> list[list[Step]]:
        """Antichains: the steps of one may run at once, each after all of the one before.  Raises Refused."""
        condemned = self._condemned()
        by_state: dict[ResourceState, Step] = {}
        for state in condemned:
            if state.delete:
                by_state[state] = DeleteStep(state, None, logical=False, replaced=True)
            elif state.pending_replacement:
                by_state[state] = RemovePendingReplaceStep(state, None, logical=False)
            else:
                self._decisions.deleted.add(state.urn)
                by_state[state] = DeleteStep(state, None)
        await self._ensure_providers(condemned)
        order = deletion_order(self._base, set(condemned))
        return [[by_state[state] for state in layer] for layer in order]

    def _condemned(self) -> list[ResourceState]:
        unwanted = [state for state in reversed(self._base) if state.delete or state.urn not in self._decisions.kept]
        options = self._generator.options
        if options.exclude_protected:
            protected = [state.urn for state in self._base if state.protect]
            needed = closure(self._base, protected)
            return [state for state in unwanted if state.urn not in needed]
        if self._generator.excludes:
            return self._without_excluded(unwanted) if self._destroying else []
        if self._generator.targets:
            return self._targets_only(unwanted)
        return unwanted

    def _without_excluded(self, unwanted: Sequence[ResourceState]) -> list[ResourceState]:
        excluded = [state for state in self._base if state.urn in self._generator.excludes]
        if self._generator.options.exclude_dependents:
            excluded += dependents(self._base, excluded, include_children=True)
        needed = closure(self._base, [state.urn for state in excluded])
        return [state for state in unwanted if state.urn not in needed and not self._implicit(state)]

    def _implicit(self, state: ResourceState) -> bool:
        """Providers and the Stack outlive a partial destroy as long as anything is left that needs them."""
        return self._destroying and (is_provider(state) or is_root_stack(state.type))

    def _targets_only(self, unwanted: Sequence[ResourceState]) -> list[ResourceState]:
        """The targets, and what cannot stay without them.  Raises Refused for a dependent that is no target."""
        targets = self._generator.targets
        chosen = [state for state in unwanted if state.urn in targets]
        going = dependents(self._base, chosen, include_children=True)
        going = [state for state in going if state in unwanted and state not in chosen]
        if not self._generator.options.target_dependents:
            strangers = [state for state in going if state.urn not in targets]
            for state in strangers:
                self._generator.tell(
                    Severity.ERROR,
                    f"Resource '{state.urn}' will be destroyed but was not specified in --target list.\n"
                    "Either include resource in --target list or pass --target-dependents to proceed.",
                    state.urn,
                )
            if strangers:
                self._decisions.failed = True
                raise Refused(told=True)
        both = {*chosen, *going}
        return [state for state in unwanted if state in both]

    async def _ensure_providers(self, condemned: Iterable[ResourceState]) -> None:
        """Configures the providers that deletes need, from the state.  Raises Refused."""
        users = {
            state.provider: state
            for state in condemned
            if state.custom and state.provider and not is_provider(state) and not state.pending_replacement
        }
        for provider in self._base:  # one provider may need what another one made
            reference = f"{provider.urn}::{provider.id}"
            if reference in users:
                try:
                    await self._run.registry.ensure(reference, self._base)
                except ProviderError as error:
                    raise Refused(str(error), users[reference].urn) from error
