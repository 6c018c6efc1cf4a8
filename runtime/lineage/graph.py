"""The lineage graph: artifacts and the steps between them.  Pure."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.lineage.artifacts import Artifact


@dataclass(frozen=True)
class Edge:
    """``target`` was made from ``source`` by a run of ``job``."""

    source: Artifact
    target: Artifact
    job: str
    run_id: str
    at: datetime.datetime


@dataclass(frozen=True)
class Graph:
    """Artifacts with what is known of them, and edges; a version is made once, so a sound record has no cycle."""

    artifacts: Mapping[Artifact, Mapping[str, Any]] = field(default_factory=dict)
    edges: Sequence[Edge] = ()

    def made_from(self, artifact: Artifact) -> tuple[Edge, ...]:
        """Edges into ``artifact``, by source."""
        return tuple(sorted((e for e in self.edges if e.target == artifact), key=lambda e: e.source))

    def layers(self) -> tuple[tuple[Artifact, ...], ...]:
        """Artifacts in columns such that every edge points to a later column; sources are in the first."""
        depth: dict[Artifact, int] = {}
        parents: dict[Artifact, list[Artifact]] = {artifact: [] for artifact in self.artifacts}
        for edge in self.edges:
            parents[edge.target].append(edge.source)

        for root in sorted(self.artifacts):
            # An explicit stack: a chain of a thousand retrainings is deeper than Python recurses.  What is on the way
            # to ``here`` is no parent of it in a sound record; an unsound one must not hang its reader.
            stack, path = [root], set[Artifact]()
            while stack:
                here = stack[-1]
                waiting = [parent for parent in parents[here] if parent not in depth and parent not in path]
                if here not in depth and waiting and here not in path:
                    path.add(here)
                    stack += waiting
                else:
                    depth.setdefault(here, 1 + max((depth.get(parent, -1) for parent in parents[here]), default=-1))
                    path.discard(here)
                    stack.pop()
        columns: list[list[Artifact]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
        for artifact in sorted(depth):
            columns[depth[artifact]].append(artifact)
        return tuple(tuple(column) for column in columns)

    def as_json(self) -> dict[str, Any]:
        """For machines: nodes with properties, edges with job, run and time."""
        return {
            "artifacts": [
                {"reference": artifact.reference, "properties": dict(self.artifacts[artifact])}
                for artifact in sorted(self.artifacts)
            ],
            "edges": [
                {
                    "source": edge.source.reference,
                    "target": edge.target.reference,
                    "job": edge.job,
                    "run": edge.run_id,
                    "at": edge.at.isoformat(),
                }
                for edge in sorted(self.edges, key=lambda e: (e.source, e.target))
            ],
        }
