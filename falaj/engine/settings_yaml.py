"""YAML as Pulumi reads it: YAML 1.2 scalars, no duplicate keys, bounded.

PyYAML's own rules (1.1) would turn ``on`` and ``no`` into booleans, ``12:30:45`` into a number and dates into objects,
and so change values that the CLI leaves alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from falaj.engine.errors import ConfigError

_MAX_BYTES: Final = 4 * 1024 * 1024
_MAX_NODES: Final = 200_000
"""Aliases let a small file stand for a huge value; this is far above any settings file."""


class SettingsLoader(yaml.SafeLoader):
    """Raises ConfigError for duplicate keys and for numbers with a leading zero, which the CLI takes as octal."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"line {line}: the key {key_node.value!r} stands twice; keep one")
            if isinstance(key_node.value, str):
                seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _construct_int(_: SettingsLoader, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    if re.fullmatch(r"[-+]?0[0-9]+", text):
        line = node.start_mark.line + 1
        raise ConfigError(
            f'line {line}: {text} would be read as an octal number; quote it ("{text}") to keep its digits'
        )
    return int(text, 0)


def _construct_float(_: SettingsLoader, node: yaml.ScalarNode) -> float:
    return float(node.value)


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?",
        list("-+.0123456789"),
    ),
    ("tag:yaml.org,2002:merge", r"<<", ["<"]),
):
    SettingsLoader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first)
SettingsLoader.add_constructor("tag:yaml.org,2002:int", _construct_int)
SettingsLoader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def load_yaml(file: Path) -> dict[str, Any]:
    """The object in a file; an empty file is an empty one.  Raises ConfigError that names the file."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{file} has {len(data)} bytes; at most {_MAX_BYTES} are allowed")
    try:
        return parse_yaml(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is no UTF-8: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def parse_yaml(text: str) -> dict[str, Any]:
    """The object that a text stands for.  Raises ConfigError."""
    try:
        document = yaml.load(text, Loader=SettingsLoader)  # noqa: S506 (a subclass of SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"no YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ConfigError("nested too deeply") from error
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ConfigError("an object with texts as keys is required at the top")
    if sum(1 for _ in zip(_nodes(document), range(_MAX_NODES + 1), strict=False)) > _MAX_NODES:
        raise ConfigError(f"more than {_MAX_NODES} values, counting aliases")
    return document


def as_text(value: Any) -> str:
    """A configuration value as programs get it: texts as they are, everything else as compact JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(_integral(value), ensure_ascii=False, separators=(",", ":"))


def _integral(value: Any) -> Any:
    """Sorted keys and no ``.0``, as Go writes JSON."""
    if isinstance(value, dict):
        return {str(key): _integral(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list):
        return [_integral(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value


def _nodes(value: Any) -> Iterator[None]:
    yield None
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from _nodes(child)
