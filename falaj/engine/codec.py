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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from google.protobuf import struct_pb2

from falaj.engine.properties import contains_unknowns, secret, unwrap_secrets
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
    return {key: from_value(item) for key, item in message.fields.items()}


def from_value(message: struct_pb2.Value) -> Value:
    """One value; see ``from_struct``."""
    match message.WhichOneof("kind"):
        case "string_value":
            text = message.string_value
            return UNKNOWN if text in UNKNOWN_SENTINELS else text
        case "struct_value":
            return _assemble({key: from_value(item) for key, item in message.struct_value.fields.items()})
        case "list_value":
            return [from_value(item) for item in message.list_value.values]
        case "number_value":
            return _number(message.number_value)
        case "bool_value":
            return message.bool_value
        case _:
            return None


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
    keep_unknowns: else unknown properties, members and list items are left out.
    keep_references: else a reference goes out as its id, or as its URN for a component.
    keep_outputs: else an Output goes out as its value, wrapped as a secret where it is one.
    elide_assets: assets and archives carry their hash alone (old values).
    """
    encoder = _Encoder(keep_secrets, keep_unknowns, keep_references, keep_outputs, elide_assets)
    message = struct_pb2.Struct()
    _fill_struct(message, encoder.object(properties))
    return message


def to_value(
    value: Value,
    *,
    keep_secrets: bool = True,
    keep_unknowns: bool = True,
    keep_references: bool = True,
    keep_outputs: bool = False,
    elide_assets: bool = False,
) -> struct_pb2.Value:
    """One value; the options are those of ``to_struct``.  What they leave out altogether becomes null."""
    encoder = _Encoder(keep_secrets, keep_unknowns, keep_references, keep_outputs, elide_assets)
    message = struct_pb2.Value()
    plain = encoder.value(value)
    _fill(message, None if plain is _ABSENT else plain)
    return message


def from_wire(value: Any) -> Value:
    """From plain dicts with signature objects.  Raises ValueError for a malformed one."""
    if isinstance(value, str):
        return UNKNOWN if value in UNKNOWN_SENTINELS else value
    if isinstance(value, Mapping):
        return _assemble({key: from_wire(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return [from_wire(item) for item in value]
    return _number(value) if isinstance(value, float) else value


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
    plain = _Encoder(keep_secrets, keep_unknowns, keep_references, keep_outputs, elide_assets).value(value)
    return None if plain is _ABSENT else plain


def from_state(value: Any, decrypt: Decrypt) -> Value:
    """From the JSON of a state file.  ``decrypt`` gets a ciphertext and returns JSON text.

    Raises ValueError for a malformed signature object, and what ``decrypt`` raises.
    """
    if isinstance(value, str):
        return UNKNOWN if value in UNKNOWN_SENTINELS else value
    if isinstance(value, dict):
        if value.get(SIGNATURE_KEY) == SECRET_SIGNATURE and "value" not in value:
            text = decrypt(value["ciphertext"]) if "ciphertext" in value else value.get("plaintext")
            if not isinstance(text, str):
                raise ValueError("a secret has neither ciphertext nor plaintext")
            return secret(from_state(json.loads(text), decrypt))
        return _assemble({key: from_state(item, decrypt) for key, item in value.items()})
    if isinstance(value, list):
        return [from_state(item, decrypt) for item in value]
    return _number(value) if isinstance(value, float) else value


def to_state(value: Value, encrypt: Encrypt) -> Any:
    """To the JSON of a state file, keys sorted as the CLI sorts them.  ``encrypt`` gets JSON text.

    An unknown is written as its sentinel: the CLI leaves such values in the outputs of a stack after some failures, and
    a state that came in must be able to go out.  Keeping new ones out is the deployment's duty.
    """
    match value:
        case str() | bool() | int() | None:
            return value
        case dict():
            return {key: to_state(value[key], encrypt) for key in sorted(value)}
        case list():
            return [to_state(item, encrypt) for item in value]
        case float():
            if math.isfinite(value):
                return _number(value)
            return {SIGNATURE_KEY: FLOAT_SIGNATURE, "value": struct.pack(">d", value).hex()}
        case Secret():
            text = json.dumps(to_state(value.value, encrypt), ensure_ascii=False, separators=(",", ":"))
            return {SIGNATURE_KEY: SECRET_SIGNATURE, "ciphertext": encrypt(text)}
        case Output():
            return to_state(secret(value.value) if value.secret else value.value, encrypt)
        case ResourceReference():
            reference: dict[str, Any] = {SIGNATURE_KEY: REFERENCE_SIGNATURE}
            if value.id is not None:
                reference["id"] = "" if isinstance(value.id, Unknown) else value.id
            return reference | {"packageVersion": value.package_version, "urn": value.urn}
        case _:
            return _IN_STATE.value(value)


_ABSENT: Final = object()
_EXACT: Final = 2.0**53


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() and -_EXACT <= value <= _EXACT else value


def _assemble(members: dict[str, Value]) -> Value:
    """A decoded object, or what its signature says it is."""
    signature = members.get(SIGNATURE_KEY)
    if signature is None:
        return members
    if signature == SECRET_SIGNATURE:
        if "value" not in members:
            raise ValueError("a secret on the wire has no value")
        return secret(members["value"])
    if signature in (ASSET_SIGNATURE, ARCHIVE_SIGNATURE):
        return _blob(members)
    if signature == REFERENCE_SIGNATURE:
        id = members.get("id")
        if id is not None and not isinstance(id, str | Unknown):
            raise ValueError("the id of a resource reference is neither a text nor unknown")
        urn, version = _text(members, "urn"), _text(members, "packageVersion")
        return ResourceReference(urn or "", UNKNOWN if id == "" else id, version or "")
    if signature == OUTPUT_SIGNATURE:
        dependencies = tuple(members.get("dependencies") or ())
        return Output(members.get("value", UNKNOWN), bool(members.get("secret", False)), dependencies)
    if signature == FLOAT_SIGNATURE:
        bits = bytes.fromhex(_text(members, "value") or "")
        if len(bits) != 8:
            raise ValueError("a non-finite number has no 16 hexadecimal digits")
        return struct.unpack(">d", bits)[0]
    raise ValueError(f"unknown signature {signature!r} in a property value")


def _blob(members: dict[str, Value]) -> Value:
    """An asset or archive.  One whose text or path is unknown or secret is so as a whole."""
    if contains_unknowns(members):
        return UNKNOWN
    plain = unwrap_secrets(members)
    blob: Asset | Archive
    if plain[SIGNATURE_KEY] == ASSET_SIGNATURE:
        blob = Asset(_text(plain, "hash") or "", _text(plain, "text"), _text(plain, "path"), _text(plain, "uri"))
    else:
        assets = plain.get("assets")
        if assets is not None and not (
            isinstance(assets, dict) and all(isinstance(item, Asset | Archive) for item in assets.values())
        ):
            raise ValueError("an archive holds something that is neither an asset nor an archive")
        blob = Archive(_text(plain, "hash") or "", assets, _text(plain, "path"), _text(plain, "uri"))
    return secret(blob) if plain != members else blob


def _text(members: Mapping[str, Value], key: str) -> str | None:
    value = members.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"the member {key!r} of a signature object is no text")
    return value


@dataclass(frozen=True, slots=True)
class _Encoder:
    """Values to plain dicts in the wire form; the fields are the options of ``to_struct``."""

    keep_secrets: bool
    keep_unknowns: bool
    keep_references: bool
    keep_outputs: bool
    elide_assets: bool

    def object(self, members: Mapping[str, Value]) -> dict[str, Any]:
        encoded = {key: self.value(item) for key, item in members.items()}
        return {key: item for key, item in encoded.items() if item is not _ABSENT}

    def value(self, value: Value) -> Any:
        match value:
            case str() | bool() | int() | float() | None:
                return value
            case dict():
                return self.object(value)
            case list():
                return [item for item in map(self.value, value) if item is not _ABSENT]
            case Unknown():
                return UNKNOWN_SENTINEL if self.keep_unknowns else _ABSENT
            case Secret():
                return self.secret(self.value(value.value))
            case Asset():
                return self.asset(value)
            case Archive():
                return self.archive(value)
            case ResourceReference():
                return self.reference(value)
            case Output():
                return self.output(value)
            case Mapping():
                return self.object(value)
            case tuple():
                return self.value(list(value))
            case _:
                raise TypeError(f"{type(value).__name__} is no property value")

    def secret(self, plain: Any) -> Any:
        if plain is _ABSENT or not self.keep_secrets:
            return plain
        return {SIGNATURE_KEY: SECRET_SIGNATURE, "value": plain}

    def asset(self, asset: Asset) -> dict[str, Any]:
        members = {"hash": asset.hash or None}
        if not self.elide_assets:
            members |= {"text": asset.text, "path": asset.path, "uri": asset.uri}
        return {SIGNATURE_KEY: ASSET_SIGNATURE} | {k: v for k, v in members.items() if v is not None}

    def archive(self, archive: Archive) -> dict[str, Any]:
        members: dict[str, Any] = {}
        if not self.elide_assets and archive.assets is not None:
            members["assets"] = {name: self.value(archive.assets[name]) for name in sorted(archive.assets)}
        members["hash"] = archive.hash or None
        if not self.elide_assets:
            members |= {"path": archive.path, "uri": archive.uri}
        return {SIGNATURE_KEY: ARCHIVE_SIGNATURE} | {k: v for k, v in members.items() if v is not None}

    def reference(self, reference: ResourceReference) -> Any:
        if not self.keep_references:
            return self.value(reference.urn if reference.id is None else reference.id)
        members: dict[str, Any] = {SIGNATURE_KEY: REFERENCE_SIGNATURE, "urn": reference.urn}
        if reference.id is not None:
            members["id"] = "" if isinstance(reference.id, Unknown) else reference.id
        if reference.package_version:
            members["packageVersion"] = reference.package_version
        return members

    def output(self, output: Output) -> Any:
        if not self.keep_outputs:
            plain = self.value(output.value)
            return self.secret(plain) if output.secret else plain
        members: dict[str, Any] = {SIGNATURE_KEY: OUTPUT_SIGNATURE}
        if output.value is not UNKNOWN:
            members["value"] = self.value(output.value)
        if output.secret:
            members["secret"] = True
        if output.dependencies:
            members["dependencies"] = list(output.dependencies)
        return members


_IN_STATE: Final = _Encoder(
    keep_secrets=True, keep_unknowns=True, keep_references=True, keep_outputs=False, elide_assets=False
)


def _fill_struct(message: struct_pb2.Struct, members: Mapping[str, Any]) -> None:
    fields = message.fields
    for key, item in members.items():
        _fill(fields[key], item)


def _fill(message: struct_pb2.Value, plain: Any) -> None:
    if isinstance(plain, str):
        message.string_value = plain
    elif isinstance(plain, bool):
        message.bool_value = plain
    elif isinstance(plain, int | float):
        message.number_value = plain
    elif plain is None:
        message.null_value = struct_pb2.NULL_VALUE
    elif isinstance(plain, dict):
        message.struct_value.SetInParent()  # else an empty object would not be there at all
        _fill_struct(message.struct_value, plain)
    else:
        message.list_value.SetInParent()
        values = message.list_value.values
        for item in plain:
            _fill(values.add(), item)
