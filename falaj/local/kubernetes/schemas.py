"""The official JSON schemas of Kubernetes, as the package ``kubernetes-validate`` ships them.

They are read here and not through that package's own function, which parses all definitions (1.5 MB) for every object
and stops at the first error.  They are the strict ones: a field that the API does not have is an error.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from falaj.engine.provider import ProviderError
from falaj.local.kubernetes.kinds import Kind
from falaj.local.kubernetes.manifests import Manifest

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

KUBERNETES_VERSION: Final = "1.34"
"""The minor version of the local control plane, whose API the manifests are held to."""

_SHOWN_CHARACTERS: Final = 60
_MOST_PROBLEMS: Final = 20


class UnknownKindError(Exception):
    """The Kubernetes version serves no such kind.  The text says which versions of it exist."""


def problems(kind: Kind, manifest: Manifest) -> list[tuple[str, str]]:
    """(property path, what is wrong: given and allowed) for everything that the schema of a built-in kind refuses.

    Raises UnknownKindError.
    """
    return _problems(_validator(kind), manifest)


def metadata_problems(manifest: Manifest) -> list[tuple[str, str]]:
    """The same for ``metadata`` alone, which custom resources share with all others."""
    found = _problems(_metadata_validator(), manifest.get("metadata", {}))
    return [(f"metadata.{path}" if path else "metadata", reason) for path, reason in found]


# -- schemas -----------------------------------------------------------------------------------------------------------


@functools.cache
def _folder() -> Path:
    found = importlib.util.find_spec("kubernetes_validate")  # without importing it, and with it much that it needs
    if found is None or not found.submodule_search_locations:
        raise ProviderError("package kubernetes-validate is not installed; install requirements/base.txt")
    schemas = Path(found.submodule_search_locations[0]) / "kubernetes-json-schema"
    folder = schemas / f"v{KUBERNETES_VERSION}.0-local-strict"
    if not folder.is_dir():
        at_hand = ", ".join(sorted(path.name for path in schemas.glob("*-strict")))
        raise ProviderError(f"no schemas of Kubernetes {KUBERNETES_VERSION}; kubernetes-validate has {at_hand}")
    return folder


@functools.cache
def _definitions() -> dict[str, Any]:
    return dict(json.loads((_folder() / "_definitions.json").read_bytes()))


@functools.cache
def _validator_of(reference: str) -> Validator:
    """A validator of one definition; definitions refer to one another within their file."""
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    definitions = Resource.from_contents(_definitions())
    registry: Registry[Any] = definitions @ Registry()
    return Draft202012Validator({"$ref": f"{definitions.id()}{reference}"}, registry=registry)


def _metadata_validator() -> Validator:
    return _validator_of("#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")


@functools.cache
def _validator(kind: Kind) -> Validator:
    for name, definition in _definitions()["$defs"].items():
        for served in definition.get("x-kubernetes-group-version-kind", ()):
            if (served["group"], served["version"], served["kind"]) == (kind.group, kind.version, kind.name):
                return _validator_of(f"#/$defs/{name}")
    raise UnknownKindError(_unknown(kind))


def _unknown(kind: Kind) -> str:
    names: dict[str, set[str]] = {}
    for definition in _definitions()["$defs"].values():
        kinds = definition.get("x-kubernetes-group-version-kind", ())
        if len(kinds) == 1:  # definitions of several kinds are parts such as DeleteOptions
            served = Kind(*(kinds[0][key] for key in ("group", "version", "kind")))
            names.setdefault(served.name, set()).add(served.api_version)
    if kind.name in names:
        served_as = ", ".join(sorted(names[kind.name]))
        return f"Kubernetes {KUBERNETES_VERSION} has no {kind}; it serves {kind.name} as {served_as}"
    near = difflib.get_close_matches(kind.name, names, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    return f"Kubernetes {KUBERNETES_VERSION} has no {kind}{hint}"


# -- messages ----------------------------------------------------------------------------------------------------------


def _problems(validator: Validator, value: Any) -> list[tuple[str, str]]:
    """Without repetitions: two missing fields are two errors, each of which lists both."""
    found: dict[tuple[str, str], None] = {}
    for error in validator.iter_errors(value):
        found.update(dict.fromkeys(_explained(error)))
        if len(found) >= _MOST_PROBLEMS:
            break
    return list(found)


def _explained(error: ValidationError) -> Iterator[tuple[str, str]]:
    path = _path(error.absolute_path)
    allowed, given = cast("Any", error.validator_value), cast("Any", error.instance)
    match error.validator:
        case "required":
            for key in allowed:
                if key not in given:
                    yield _join(path, key), f'missing required field "{key}"'
        case "additionalProperties":
            fields = error.schema.get("properties", {}) if isinstance(error.schema, Mapping) else {}
            for key in given:
                if key not in fields:
                    near = difflib.get_close_matches(key, fields, n=1)
                    hint = f'did you mean "{near[0]}"?' if near else f"allowed: {', '.join(sorted(fields))}"
                    yield _join(path, key), f'unknown field "{key}"; {hint}'
        case "type":
            yield path, f"expected {_types(allowed)}, got {_shown(given)}"
        case "oneOf" | "anyOf":
            types = [branch.get("type") for branch in allowed if isinstance(branch, Mapping)]
            flat = [name for entry in types for name in ([entry] if isinstance(entry, str) else entry or ())]
            yield path, f"expected {_types(flat)}, got {_shown(given)}"
        case "enum":
            yield path, f"expected {' or '.join(json.dumps(item) for item in allowed)}, got {_shown(given)}"
        case _:
            yield path, f"{_shown(given)} is refused: {error.validator} {_shown(allowed)}"


def _types(names: str | Sequence[str]) -> str:
    listed = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    texts = ["a list" if n == "array" else f"an {n}" if n[0] in "aeio" else f"a {n}" for n in listed if n != "null"]
    return " or ".join(texts)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def _path(segments: Sequence[str | int]) -> str:
    from falaj.local.diffing import format_path

    return format_path(tuple(segments))


def _join(path: str, key: str) -> str:
    from falaj.local.diffing import format_path

    tail = format_path((key,))
    return f"{path}{tail}" if tail.startswith("[") or not path else f"{path}.{tail}"
