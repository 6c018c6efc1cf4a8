"""Decides what has to happen to each resource: the one place where old state and new goal meet.

Decisions are made one at a time, in the order in which the program registers resources; the provider calls that they
need (Check, Diff) run in worker threads meanwhile.
Source: pkg/resource/deploy/step_generator.go of Pulumi; recordings of the CLI.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Sequence
from dataclasses import replace

from falaj.engine.decisions import Decisions, Refused, Tell
from falaj.engine.diffs import compared_inputs, forces_replacement, with_replace_on_changes
from falaj.engine.events import Severity
from falaj.engine.goal import Goal, is_root_stack
from falaj.engine.instances import INTERNAL, Instance
from falaj.engine.lookups import ImportStep, ReadStep
from falaj.engine.options import Options
from falaj.engine.paths import keep_ignored, parse_path
from falaj.engine.policies import Policies
from falaj.engine.properties import contains_unknowns, equal, unwrap_secrets
from falaj.engine.provider import Changes, CheckFailure, DiffResult, ProviderError
from falaj.engine.providers import is_provider
from falaj.engine.replacement import Replacements
from falaj.engine.resource_state import ResourceState
from falaj.engine.steps import CreateStep, Run, SameStep, SkippedCreateStep, Step, UpdateStep
from falaj.engine.targets import UrnPatterns
from falaj.engine.urn import is_provider_type
from falaj.engine.values import Properties, Secret, Value


class StepGenerator:
    """To be used from one event loop, one registration at a time."""

    def __init__(
        self,
        run: Run,
        base: Sequence[ResourceState],
        options: Options,
        decisions: Decisions,
        tell: Tell,
        policies: Policies,
    ) -> None:
        self.run, self.options, self.decisions = run, options, decisions
        self.base = base
        self.olds = {state.urn: state for state in base if not state.delete}
        self.targets = UrnPatterns((*options.targets, *options.target_replace))
        self.excludes = UrnPatterns(options.excludes)
        self.forced = UrnPatterns((*options.replace, *options.target_replace))
        self.goals: dict[str, Goal] = {}
        self.providers: dict[str, ResourceState] = {}
        self._tell, self._policies = tell, policies
        self.turn = asyncio.Lock()
        """Held by whoever decides."""
        self.replacements = Replacements(self)

    # -- registrations ----------------------------------------------------------------------------------------------

    async def register(self, goal: Goal) -> list[Step]:
        """The steps for a registration; an ImportStep alone is followed by ``after_import``.  Raises Refused."""
        decisions = self.decisions
        if goal.urn in decisions.registered:
            raise Refused(f"Duplicate resource URN '{goal.urn}'; try giving it a unique name", goal.urn)
        decisions.registered.add(goal.urn)
        self._inherit(goal)
        self.goals[goal.urn] = goal
        old = self._find_old(goal)
        new = self._goal_state(goal, old)
        instance = await self._instance(new)
        old_import_id = (old.import_id or old.id) if old else ""
        if goal.custom and goal.import_id and (old is None or old.external or old_import_id != goal.import_id):
            if not self.is_target(new):
                return self._untargeted(goal, old, new)
            new.id = new.import_id = goal.import_id
            decisions.kept.add(goal.urn)
            replacing = old is not None and goal.urn not in decisions.deleted
            return [ImportStep(old if replacing else None, new, replacing=replacing)]
        return await self._decide(goal, old, new, instance)

    async def after_import(self, goal: Goal, imported: ResourceState) -> list[Step]:
        """What the program wants of a resource that was just imported; empty when it is as wanted."""
        self.olds[goal.urn] = imported
        new = self._goal_state(goal, imported)
        steps = await self._decide(goal, imported, new, await self._instance(new))
        return [step for step in steps if not isinstance(step, SameStep)]

    def read(self, new: ResourceState) -> list[Step]:
        """The steps for a resource that the program only looks up.  Raises Refused."""
        decisions = self.decisions
        if new.urn in decisions.registered:
            raise Refused(f"Duplicate resource URN '{new.urn}'; try giving it a unique name", new.urn)
        decisions.registered.add(new.urn)
        decisions.kept.add(new.urn)
        old = self.olds.get(new.urn)
        if old is not None and not old.external and old.id != new.id:
            decisions.replaced.add(new.urn)
            return [
                ReadStep(old, new, replacing=True, logical=False),
                *self.replacements.marker(old, new, DiffResult(Changes.SOME)),
            ]
        return [ReadStep(old, new, logical=False)]

    def _inherit(self, goal: Goal) -> None:
        parent = self.goals.get(goal.parent)
        if parent is None:
            return
        if goal.protect is None:
            goal.protect = parent.protect
        if goal.retain_on_delete is None:
            goal.retain_on_delete = parent.retain_on_delete
        if not goal.deleted_with:
            goal.deleted_with = parent.deleted_with

    def _find_old(self, goal: Goal) -> ResourceState | None:
        old = self.olds.get(goal.urn)
        for alias in goal.aliases:
            found = self.olds.get(alias)
            if old is not None or found is None or alias in self.decisions.registered:
                continue
            # From now on it goes by its new name, also in the state that is written while its step runs.
            old = found
            del self.olds[alias]
            old.urn = goal.urn
            self.olds[goal.urn] = old
            self.decisions.aliased[alias] = goal.urn
            self.run.snapshot.rename(alias, goal.urn)
        return old

    def _goal_state(self, goal: Goal, old: ResourceState | None) -> ResourceState:
        inputs = goal.inputs
        if old is not None and goal.ignore_changes:
            inputs = keep_ignored(inputs, old.inputs, [parse_path(path) for path in goal.ignore_changes])
        return ResourceState(
            goal.urn,
            goal.type,
            goal.custom,
            inputs=inputs,
            parent=goal.parent,
            protect=bool(goal.protect),
            dependencies=goal.dependencies,
            provider=goal.provider,
            property_dependencies=goal.property_dependencies,
            additional_secret_outputs=goal.additional_secret_outputs,
            custom_timeouts=goal.custom_timeouts,
            retain_on_delete=bool(goal.retain_on_delete),
            deleted_with=goal.deleted_with,
            replace_with=goal.replace_with,
            created=old.created if old else "",
            modified=old.modified if old else "",
            source_position=goal.source_position,
            stack_trace=goal.stack_trace,
            ignore_changes=goal.ignore_changes,
            hide_diff=goal.hide_diff,
            replace_on_changes=goal.replace_on_changes,
            replacement_trigger=goal.replacement_trigger,
            resource_hooks=goal.resource_hooks,
            extra=old.extra if old else {},
        )

    async def _instance(self, new: ResourceState) -> Instance | None:
        """The provider that answers for the resource; None for components."""
        try:
            if is_provider_type(new.type):
                self.providers[new.urn] = new
                return await self.run.registry.fresh(new.type, new.urn, new.inputs)
            return self.run.registry.usable(new.provider) if new.custom else None
        except ProviderError as error:
            raise Refused(str(error), new.urn) from error

    # -- decisions --------------------------------------------------------------------------------------------------

    async def _decide(
        self, goal: Goal, old: ResourceState | None, new: ResourceState, instance: Instance | None
    ) -> list[Step]:
        decisions = self.decisions
        urn = goal.urn
        if not self.is_target(new):
            return self._untargeted(goal, old, new)
        forced = self._is_forced(old, urn)
        wanted = new.inputs
        while True:
            recreating = urn in decisions.deleted
            fresh = old is None or recreating or old.external or forced
            new.inputs = wanted
            await self.check(goal, new, {} if fresh or old is None else old.inputs, instance, give_way=True)
            if recreating == (urn in decisions.deleted):
                break  # else another resource's replacement has drawn this one in meanwhile
        self._require_targets(new)
        if old is not None and recreating:
            decisions.deleted.discard(urn)
            decisions.kept.add(urn)
            decisions.replaced.add(urn)
            return self.replacements.recreation(old, new)
        if old is not None and old.external:
            decisions.kept.add(urn)
            decisions.replaced.add(urn)
            return self.replacements.after_creation(old, new, DiffResult(Changes.SOME))
        if old is not None:
            decisions.kept.add(urn)
            return await self._existing(goal, old, new, instance, forced)
        decisions.kept.add(urn)
        return [CreateStep(None, new)]

    async def _existing(
        self, goal: Goal, old: ResourceState, new: ResourceState, instance: Instance | None, forced: bool
    ) -> list[Step]:
        try:
            diff, trigger = await self._diff(goal, old, new, instance, forced)
        except ProviderError as error:
            raise Refused(str(error), goal.urn) from error
        if forces_replacement(diff) or trigger or old.pending_replacement:
            return await self.replacements.replace(goal, old, new, instance, diff, checked=forced)
        if diff.changes is Changes.SOME:
            return [UpdateStep(old, new, (), diff.diffs, diff.detailed, ignore_changes=goal.ignore_changes)]
        if old.init_errors:
            return [UpdateStep(old, new, ignore_changes=goal.ignore_changes)]
        new.import_id = goal.import_id
        return [SameStep(old, new)]

    async def _diff(
        self, goal: Goal, old: ResourceState, new: ResourceState, instance: Instance | None, forced: bool
    ) -> tuple[DiffResult, bool]:
        """The difference, and whether a changed trigger replaces the resource in spite of it.  Raises ProviderError."""
        some = DiffResult(Changes.SOME)
        if forced:
            return replace(some, replaces=["id"]), False
        if any(urn in self.decisions.replaced for urn in goal.replace_with):
            return replace(some, replaces=["replaceWith"]), False
        if _trigger_changed(old.replacement_trigger, new.replacement_trigger):
            return some, True
        if old.custom != new.custom or await self._provider_changed(old, new):
            return replace(some, replaces=["provider"]), False
        if instance is None:
            return (DiffResult(Changes.NONE) if equal(old.inputs, new.inputs) else some), False
        if is_provider_type(new.type):
            diff = await instance.diff_config(new.urn, old, new.inputs, goal.ignore_changes)
        elif not instance.configured:
            self._tell(
                Severity.WARNING,
                "The provider for this resource has inputs that are not known during preview.\n"
                "This preview may not correctly represent the changes that will be applied during an update.",
                goal.urn,
            )
            diff = some
        else:
            diff = await instance.diff(new.type, old, new.inputs, goal.ignore_changes, unknowns=self.run.preview)
        if diff.changes is Changes.UNKNOWN:
            diff = replace(compared_inputs(old.inputs, new.inputs), replaces=diff.replaces)
        return with_replace_on_changes(diff, [parse_path(path) for path in goal.replace_on_changes]), False

    async def _provider_changed(self, old: ResourceState, new: ResourceState) -> bool:
        """Whether another provider answers for the resource now, in such a way that it has to be made anew."""
        if old.provider == new.provider or not old.provider or not new.provider:
            return old.provider != new.provider and bool(old.provider) != bool(new.provider)
        before, _, before_id = old.provider.rpartition("::")
        now, _, now_id = new.provider.rpartition("::")
        if (self.decisions.aliased.get(before, before), before_id) == (now, now_id):
            return False
        instance, registered = self.run.registry.get(new.provider), self.providers.get(now)
        former = next((state for state in self.base if is_provider(state, old.provider)), None)
        if instance is None or registered is None or former is None:
            return True
        return forces_replacement(await instance.diff_config(now, former, registered.inputs, ()))

    async def check(
        self,
        goal: Goal,
        new: ResourceState,
        old_inputs: Properties,
        instance: Instance | None,
        *,
        give_way: bool = False,
    ) -> None:
        """Fills in what the provider adds to the inputs and lets the policies see them.  Raises Refused.

        ``give_way``: other registrations may be decided before this returns.
        """
        try:
            if is_provider_type(new.type) and instance is not None:
                internal = new.inputs.get(INTERNAL)
                result = await instance.check_config(new.urn, old_inputs, new.inputs)
                new.inputs = result.inputs if internal is None else {**result.inputs, INTERNAL: internal}
            elif instance is not None and (instance.configured or not self.run.preview):
                seed = _random_seed(new.urn)
                result = await instance.check(
                    new.urn, new.type, old_inputs, new.inputs, seed, unknowns=self.run.preview
                )
                # A dependent of a failed resource has unknown inputs in a real update as well; they must not get lost.
                new.inputs = _with_unknowns(result.inputs, new.inputs)
            else:
                result = None
        except ProviderError as error:
            raise Refused(str(error), new.urn) from error
        if result is not None and result.failures:
            for failure in result.failures:
                self._tell(Severity.ERROR, _failure_text(goal, new, failure), new.urn)
            raise Refused(told=True)
        await self._policies.remediate(new, goal, self.providers)
        if not await self._verdict(self._policies.analyze(new, goal, self.providers), give_way):
            if not self.run.preview:
                raise Refused(told=True)
            self.decisions.failed = True

    async def _verdict(self, verdict: Awaitable[bool], give_way: bool) -> bool:
        """What the policies say.  A pack takes as long as all else together, so others may be decided meanwhile."""
        if not give_way:
            return await verdict
        self.turn.release()
        try:
            return await verdict
        finally:
            await self.turn.acquire()

    # -- targets ----------------------------------------------------------------------------------------------------

    def is_target(self, state: ResourceState) -> bool:
        """Whether the options let the deployment change the resource.  Providers and the Stack always are."""
        if not self.targets and not self.excludes:
            return True
        if is_provider_type(state.type) or is_root_stack(state.type):
            return True
        around = [state.parent, *state.dependencies, state.provider.rpartition("::")[0], state.deleted_with]
        around += [urn for urns in (state.property_dependencies or {}).values() for urn in urns]
        if self.excludes:
            if self.options.exclude_dependents and any(urn in self.excludes for urn in around):
                self.excludes.add(state.urn)
            return state.urn not in self.excludes
        if self.options.target_dependents and any(urn in self.targets for urn in around):
            self.targets.add(state.urn)
        return state.urn in self.targets

    def _untargeted(self, goal: Goal, old: ResourceState | None, new: ResourceState) -> list[Step]:
        if old is None:
            self.decisions.skipped_creates.add(goal.urn)
            return [SkippedCreateStep(None, new)]
        self.decisions.kept.add(goal.urn)
        return [SameStep(old, old)]

    def _require_targets(self, new: ResourceState) -> None:
        """A target cannot be made on top of a resource that was skipped."""
        for urn in new.dependencies:
            if urn in self.decisions.skipped_creates:
                raise Refused(
                    f"Resource '{new.urn}' depends on '{urn}' which was was not specified in --target list.", new.urn
                )

    def _is_forced(self, old: ResourceState | None, urn: str) -> bool:
        return urn in self.forced or (old is not None and old.taint)

    def tell(self, severity: Severity, message: str, urn: str) -> None:
        self._tell(severity, message, urn)


def _trigger_changed(old: Value, new: Value) -> bool:
    if old is None or new is None:
        return False
    return contains_unknowns(new) or not equal(old, new)


def _random_seed(urn: str) -> bytes:
    """Fresh for each Check: a replacement gets another automatic name than what it replaces."""
    return hashlib.sha256(urn.encode() + secrets.token_bytes(16)).digest()


def _with_unknowns(checked: Properties, given: Properties) -> Properties:
    missing = {key: value for key, value in given.items() if key not in checked and contains_unknowns(value)}
    return {**checked, **missing} if missing else checked


def _failure_text(goal: Goal, new: ResourceState, failure: CheckFailure) -> str:
    subject = f"{goal.type} resource '{goal.name}'"
    if not failure.property:
        return f"{subject} has a problem: {failure.reason}"
    value = goal.inputs.get(failure.property, new.inputs.get(failure.property))
    shown = "[secret]" if isinstance(value, Secret) else f"{{{unwrap_secrets(value)}}}"
    if value is not None and not isinstance(value, str | bool | int | float | Secret):
        shown = f"of {type(value).__name__}"  # it may hold secrets further down
    return f"{subject}: property {failure.property} value {shown} has a problem: {failure.reason}"
