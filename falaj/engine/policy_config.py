"""Levels and parameters of the policies of a pack: from its schemas, its own settings and the user's file.

The file is JSON: ``{"<policy>": "mandatory" | {"enforcementLevel": "advisory", "<parameter>": value}, "all": ...}``.
Source: pkg/engine/plugins and sdk/go/common/resource/analyzer of Pulumi.  Later layers win: schema defaults, the pack's
initial settings, the file; in each layer ``all`` comes before the policies named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from falaj.engine.errors import ConfigError

LEVELS: Final = ("advisory", "mandatory", "disabled", "remediate")
"""In the order of their numbers in analyzer.proto."""
_MAX_BYTES: Final = 1 << 20
_JSON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int, float),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """``level`` empty: not said."""

    level: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PolicyDescription:
    """A policy as its pack describes it.  ``schema``: parameter -> JSON schema."""

    name: str
    level: str
    schema: Mapping[str, Any] = field(default_factory=dict)
    required: Sequence[str] = ()


def load_settings(file: Path) -> dict[str, PolicySettings]:
    """Raises ConfigError for a file that is missing or malformed."""
    try:
        data = file.read_bytes()
        if len(data) > _MAX_BYTES:
            raise ConfigError(f"{file} has {len(data)} bytes; at most {_MAX_BYTES} are allowed")
        document = json.loads(data)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{file}: an object with policies as keys is required")
    return {policy: _settings(file, policy, raw) for policy, raw in document.items()}


def _settings(file: Path, policy: str, raw: Any) -> PolicySettings:
    given = {"enforcementLevel": raw} if isinstance(raw, str) else raw
    if not isinstance(given, dict):
        raise ConfigError(f"{file}: {policy!r} is {raw!r}; a level or an object is required")
    level = given.get("enforcementLevel", "")
    if level not in ("", *LEVELS):
        raise ConfigError(f"{file}: the level of {policy!r} is {level!r}; allowed are {', '.join(LEVELS)}")
    return PolicySettings(level, {key: value for key, value in given.items() if key != "enforcementLevel"})


def reconciled(
    policies: Sequence[PolicyDescription], *layers: Mapping[str, PolicySettings], where: str
) -> dict[str, PolicySettings]:
    """The settings of every policy; ``where`` names the last layer's file in errors.

    Raises ConfigError for policies that the pack does not have, and for parameters that are missing or unfit.
    """
    levels = {policy.name: policy.level for policy in policies}
    parameters = {policy.name: _defaults(policy.schema) for policy in policies}
    for layer in layers:
        unknown = sorted(set(layer) - set(levels) - {"all"})
        if unknown:
            raise ConfigError(
                f"{where}: there is no policy {', '.join(unknown)}; the pack has {', '.join(sorted(levels))}"
            )
        everywhere = layer.get("all", PolicySettings()).level
        if everywhere:
            levels = dict.fromkeys(levels, everywhere)
        for name, settings in layer.items():
            if name != "all":
                levels[name] = settings.level or levels[name]
                parameters[name] |= dict(settings.parameters)
    problems = [
        f"{policy.name}: {problem}"
        for policy in policies
        if levels[policy.name] != "disabled"
        for problem in _problems(policy, parameters[policy.name])
    ]
    if problems:
        raise ConfigError(f"{where}: {'; '.join(problems)}")
    return {name: PolicySettings(levels[name], parameters[name]) for name in levels}


def _defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {name: rule["default"] for name, rule in schema.items() if isinstance(rule, dict) and "default" in rule}


def _problems(policy: PolicyDescription, parameters: Mapping[str, Any]) -> Iterator[str]:
    for name in policy.required:
        if name not in parameters:
            yield f"the parameter {name!r} is required"
    for name, rule in policy.schema.items():
        if name in parameters:
            yield from breaches(parameters[name], rule, name)


def breaches(value: Any, schema: Any, where: str) -> Iterator[str]:
    """What in a value breaks a JSON schema.  Known: type, enum, const, minimum and maximum (also exclusive), lengths,
    pattern, items, numbers of items, properties, required; other keywords are not looked at."""
    if not isinstance(schema, dict):
        return
    allowed = schema.get("type", [])
    allowed = [allowed] if isinstance(allowed, str) else allowed
    if allowed and not any(_is_a(value, name) for name in allowed):
        yield f"{where} is {value!r}, which is no {' or '.join(allowed)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r}; allowed are {', '.join(map(repr, schema['enum']))}"
    if "const" in schema and value != schema["const"]:
        yield f"{where} is {value!r}; only {schema['const']!r} is allowed"
    if isinstance(value, str):
        yield from _size_breaches(value, len(value), schema, "minLength", "maxLength", where)
    elif isinstance(value, list):
        yield from _size_breaches(value, len(value), schema, "minItems", "maxItems", where)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _size_breaches(value, value, schema, "minimum", "maximum", where)
        if value <= schema.get("exclusiveMinimum", value - 1) or value >= schema.get("exclusiveMaximum", value + 1):
            yield f"{where} is {value!r}, which is not within the exclusive bounds"
    if isinstance(value, str) and "pattern" in schema and re.search(schema["pattern"], value) is None:
        yield f"{where} is {value!r}, which does not match {schema['pattern']}"
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from breaches(item, schema.get("items"), f"{where}[{index}]")
    if isinstance(value, dict):
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{where}.{name} is required"
        for name, rule in schema.get("properties", {}).items():
            if name in value:
                yield from breaches(value[name], rule, f"{where}.{name}")


def _size_breaches(
    value: Any, size: float, schema: Mapping[str, Any], least: str, most: str, where: str
) -> Iterator[str]:
    if size < schema.get(least, size):
        yield f"{where} is {value!r}; {least} is {schema[least]}"
    if size > schema.get(most, size):
        yield f"{where} is {value!r}; {most} is {schema[most]}"


def _is_a(value: Any, name: str) -> bool:
    if isinstance(value, bool) and name != "boolean":
        return False
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _JSON_TYPES.get(name, (object,)))
