"""What a deployment tells whoever watches it.  The engine never prints.

The kinds follow the engine events of Pulumi (sdk/go/common/apitype/events.go), so that a display or a recorder written
for those finds the same facts here.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from falaj.engine.provider import PropertyDiff
from falaj.engine.values import Properties


class Op(enum.StrEnum):
    """Operations on a resource, spelled as in state, history and events."""

    SAME = "same"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    REPLACE = "replace"
    CREATE_REPLACEMENT = "create-replacement"
    DELETE_REPLACED = "delete-replaced"
    READ = "read"
    READ_REPLACEMENT = "read-replacement"
    REFRESH = "refresh"
    DISCARD = "discard"
    DISCARD_REPLACED = "discard-replaced"
    REMOVE_PENDING_REPLACE = "remove-pending-replace"
    IMPORT = "import"
    IMPORT_REPLACEMENT = "import-replacement"


@dataclass(frozen=True, slots=True)
class StepInfo:
    """One operation on one resource.  ``old`` and ``new`` hold inputs with Secret marks; a display must mask them."""

    op: Op
    urn: str
    type: str
    custom: bool
    parent: str = ""
    provider: str = ""
    id: str = ""
    keys: Sequence[str] = ()
    diffs: Sequence[str] = ()
    detailed_diff: Mapping[str, PropertyDiff] | None = None
    old_inputs: Properties | None = None
    old_outputs: Properties | None = None
    new_inputs: Properties | None = None
    new_outputs: Properties | None = None
    protect: bool = False


@dataclass(frozen=True, slots=True)
class StepStarted:
    step: StepInfo
    planning: bool = False  # True in previews


@dataclass(frozen=True, slots=True)
class StepDone:
    """``step.op`` of a refresh is what the Read showed: same, update or delete.  Components come at RegisterOutputs."""

    step: StepInfo
    planning: bool = False


@dataclass(frozen=True, slots=True)
class StepFailed:
    step: StepInfo


class Severity(enum.StrEnum):
    DEBUG = "debug"
    INFO = "info"
    INFO_STDERR = "info#err"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    severity: Severity
    message: str
    urn: str = ""


@dataclass(frozen=True, slots=True)
class PolicyViolation:
    urn: str
    policy: str
    pack: str
    pack_version: str
    level: str  # advisory | mandatory | remediate | disabled
    message: str
    severity: str = ""


@dataclass(frozen=True, slots=True)
class PolicyRemediation:
    urn: str
    policy: str
    pack: str
    pack_version: str
    before: Properties
    after: Properties


@dataclass(frozen=True, slots=True)
class PolicyLoaded:
    """A policy pack is up and will see every resource; ``policies`` are its policy names."""

    pack: str
    version: str
    policies: Sequence[str]


@dataclass(frozen=True, slots=True)
class Summary:
    """Last event.  ``changes`` counts as Pulumi does: no default providers, a replacement once as ``replace``."""

    changes: Mapping[Op, int]
    resources: int
    duration_seconds: float
    result: str  # succeeded | failed
    policies_evaluated: int = 0
    violations: Mapping[str, int] = field(default_factory=dict)


Event: TypeAlias = (
    StepStarted | StepDone | StepFailed | Diagnostic | PolicyLoaded | PolicyViolation | PolicyRemediation | Summary
)
EventSink: TypeAlias = Callable[[Event], None]
"""Called from engine threads, one call at a time; must not block for long."""
