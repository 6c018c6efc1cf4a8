"""Hooks: functions of the program that run before and after an operation on a resource."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pulumi.runtime.proto import resource_pb2

from falaj.engine.callbacks import Callbacks
from falaj.engine.calls import Calls
from falaj.engine.codec import to_struct
from falaj.engine.decisions import Tell
from falaj.engine.events import Severity
from falaj.engine.resource_state import ResourceState
from falaj.engine.steps import AfterHookError, StepError
from falaj.engine.urn import urn_name
from falaj.engine.values import Properties


@dataclass(frozen=True, slots=True)
class _Hook:
    callback: Any
    on_dry_run: bool
    ignore_errors: bool


class Hooks:
    """The hooks that the program has registered, by name."""

    def __init__(self, callbacks: Callbacks, calls: Calls, preview: bool, tell: Tell) -> None:
        self._callbacks = callbacks
        self._calls, self._preview, self._tell = calls, preview, tell
        self._hooks: dict[str, _Hook] = {}

    @property
    def in_use(self) -> bool:
        return bool(self._hooks)

    def register(self, request: Any) -> None:
        """Raises ValueError for a name that is taken."""
        if request.name in self._hooks:
            raise ValueError(f'resource hook already registered for name "{request.name}"')
        self._hooks[request.name] = _Hook(request.callback, request.on_dry_run, request.ignore_errors)

    @asynccontextmanager
    async def around(self, kind: str, old: ResourceState | None, new: ResourceState | None) -> AsyncIterator[None]:
        """``kind``: create, update or delete.

        Raises StepError when a hook before the operation fails, AfterHookError when one after it does.
        """
        state = new or old
        assert state is not None
        if not state.resource_hooks:
            yield
            return
        for name in state.resource_hooks.get(f"Before{kind.title()}", ()):
            await self._run(name, "before", state, old, new, {})
        yield
        for name in state.resource_hooks.get(f"After{kind.title()}", ()):
            await self._run(name, "after", state, old, new, new.outputs if new else {})

    async def _run(
        self,
        name: str,
        when: str,
        state: ResourceState,
        old: ResourceState | None,
        new: ResourceState | None,
        new_outputs: Properties,
    ) -> None:
        hook = self._hooks.get(name)
        if hook is None:
            raise StepError(f'{when} hook "{name}" of the resource is not registered by the program')
        if self._preview and not hook.on_dry_run:
            return
        request = resource_pb2.ResourceHookRequest(
            urn=state.urn,
            id=state.id,
            name=urn_name(state.urn),
            type=state.type,
            new_inputs=to_struct(new.inputs) if new else None,
            old_inputs=to_struct(old.inputs) if old else None,
            new_outputs=to_struct(new_outputs) if new and when == "after" else None,
            old_outputs=to_struct(old.outputs) if old else None,
        )
        try:
            answer = resource_pb2.ResourceHookResponse()
            answer.ParseFromString(await self._calls.run_plain(self._callbacks.call, hook.callback, request))
            error = answer.error
        except ValueError as failure:
            error = str(failure)
        if not error:
            return
        message = f'{when} hook "{name}" failed: {error}'
        if hook.ignore_errors:
            self._tell(Severity.WARNING, message, state.urn)
        elif when == "before":
            raise StepError(message)
        else:
            raise AfterHookError(message)


def deletion_hooks(resources: Iterable[ResourceState]) -> list[tuple[ResourceState, Sequence[str]]]:
    """Resources whose deletion calls the program, with the names of those hooks."""
    found: list[tuple[ResourceState, Sequence[str]]] = []
    for state in resources:
        hooks = state.resource_hooks
        names = [*hooks.get("BeforeDelete", ()), *hooks.get("AfterDelete", ())]
        if names:
            found.append((state, names))
    return found
