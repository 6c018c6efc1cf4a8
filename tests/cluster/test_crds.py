"""Resource definitions.  Guards: a schema that lost a field with its prose, a permissive one that does not say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from falaj.cluster.crds import PERMISSIVE_KINDS, definitions, is_permissive, permissive, slim

SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "prose",
    "properties": {
        "description": {"type": "string", "description": "prose", "maxLength": 10},
        "list": {"type": "array", "items": {"type": "object", "description": "prose", "properties": {}}},
        "any": {"anyOf": [{"type": "integer", "description": "prose"}, {"type": "string"}]},
        "map": {"type": "object", "additionalProperties": {"type": "string", "description": "prose"}},
        "free": {"type": "object", "additionalProperties": True},
        "checked": {
            "x-kubernetes-validations": [{"rule": "self > 0", "message": "stays"}],
            "default": {"description": "stays"},
        },
    },
}


def definition(name: str = "things.example.org") -> dict[str, Any]:
    group = name.partition(".")[2]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name, "annotations": {"made-by": "generator"}, "creationTimestamp": None},
        "spec": {"group": group, "versions": [{"name": "v1", "schema": {"openAPIV3Schema": SCHEMA}}]},
        "status": {"conditions": []},
    }


def test_prose_goes_and_everything_that_validates_stays() -> None:
    made = slim(yaml.safe_dump(definition()), source="module@v1")
    schema = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert "prose" not in json.dumps(schema)
    assert schema["properties"] == {
        "description": {"type": "string", "maxLength": 10},
        "list": {"type": "array", "items": {"type": "object", "properties": {}}},
        "any": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {"type": "object", "additionalProperties": True},
        "checked": SCHEMA["properties"]["checked"],
    }


def test_source_is_noted_beside_the_annotations_there_are() -> None:
    made = slim(yaml.safe_dump(definition()), source="module@v1")
    assert made["metadata"]["annotations"] == {"made-by": "generator", "falaj/source": "module@v1"}
    assert "status" not in made
    assert not is_permissive(made)


@pytest.mark.parametrize("text", ["", "kind: ConfigMap", "kind: CustomResourceDefinition\n---\nkind: ConfigMap"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="module@v1: expected one CustomResourceDefinition"):
        slim(text, source="module@v1")


@pytest.mark.parametrize("kind", PERMISSIVE_KINDS, ids=lambda kind: kind.kind)
def test_permissive_definition_says_that_it_is_and_why(kind: Any) -> None:
    made = permissive(kind)
    assert is_permissive(made)
    assert kind.why in made["metadata"]["annotations"]["falaj/source"]
    schema = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema["x-kubernetes-preserve-unknown-fields"] is True


def test_definition_of_a_module_takes_the_place_of_the_permissive_one(tmp_path: Path) -> None:
    name = permissive(PERMISSIVE_KINDS[0])["metadata"]["name"]
    (tmp_path / "one.json").write_text(json.dumps(slim(yaml.safe_dump(definition(name)), source="module@v1")))
    made = {each["metadata"]["name"]: each for each in definitions(tmp_path.glob("*.json"))}
    assert not is_permissive(made[name])
    assert [each["metadata"]["name"] for each in definitions([])] == [
        f"{kind.plural}.{kind.group}" for kind in PERMISSIVE_KINDS
    ]


def test_bare_equals_sign_in_an_enum_is_a_string() -> None:
    text = yaml.safe_dump(definition()).replace("maxLength: 10", "enum: [!=, =, =~]")
    assert "[!=, =, =~]" in text
    schema = slim(text.replace("!=", "'!='"), source="m@v1")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema["properties"]["description"]["enum"] == ["!=", "=", "=~"]
