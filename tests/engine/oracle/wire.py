"""The JSON form of property values on the provider protocol, to and from the engine's values.

The recordings were made with a provider behind gRPC, so they hold values in this form.  It is written out here a second
time, apart from ``falaj.engine.codec``, so that an error in the codec cannot hide in the judge.
"""

from __future__ import annotations

from typing import Any, Final

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
    ResourceReference,
    Secret,
    Value,
)

UNKNOWN_SENTINELS: Final = frozenset(
    {
        UNKNOWN_SENTINEL,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
"""One per kind of value; the Python SDK sends the first, the CLI may send any."""


def to_wire(value: Value) -> Any:
    """A value of the engine as a provider behind gRPC would see it; integral floats become integers."""
    if value is UNKNOWN:
        return UNKNOWN_SENTINEL
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [to_wire(item) for item in value]
    if isinstance(value, Secret):
        return {SIGNATURE_KEY: SECRET_SIGNATURE, "value": to_wire(value.value)}
    if isinstance(value, Asset | Archive):
        return _blob_to_wire(value)
    if isinstance(value, ResourceReference):
        type_, _, name = value.urn.split("::", 2)[2].partition("::")
        return {
            SIGNATURE_KEY: REFERENCE_SIGNATURE,
            "urn": value.urn,
            "id": "" if value.id is None or value.id is UNKNOWN else value.id,
            "name": name,
            "type": type_.rpartition("$")[2],
            "packageVersion": value.package_version,
        }
    if isinstance(value, Output):
        return {
            SIGNATURE_KEY: OUTPUT_SIGNATURE,
            **({} if value.value is UNKNOWN else {"value": to_wire(value.value)}),
            "secret": value.secret,
            "dependencies": list(value.dependencies),
        }
    if isinstance(value, dict):
        return {key: to_wire(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"no provider can be sent a {type(value).__name__}")


def _blob_to_wire(value: Asset | Archive) -> dict[str, Any]:
    out: dict[str, Any] = {SIGNATURE_KEY: ASSET_SIGNATURE if isinstance(value, Asset) else ARCHIVE_SIGNATURE}
    out["hash"] = value.hash
    if isinstance(value, Asset) and value.text is not None:
        out["text"] = value.text
    if isinstance(value, Archive) and value.assets is not None:
        out["assets"] = {name: _blob_to_wire(item) for name, item in value.assets.items()}
    if value.path is not None:
        out["path"] = value.path
    if value.uri is not None:
        out["uri"] = value.uri
    return out


def from_wire(value: Any) -> Value:
    """The inverse of ``to_wire``."""
    if isinstance(value, str) and value in UNKNOWN_SENTINELS:
        return UNKNOWN
    if isinstance(value, list):
        return [from_wire(item) for item in value]
    if not isinstance(value, dict):
        return value
    signature = value.get(SIGNATURE_KEY)
    if signature == SECRET_SIGNATURE:
        return Secret(from_wire(value.get("value")))
    if signature == ASSET_SIGNATURE:
        return Asset(hash=value.get("hash", ""), text=value.get("text"), path=value.get("path"), uri=value.get("uri"))
    if signature == ARCHIVE_SIGNATURE:
        assets = value.get("assets")
        return Archive(
            hash=value.get("hash", ""),
            assets=None if assets is None else {name: from_wire(item) for name, item in assets.items()},
            path=value.get("path"),
            uri=value.get("uri"),
        )
    if signature == REFERENCE_SIGNATURE:
        return ResourceReference(value["urn"], value.get("id") or None, value.get("packageVersion", ""))
    return {key: from_wire(item) for key, item in value.items()}


def without_secrets(value: Any) -> Any:
    """A wire value with the secret marks taken off."""
    if isinstance(value, dict):
        if value.get(SIGNATURE_KEY) == SECRET_SIGNATURE:
            return without_secrets(value.get("value"))
        return {key: without_secrets(item) for key, item in value.items()}
    return [without_secrets(item) for item in value] if isinstance(value, list) else value


def readable(value: Any) -> Any:
    """A wire value as the recordings write it: "<unknown>", {"secret": x}, {"asset": {...}}, {"resource": {...}}."""
    if isinstance(value, str) and value in UNKNOWN_SENTINELS:
        return "<unknown>"
    if isinstance(value, list):
        return [readable(item) for item in value]
    if not isinstance(value, dict):
        return value
    rest = {key: readable(item) for key, item in value.items() if key != SIGNATURE_KEY}
    signature = value.get(SIGNATURE_KEY)
    if signature == SECRET_SIGNATURE:
        return {"secret": rest.get("value")}
    if signature == OUTPUT_SIGNATURE:
        return {"output": rest}
    labels = {ASSET_SIGNATURE: "asset", ARCHIVE_SIGNATURE: "archive", REFERENCE_SIGNATURE: "resource"}
    if signature in labels:
        return {labels[signature]: {key: item for key, item in rest.items() if item != ""}}
    return rest
