"""The package ``pulumi``: what the engine itself provides, above all references to other stacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from falaj.engine.properties import contains_secrets
from falaj.engine.provider import (
    GONE,
    Changes,
    CheckResult,
    CreateResult,
    DiffResult,
    InvokeResult,
    ProviderError,
    ReadResult,
)
from falaj.engine.urn import STACK_REFERENCE_TYPE
from falaj.engine.values import Properties

StackOutputs = Callable[[str], Properties | None]
"""The outputs of another stack of the same backend, secrets marked; None when there is no such stack."""


class BuiltinProvider:
    """Implements ``falaj.engine.provider.Provider`` for the one resource type pulumi:pulumi:StackReference."""

    package = "pulumi"
    version = ""
    accepts_secrets = True

    def __init__(self, outputs_of: StackOutputs) -> None:
        self._outputs_of = outputs_of

    def check_config(self, urn: str, old_inputs: Properties, new_inputs: Properties) -> CheckResult:
        return CheckResult(new_inputs)

    def diff_config(
        self,
        urn: str,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        ignore_changes: Sequence[str],
    ) -> DiffResult:
        return DiffResult(Changes.NONE)

    def configure(self, urn: str, id: str, inputs: Properties) -> None:
        return

    def read(
        self, urn: str, type: str, name: str, id: str, old_inputs: Properties, old_outputs: Properties
    ) -> ReadResult:
        """``id`` is the name of a stack.  Raises ProviderError for an unknown one."""
        if type != STACK_REFERENCE_TYPE:
            return GONE
        outputs = self._outputs_of(id)
        if outputs is None:
            raise ProviderError(f'unknown stack "{id}"')
        return ReadResult(id, {"name": id, "outputs": outputs, "secretOutputNames": secret_names(outputs)}, old_inputs)

    def invoke(self, token: str, args: Properties) -> InvokeResult:
        raise ProviderError(f"the embedded engine has no function {token}")

    def cancel(self) -> None:
        return

    def _refuse(self, type: str) -> ProviderError:
        return ProviderError(f"the embedded engine cannot make a {type}: use the official CLI")

    def check(
        self, urn: str, type: str, name: str, old_inputs: Properties, new_inputs: Properties, random_seed: bytes
    ) -> CheckResult:
        raise self._refuse(type)

    def diff(
        self,
        urn: str,
        type: str,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        ignore_changes: Sequence[str],
    ) -> DiffResult:
        raise self._refuse(type)

    def create(
        self, urn: str, type: str, name: str, inputs: Properties, timeout_seconds: float, preview: bool
    ) -> CreateResult:
        raise self._refuse(type)

    def update(
        self,
        urn: str,
        type: str,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        timeout_seconds: float,
        ignore_changes: Sequence[str],
        preview: bool,
    ) -> Properties:
        raise self._refuse(type)

    def delete(
        self, urn: str, type: str, id: str, old_inputs: Properties, old_outputs: Properties, timeout_seconds: float
    ) -> None:
        raise self._refuse(type)


def secret_names(outputs: Properties) -> list[str]:
    return sorted(name for name, value in outputs.items() if contains_secrets(value))
