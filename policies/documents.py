"""Reads IAM and resource policy documents, which arrive as JSON text, dicts or unknown values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from policies.verdict import UNKNOWN, Unverified

MAX_DOCUMENT_CHARACTERS = 131_072
"""Far above AWS's own bounds (10,240 for inline, 20,480 for bucket policies)."""


class DocumentError(Exception):
    """The document is no policy; the text says why."""


def statements(document: Any, path: str = "policy") -> list[Mapping[str, Any]]:
    """The statements of a document.  Raises Unverified for an unknown one, DocumentError for a malformed one."""
    if document is UNKNOWN:
        raise Unverified(path)
    if isinstance(document, str):
        if len(document) > MAX_DOCUMENT_CHARACTERS:
            raise DocumentError(f"{path} is longer than {MAX_DOCUMENT_CHARACTERS} characters")
        try:
            document = json.loads(document)
        except ValueError as error:
            raise DocumentError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, Mapping):
        raise DocumentError(f"{path} is not an object")
    found = document.get("Statement", [])
    found = [found] if isinstance(found, Mapping) else found
    if not isinstance(found, list | tuple) or not all(isinstance(s, Mapping) for s in found):
        raise DocumentError(f"{path}.Statement is not a list of statements")
    return list(found)


def listed(value: Any) -> list[Any]:
    """IAM lets one string stand for a list of one."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def actions(statement: Mapping[str, Any]) -> list[str]:
    return [str(a) for a in listed(statement.get("Action"))]


def resources(statement: Mapping[str, Any]) -> list[str]:
    return [str(r) for r in listed(statement.get("Resource"))]


def principals(statement: Mapping[str, Any]) -> list[str]:
    """All principals of a statement, whatever their kind."""
    principal = statement.get("Principal")
    if isinstance(principal, Mapping):
        return [str(p) for value in principal.values() for p in listed(value)]
    return [str(p) for p in listed(principal)]


def conditions(statement: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """(operator, key, values) of every condition, keys in lower case as IAM compares them."""
    block = statement.get("Condition")
    if isinstance(block, Mapping):
        for operator, entries in block.items():
            if isinstance(entries, Mapping):
                for key, values in entries.items():
                    yield str(operator), str(key).lower(), [str(v) for v in listed(values)]


def denies(statement: Mapping[str, Any], operator: str, key: str, value: str) -> bool:
    """Whether a statement denies everybody where ``key`` compares to ``value``; values compare without case."""
    if statement.get("Effect") != "Deny" or "*" not in principals(statement):
        return False
    return any(
        op.lower() == operator.lower() and k == key.lower() and value.lower() in [v.lower() for v in values]
        for op, k, values in conditions(statement)
    )


def matches_any(action: str, patterns: tuple[str, ...]) -> bool:
    """Whether an action falls under one of the patterns; actions compare without case."""
    return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)
