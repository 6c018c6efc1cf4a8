"""Arithmetic on the answers of a provider's Diff; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from falaj.engine.paths import WILDCARD, Path, contains, parse_path
from falaj.engine.properties import contains_unknowns, equal
from falaj.engine.provider import Changes, DiffKind, DiffResult, PropertyDiff
from falaj.engine.values import Properties

_REPLACING: Final = {
    DiffKind.ADD: DiffKind.ADD_REPLACE,
    DiffKind.DELETE: DiffKind.DELETE_REPLACE,
    DiffKind.UPDATE: DiffKind.UPDATE_REPLACE,
}
_INVERSE: Final = {
    DiffKind.ADD: DiffKind.DELETE,
    DiffKind.ADD_REPLACE: DiffKind.DELETE_REPLACE,
    DiffKind.DELETE: DiffKind.ADD,
    DiffKind.DELETE_REPLACE: DiffKind.ADD_REPLACE,
}


def forces_replacement(diff: DiffResult) -> bool:
    """Whether the resource has to be made anew: by a key, or by a kind in the detailed difference."""
    return bool(diff.replaces) or any(item.kind in _REPLACING.values() for item in (diff.detailed or {}).values())


def compared_inputs(old: Properties, new: Properties) -> DiffResult:
    """The engine's own comparison, for providers that leave it to the engine.  An unknown counts as a change."""
    keys = sorted(
        key
        for key in old.keys() | new.keys()
        if contains_unknowns(new.get(key)) or not equal(old.get(key), new.get(key), ignore_secrets=True)
    )
    return DiffResult(Changes.SOME if keys else Changes.NONE, diffs=keys)


def with_replace_on_changes(diff: DiffResult, paths: Iterable[Path]) -> DiffResult:
    """The option replaceOnChanges: a difference at one of the paths, or inside it, becomes a replacement."""
    patterns = list(paths)
    if not patterns or diff.changes is not Changes.SOME:
        return diff
    detailed = diff.detailed
    if detailed is not None:
        detailed = {
            path: replace(item, kind=_REPLACING.get(item.kind, item.kind))
            if any(contains(pattern, _parsed(path)) for pattern in patterns)
            else item
            for path, item in detailed.items()
        }
    tops = {str(pattern[0]) for pattern in patterns if len(pattern) == 1}
    forced = [key for key in diff.diffs if (key in tops or WILDCARD in tops) and key not in diff.replaces]
    return replace(diff, detailed=detailed, replaces=[*diff.replaces, *forced])


def inverted(detailed: Mapping[str, PropertyDiff] | None) -> dict[str, PropertyDiff] | None:
    """What an addition in one direction is in the other: a removal."""
    if detailed is None:
        return None
    return {path: replace(item, kind=_INVERSE.get(item.kind, item.kind)) for path, item in detailed.items()}


def _parsed(path: str) -> Path:
    try:
        return parse_path(path)
    except ValueError:
        return (path,)  # a provider's own spelling; compare it as one key
