"""Questions about property values, and copies of them with marks put on or taken off.  Nothing here changes its arguments."""

from __future__ import annotations

from collections.abc import Iterable

from falaj.engine.values import Properties, Value


def contains_unknowns(value: Value) -> bool:
    """Also inside secrets, outputs and the ids of references."""
    raise NotImplementedError


def contains_secrets(value: Value) -> bool:
    raise NotImplementedError


def unwrap_secrets(value: Value) -> Value:
    """The value without any secret mark."""
    raise NotImplementedError


def unwrap_outputs(value: Value) -> Value:
    """Outputs become their values: UNKNOWN, the plain value, or a Secret of it."""
    raise NotImplementedError


def elide_assets(value: Value) -> Value:
    """Assets and archives keep their hash alone, as providers get them in old values."""
    raise NotImplementedError


def mark_secrets(properties: Properties, keys: Iterable[str]) -> dict[str, Value]:
    """The named top-level properties become secrets (additionalSecretOutputs)."""
    raise NotImplementedError


def propagate_secrets(outputs: Properties, inputs: Properties) -> dict[str, Value]:
    """Marks an output as secret where the input of the same name is one.

    Objects are followed key by key.  A list whose input holds a secret becomes secret as a whole, because a
    provider may reorder it.
    """
    raise NotImplementedError


def equal(a: Value, b: Value, *, ignore_secrets: bool = False) -> bool:
    """Deep equality as the engine of Pulumi has it.

    Assets and archives are equal when their hashes are; a null property equals an absent one; two unknowns are equal.
    Numbers are compared as numbers, bool is none.
    """
    raise NotImplementedError
