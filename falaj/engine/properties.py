"""Questions about property values, and copies of them with marks put on or taken off.

Nothing here changes its arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from falaj.engine.values import UNKNOWN, Archive, Asset, Output, Properties, ResourceReference, Secret, Value


def contains_unknowns(value: Value) -> bool:
    """Also inside secrets, outputs and the ids of references."""
    match value:
        case dict():
            return any(contains_unknowns(item) for item in value.values())
        case list():
            return any(contains_unknowns(item) for item in value)
        case Secret() | Output():
            return contains_unknowns(value.value)
        case ResourceReference():
            return value.id is UNKNOWN
        case _:
            return value is UNKNOWN


def contains_secrets(value: Value) -> bool:
    """Also inside outputs."""
    match value:
        case dict():
            return any(contains_secrets(item) for item in value.values())
        case list():
            return any(contains_secrets(item) for item in value)
        case Secret():
            return True
        case Output():
            return value.secret or contains_secrets(value.value)
        case _:
            return False


def unwrap_secrets(value: Value) -> Value:
    """The value without any secret mark."""
    match value:
        case dict():
            return {key: unwrap_secrets(item) for key, item in value.items()}
        case list():
            return [unwrap_secrets(item) for item in value]
        case Secret():
            return unwrap_secrets(value.value)
        case Output():
            return Output(unwrap_secrets(value.value), False, value.dependencies)
        case _:
            return value


def unwrap_outputs(value: Value) -> Value:
    """Outputs become their values: UNKNOWN, the plain value, or a Secret of it."""
    match value:
        case dict():
            return {key: unwrap_outputs(item) for key, item in value.items()}
        case list():
            return [unwrap_outputs(item) for item in value]
        case Secret():
            return secret(unwrap_outputs(value.value))
        case Output():
            inner = unwrap_outputs(value.value)
            return secret(inner) if value.secret else inner
        case _:
            return value


def elide_assets(value: Value) -> Value:
    """Assets and archives keep their hash alone, as providers get them in old values."""
    match value:
        case dict():
            return {key: elide_assets(item) for key, item in value.items()}
        case list():
            return [elide_assets(item) for item in value]
        case Secret():
            return Secret(elide_assets(value.value))
        case Output():
            return Output(elide_assets(value.value), value.secret, value.dependencies)
        case Asset():
            return Asset(value.hash)
        case Archive():
            return Archive(value.hash)
        case _:
            return value


def secret(value: Value) -> Secret:
    """The value as one secret; marks that it has inside are taken off, since secrets do not nest."""
    return Secret(unwrap_secrets(value) if contains_secrets(value) else value)


def mark_secrets(properties: Properties, keys: Iterable[str]) -> dict[str, Value]:
    """The named top-level properties become secrets (additionalSecretOutputs)."""
    marked = dict(properties)
    for key in keys:
        if key in marked:
            marked[key] = secret(marked[key])
    return marked


def propagate_secrets(outputs: Properties, inputs: Properties) -> dict[str, Value]:
    """Marks an output as secret where the input of the same name is one.

    Objects are followed key by key.  A list whose input holds a secret becomes secret as a whole, because a
    provider may reorder it.
    """
    return {key: _propagate(value, inputs[key]) if key in inputs else value for key, value in outputs.items()}


def _propagate(output: Value, source: Value) -> Value:
    if isinstance(output, Secret) or not contains_secrets(source):
        return output
    if isinstance(output, dict) and isinstance(source, dict):
        return propagate_secrets(output, source)
    return secret(output)


def equal(a: Value, b: Value, *, ignore_secrets: bool = False) -> bool:
    """Deep equality as the engine of Pulumi has it.

    Assets and archives are equal when their hashes are; a null property equals an absent one; two unknowns are equal.
    Numbers are compared as numbers, bool is none.
    """
    if ignore_secrets:
        a, b = unwrap_secrets(a), unwrap_secrets(b)
    return _equal(a, b)


def _equal(a: Value, b: Value) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return all(_equal(a.get(key), b.get(key)) for key in a.keys() | b.keys())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b
    if type(a) is not type(b):
        return False
    if isinstance(a, Secret):
        return _equal(a.value, b.value)
    if isinstance(a, Output):
        return a.secret == b.secret and a.dependencies == b.dependencies and _equal(a.value, b.value)
    if isinstance(a, Asset | Archive) and (a.hash or b.hash):
        return bool(a.hash == b.hash)
    if isinstance(a, ResourceReference):
        return a.urn == b.urn and _equal(a.id, b.id)
    return bool(a == b)
