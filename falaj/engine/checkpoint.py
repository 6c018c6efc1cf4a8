"""The state of a stack: resources, operations in flight, and the file they are kept in.

The JSON is that of Pulumi's version 3 checkpoints (version 4 with ``features`` when one of them is in use), so that the
official CLI can take a stack over and give it back.
Sources: sdk/go/common/apitype/{core,deployments}.go, pkg/resource/stack of Pulumi; files that the CLI wrote.

Encoded resources are cached on the ResourceState itself, because the checkpoint is written after every step: assigning
any field drops the cache.  Changing a dict or list in place does not: assign a new one.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from falaj.engine.secrets import Crypter
from falaj.engine.values import Properties, Value

MANIFEST_VERSION: Final = "v3.250.0"
"""The CLI version that new manifests name; its digest is the manifest's ``magic``."""


@dataclass(frozen=True, slots=True)
class CustomTimeouts:
    """Seconds; 0 means the provider's own default."""

    create: float = 0
    update: float = 0
    delete: float = 0
    read: float = 0


@dataclass(eq=False, slots=True)
class ResourceState:
    """One resource as it was last seen.  Hashed by identity: replaced twins share a URN.

    ``created`` and ``modified`` are RFC 3339 texts in UTC with nanoseconds, see ``timestamp``.
    ``property_dependencies``: None = every property depends on all dependencies; {} and empty lists = on none.
    ``delete``: a replaced twin that still has to be deleted.  ``extra``: keys of the file that this version does not know.
    """

    urn: str
    type: str
    custom: bool
    id: str = ""
    delete: bool = False
    inputs: Properties = field(default_factory=dict)
    outputs: Properties = field(default_factory=dict)
    parent: str = ""
    protect: bool = False
    taint: bool = False
    external: bool = False
    dependencies: Sequence[str] = ()
    init_errors: Sequence[str] = ()
    provider: str = ""
    property_dependencies: Mapping[str, Sequence[str]] | None = None
    pending_replacement: bool = False
    additional_secret_outputs: Sequence[str] = ()
    aliases: Sequence[str] = ()
    custom_timeouts: CustomTimeouts = field(default_factory=CustomTimeouts)
    import_id: str = ""
    retain_on_delete: bool = False
    deleted_with: str = ""
    replace_with: Sequence[str] = ()
    created: str = ""
    modified: str = ""
    source_position: str = ""
    stack_trace: Sequence[str] = ()
    ignore_changes: Sequence[str] = ()
    hide_diff: Sequence[str] = ()
    replace_on_changes: Sequence[str] = ()
    replacement_trigger: Value = None
    refresh_before_update: bool = False
    view_of: str = ""
    resource_hooks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def copy(self, **changes: Any) -> ResourceState:
        """A new state with some fields exchanged; the old one stays as it is."""
        raise NotImplementedError


class OperationType(enum.StrEnum):
    """What was going on when the checkpoint was written."""

    CREATING = "creating"
    UPDATING = "updating"
    DELETING = "deleting"
    READING = "reading"
    IMPORTING = "importing"


@dataclass(eq=False, slots=True)
class PendingOperation:
    """``resource`` is the goal state: what the provider was asked for."""

    resource: ResourceState
    type: OperationType


@dataclass(slots=True)
class Checkpoint:
    """A stack's whole state.  ``resources`` has dependencies before dependents.

    ``secrets_provider`` is the object ``{"type": "passphrase", "state": {"salt": ...}}`` as it stands in the file, or None.
    """

    stack: str
    project: str
    resources: list[ResourceState] = field(default_factory=list)
    pending_operations: list[PendingOperation] = field(default_factory=list)
    secrets_provider: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    time: str = ""
    manifest_version: str = MANIFEST_VERSION
    extra: Mapping[str, Any] = field(default_factory=dict)

    def encode(self, crypter: Crypter, *, time: str | None = None) -> bytes:
        """The file's bytes.  ``time`` is when (default: now).  Raises nothing for a checkpoint that ``problems`` accepts."""
        raise NotImplementedError


def decode(data: bytes, where: str, crypter: Crypter) -> Checkpoint:
    """Reads a file's bytes; ``where`` names it in errors.

    Raises StateError for corrupt JSON, another version, a wrong magic or a malformed resource, PassphraseError for
    ciphertexts that the passphrase does not open, UnsupportedError for another secrets provider.
    """
    raise NotImplementedError


def timestamp(moment: datetime | None = None, nanoseconds: int | None = None) -> str:
    """RFC 3339 with nanoseconds in UTC, trailing zeros left out as Go does; now by default."""
    raise NotImplementedError


def problems(checkpoint: Checkpoint) -> list[str]:
    """What the CLI would refuse to load: one line for each, naming the URN.  Empty = sound.

    Checked: URNs are unique among resources not marked ``delete``; parent, provider, dependencies, property
    dependencies, deletedWith and replaceWith stand earlier in the list; components have no id and custom resources have
    one; URNs and provider references are well formed and fit the type.
    """
    raise NotImplementedError
