"""Writes the checkpoint while a deployment runs: one writer, dependencies before dependents at any moment.

A checkpoint lists what this deployment has completed, in the order of completion, then what it has not yet touched.
Before a provider is called, the operation is written as pending, so that a crash leaves a trace of it.  Writes that
come together are joined: a step waits for *a* write that holds its operation, not for one of its own, and the end of a
step rides on the next write.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from falaj.engine.checkpoint import Checkpoint
from falaj.engine.decisions import Aborted
from falaj.engine.resource_state import OperationType, PendingOperation, ResourceState

Save = Callable[[Checkpoint, bool], Awaitable[None]]
"""Writes a checkpoint.  The second argument: it is the last one and has to survive a power failure."""


class SnapshotWriter:
    """To be used from one event loop.  ``save`` None (previews): nothing is ever written."""

    def __init__(self, base: Checkpoint, save: Save | None) -> None:
        self._base = base
        self._resources: Sequence[ResourceState] = base.resources
        self._done: set[ResourceState] = set()
        self._completed: dict[ResourceState, None] = {}
        self._pending: dict[int, PendingOperation] = {}
        self._carried = [op for op in base.pending_operations if op.type is OperationType.CREATING]
        self._renamed: dict[str, str] = {}
        self._rewritten: dict[ResourceState, ResourceState] = {}
        self._save = save
        self._asked = self._written = 0
        self._dirty = len(self._carried) != len(base.pending_operations)
        self._writing: asyncio.Task[None] | None = None
        self._last_token = 0
        self._halted = False

    # -- steps ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def pending(self, type: OperationType, resource: ResourceState) -> AsyncIterator[None]:
        """Around a provider call.  When the deployment is torn down meanwhile the record stays: nobody knows how the
        call ended."""
        self._last_token += 1
        token = self._last_token
        self._pending[token] = PendingOperation(resource, type)
        try:
            await self._persist()
            if self._halted:
                raise Aborted  # something failed meanwhile: no further provider call may begin
            yield
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._end(token)
            raise
        self._end(token)

    def _end(self, token: int) -> None:
        del self._pending[token]
        self.touch()

    def halt(self) -> None:
        """From now on no operation begins; those that run come to their end."""
        self._halted = True

    def complete(self, state: ResourceState) -> None:
        self._completed[state] = None
        self.touch()

    def forget(self, state: ResourceState) -> None:
        """The state of before, or one that this deployment completed, is no more (deleted, or exchanged)."""
        if state in self._completed:
            del self._completed[state]
        else:
            self._done.add(state)
        self.touch()

    def rename(self, old: str, new: str) -> None:
        """A resource was found under an earlier URN: every reference to it follows."""
        self._renamed[old] = new
        self._rewritten.clear()

    def clear_pending_creates(self) -> None:
        self._carried = []
        self.touch()

    def rebase(self, resources: Sequence[ResourceState]) -> None:
        """After a refresh: the refreshed states are the base of what follows."""
        self._resources, self._done, self._completed = list(resources), set(), {}
        self.touch()

    def touch(self) -> None:
        """Something changed: the next write, or at the latest ``flush``, will hold it."""
        self._dirty = True

    # -- writing ----------------------------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """The state as it stands now."""
        rest = [state for state in self._resources if state not in self._done]
        resources = [*self._completed, *rest]
        operations = [*self._pending.values(), *self._carried]
        if self._renamed:
            resources = [self._with_new_names(state) for state in resources]
            operations = [PendingOperation(self._with_new_names(op.resource), op.type) for op in operations]
        return Checkpoint(
            self._base.stack,
            self._base.project,
            resources,
            operations,
            self._base.secrets_provider,
            self._base.metadata,
            manifest_version=self._base.manifest_version,
            extra=self._base.extra,
            texts=self._base.texts,
        )

    async def flush(self) -> None:
        """The last write, if there is anything to write.  No step may be running."""
        while self._writing is not None:
            await asyncio.shield(self._writing)
        if self._save is not None and (self._dirty or self._written):
            self._dirty = False
            await self._save(self.checkpoint(), True)

    async def _persist(self) -> None:
        if self._save is None:
            return
        self._asked += 1
        mine = self._asked
        while self._written < mine:
            if self._writing is None:
                self._writing = asyncio.create_task(self._write(self._save))
            await asyncio.shield(self._writing)

    async def _write(self, save: Save) -> None:
        covers = self._asked
        self._dirty = False
        try:
            await save(self.checkpoint(), False)
            self._written = covers
        finally:
            self._writing = None

    def _with_new_names(self, state: ResourceState) -> ResourceState:
        known = self._rewritten.get(state)
        if known is None:
            known = self._rewritten[state] = renamed_references(state, self._renamed)
        return known


def renamed_references(state: ResourceState, names: dict[str, str]) -> ResourceState:
    """The state with every reference to a renamed resource following; itself when there is none."""

    def new(urn: str) -> str:
        return names.get(urn, urn)

    provider, _, id = state.provider.rpartition("::")
    changes = {
        "parent": new(state.parent),
        "dependencies": [new(urn) for urn in state.dependencies],
        "deleted_with": new(state.deleted_with),
        "replace_with": [new(urn) for urn in state.replace_with],
        "provider": f"{new(provider)}::{id}" if provider else "",
        "property_dependencies": None
        if state.property_dependencies is None
        else {key: [new(urn) for urn in urns] for key, urns in state.property_dependencies.items()},
    }
    if all(_plain(getattr(state, name)) == _plain(value) for name, value in changes.items()):
        return state
    return state.copy(**changes)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: list(item) for key, item in value.items()}
    return list(value) if isinstance(value, list | tuple) else value
