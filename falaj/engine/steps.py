"""The operations on a resource: what each one asks of the provider, and what it leaves in the state.

A step is made by the step generator, which decides, and carried out by the executor, which orders.  ``apply`` raises
StepError when the operation failed; what it has saved until then stays saved.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar, Protocol

from falaj.engine.checkpoint import timestamp
from falaj.engine.events import Op, StepInfo
from falaj.engine.instances import Instance, without_internal
from falaj.engine.properties import mark_secrets
from falaj.engine.provider import InitializationError, PropertyDiff, ProviderError
from falaj.engine.providers import ProviderRegistry
from falaj.engine.resource_state import OperationType, PendingOperation, ResourceState
from falaj.engine.snapshot import SnapshotWriter
from falaj.engine.urn import ProviderReference, is_provider_type


class StepError(Exception):
    """An operation failed; the text is for the user."""


class AfterHookError(StepError):
    """A hook after an operation failed: the operation is done and saved, but the deployment fails."""


class HookRunner(Protocol):
    """Runs the hooks of a resource around an operation."""

    def around(
        self, kind: str, old: ResourceState | None, new: ResourceState | None
    ) -> AbstractAsyncContextManager[None]:
        """``kind``: create, update or delete.  Raises StepError when a hook before the operation fails."""
        ...


@dataclass(slots=True)
class Run:
    """What steps work with."""

    preview: bool
    registry: ProviderRegistry
    snapshot: SnapshotWriter
    hooks: HookRunner
    deleted: Collection[str]
    """URNs that are deleted in this deployment: what stands and falls with one of them needs no call of its own."""


@dataclass(eq=False, slots=True)
class Step(abc.ABC):
    """``logical`` False: part of a replacement, not counted.  ``keys`` force it, ``diffs`` differ."""

    op: ClassVar[Op]
    old: ResourceState | None = None
    new: ResourceState | None = None
    keys: Sequence[str] = ()
    diffs: Sequence[str] = ()
    detailed: Mapping[str, PropertyDiff] | None = None
    logical: bool = True

    @property
    def state(self) -> ResourceState:
        """The resource the step is about: as it will be, or as it was."""
        state = self.new or self.old
        assert state is not None, "a step is about something"
        return state

    def info(self) -> StepInfo:
        state, old, new = self.state, self.old, self.new
        return StepInfo(
            self.operation,
            state.urn,
            state.type,
            state.custom,
            state.parent,
            state.provider,
            state.id,
            self.keys,
            self.diffs,
            self.detailed,
            old.inputs if old else None,
            old.outputs if old else None,
            new.inputs if new else None,
            new.outputs if new else None,
            state.protect,
        )

    @property
    def operation(self) -> Op:
        """``op``, where the same step has different names."""
        return self.op

    @abc.abstractmethod
    async def apply(self, run: Run) -> None:
        """Carries the operation out.  Raises ProviderError."""

    # -- what several steps do --------------------------------------------------------------------------------------

    def _carry_over(self, old: ResourceState, new: ResourceState) -> None:
        new.id = old.id
        new.created, new.modified = old.created, old.modified

    def _instance(self, run: Run, state: ResourceState) -> Instance:
        try:
            return run.registry.usable(state.provider)
        except ProviderError as error:
            raise StepError(str(error)) from error

    def _saved_with_errors(
        self, run: Run, new: ResourceState, error: InitializationError, *, created: bool
    ) -> StepError:
        """The resource exists but is not ready: it is kept, and the next update will try again."""
        new.id = error.id or new.id
        new.outputs = mark_secrets(error.outputs, new.additional_secret_outputs)
        if error.inputs is not None:
            new.inputs = error.inputs
        new.init_errors = list(error.reasons)
        new.modified = timestamp()
        if created:
            new.created = new.modified
        return StepError(errors_text(error.reasons))


def errors_text(reasons: Sequence[str]) -> str:
    """Several errors as Pulumi lists them."""
    count = f"{len(reasons)} error" + ("s" if len(reasons) != 1 else "")
    return f"{count} occurred:\n" + "\n".join(f"\t* {reason}" for reason in reasons)


@dataclass(eq=False, slots=True)
class SameStep(Step):
    """Nothing to do outside; the new inputs and options go to the state."""

    op = Op.SAME

    async def apply(self, run: Run) -> None:
        old, new = self.old, self.new
        assert old is not None and new is not None
        if new is not old:
            self._carry_over(old, new)
            new.outputs = old.outputs
        if is_provider_type(new.type) and run.registry.get(str(ProviderReference(new.urn, new.id))) is None:
            await run.registry.configure(new, old.inputs)
        run.snapshot.forget(old)
        run.snapshot.complete(new)


@dataclass(eq=False, slots=True)
class SkippedCreateStep(Step):
    """A new resource that is no target: nothing is made and nothing is saved."""

    op = Op.SAME

    async def apply(self, run: Run) -> None:
        return


@dataclass(eq=False, slots=True)
class CreateStep(Step):
    """``replacing``: it takes the place of ``old``, which stays until it is deleted at the end (``old_goes_last``)."""

    op = Op.CREATE
    replacing: bool = False
    old_goes_last: bool = False

    @property
    def operation(self) -> Op:
        return Op.CREATE_REPLACEMENT if self.replacing else Op.CREATE

    async def apply(self, run: Run) -> None:
        new = self.new
        assert new is not None
        async with run.hooks.around("create", None, new):
            try:
                await self._create(run, new)
            finally:
                if self.old is not None and (run.preview or not new.custom or new.id):
                    self._retire(run, self.old)

    async def _create(self, run: Run, new: ResourceState) -> None:
        if is_provider_type(new.type):
            new.id = run.registry.new_id()
            new.outputs = without_internal(new.inputs)
            await run.registry.configure(new, new.inputs)
        elif new.custom:
            instance = self._instance(run, new)
            if run.preview and not instance.configured:
                return
            try:
                async with run.snapshot.pending(OperationType.CREATING, new.copy()):
                    result = await instance.create(new, new.custom_timeouts.create, run.preview)
            except InitializationError as error:
                failure = self._saved_with_errors(run, new, error, created=True)
                run.snapshot.complete(new)
                raise failure from error
            except ProviderError as error:
                raise StepError(str(error)) from error
            new.id, new.outputs = result.id, mark_secrets(result.outputs, new.additional_secret_outputs)
            if not new.id and not run.preview:
                raise StepError(f"the provider created {new.urn} but gave it no id")
        new.created = new.modified = timestamp()
        run.snapshot.complete(new)

    def _retire(self, run: Run, old: ResourceState) -> None:
        if self.old_goes_last:
            old.delete = True
            run.snapshot.touch()
        elif old.pending_replacement:
            run.snapshot.forget(old)


@dataclass(eq=False, slots=True)
class ReplaceStep(Step):
    """Marks a replacement for whoever watches; nothing happens."""

    op = Op.REPLACE

    async def apply(self, run: Run) -> None:
        return


@dataclass(eq=False, slots=True)
class UpdateStep(Step):
    op = Op.UPDATE
    ignore_changes: Sequence[str] = ()

    async def apply(self, run: Run) -> None:
        old, new = self.old, self.new
        assert old is not None and new is not None
        self._carry_over(old, new)
        async with run.hooks.around("update", old, new):
            await self._update(run, old, new)

    async def _update(self, run: Run, old: ResourceState, new: ResourceState) -> None:
        if is_provider_type(new.type):
            new.outputs = without_internal(new.inputs)
            await run.registry.configure(new, new.inputs)
        elif new.custom:
            instance = self._instance(run, new)
            if run.preview and not instance.configured:
                return
            try:
                async with run.snapshot.pending(OperationType.UPDATING, new.copy()):
                    outputs = await instance.update(
                        old, new, new.custom_timeouts.update, self.ignore_changes, run.preview
                    )
            except InitializationError as error:
                failure = self._saved_with_errors(run, new, error, created=False)
                run.snapshot.forget(old)
                run.snapshot.complete(new)
                raise failure from error
            except ProviderError as error:
                raise StepError(str(error)) from error
            new.outputs = mark_secrets(outputs, new.additional_secret_outputs)
        new.modified = timestamp()
        run.snapshot.forget(old)
        run.snapshot.complete(new)


@dataclass(eq=False, slots=True)
class DeleteStep(Step):
    """``replaced``: a twin, or a resource that makes room for its successor.

    ``makes_room``: it will be created again in this deployment; until then its state stays, marked as pending
    replacement.
    """

    op = Op.DELETE
    replaced: bool = False
    makes_room: bool = False

    @property
    def operation(self) -> Op:
        assert self.old is not None
        if self.old.external:
            return Op.DISCARD_REPLACED if self.replaced else Op.DISCARD
        return Op.DELETE_REPLACED if self.replaced else Op.DELETE

    async def apply(self, run: Run) -> None:
        old = self.old
        assert old is not None
        if old.protect and not self.replaced:
            raise StepError(protected_text(old.urn))
        async with run.hooks.around("delete", old, None):
            if not run.preview and self._needs_call(run, old):
                await self._delete(run, old)
        if run.preview:
            return
        if self.makes_room:
            old.pending_replacement = True
            run.snapshot.touch()
        else:
            run.snapshot.forget(old)

    def _needs_call(self, run: Run, old: ResourceState) -> bool:
        if not old.custom or old.external or old.retain_on_delete or is_provider_type(old.type):
            return False
        return not (old.deleted_with and old.deleted_with in run.deleted)

    async def _delete(self, run: Run, old: ResourceState) -> None:
        instance = self._instance(run, old)
        try:
            async with run.snapshot.pending(OperationType.DELETING, old):
                await instance.delete(old, old.custom_timeouts.delete)
        except ProviderError as error:
            raise StepError(str(error)) from error


def protected_text(urn: str) -> str:
    return (
        f'resource "{urn}" cannot be deleted\nbecause it is protected. To unprotect the resource, either remove the '
        "`protect` flag from the resource in your Pulumi program and run `pulumi up`, or use the command:\n"
        f"`pulumi state unprotect '{urn}'`"
    )


@dataclass(eq=False, slots=True)
class RemovePendingReplaceStep(Step):
    """A resource was deleted to make room, and its successor is no longer wanted."""

    op = Op.REMOVE_PENDING_REPLACE

    async def apply(self, run: Run) -> None:
        assert self.old is not None
        run.snapshot.forget(self.old)


def interrupted(operations: Sequence[PendingOperation]) -> str:
    """The warning about operations that an earlier deployment left behind."""
    lines = "\n".join(f"  * {op.resource.urn}, interrupted while {op.type}" for op in operations)
    return (
        f"Attempting to deploy or update resources with {len(operations)} pending operations from previous "
        f"deployment.\n"
        f"{lines}\nThese resources are in an unknown state, because the engine was stopped while it waited for them. "
        "Check with their provider whether the operations were completed, then run `refresh`, which takes over what "
        "the provider knows; `refresh --clear-pending-creates` drops the record of interrupted creates."
    )
