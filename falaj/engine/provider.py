"""What a resource provider is to the engine: one small interface with plain values.

The engine calls providers in process.  ``falaj.engine.provider_server`` puts the same object behind gRPC, so that the
official Pulumi CLI can attach to it (PULUMI_DEBUG_PROVIDERS).

Field traps that the types below spell out (source: pulumi/sdk provider.proto, checked against the CLI):
``old_inputs`` are what the last deployment sent, ``old_outputs`` what the provider answered then.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from falaj.engine.values import Properties


class ProviderError(Exception):
    """The call failed and nothing changed outside.  The text reaches the user: where, what was given, what to do."""


class InitializationError(ProviderError):
    """The resource exists, but did not become ready: the engine saves it with ``reasons`` and fails the step."""

    def __init__(self, id: str, outputs: Properties, inputs: Properties | None, reasons: Sequence[str]) -> None:
        super().__init__(reasons[0] if reasons else "initialization failed")
        self.id, self.outputs, self.inputs, self.reasons = id, outputs, inputs, tuple(reasons)


@dataclass(frozen=True, slots=True)
class CheckFailure:
    """One input that a provider rejects.  ``property`` may be empty (the whole resource)."""

    property: str
    reason: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Inputs with defaults and auto-names filled in, and what is wrong with them."""

    inputs: Properties
    failures: Sequence[CheckFailure] = ()


class Changes(enum.Enum):
    """Whether a Diff found something; UNKNOWN leaves the comparison of inputs to the engine."""

    UNKNOWN = 0
    NONE = 1
    SOME = 2


class DiffKind(enum.Enum):
    """The kinds of a detailed difference, numbered as in provider.proto."""

    ADD = 0
    ADD_REPLACE = 1
    DELETE = 2
    DELETE_REPLACE = 3
    UPDATE = 4
    UPDATE_REPLACE = 5


@dataclass(frozen=True, slots=True)
class PropertyDiff:
    """``input_diff``: the difference is between old and new inputs, not between old outputs and new inputs."""

    kind: DiffKind
    input_diff: bool = True


@dataclass(frozen=True, slots=True)
class DiffResult:
    """``replaces`` and ``diffs`` are top-level keys; ``detailed`` maps property paths (``a.b[0]``)."""

    changes: Changes
    replaces: Sequence[str] = ()
    diffs: Sequence[str] = ()
    delete_before_replace: bool = False
    detailed: Mapping[str, PropertyDiff] | None = None
    stables: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CreateResult:
    """``id`` is empty in a preview only."""

    id: str
    outputs: Properties


@dataclass(frozen=True, slots=True)
class ReadResult:
    """``id`` empty: the resource is gone.  ``inputs`` None: the provider cannot tell."""

    id: str
    outputs: Properties = field(default_factory=dict)
    inputs: Properties | None = None


GONE = ReadResult("")


@dataclass(frozen=True, slots=True)
class InvokeResult:
    """The answer of a function, or the arguments it rejects."""

    value: Properties = field(default_factory=dict)
    failures: Sequence[CheckFailure] = ()


class Provider(Protocol):
    """A configured or not yet configured instance of a provider package; one per provider resource.

    Calls come from many threads at once.  Values may hold ``UNKNOWN`` in ``check``, ``diff``, previews and invokes,
    also during a real update (a delete-before-replace asks ``diff`` with unknowns).  With ``accepts_secrets`` False
    the engine takes the Secret marks off before every call and puts them back on the answers.
    Every method may raise ProviderError; create, update and read also InitializationError.
    """

    package: str
    version: str
    accepts_secrets: bool

    def check_config(self, urn: str, old_inputs: Properties, new_inputs: Properties) -> CheckResult: ...

    def diff_config(
        self,
        urn: str,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        ignore_changes: Sequence[str],
    ) -> DiffResult: ...

    def configure(self, urn: str, id: str, inputs: Properties) -> None: ...

    def check(
        self, urn: str, type: str, name: str, old_inputs: Properties, new_inputs: Properties, random_seed: bytes
    ) -> CheckResult: ...

    def diff(
        self,
        urn: str,
        type: str,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        ignore_changes: Sequence[str],
    ) -> DiffResult: ...

    def create(
        self, urn: str, type: str, name: str, inputs: Properties, timeout_seconds: float, preview: bool
    ) -> CreateResult: ...

    def read(
        self, urn: str, type: str, name: str, id: str, old_inputs: Properties, old_outputs: Properties
    ) -> ReadResult: ...

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
    ) -> Properties: ...

    def delete(
        self, urn: str, type: str, id: str, old_inputs: Properties, old_outputs: Properties, timeout_seconds: float
    ) -> None: ...

    def invoke(self, token: str, args: Properties) -> InvokeResult: ...

    def cancel(self) -> None:
        """Asks running calls to end soon; called on the second interrupt."""


class ProviderHost(Protocol):
    """Where the engine gets providers from."""

    def load(self, package: str, version: str) -> Provider:
        """Returns a fresh, unconfigured instance.  Raises ProviderError for a package that is not at hand."""
