"""The Kubernetes objects that the whole program declares for a blueprint, as files that scanners read."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml

from tests.support.resource_graph import run_program

Manifest = dict[str, Any]
RELEASE = "kubernetes:helm.sh/v3:Release"


@functools.cache
def rendered(blueprint: str) -> tuple[Manifest, ...]:
    """The objects as the Kubernetes provider gets them, in the order of their declaration; charts are not rendered."""
    return tuple(
        found.inputs
        for found in run_program(blueprint).resources
        if found.type.startswith("kubernetes:") and found.type != RELEASE
    )


def file_name(made: Manifest) -> str:
    """``namespace.kind.name.yaml``: a finding names its file, and the file says what it is about."""
    metadata = made["metadata"]
    return ".".join((metadata.get("namespace", "-"), made["kind"].lower(), metadata["name"])) + ".yaml"


def write(blueprint: str, folder: Path) -> Path:
    """Write each object of a blueprint to a file of its own; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for made in rendered(blueprint):
        (folder / file_name(made)).write_text(yaml.safe_dump(made, sort_keys=False), encoding="utf-8")
    return folder
