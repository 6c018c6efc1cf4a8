"""Replacements: a resource that has to be made anew, and what depends on the old one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from falaj.engine.decisions import Refused
from falaj.engine.diffs import forces_replacement
from falaj.engine.events import Severity
from falaj.engine.goal import Goal
from falaj.engine.graph import dependents, provider_urn
from falaj.engine.instances import Instance
from falaj.engine.provider import Changes, DiffResult, ProviderError
from falaj.engine.resource_state import ResourceState
from falaj.engine.steps import CreateStep, DeleteStep, ReplaceStep, Step
from falaj.engine.urn import ProviderReference, is_provider_type
from falaj.engine.values import UNKNOWN, Value

if TYPE_CHECKING:
    from falaj.engine.step_generator import StepGenerator


class Replacements:
    """The part of the step generator that deals with replacements."""

    def __init__(self, generator: StepGenerator) -> None:
        self._generator = generator
        self._keys: dict[str, Sequence[str]] = {}

    async def replace(
        self,
        goal: Goal,
        old: ResourceState,
        new: ResourceState,
        instance: Instance | None,
        diff: DiffResult,
        *,
        checked: bool,
    ) -> list[Step]:
        """``checked``: the new inputs are already those of a new resource.  Raises Refused."""
        generator = self._generator
        self._refuse_protected(goal, old, new)
        if goal.import_id:
            message = (
                "previously-imported resources that still specify an ID may not be replaced; "
                "please remove the `import` declaration from your program"
            )
            if not generator.run.preview:
                raise Refused(message, goal.urn)
            generator.tell(Severity.WARNING, message, goal.urn)
        generator.decisions.replaced.add(goal.urn)
        if not checked and instance is not None:
            # The names that Check made up belong to the old resource: the new one needs its own.
            new.inputs = goal.inputs
            await generator.check(goal, new, {}, instance)
        before = diff.delete_before_replace if goal.delete_before_replace is None else goal.delete_before_replace
        if not before and not old.pending_replacement:
            return self.after_creation(old, new, diff)
        steps = await self._make_room(old) if before else []
        if not old.pending_replacement:
            await self._ensure_provider(old)
            steps.append(DeleteStep(old, None, logical=False, replaced=True, makes_room=True))
        return [*steps, *self.marker(old, new, diff), self._creation(old, new, diff, old_goes_last=False)]

    def after_creation(self, old: ResourceState, new: ResourceState, diff: DiffResult) -> list[Step]:
        """The usual order: the old one is deleted at the end of the deployment."""
        return [self._creation(old, new, diff, old_goes_last=True), *self.marker(old, new, diff)]

    def recreation(self, old: ResourceState, new: ResourceState) -> list[Step]:
        """It made room for another one's replacement and is wanted again."""
        keys = self._keys.get(old.urn, ())
        return [
            ReplaceStep(old, new),
            CreateStep(old, new, keys, logical=False, replacing=True, old_goes_last=False),
        ]

    def marker(self, old: ResourceState, new: ResourceState, diff: DiffResult) -> list[Step]:
        return [ReplaceStep(old, new, diff.replaces, diff.diffs, diff.detailed)]

    def _creation(self, old: ResourceState, new: ResourceState, diff: DiffResult, *, old_goes_last: bool) -> CreateStep:
        return CreateStep(
            old,
            new,
            diff.replaces,
            diff.diffs,
            diff.detailed,
            logical=False,
            replacing=True,
            old_goes_last=old_goes_last,
        )

    def _refuse_protected(self, goal: Goal, old: ResourceState, new: ResourceState) -> None:
        if not (old.protect and new.protect):
            return
        generator = self._generator
        generator.tell(
            Severity.ERROR,
            f'unable to replace resource "{goal.urn}"\nas it is currently marked for protection. To unprotect the '
            "resource, remove the `protect` flag from the resource in your Pulumi program and run `pulumi up`",
            goal.urn,
        )
        generator.decisions.failed = True
        if not generator.run.preview:
            raise Refused(told=True)

    # -- delete before replace ----------------------------------------------------------------------------------------

    async def _make_room(self, root: ResourceState) -> list[Step]:
        """Deletes of the dependents that cannot outlive ``root``, the last dependents first.  Raises Refused."""
        decisions = self._generator.decisions
        steps: list[Step] = []
        for state, keys in reversed(await self.dependent_replacements(root)):
            if state.urn in decisions.deleted:
                continue
            if state.protect:
                raise Refused(
                    f'unable to replace resource "{root.urn}"\nas part of replacing it "{state.urn}" would have to be '
                    "deleted, and that one is protected",
                    root.urn,
                )
            await self._ensure_provider(state)
            self._keys[state.urn] = keys
            decisions.deleted.add(state.urn)
            steps.append(DeleteStep(state, None, logical=False, replaced=True, makes_room=True))
        return steps

    async def dependent_replacements(self, root: ResourceState) -> list[tuple[ResourceState, Sequence[str]]]:
        """Dependents that would have to be made anew if what they use of ``root`` became unknown, with the keys.

        The graph is that of the last deployment.  What has been registered already cannot depend on ``root`` any more:
        the program registers dependencies first.
        """
        generator = self._generator
        replaced = {root.urn}
        found: list[tuple[ResourceState, Sequence[str]]] = []
        for state in dependents(generator.base, [root], ignore=generator.decisions.registered):
            if state.delete:
                continue
            try:
                diff = await self._dependent_diff(state, replaced)
            except ProviderError as error:
                raise Refused(str(error), state.urn) from error
            if diff is not None and (forces_replacement(diff) or provider_urn(state) in replaced):
                replaced.add(state.urn)
                found.append((state, diff.replaces))
        return found

    async def _dependent_diff(self, state: ResourceState, replaced: set[str]) -> DiffResult | None:
        """The provider's view of the resource when what it has from ``replaced`` is unknown; None: not affected."""
        if not state.custom or state.external:
            return None
        if provider_urn(state) in replaced:
            return DiffResult(Changes.SOME)
        inputs = dict[str, Value](state.inputs)
        for key, urns in (state.property_dependencies or {}).items():
            if key in inputs and not replaced.isdisjoint(urns):
                inputs[key] = UNKNOWN
        if all(inputs[key] is state.inputs[key] for key in inputs):
            return None
        generator = self._generator
        if is_provider_type(state.type):
            reference = str(ProviderReference(state.urn, state.id))
            instance = await generator.run.registry.ensure(reference, generator.base)
            return await instance.diff_config(state.urn, state, inputs, ())
        instance = await generator.run.registry.ensure(state.provider, generator.base)
        return await instance.diff(state.type, state, inputs, (), unknowns=True)

    async def _ensure_provider(self, old: ResourceState) -> None:
        """The old resource is deleted by the provider that it was made with.  Raises Refused."""
        if not old.custom or old.external or is_provider_type(old.type):
            return
        try:
            await self._generator.run.registry.ensure(old.provider, self._generator.base)
        except ProviderError as error:
            raise Refused(str(error), old.urn) from error
