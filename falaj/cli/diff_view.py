"""Differences of one resource as lines of text.  Secrets never appear: a changed secret reads ``[secret]``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from falaj.engine.events import Op, StepInfo
from falaj.engine.values import UNKNOWN, Archive, Asset, ResourceReference, Secret

MAX_TEXT = 100
"""Characters of one shown value: policy documents run to kilobytes, and the whole is in `falaj state export`."""

SIGNS = {
    Op.CREATE: "+",
    Op.UPDATE: "~",
    Op.DELETE: "-",
    Op.REPLACE: "+-",
    Op.CREATE_REPLACEMENT: "++",
    Op.DELETE_REPLACED: "--",
    Op.READ: ">",
    Op.READ_REPLACEMENT: ">-",
    Op.REFRESH: "~",
    Op.DISCARD: "<",
    Op.DISCARD_REPLACED: "<-",
    Op.IMPORT: "=",
    Op.IMPORT_REPLACEMENT: "=-",
    Op.REMOVE_PENDING_REPLACE: "-",
    Op.SAME: " ",
}


def shown(value: Any) -> str:
    """One value on one line, masked and shortened."""
    text = _text(value)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _text(value: Any) -> str:
    if isinstance(value, Secret):
        return "[secret]"
    if value is UNKNOWN:
        return "[unknown]"
    if isinstance(value, Asset | Archive):
        return f"{type(value).__name__.lower()} {value.hash[:12]}"
    if isinstance(value, ResourceReference):
        return value.urn
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_text(v) for v in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def changed_lines(step: StepInfo) -> Iterator[str]:
    """Lines like ``~ tags.owner: "a" => "b"`` for an update or replacement, all inputs for a create."""
    old, new = step.old_inputs or {}, step.new_inputs or {}
    if step.op in (Op.CREATE, Op.IMPORT, Op.READ):
        for key in sorted(new):
            if not key.startswith("__"):
                yield f"+ {key}: {shown(new[key])}"
        return
    if step.op in (Op.DELETE, Op.DISCARD):
        return
    yield from _compare(dict(old), dict(new), "", set(step.keys))


def _compare(old: Any, new: Any, path: str, replace_keys: set[str]) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key.startswith("__"):
                continue
            here = f"{path}.{key}" if path else key
            if key not in old:
                yield f"+ {here}: {shown(new[key])}{_note(here, replace_keys)}"
            elif key not in new:
                yield f"- {here}: {shown(old[key])}{_note(here, replace_keys)}"
            else:
                yield from _compare(old[key], new[key], here, replace_keys)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _compare(a, b, f"{path}[{i}]", replace_keys)
    elif old != new:
        yield f"~ {path}: {shown(old)} => {shown(new)}{_note(path, replace_keys)}"


def _note(path: str, replace_keys: set[str]) -> str:
    top = path.split(".", 1)[0].split("[", 1)[0]
    return "  (forces replacement)" if top in replace_keys else ""
