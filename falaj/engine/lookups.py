"""Steps that look up what exists outside: reads of what somebody else owns, and imports."""

from __future__ import annotations

from dataclasses import dataclass

from falaj.engine.checkpoint import timestamp
from falaj.engine.events import Op
from falaj.engine.properties import equal, mark_secrets
from falaj.engine.provider import InitializationError, ProviderError
from falaj.engine.resource_state import OperationType, ResourceState
from falaj.engine.steps import Run, Step, StepError, errors_text
from falaj.engine.urn import UNKNOWN_ID


@dataclass(eq=False, slots=True)
class ReadStep(Step):
    """Looks up a resource that somebody else owns.  ``replacing``: until now it was ours, and that one goes."""

    op = Op.READ
    replacing: bool = False

    @property
    def operation(self) -> Op:
        return Op.READ_REPLACEMENT if self.replacing else Op.READ

    async def apply(self, run: Run) -> None:
        old, new = self.old, self.new
        assert new is not None
        if new.id != UNKNOWN_ID:
            await self._read(run, new)
        else:
            new.id = ""
        if old is not None:
            new.created, new.modified = old.created, old.modified
            changed = not equal(old.outputs, new.outputs)
            self.logical = changed and old.external
            if changed or not old.external:
                new.modified = timestamp()
        if self.replacing:
            assert old is not None
            old.delete = True
        elif old is not None:
            run.snapshot.forget(old)
        run.snapshot.complete(new)

    async def _read(self, run: Run, new: ResourceState) -> None:
        instance = self._instance(run, new)
        if run.preview and not instance.configured:
            return
        try:
            async with run.snapshot.pending(OperationType.READING, new.copy()):
                result = await instance.read(new, new.id)
        except InitializationError as error:
            new.outputs = mark_secrets(error.outputs, new.additional_secret_outputs)
            new.init_errors = list(error.reasons)
            if self.old is not None and not self.replacing:
                run.snapshot.forget(self.old)
            run.snapshot.complete(new)
            raise StepError(errors_text(error.reasons)) from error
        except ProviderError as error:
            raise StepError(str(error)) from error
        if not result.id:
            raise StepError(f"resource '{new.id}' does not exist")
        new.id = result.id
        new.outputs = mark_secrets(result.outputs, new.additional_secret_outputs)


@dataclass(eq=False, slots=True)
class ImportStep(Step):
    """Takes over a resource that exists outside.  ``new.id`` is the id to import; ``old`` is what it replaces."""

    op = Op.IMPORT
    replacing: bool = False
    obstacle: str = ""
    """Why it cannot be done, where that is known before."""

    @property
    def operation(self) -> Op:
        return Op.IMPORT_REPLACEMENT if self.replacing else Op.IMPORT

    async def apply(self, run: Run) -> None:
        new = self.new
        assert new is not None
        if self.obstacle:
            raise StepError(self.obstacle)
        instance = self._instance(run, new)
        empty = new.copy(inputs={}, outputs={})
        try:
            async with run.snapshot.pending(OperationType.IMPORTING, new.copy(id="")):
                result = await instance.read(empty, new.id)
        except InitializationError as error:
            raise StepError(errors_text(error.reasons)) from error
        except ProviderError as error:
            raise StepError(str(error)) from error
        if not result.id:
            raise StepError(f"resource '{new.id}' does not exist")
        if result.inputs is None:
            raise StepError(f"the provider of {new.type} cannot import: its answer for '{new.id}' holds no inputs")
        new.id, new.inputs = result.id, result.inputs
        new.outputs = mark_secrets(result.outputs, new.additional_secret_outputs)
        new.created = new.modified = timestamp()
        if self.replacing:
            assert self.old is not None
            self.old.delete = True
        elif self.old is not None:
            run.snapshot.forget(self.old)
        run.snapshot.complete(new)
