"""Reads a blueprint file, lays overrides over it and turns what pydantic objects to into lines a person can act on."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from blueprints import overrides as override_rules
from blueprints.errors import (
    BlueprintFileError,
    InvalidBlueprintError,
    OverrideError,
    Problem,
    ProblemKind,
    UnknownBlueprintError,
    suggestion,
)
from blueprints.fields import PATTERNS
from blueprints.schema import Blueprint

_ROOT = Path(__file__).parent
_MAX_FILE_BYTES = 1_000_000

_TYPE_NAMES = {str: "text", bool: "true or false", int: "a whole number", float: "a number", dict: "a mapping"}
_WRONG_TYPE = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text (quote it)",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "finite_number": "a finite number",
    "ip_v4_network": "an IPv4 block such as 10.20.0.0/16",
}
_RANGE = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def names() -> tuple[str, ...]:
    """The blueprints that ship, in rising order of size."""
    found = {path.parent.name for path in _ROOT.glob("*/blueprint.yaml")}
    order = ("smb", "enterprise")
    return tuple(sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name)))


def load(name: str, overrides: Mapping[str, Any] | None = None) -> Blueprint:
    """Load the blueprint called ``name`` with ``overrides`` (nested or dotted, see ``blueprints.overrides``) over it.

    Raises UnknownBlueprintError, BlueprintFileError, OverrideError or InvalidBlueprintError.
    """
    known = names()
    if name not in known:
        raise UnknownBlueprintError(name, known)
    data = _read(_ROOT / name / "blueprint.yaml")
    changes = override_rules.expand(overrides or {})
    return parse(override_rules.merge(data, changes), origin=f"{name}/blueprint.yaml", changes=changes)


def parse(data: Mapping[str, Any], *, origin: str, changes: Mapping[str, Any] | None = None) -> Blueprint:
    """Validate ``data``; ``origin`` and ``changes`` say in messages who gave a value.  Raises InvalidBlueprintError."""
    try:
        text = json.dumps(data, default=str)
    except (RecursionError, ValueError) as error:
        raise OverrideError("override: nested too deep, or inside itself; no key of a blueprint is") from error
    try:
        # JSON's strict mode is the one that takes lists for tuples and text for enums, yet no "3" or true for a number.
        return Blueprint.model_validate_json(text, strict=True)
    except ValidationError as error:
        problems = [_problem(item, data, origin, changes or {}) for item in error.errors(include_url=False)]
        # A list whose only entry is wrong is reported as too short as well; the entry's own line says it better.
        inner = [p for p in problems if not any(other.path.startswith(f"{p.path}.") for other in problems)]
        raise InvalidBlueprintError(_join_missing(inner or problems)) from None


@functools.cache
def _read(path: Path) -> Mapping[str, Any]:
    """Parse a shipped file once; what is returned is never modified (``overrides.merge`` copies)."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise BlueprintFileError(
                f"{path.parent.name}/{path.name}: larger than {_MAX_FILE_BYTES} bytes; not a blueprint"
            )
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BlueprintFileError(f"{path.parent.name}/{path.name}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise BlueprintFileError(f"{path.parent.name}/{path.name}: not valid YAML: {reason}") from error
    if not isinstance(data, dict):
        raise BlueprintFileError(f"{path.parent.name}/{path.name}: holds {_kind(data)}; allowed: a mapping of keys")
    return data


def _problem(item: Any, data: Mapping[str, Any], origin: str, changes: Mapping[str, Any]) -> Problem:
    code, loc, given = item["type"], item["loc"], item.get("input")
    path = dotted([step for step in loc if step != "[key]"], data)
    # A missing key is nobody's; the override that made its parent is the one to change.
    blamed = path.split(".")[:-1] if code == "missing" else path.split(".")
    source = "override" if _was_overridden(blamed, changes) else origin
    kind, text = ProblemKind.NOT_ALLOWED, f"given {_show(given)}; {_sentence(item['msg'])}"
    if code == "extra_forbidden":
        allowed = sorted(_keys_at(loc[:-1]))
        kind = ProblemKind.UNKNOWN_KEY
        text = f"unknown key{suggestion(str(loc[-1]), allowed)}; allowed here: {', '.join(allowed)}"
    elif code == "missing":
        kind, text = ProblemKind.MISSING_KEY, "missing; give it a value"
        text += _nearest_entry(loc, data)
    elif code in _WRONG_TYPE:
        kind = ProblemKind.WRONG_TYPE
        text = f"given {_show(given)} ({_kind(given)}); allowed: {_WRONG_TYPE[code]}"
    elif code in _RANGE:
        key, words = _RANGE[code]
        kind = ProblemKind.OUT_OF_RANGE
        text = f"given {_show(given)}; allowed: {words} {item['ctx'][key]:,}"
    elif code in ("enum", "literal_error"):
        allowed_text = str(item["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
        text = f"given {_show(given)}; allowed: {allowed_text}{suggestion(str(given), allowed_text.split(', '))}"
    elif code == "string_pattern_mismatch":
        pattern = item["ctx"]["pattern"]
        text = f"given {_show(given)}; allowed: {PATTERNS.get(pattern, 'text that matches ' + pattern)}"
    elif code == "too_short":
        text = f"given {_show(given)}; allowed: at least {item['ctx']['min_length']} entry; add one"
    elif code == "value_error":
        text = str(item["ctx"]["error"])
        if path in ("network.cidr",) or ".public_cidrs." in path:
            text = (
                text if text.startswith("given") else f"given {_show(given)}; allowed: {_WRONG_TYPE['ip_v4_network']}"
            )
    return Problem(kind, source, path, text)


def _join_missing(problems: Sequence[Problem]) -> list[Problem]:
    """One line for all keys that one part lacks, in place of a line each."""
    joined: dict[str, list[Problem]] = {}
    for problem in problems:
        parent = problem.path.rpartition(".")[0]
        joined.setdefault(parent if problem.kind is ProblemKind.MISSING_KEY else f"={len(joined)}", []).append(problem)
    result = []
    for parent, group in joined.items():
        first = group[0]
        if len(group) > 1:
            keys = ", ".join(problem.path.rpartition(".")[2] for problem in group)
            first = Problem(first.kind, first.origin, parent, first.text.replace("missing;", f"missing {keys};", 1))
        result.append(first)
    return result


def dotted(loc: Sequence[str | int], data: Any) -> str:
    """Write a pydantic location with list entries by name: ``node_pools.gpu-spot.max_nodes``."""
    parts: list[str] = []
    for step in loc:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            data = None
        named = isinstance(step, int) and isinstance(data, Mapping) and "name" in data
        parts.append(str(data["name"]) if named else str(step))
    return ".".join(parts)


def _was_overridden(path: Sequence[str], changes: Any) -> bool:
    """Whether an override gave the value at ``path``, or a part or the whole of what is there."""
    for step in path:
        if not isinstance(changes, Mapping):
            return True
        if step not in changes:
            return False
        changes = changes[step]
    return bool(path)


def _keys_at(loc: Sequence[str | int]) -> set[str]:
    model: type[BaseModel] | None = Blueprint
    for step in loc:
        if isinstance(step, int) or model is None:
            continue
        field = model.model_fields.get(step)
        model = _spec_in(field.annotation) if field else None
    return set(model.model_fields) if model else set()


def _spec_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        if (found := _spec_in(argument)) is not None:
            return found
    return None


def _nearest_entry(loc: Sequence[str | int], data: Mapping[str, Any]) -> str:
    """A misspelt name makes a new, incomplete entry; say which name was probably meant."""
    if len(loc) < 2 or not isinstance(loc[1], int):
        return ""
    entries = data.get(str(loc[0]))
    if not isinstance(entries, list):
        return ""
    present = [str(entry.get("name", "")) if isinstance(entry, Mapping) else "" for entry in entries]
    return suggestion(present[loc[1]], [name for i, name in enumerate(present) if i != loc[1]])


def _sentence(message: str) -> str:
    message = message.removeprefix("Value error, ").rstrip(".")
    return message[:1].lower() + message[1:]


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, (list, tuple)):
        return "a list"
    return _TYPE_NAMES.get(type(value), type(value).__name__)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
