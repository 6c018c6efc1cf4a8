"""Property values inside the engine: plain Python data plus six marks that JSON lacks.

A property value is None, bool, int, float, str, a list or dict (string keys) of property values, or one of the
classes below.  Three codecs meet here: the wire form of the Pulumi protocol (``google.protobuf.Struct`` with signature
objects), the state form (JSON with signature objects and ciphertexts) and this one, which all other modules use.

Source: sdk/go/common/resource/{properties.go,plugin/rpc.go} of Pulumi; signatures and sentinels are its constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Value: TypeAlias = Any
"""A property value (see the module docstring); Python's type system cannot express the recursion with the marks."""

Properties: TypeAlias = Mapping[str, Value]
"""The inputs or outputs of a resource; keys as the provider spells them (camelCase)."""

SIGNATURE_KEY: Final = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105  (a constant of the protocol)
ASSET_SIGNATURE: Final = "c44067f5952c0a294b673a41bacd8c17"
ARCHIVE_SIGNATURE: Final = "0def7320c3a5731c473e5ecbe6d01bc7"
REFERENCE_SIGNATURE: Final = "5cf8f73096256a8f31e491e813e4eb8e"
OUTPUT_SIGNATURE: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
UNKNOWN_SENTINEL: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


class Unknown:
    """A value that the deployment cannot know yet.  There is one instance, ``UNKNOWN``; compare with ``is``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that must never be shown and is encrypted in the state.  Secrets do not nest."""

    value: Value

    def __repr__(self) -> str:
        return "Secret(...)"  # a repr may reach a log


@dataclass(frozen=True, slots=True)
class Asset:
    """A blob: exactly one of ``text``, ``path`` and ``uri``; ``hash`` is the hex SHA-256 of its bytes.

    An elided asset (old values that a provider gets) carries the hash alone.
    """

    hash: str = ""
    text: str | None = None
    path: str | None = None
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class Archive:
    """A tree of blobs: exactly one of ``assets`` (name -> Asset or Archive), ``path`` and ``uri``."""

    hash: str = ""
    assets: Mapping[str, Asset | Archive] | None = None
    path: str | None = None
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class ResourceReference:
    """A resource as a value.  ``id`` is None for components, UNKNOWN before a create, else the id."""

    urn: str
    id: str | Unknown | None = None
    package_version: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """An output value with its dependencies; the SDK sends it only to methods and remote components."""

    value: Value = UNKNOWN
    secret: bool = False
    dependencies: tuple[str, ...] = field(default_factory=tuple)
