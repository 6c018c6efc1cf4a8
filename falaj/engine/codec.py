"""Property values into and out of their three outer forms.

====================  ==================================================================================
``from_struct`` ...   ``google.protobuf.Struct``: what programs, policy packs and gRPC providers send
``from_wire`` ...     the same as plain dicts and lists with signature objects, for JSON logs and fakes
``from_state`` ...    the state file: signature objects, secrets as ciphertexts of their JSON text
====================  ==================================================================================

All decoders read every sentinel and signature that Pulumi knows; the encoders write the one form that the Python SDK
and the CLI write.  Numbers on the wire are doubles: integral ones up to 2**53 become int.  A secret within a secret
loses its inner mark.  Functions that read or change values as such are in ``falaj.engine.properties``.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from google.protobuf import struct_pb2

from falaj.engine.errors import StateError
from falaj.engine.values import (
    ARCHIVE_SIGNATURE,
    ASSET_SIGNATURE,
    OUTPUT_SIGNATURE,
    REFERENCE_SIGNATURE,
    SECRET_SIGNATURE,
    SIGNATURE_KEY,
    UNKNOWN,
    UNKNOWN_SENTINEL,
    Archive,
    Asset,
    Output,
    Properties,
    ResourceReference,
    Secret,
    Unknown,
    Value,
)

FLOAT_SIGNATURE: Final = "8ad145fe-0d11-4827-bfd7-1abcbf086f5c"
UNKNOWN_SENTINELS: Final = frozenset(
    {
        UNKNOWN_SENTINEL,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
    }
)

Encrypt: TypeAlias = Callable[[str], str]
Decrypt: TypeAlias = Callable[[str], str]


def from_struct(message: struct_pb2.Struct) -> dict[str, Value]:
    """Raises ValueError for a malformed signature object."""
    raise NotImplementedError


def to_struct(
    properties: Properties,
    *,
    keep_secrets: bool = True,
    keep_unknowns: bool = True,
    keep_references: bool = True,
    keep_outputs: bool = False,
    elide_assets: bool = False,
) -> struct_pb2.Struct:
    """The options say what the receiver understands.

    keep_secrets: else the plain value goes out.
    keep_unknowns: else an unknown property (or object member) is left out, and an unknown in a list becomes null.
    keep_references: else a reference goes out as its id, or as its URN for a component.
    keep_outputs: else an Output goes out as its value, wrapped as a secret where it is one.
    elide_assets: assets and archives carry their hash alone (old values, policy packs).
    """
    raise NotImplementedError


def from_value(message: struct_pb2.Value) -> Value:
    """One value; see ``from_struct``."""
    raise NotImplementedError


def to_value(value: Value, **options: bool) -> struct_pb2.Value:
    """One value; the options are those of ``to_struct``."""
    raise NotImplementedError


def from_wire(value: Any) -> Value:
    """From plain dicts with signature objects.  Raises ValueError for a malformed one."""
    raise NotImplementedError


def to_wire(
    value: Value,
    *,
    keep_secrets: bool = True,
    keep_unknowns: bool = True,
    keep_references: bool = True,
    keep_outputs: bool = False,
    elide_assets: bool = False,
) -> Any:
    """To plain dicts with signature objects; the options are those of ``to_struct``."""
    raise NotImplementedError


def from_state(value: Any, decrypt: Decrypt) -> Value:
    """From the JSON of a state file.  ``decrypt`` gets a ciphertext and returns JSON text.  Raises StateError."""
    raise NotImplementedError


def to_state(value: Value, encrypt: Encrypt) -> Any:
    """To the JSON of a state file, keys sorted as the CLI sorts them.  ``encrypt`` gets JSON text.

    An unknown is written as its sentinel: the CLI leaves such values in the outputs of a stack after some failures, and
    a state that came in must be able to go out.  Keeping new ones out is the deployment's duty.
    """
    raise NotImplementedError
