"""Provider instances as the deployment uses them: asynchronous, with the marks on values that each one understands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from falaj.engine.calls import Calls
from falaj.engine.properties import (
    contains_secrets,
    contains_unknowns,
    elide_assets,
    propagate_secrets,
    secret,
    unwrap_secrets,
)
from falaj.engine.provider import (
    Changes,
    CheckResult,
    CreateResult,
    DiffResult,
    InitializationError,
    InvokeResult,
    Provider,
    ReadResult,
)
from falaj.engine.resource_state import ResourceState
from falaj.engine.urn import urn_name
from falaj.engine.values import UNKNOWN, Properties, Secret, Value

INTERNAL: Final = "__internal"
"""An input of provider resources that is the engine's own and never reaches the provider."""


def known_only(value: Value) -> Value:
    """A copy without unknown properties, members and items: what a provider gets in a real update."""
    if not contains_unknowns(value):
        return value
    if isinstance(value, Mapping):
        return {key: known_only(item) for key, item in value.items() if not _is_unknown(item)}
    if isinstance(value, list):
        return [known_only(item) for item in value if not _is_unknown(item)]
    if isinstance(value, Secret):
        return Secret(known_only(value.value))
    return value


def _is_unknown(value: Value) -> bool:
    return value is UNKNOWN or (isinstance(value, Secret) and value.value is UNKNOWN)


def without_internal(properties: Properties) -> dict[str, Value]:
    return {key: value for key, value in properties.items() if key != INTERNAL}


class Instance:
    """One provider, configured or not.  ``configured`` False after ``configure`` met unknown inputs in a preview."""

    def __init__(self, provider: Provider, calls: Calls) -> None:
        self.provider = provider
        self.configured = False
        self._calls = calls

    @property
    def _secrets(self) -> bool:
        return self.provider.accepts_secrets

    def _out(self, properties: Properties, *, old: bool = False) -> Properties:
        """Properties as the provider may see them."""
        if old:
            properties = elide_assets(properties)
        return properties if self._secrets else dict(unwrap_secrets(properties))

    def _back(self, answer: Properties, given: Properties) -> Properties:
        """An answer with the secret marks that the provider did not get to see."""
        return answer if self._secrets else propagate_secrets(answer, given)

    # -- the provider itself ----------------------------------------------------------------------------------------

    async def check_config(self, urn: str, old: Properties, new: Properties) -> CheckResult:
        new = without_internal(new)
        # As with the CLI, the configuration of a provider is checked without secret marks.
        result = await self._calls.run(
            self.provider.check_config, urn, unwrap_secrets(without_internal(old)), unwrap_secrets(new)
        )
        return replace(result, inputs=propagate_secrets(result.inputs, new))

    async def diff_config(
        self, urn: str, old: ResourceState, new_inputs: Properties, ignore: Sequence[str]
    ) -> DiffResult:
        return await self._calls.run(
            self.provider.diff_config,
            urn,
            "",  # the CLI sends none either
            unwrap_secrets(without_internal(old.inputs)),
            unwrap_secrets(without_internal(old.outputs)),
            unwrap_secrets(without_internal(new_inputs)),
            ignore,
        )

    async def configure(self, urn: str, id: str, inputs: Properties) -> None:
        if contains_unknowns(inputs):
            self.configured = False
            return
        await self._calls.run(self.provider.configure, urn, id, self._out(without_internal(inputs)))
        self.configured = True

    # -- resources --------------------------------------------------------------------------------------------------

    async def check(
        self, urn: str, type: str, old: Properties, new: Properties, seed: bytes, *, unknowns: bool
    ) -> CheckResult:
        given = new if unknowns else known_only(new)
        result = await self._calls.run(
            self.provider.check, urn, type, urn_name(urn), self._out(old), self._out(given), seed
        )
        return replace(result, inputs=self._back(result.inputs, new))

    async def diff(
        self, type: str, old: ResourceState, new_inputs: Properties, ignore: Sequence[str], *, unknowns: bool
    ) -> DiffResult:
        """``type`` is what it is to be; an alias may have given it another one."""
        return await self._calls.run(
            self.provider.diff,
            old.urn,
            type,
            old.id,
            self._out(old.inputs, old=True),
            self._out(old.outputs, old=True),
            self._out(new_inputs if unknowns else known_only(new_inputs), old=True),
            ignore,
        )

    async def create(self, new: ResourceState, timeout_seconds: float, preview: bool) -> CreateResult:
        """Raises ProviderError, InitializationError."""
        try:
            result = await self._calls.run(
                self.provider.create,
                new.urn,
                new.type,
                urn_name(new.urn),
                self._out(new.inputs),
                timeout_seconds,
                preview,
            )
        except InitializationError as error:
            raise self._partial(error, new.inputs) from error
        return replace(result, outputs=self._back(result.outputs, new.inputs))

    async def update(
        self, old: ResourceState, new: ResourceState, timeout_seconds: float, ignore: Sequence[str], preview: bool
    ) -> Properties:
        """Raises ProviderError, InitializationError."""
        try:
            outputs = await self._calls.run(
                self.provider.update,
                new.urn,
                new.type,
                old.id,
                self._out(old.inputs, old=True),
                self._out(old.outputs, old=True),
                self._out(new.inputs),
                timeout_seconds,
                ignore,
                preview,
            )
        except InitializationError as error:
            raise self._partial(error, new.inputs) from error
        return self._back(outputs, new.inputs)

    async def read(self, state: ResourceState, id: str) -> ReadResult:
        """Raises ProviderError, InitializationError."""
        try:
            result = await self._calls.run(
                self.provider.read,
                state.urn,
                state.type,
                urn_name(state.urn),
                id,
                self._out(state.inputs, old=True),
                self._out(state.outputs, old=True),
            )
        except InitializationError as error:
            raise self._partial(error, {**state.outputs, **state.inputs}) from error
        inputs = None if result.inputs is None else self._back(result.inputs, state.inputs)
        outputs = self._back(result.outputs, {**state.inputs, **state.outputs})
        return ReadResult(result.id, outputs, inputs)

    async def delete(self, state: ResourceState, timeout_seconds: float) -> None:
        await self._calls.run(
            self.provider.delete,
            state.urn,
            state.type,
            state.id,
            self._out(state.inputs, old=True),
            self._out(state.outputs, old=True),
            timeout_seconds,
        )

    async def invoke(self, token: str, args: Properties) -> InvokeResult:
        """A result that came of secret arguments is secret as a whole."""
        result = await self._calls.run(self.provider.invoke, token, self._out(args))
        if self._secrets or not contains_secrets(args):
            return result
        return replace(result, value={key: secret(item) for key, item in result.value.items()})

    def _partial(self, error: InitializationError, given: Properties) -> InitializationError:
        if self._secrets:
            return error
        inputs = None if error.inputs is None else propagate_secrets(error.inputs, given)
        return InitializationError(error.id, propagate_secrets(error.outputs, given), inputs, error.reasons)


UNCHANGED: Final = DiffResult(Changes.NONE)


def cancel_all(instances: Iterable[Instance]) -> None:
    for instance in instances:
        instance.provider.cancel()
