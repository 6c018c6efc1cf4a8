"""Pure conversions between Pulumi's property shapes and those of the AWS APIs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from falaj.engine.values import Properties


def request(inputs: Properties, names: Mapping[str, str]) -> dict[str, Any]:
    """API parameters from inputs: ``names`` maps an input to its parameter; absent or None inputs are left out."""
    return {parameter: inputs[name] for name, parameter in names.items() if inputs.get(name) is not None}


def observed(response: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Outputs from an API answer: the inverse of ``request`` with the same map."""
    return {name: response[parameter] for name, parameter in names.items() if response.get(parameter) is not None}


def tag_list(tags: Mapping[str, str] | None, *, key: str = "Key", value: str = "Value") -> list[dict[str, str]]:
    """A tag map as the list of pairs that most APIs take, sorted by key."""
    return [{key: name, value: text} for name, text in sorted((tags or {}).items())]


def tag_map(tags: Iterable[Mapping[str, str]] | None, *, key: str = "Key", value: str = "Value") -> dict[str, str]:
    """The list of pairs as a map, without the tags that AWS itself sets (``aws:...``)."""
    return {tag[key]: tag.get(value, "") for tag in tags or () if not tag[key].startswith("aws:")}


def pascal(value: Any, *, verbatim: frozenset[str] = frozenset()) -> Any:
    """Nested inputs with ``camelCase`` keys as API parameters with ``PascalCase`` keys; None entries are dropped.

    The values below a key of ``verbatim`` keep their keys (maps whose keys are the user's own, such as ``tags``).
    """
    if isinstance(value, Mapping):
        return {
            key[:1].upper() + key[1:]: item if key in verbatim else pascal(item, verbatim=verbatim)
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        return [pascal(item, verbatim=verbatim) for item in value]
    return value


def camel(value: Any, *, verbatim: frozenset[str] = frozenset()) -> Any:
    """The inverse of ``pascal``; ``verbatim`` names the keys in their camelCase form."""
    if isinstance(value, Mapping):
        pairs = ((key[:1].lower() + key[1:], item) for key, item in value.items() if item is not None)
        return {key: item if key in verbatim else camel(item, verbatim=verbatim) for key, item in pairs}
    if isinstance(value, list):
        return [camel(item, verbatim=verbatim) for item in value]
    return value
