"""A program's resources as a text that a reviewer can read: one line each, indented under its parent.

``python -m tests.support.resource_graph`` rewrites the reviewed texts in ``tests/stacks/golden`` from the program.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from manifests.images import REPOSITORIES
from tests.support.recorder import Recording, record

IMAGE_DIGESTS = {name: f"sha256:{hashlib.sha256(name.encode()).hexdigest()}" for name in REPOSITORIES}
GOLDEN = Path(__file__).resolve().parents[1] / "stacks" / "golden"


def render(recording: Recording) -> str:
    """Return the tree: ``type name [protected]``, siblings sorted."""
    children: dict[str, list[str]] = {}
    lines = {}
    for resource in recording.resources:
        children.setdefault(resource.parent, []).append(resource.urn)
        lines[resource.urn] = f"{resource.type} {resource.name}{' [protected]' if resource.protect else ''}"
    out: list[str] = []

    def walk(parent: str, depth: int) -> None:
        for urn in sorted(children.get(parent, ()), key=lambda urn: lines[urn]):
            out.append(f"{'  ' * depth}{lines[urn]}")
            walk(urn, depth + 1)

    walk("", 0)
    assert len(out) == len(recording.resources), "a resource's parent was never registered"
    return "\n".join(out) + "\n"


def run_program(blueprint: str, stack: str = "dev", **settings: str) -> Recording:
    """Record the whole program for a blueprint, its images all pushed.  ``settings``: keys of the namespace falaj."""
    from stacks.platform_program import declare_platform

    config = {"blueprint": blueprint, "imageDigests": json.dumps(IMAGE_DIGESTS), **settings}
    return record(declare_platform, stack=stack, config={f"falaj:{key}": value for key, value in config.items()})


def main() -> None:
    """Rewrite the reviewed texts."""
    GOLDEN.mkdir(exist_ok=True)
    for blueprint in ("smb", "enterprise"):
        (GOLDEN / f"{blueprint}.txt").write_text(render(run_program(blueprint)), encoding="utf-8")


if __name__ == "__main__":
    main()
