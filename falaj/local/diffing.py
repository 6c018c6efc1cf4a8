"""Pure comparison of checked inputs: detailed paths, forced replacements, unknowns, values equal in meaning."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from falaj.engine.provider import Changes, DiffKind, DiffResult, PropertyDiff
from falaj.engine.values import UNKNOWN, Archive, Asset, Properties, Value

Path = tuple[str | int, ...]

_MISSING: Final = object()
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_REPLACING: Final = {
    DiffKind.ADD: DiffKind.ADD_REPLACE,
    DiffKind.DELETE: DiffKind.DELETE_REPLACE,
    DiffKind.UPDATE: DiffKind.UPDATE_REPLACE,
}


@dataclass(frozen=True, slots=True)
class Rules:
    """How the inputs of a type compare; the fields mean what they mean in ``Handler``."""

    force_new: frozenset[str] = frozenset()
    json_inputs: frozenset[str] = frozenset()
    unordered: frozenset[str] = frozenset()


def compare(old: Properties, new: Properties, rules: Rules, ignore_changes: Sequence[str] = ()) -> DiffResult:
    """The difference between two sets of checked inputs.

    Absent and None are equal.  An unknown new value counts as changed, and as a replacement where its path forces one.
    ``ignore_changes`` are property paths (``a.b``, ``a[*].c``) whose differences are left out.
    """
    ignored = [parse_path(pattern) for pattern in ignore_changes]
    detailed: dict[str, PropertyDiff] = {}
    replaces: dict[str, None] = {}
    diffs: dict[str, None] = {}
    for path, kind, before, after in _differences((), dict(old), dict(new), rules):
        if any(_matches(path, pattern) for pattern in ignored):
            continue
        top = str(path[0])
        diffs[top] = None
        if _forces_new(path, before, after, rules.force_new):
            replaces[top] = None
            kind = _REPLACING[kind]
        detailed[format_path(path)] = PropertyDiff(kind)
    changes = Changes.SOME if diffs else Changes.NONE
    return DiffResult(changes, replaces=tuple(replaces), diffs=tuple(diffs), detailed=detailed)


def equal(path: str, old: Value, new: Value, rules: Rules) -> bool:
    """Whether two values of the top-level input ``path`` mean the same."""
    return next(_differences((), {path: old}, {path: new}, rules), None) is None


def format_path(path: Path) -> str:
    """A property path as Pulumi writes it: ``a.b[0]["odd key"]``."""
    text = ""
    for segment in path:
        if isinstance(segment, int):
            text += f"[{segment}]"
        elif _IDENTIFIER.match(segment):
            text += f".{segment}" if text else segment
        else:
            text += f"[{json.dumps(segment)}]"
    return text


def _differences(path: Path, old: Value, new: Value, rules: Rules) -> Iterator[tuple[Path, DiffKind, Value, Value]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            if not path and key.startswith("__"):
                continue  # bookkeeping such as __defaults
            before, after = old.get(key), new.get(key)
            yield from _differences((*path, key), before, after, rules)
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple):
        yield from _list_differences(path, list(old), list(new), rules)
    elif old is None or new is None:
        present = new if old is None else old
        if present is not None and not _is_empty(path, present):
            yield path, DiffKind.ADD if old is None else DiffKind.DELETE, old, new
    elif not _scalars_equal(path, old, new, rules):
        yield path, DiffKind.UPDATE, old, new


def _list_differences(
    path: Path, old: list[Value], new: list[Value], rules: Rules
) -> Iterator[tuple[Path, DiffKind, Value, Value]]:
    if _dotted(path) in rules.unordered:
        remaining = [_canonical(item) for item in old]
        extra: list[tuple[int, Value]] = []
        for index, item in enumerate(new):
            if (form := _canonical(item)) in remaining and not _has_unknown(item):
                remaining[remaining.index(form)] = _MISSING
            else:
                extra.append((index, item))
        lost = [(index, item) for index, item in enumerate(old) if remaining[index] is not _MISSING]
        for (_, before), (index, after) in zip(lost, extra, strict=False):
            yield (*path, index), DiffKind.UPDATE, before, after
        for index, item in extra[len(lost) :]:
            yield (*path, index), DiffKind.ADD, None, item
        for index, item in lost[len(extra) :]:
            yield (*path, index), DiffKind.DELETE, item, None
        return
    for index in range(max(len(old), len(new))):
        if index >= len(old):
            yield (*path, index), DiffKind.ADD, None, new[index]
        elif index >= len(new):
            yield (*path, index), DiffKind.DELETE, old[index], None
        else:
            yield from _differences((*path, index), old[index], new[index], rules)


def _scalars_equal(path: Path, old: Value, new: Value, rules: Rules) -> bool:
    if old is UNKNOWN or new is UNKNOWN:
        return False
    if isinstance(old, Asset | Archive) and isinstance(new, Asset | Archive):
        return bool(old.hash) and type(old) is type(new) and old.hash == new.hash
    if isinstance(old, bool) != isinstance(new, bool):
        return False
    if old == new:
        return True
    if isinstance(old, str) and isinstance(new, str) and _dotted(path) in rules.json_inputs:
        return json_equal(old, new)
    return False


def json_equal(old: str, new: str) -> bool:
    """Whether two JSON texts mean the same to AWS, whose documents take a single item for a list of one and read lists
    of texts as sets.  Texts that are no JSON are compared as they are."""
    try:
        return bool(_document(json.loads(old)) == _document(json.loads(new)))
    except ValueError:
        return old == new


def _document(value: Value) -> Value:
    if isinstance(value, dict):
        return {key: _document(item) for key, item in value.items()}
    if isinstance(value, list):
        if len(value) == 1:
            return _document(value[0])
        items = [_document(item) for item in value]
        return sorted(items) if all(isinstance(item, str) for item in items) else items
    return value


def _is_empty(path: Path, value: Value) -> bool:
    """An empty list or top-level map means the same as none; an empty nested object (a block) does not."""
    return not value and (isinstance(value, list | tuple) or (isinstance(value, Mapping) and len(path) == 1))


def _has_unknown(value: Value) -> bool:
    if isinstance(value, Mapping):
        return any(_has_unknown(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_has_unknown(item) for item in value)
    return value is UNKNOWN


def _canonical(value: Value) -> object:
    return json.dumps(value, sort_keys=True, default=repr)


def _dotted(path: Path) -> str:
    return ".".join(segment for segment in path if isinstance(segment, str))


def _forces_new(path: Path, old: Value, new: Value, force_new: frozenset[str]) -> bool:
    dotted = _dotted(path)
    for forced in force_new:
        if dotted == forced or dotted.startswith(f"{forced}."):
            return True
        if forced.startswith(f"{dotted}."):
            # A whole object came or went, or became unknown: it matters only if it holds the forcing part.
            inner = forced[len(dotted) + 1 :].split(".")
            if new is UNKNOWN or _holds(old, inner) or _holds(new, inner):
                return True
    return False


def _holds(value: Value, keys: Sequence[str]) -> bool:
    if isinstance(value, list | tuple):
        return any(_holds(item, keys) for item in value)
    if not keys:
        return value is not None
    return isinstance(value, Mapping) and _holds(value.get(keys[0]), keys[1:])


def parse_path(pattern: str) -> Path:
    """The segments of a property path; ``*`` stands for any."""
    found: list[str | int] = []
    for name, quoted, index in re.findall(r'([^.\[\]]+)|\["((?:[^"\\]|\\.)*)"\]|\[(\d+|\*)\]', pattern):
        if index:
            found.append("*" if index == "*" else int(index))
        else:
            found.append(json.loads(f'"{quoted}"') if quoted else name)
    return tuple(found)


def _matches(path: Path, pattern: Path) -> bool:
    if len(pattern) > len(path) or not pattern:
        return False
    return all(wanted in ("*", segment) for wanted, segment in zip(pattern, path, strict=False))
