"""Judges of manifests that share no code with Falaj: kubeconform, checkov, and the parser and engine of Prometheus.

Everything they read lies on this machine: schemas from the package kubernetes-validate and from the pinned resource
definitions, checks from the scanner's own package.  None of them is asked to reach a network, and checkov is told not
to.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from falaj.cluster.binaries import BinaryStore
from falaj.cluster.crds import definitions, is_permissive
from falaj.cluster.errors import BinariesError
from falaj.cluster.recipes import SCAN_RECIPES, recipe

ROOT = Path(__file__).resolve().parents[2]
CHECKOV = ROOT / ".venv" / "scan" / "bin" / "checkov"
TIMEOUT_SECONDS = 300


@functools.cache
def program(name: str) -> Path:
    """A scanner, built if it is not in the cache.  It was asked for by marker: missing is a failure, not a skip."""
    try:
        return BinaryStore(recipes=SCAN_RECIPES).ensure().programs[name]
    except BinariesError as error:
        pytest.fail(f"{error}; `make scan` sets everything up")


# -- kubeconform -------------------------------------------------------------------------------------------------------


def kubeconform(folder: Path, schemas: Path) -> list[dict[str, Any]]:
    """What kubeconform says of each object under ``folder``.  ``schemas``: from the two functions below."""
    done = subprocess.run(
        [
            str(program("kubeconform")),
            "-strict",
            "-verbose",
            "-output",
            "json",
            "-schema-location",
            f"{schemas}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
            "-schema-location",
            f"{schemas}/{{{{.Group}}}}/{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json",
            str(folder),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr  # 1: it found something
    found: list[dict[str, Any]] = json.loads(done.stdout)["resources"]
    return found


def built_in_schemas(folder: Path, kubernetes_version: str) -> None:
    """Write the schemas of a Kubernetes version to ``folder``, so that they refer to one another and to no address."""
    found = importlib.util.find_spec("kubernetes_validate")
    assert found is not None
    assert found.submodule_search_locations
    package = Path(found.submodule_search_locations[0]) / "kubernetes-json-schema"
    source = package / f"v{kubernetes_version}.0-local-strict"
    assert source.is_dir(), f"no schemas of Kubernetes {kubernetes_version}"
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        if path.name != "_definitions.json" and '"x-kubernetes-group-version-kind"' not in text:
            continue  # a part of other objects, never one itself
        # An id makes references start from its address instead of from the file.
        text = re.sub(r',\s*"\$id": "https://kubernetes.io/api/[^"]*"', "", text)
        own = path.name == "_definitions.json"
        text = text.replace('"/api/_definitions.json#', '"#' if own else '"_definitions.json#')
        (folder / path.name).write_text(text, encoding="utf-8")


def crd_schemas(folder: Path) -> frozenset[tuple[str, str]]:
    """Write the schema of every pinned custom resource to ``folder``; returns (group, kind) of those without checks.

    Fields that a definition does not name are refused, as a strict API server does it.
    """
    store = BinaryStore(recipes=[recipe("karpenter"), recipe("manifests")])
    unchecked = set()
    for definition in definitions(store.ensure().crds):
        spec = definition["spec"]
        for version in spec["versions"]:
            path = folder / spec["group"] / f"{spec['names']['kind'].lower()}_{version['name']}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(_strict(version["schema"]["openAPIV3Schema"], top=True)), encoding="utf-8")
        if is_permissive(definition):
            unchecked.add((spec["group"], spec["names"]["kind"]))
    return frozenset(unchecked)


def _strict(schema: Any, *, top: bool = False) -> Any:
    """``schema`` with every object closed that names its fields and does not keep unknown ones."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items() if key not in ("properties", "default", "example")}
    if "properties" in schema:
        made["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
        if top:  # `metadata` is an empty object in a definition: the API server knows it by itself
            made["properties"] |= {"metadata": {"type": "object"}}
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    return made


# -- checkov -----------------------------------------------------------------------------------------------------------


def checkov(folder: Path, home: Path) -> dict[str, Any]:
    """checkov's report on the Kubernetes objects under ``folder``.  ``home``: an empty folder to keep its files in."""
    if not CHECKOV.exists():
        pytest.fail("checkov is not installed; `make scan` sets everything up")
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "CHECKOV_RUN_SCA_PACKAGE_SCAN": "false"}
    done = subprocess.run(
        [
            str(CHECKOV),
            "--directory",
            str(folder),
            "--framework",
            "kubernetes",
            "--skip-download",
            "--skip-results-upload",
            "--compact",
            "--output",
            "json",
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
        env=environment,
    )
    assert done.returncode in (0, 1), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def pods_inside(made: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pods that a custom resource describes, as Pods: checkov looks into built-in kinds alone."""
    found: list[dict[str, Any]] = []

    def walk(value: Any) -> None:
        if isinstance(value, Mapping):
            if isinstance(value.get("containers"), list):
                name = f"{made['metadata']['name']}-{len(found)}"
                # A template of the whole cluster is used in some namespace, only never in the default one.
                metadata = {"namespace": made["kind"].lower(), **made["metadata"], "name": name}
                found.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": dict(value)})
                return
            for part in value.values():
                walk(part)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            for part in value:
                walk(part)

    if "." in made["apiVersion"].partition("/")[0] and not made["apiVersion"].partition("/")[0].endswith(".k8s.io"):
        walk(made.get("spec", {}))
    return found


# -- Prometheus --------------------------------------------------------------------------------------------------------


def promrules(request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of tools/promql to a request; both are described there."""
    done = subprocess.run(
        [str(program("promrules"))],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
