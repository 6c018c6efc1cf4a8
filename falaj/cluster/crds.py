"""Resource definitions of the local control plane: those of the pinned modules, permissive ones where none is served.

A definition from a module validates as it does in a real cluster; only its prose is left out, which is most of it and
would lie in the API server's memory.  A permissive one takes any object, and says so in its annotation
``falaj/schema``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SOURCE_ANNOTATION: Final = "falaj/source"
SCHEMA_ANNOTATION: Final = "falaj/schema"
PERMISSIVE: Final = "permissive"


@dataclass(frozen=True)
class PermissiveKind:
    """A kind whose definition is not to be had as a module."""

    group: str
    version: str
    kind: str
    plural: str
    why: str
    namespaced: bool = True


PERMISSIVE_KINDS: Final = (
    PermissiveKind(
        "machinelearning.seldon.io",
        "v1",
        "SeldonDeployment",
        "seldondeployments",
        "Seldon Core 1.17.1, the last Apache-2.0 release, is not served as a Go module",
    ),
    PermissiveKind(
        "secrets-store.csi.x-k8s.io",
        "v1",
        "SecretProviderClass",
        "secretproviderclasses",
        "the secrets store's driver, which brings it, is not among the pinned Go modules",
    ),
)


def slim(text: str, *, source: str) -> dict[str, Any]:
    """The one resource definition in ``text`` (YAML) without prose and status, and with ``source`` as annotation.

    Raises ValueError if ``text`` holds anything else.
    """
    documents = _read_yaml(text)
    if len(documents) != 1 or documents[0].get("kind") != "CustomResourceDefinition":
        raise ValueError(f"{source}: expected one CustomResourceDefinition in a file")
    definition: dict[str, Any] = documents[0]
    definition.pop("status", None)
    annotations = dict(definition["metadata"].get("annotations") or {})
    definition["metadata"] = {
        "name": definition["metadata"]["name"],
        "annotations": {**annotations, SOURCE_ANNOTATION: source},
    }
    for version in definition["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"] = _without_prose(version["schema"]["openAPIV3Schema"])
    return definition


def permissive(kind: PermissiveKind) -> dict[str, Any]:
    """A definition that takes any object of ``kind`` and says that it does."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{kind.group}",
            "annotations": {SCHEMA_ANNOTATION: PERMISSIVE, SOURCE_ANNOTATION: f"falaj: {kind.why}"},
        },
        "spec": {
            "group": kind.group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
            },
            "versions": [
                {
                    "name": kind.version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": f"Takes any {kind.kind}: no field is checked here. {kind.why}.",
                            "x-kubernetes-preserve-unknown-fields": True,
                        }
                    },
                }
            ],
        },
    }


def definitions(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """The definitions in ``paths`` (JSON), then the permissive ones of kinds that are not among them."""
    read: list[dict[str, Any]] = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(paths)]
    names = {definition["metadata"]["name"] for definition in read}
    made = [permissive(kind) for kind in PERMISSIVE_KINDS]
    return read + [definition for definition in made if definition["metadata"]["name"] not in names]


def is_permissive(definition: Mapping[str, Any]) -> bool:
    return bool((definition["metadata"].get("annotations") or {}).get(SCHEMA_ANNOTATION) == PERMISSIVE)


def _read_yaml(text: str) -> list[dict[str, Any]]:
    """The documents of ``text``, empty ones left out."""
    import yaml

    base: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C: half a second a megabyte instead of ten
    loader = type("Loader", (base,), {})
    # A bare "=" is a value of its own kind in YAML 1.1; in the operators of a matcher it is a string like the others.
    yaml.add_constructor("tag:yaml.org,2002:value", lambda made, node: node.value, Loader=loader)
    return [document for document in yaml.load_all(text, Loader=loader) if document]


_ONE_SCHEMA: Final = ("items", "additionalProperties", "not")
_SCHEMAS: Final = ("allOf", "anyOf", "oneOf")


def _without_prose(schema: Any) -> Any:
    """``schema`` without its descriptions.  A property that is itself called ``description`` stays."""
    if not isinstance(schema, dict):
        return schema  # `additionalProperties: true`
    slimmed: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "description" and isinstance(value, str):
            continue
        if key == "properties":
            value = {name: _without_prose(part) for name, part in value.items()}
        elif key in _ONE_SCHEMA:
            value = _without_prose(value)
        elif key in _SCHEMAS:
            value = [_without_prose(part) for part in value]
        slimmed[key] = value
    return slimmed
