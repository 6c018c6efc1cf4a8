"""Merges overrides into a blueprint's data: nested, dotted, and by name inside lists of named parts.

Three ways to say the same thing::

    {"node_pools": {"gpu-spot": {"max_nodes": 8}}}
    {"node_pools.gpu-spot.max_nodes": 8}
    {"node_pools": [...the whole list...]}

A mapping over a list of named parts (node pools, tenants, models, data domains) changes the entry of that name and adds
an entry where the name is new; ``null`` takes one away.  A list replaces a list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blueprints.errors import OverrideError

_MAX_DEPTH = 12
"""Deeper than any key of the schema; stops a hostile override from exhausting the stack."""


def expand(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into nested mappings.  Raises OverrideError if two keys contradict each other."""
    return _expand(overrides, "", 0)


def _expand(overrides: Mapping[str, Any], path: str, depth: int) -> dict[str, Any]:
    if depth > _MAX_DEPTH:
        raise OverrideError(f"override {path}: nested deeper than {_MAX_DEPTH} levels; no key of a blueprint is")
    result: dict[str, Any] = {}
    for key, value in overrides.items():
        if not isinstance(key, str) or not key or not all(key.split(".")):
            raise OverrideError(f"override {path}: key {key!r} is not a dotted name; write part.key, e.g. network.cidr")
        head, *rest = key.split(".")
        nested: Any = value
        for part in reversed(rest):
            nested = {part: nested}
        here = f"{path}.{head}" if path else head
        # `labels` has keys with dots of their own (falaj.dev/workload); they stay whole.
        if isinstance(nested, Mapping) and not here.endswith(".labels"):
            nested = _expand(nested, here, depth + 1)
        if head in result:
            if not (isinstance(result[head], dict) and isinstance(nested, dict)):
                raise OverrideError(f"override {here}: given twice, once as a value and once as a part; keep one")
            nested = merge(result[head], nested, here)
        result[head] = nested
    return result


def merge(base: Mapping[str, Any], changes: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return ``base`` with ``changes`` (already expanded) over it; neither argument is modified."""
    result = dict(base)
    for key, change in changes.items():
        here = f"{path}.{key}" if path else key
        current = result.get(key)
        if isinstance(change, Mapping) and isinstance(current, Mapping):
            result[key] = merge(current, change, here)
        elif isinstance(change, Mapping) and _is_named_list(current):
            result[key] = _merge_named(current or (), change, here)
        else:
            result[key] = change
    return result


def _is_named_list(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(entry, Mapping) and "name" in entry for entry in value)


def _merge_named(base: Sequence[Mapping[str, Any]], changes: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    entries = {str(entry["name"]): dict(entry) for entry in base}
    for name, change in changes.items():
        if change is None:
            if name not in entries:
                raise OverrideError(f"override {path}.{name}: nothing to take away; there are {', '.join(entries)}")
            del entries[name]
        elif isinstance(change, Mapping):
            entries[name] = merge(entries.get(name, {"name": name}), change, f"{path}.{name}")
        else:
            raise OverrideError(
                f"override {path}.{name}: given {change!r}; allowed: keys of that entry ({path}.{name}.KEY) or null"
            )
    return list(entries.values())
