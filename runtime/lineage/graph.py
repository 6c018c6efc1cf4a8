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
    """Artifacts with what is known of them, and edges; acyclic, since a version is made once."""

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
            # An explicit stack: a chain of a thousand retrainings is deeper than Python recurses.
            stack = [root]
            while stack:
                here = stack[-1]
                waiting = [parent for parent in parents[here] if parent not in depth]
                if here in depth or not waiting:
                    depth.setdefault(here, 1 + max((depth[parent] for parent in parents[here]), default=-1))
                    stack.pop()
                else:
                    stack += [parent for parent in waiting if parent not in stack]
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
