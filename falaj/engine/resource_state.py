"""One resource of the state: what the engine knows about it, and its JSON in the state file.

Sources: ResourceV3 in sdk/go/common/apitype/core.go and pkg/resource/stack/deployment.go of Pulumi; files of the CLI.

The encoded form is cached on the ResourceState itself, because the checkpoint is written after every step: assigning
any field drops the cache.  Changing a dict or list in place does not: assign a new one.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from falaj.engine.codec import Decrypt, Encrypt, from_state, to_state
from falaj.engine.secrets import Crypter
from falaj.engine.values import Properties, Value


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
    ``property_dependencies``: None = every property depends on all dependencies (a file cannot tell {} from None).
    ``delete``: a replaced twin that still has to be deleted.
    ``extra``: keys of the file that this version does not know.
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
    _encoded: tuple[SecretTexts, bytes, frozenset[str]] | None = field(default=None, init=False, repr=False)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name != "_encoded":
            object.__setattr__(self, "_encoded", None)

    def copy(self, **changes: Any) -> ResourceState:
        """A new state with some fields exchanged; the old one stays as it is."""
        return dataclasses.replace(self, **changes)


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


class SecretTexts:
    """Keeps the ciphertext of every secret as long as its plaintext stays, so that an unchanged secret does not churn.

    Ciphertexts are kept per resource and in the order of their use: two properties that hold the same secret keep two
    different ciphertexts, and the file does not tell that they are the same.
    """

    def __init__(self, crypter: Crypter) -> None:
        self.crypter = crypter
        self._known: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)

    def decrypter(self, urn: str, id: str) -> Decrypt:
        def decrypt(ciphertext: str) -> str:
            plaintext = self.crypter.decrypt(ciphertext)
            self._known[urn, id, plaintext].append(ciphertext)
            return plaintext

        return decrypt

    def encrypter(self, urn: str, id: str) -> Encrypt:
        """For one pass over one resource; twins share a URN, so the id tells them apart."""
        used: defaultdict[str, int] = defaultdict(int)

        def encrypt(plaintext: str) -> str:
            known = self._known[urn, id, plaintext]
            if used[plaintext] == len(known):
                known.append(self.crypter.encrypt(plaintext))
            used[plaintext] += 1
            return known[used[plaintext] - 1]

        return encrypt


def dump_json(value: Any) -> bytes:
    """Compact JSON as the CLI writes it, without ASCII or HTML escapes.  Lone surrogates become ``?``."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def encode_resource(state: ResourceState, texts: SecretTexts) -> tuple[bytes, frozenset[str]]:
    """The resource's JSON, and the checkpoint features that it makes use of."""
    if state._encoded is None or state._encoded[0] is not texts:
        encrypt = texts.encrypter(state.urn, state.id)
        members: dict[str, Any] = {}
        for key, attribute, kind in _FIELDS:
            encoded = kind.encode(getattr(state, attribute), encrypt)
            if encoded is not None or key in _ALWAYS:
                members[key] = encoded
        used = frozenset(name for name, is_used in _FEATURES.items() if is_used(state))
        state._encoded = (texts, dump_json(members | dict(state.extra)), used)
    return state._encoded[1], state._encoded[2]


def decode_resource(members: Any, texts: SecretTexts) -> ResourceState:
    """Raises ValueError for members of a wrong kind, and what decrypting raises."""
    if not isinstance(members, dict):
        raise ValueError("a resource is no object")
    urn = members.get("urn")
    decrypt = texts.decrypter(str(urn), str(members.get("id", "")))
    values: dict[str, Any] = {}
    for key, attribute, kind in _FIELDS:
        if members.get(key) is not None:
            try:
                values[attribute] = kind.decode(members[key], decrypt)
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"{urn}: {key}: {error}") from error
        elif key in _ALWAYS:
            raise ValueError(f"{urn or 'a resource'}: the key {key!r} is missing")
    return ResourceState(**values, extra={key: value for key, value in members.items() if key not in _KEYS})


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a field stands in the JSON.  ``encode`` answers None for an empty value: the key is left out."""

    encode: Callable[[Any, Encrypt], Any]
    decode: Callable[[Any, Decrypt], Any]


def _typed(expected: type) -> Callable[[Any, Decrypt], Any]:
    def decode(value: Any, _: Decrypt) -> Any:
        if type(value) is not expected:
            raise ValueError(f"expected {expected.__name__}, found {type(value).__name__}")
        return value

    return decode


def _decode_texts(value: Any, _: Decrypt) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("expected a list of texts")
    return value


def _decode_text_lists(value: Any, decrypt: Decrypt) -> dict[str, list[str]]:
    return {key: _decode_texts(texts or [], decrypt) for key, texts in value.items()}


def _decode_properties(value: Any, decrypt: Decrypt) -> dict[str, Value]:
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, found {type(value).__name__}")
    return {key: from_state(item, decrypt) for key, item in value.items()}


def _encode_timeouts(timeouts: CustomTimeouts, _: Encrypt) -> dict[str, Any] | None:
    seconds = dataclasses.asdict(timeouts)
    return {key: int(value) if value == int(value) else value for key, value in seconds.items() if value} or None


def _decode_timeouts(value: Any, _: Decrypt) -> CustomTimeouts:
    return CustomTimeouts(**{key: float(value[key]) for key in ("create", "update", "delete", "read") if key in value})


def _as_is(value: Any, _: Encrypt) -> Any:
    return value


def _if_set(value: Any, _: Encrypt) -> Any:
    return value or None


_TEXT: Final = _Kind(_if_set, _typed(str))
_FLAG: Final = _Kind(_if_set, _typed(bool))
_TEXTS: Final = _Kind(lambda value, _: list(value) or None, _decode_texts)
_TEXT_LISTS: Final = _Kind(
    lambda value, _: {key: list(value[key]) for key in sorted(value)} if value else None, _decode_text_lists
)
_PROPERTIES: Final = _Kind(lambda value, encrypt: to_state(dict(value), encrypt) or None, _decode_properties)
_VALUE: Final = _Kind(to_state, from_state)
_TIMEOUTS: Final = _Kind(_encode_timeouts, _decode_timeouts)
_FRAMES: Final = _Kind(
    lambda frames, _: [{"sourcePosition": frame} if frame else {} for frame in frames] or None,
    lambda value, _: [frame.get("sourcePosition", "") for frame in value],
)
_FIELDS: Final = (  # in the order in which the CLI writes them
    ("urn", "urn", _Kind(_as_is, _typed(str))),
    ("custom", "custom", _Kind(_as_is, _typed(bool))),
    ("delete", "delete", _FLAG),
    ("id", "id", _TEXT),
    ("type", "type", _Kind(_as_is, _typed(str))),
    ("inputs", "inputs", _PROPERTIES),
    ("outputs", "outputs", _PROPERTIES),
    ("parent", "parent", _TEXT),
    ("protect", "protect", _FLAG),
    ("taint", "taint", _FLAG),
    ("external", "external", _FLAG),
    ("dependencies", "dependencies", _TEXTS),
    ("initErrors", "init_errors", _TEXTS),
    ("provider", "provider", _TEXT),
    ("propertyDependencies", "property_dependencies", _TEXT_LISTS),
    ("pendingReplacement", "pending_replacement", _FLAG),
    ("additionalSecretOutputs", "additional_secret_outputs", _TEXTS),
    ("aliases", "aliases", _TEXTS),
    ("customTimeouts", "custom_timeouts", _TIMEOUTS),
    ("importID", "import_id", _TEXT),
    ("retainOnDelete", "retain_on_delete", _FLAG),
    ("deletedWith", "deleted_with", _TEXT),
    ("replaceWith", "replace_with", _TEXTS),
    ("created", "created", _TEXT),
    ("modified", "modified", _TEXT),
    ("sourcePosition", "source_position", _TEXT),
    ("stackTrace", "stack_trace", _FRAMES),
    ("ignoreChanges", "ignore_changes", _TEXTS),
    ("hideDiff", "hide_diff", _TEXTS),
    ("replaceOnChanges", "replace_on_changes", _TEXTS),
    ("replacementTrigger", "replacement_trigger", _VALUE),
    ("refreshBeforeUpdate", "refresh_before_update", _FLAG),
    ("viewOf", "view_of", _TEXT),
    ("resourceHooks", "resource_hooks", _TEXT_LISTS),
)
_KEYS: Final = frozenset(key for key, _, _ in _FIELDS)
_ALWAYS: Final = frozenset({"urn", "custom", "type"})
FEATURES: Final = frozenset({"hooks", "refreshBeforeUpdate", "replaceWith", "taint", "views"})
"""The checkpoint features that this engine knows; a file that names another one must be refused."""
_FEATURES: Final[Mapping[str, Callable[[ResourceState], Any]]] = {
    "hooks": lambda state: state.resource_hooks,
    "refreshBeforeUpdate": lambda state: state.refresh_before_update,
    "replaceWith": lambda state: state.replace_with,
    "taint": lambda state: state.taint,
    "views": lambda state: state.view_of,
}
