"""The lineage store: PostgreSQL tables of events, artifacts, edges and subjects.

Adding is idempotent: an event that arrives twice, as any at-least-once delivery may bring it, changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import psycopg
from psycopg.types.json import Jsonb

from runtime.database.login import connect
from runtime.lineage.artifacts import Artifact, Kind
from runtime.lineage.events import Part, StepEvent, to_json
from runtime.lineage.graph import Edge, Graph
from runtime.lineage.transports import DeliveryError

_CONNECT_SECONDS: Final = 5
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS lineage_event (
    run_id uuid NOT NULL, state text NOT NULL, tenant text NOT NULL, job text NOT NULL,
    at timestamptz NOT NULL, event jsonb NOT NULL,
    PRIMARY KEY (run_id, state)
);
CREATE TABLE IF NOT EXISTS lineage_artifact (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL, kind text NOT NULL, name text NOT NULL, version text NOT NULL,
    properties jsonb NOT NULL DEFAULT '{}',
    UNIQUE (tenant, kind, name, version)
);
CREATE TABLE IF NOT EXISTS lineage_edge (
    tenant text NOT NULL, run_id uuid NOT NULL, job text NOT NULL, at timestamptz NOT NULL,
    source bigint REFERENCES lineage_artifact, target bigint NOT NULL REFERENCES lineage_artifact,
    UNIQUE NULLS NOT DISTINCT (run_id, source, target)
);
CREATE INDEX IF NOT EXISTS lineage_edge_target ON lineage_edge (target);
CREATE INDEX IF NOT EXISTS lineage_edge_source ON lineage_edge (source);
CREATE TABLE IF NOT EXISTS lineage_subject (
    digest bytea NOT NULL, artifact bigint NOT NULL REFERENCES lineage_artifact,
    PRIMARY KEY (digest, artifact)
);
"""
_SCHEMA_LOCK: Final = 5_920_017
"""Key of the advisory lock under which the tables are made: two processes may be the first at once."""

_REACHABLE: Final = """
WITH RECURSIVE reached(id) AS (
    SELECT id FROM lineage_artifact WHERE tenant = %(tenant)s AND id = ANY(%(start)s)
    UNION
    SELECT {next} FROM lineage_edge JOIN reached ON {here} = reached.id WHERE {next} IS NOT NULL
)
SELECT id FROM reached
"""
_UP: Final = _REACHABLE.format(next="lineage_edge.source", here="lineage_edge.target")
_DOWN: Final = _REACHABLE.format(next="lineage_edge.target", here="lineage_edge.source")


class LineageStore:
    """One connection.  Methods raise DeliveryError when the database does not answer or refuses."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @classmethod
    def open(cls, dsn: str) -> LineageStore:
        """Connect, and make the tables where there are none."""
        try:
            connection = connect(dsn, connect_timeout=_CONNECT_SECONDS, autocommit=True)
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
                connection.execute(_SCHEMA)
        except psycopg.Error as error:
            raise DeliveryError(f"lineage store: {_line(error)}") from None
        return cls(connection)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> LineageStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, event: StepEvent) -> None:
        """Keep an event.  Edges are made when a run completes: what a failed run made does not count."""
        try:
            with self._connection.transaction():
                kept = self._connection.execute(
                    "INSERT INTO lineage_event (run_id, state, tenant, job, at, event) VALUES (%s,%s,%s,%s,%s,%s) "
                    "ON CONFLICT DO NOTHING",
                    (event.run_id, event.state, event.tenant, event.job, event.time, Jsonb(_without_subjects(event))),
                )
                if kept.rowcount and event.state == "COMPLETE":
                    self._add_edges(event)
        except psycopg.Error as error:
            raise DeliveryError(f"lineage store: {_line(error)}") from None

    def _add_edges(self, event: StepEvent) -> None:
        sources: list[int | None] = [self._artifact(event.tenant, part) for part in event.inputs]
        for part in event.outputs:
            target = self._artifact(event.tenant, part)
            for source in sources or [None]:
                self._connection.execute(
                    "INSERT INTO lineage_edge (tenant, run_id, job, at, source, target) VALUES (%s,%s,%s,%s,%s,%s) "
                    "ON CONFLICT DO NOTHING",
                    (event.tenant, event.run_id, event.job, event.time, source, target),
                )
            if part.subjects:
                with self._connection.cursor() as cursor:
                    cursor.executemany(
                        "INSERT INTO lineage_subject (digest, artifact) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                        [(bytes.fromhex(digest), target) for digest in part.subjects],
                    )

    def _artifact(self, tenant: str, part: Part) -> int:
        """The artifact's id; what several steps say of it is put together, the latest word wins."""
        made = part.artifact
        row = self._connection.execute(
            "INSERT INTO lineage_artifact AS a (tenant, kind, name, version, properties) VALUES (%s,%s,%s,%s,%s) "
            "ON CONFLICT (tenant, kind, name, version) DO UPDATE SET properties = a.properties || excluded.properties "
            "RETURNING id",
            (tenant, made.kind, made.name, made.version, Jsonb(dict(part.properties))),
        ).fetchone()
        assert row is not None
        return int(row[0])

    # -- questions -----------------------------------------------------------------------------------------------------

    def ancestry(self, tenant: str, artifact: Artifact) -> Graph:
        """Everything that ``artifact`` was made from, directly or not; empty if it is not known."""
        start = self._ids(tenant, [artifact])
        return self._graph(self._closure(_UP, tenant, start))

    def descent(self, tenant: str, artifacts: Iterable[Artifact]) -> Graph:
        """Everything that was made from ``artifacts``."""
        return self._graph(self._closure(_DOWN, tenant, self._ids(tenant, artifacts)))

    def holders(self, tenant: str, digest: str) -> tuple[Artifact, ...]:
        """The artifacts that hold data of the subject with this digest themselves."""
        rows = self._rows(
            "SELECT kind, name, version FROM lineage_subject JOIN lineage_artifact ON id = artifact "
            "WHERE digest = %s AND tenant = %s ORDER BY id",
            (bytes.fromhex(digest), tenant),
        )
        return tuple(Artifact(Kind(kind), name, version) for kind, name, version in rows)

    def versions(self, tenant: str, kind: Kind, name: str) -> tuple[str, ...]:
        """Known versions of an artifact, oldest first."""
        rows = self._rows(
            "SELECT version FROM lineage_artifact WHERE tenant = %s AND kind = %s AND name = %s ORDER BY id",
            (tenant, kind, name),
        )
        return tuple(row[0] for row in rows)

    def versions_in_use(self, tenant: str, kind: Kind, name: str, *, but_by: str) -> tuple[str, ...]:
        """Known versions, oldest first, without those of which only jobs speak whose names begin with ``but_by``."""
        rows = self._rows(
            "WITH spoken AS (SELECT a.id, a.version, starts_with(e.job, %s) AS apart FROM lineage_artifact a "
            "LEFT JOIN lineage_edge e ON a.id IN (e.source, e.target) WHERE a.tenant = %s AND kind = %s AND name = %s) "
            "SELECT version FROM spoken GROUP BY id, version HAVING NOT coalesce(bool_and(apart), false) ORDER BY id",
            (but_by, tenant, kind, name),
        )
        return tuple(row[0] for row in rows)

    def _ids(self, tenant: str, artifacts: Iterable[Artifact]) -> list[int]:
        found: list[int] = []
        for artifact in artifacts:
            rows = self._rows(
                "SELECT id FROM lineage_artifact WHERE tenant = %s AND kind = %s AND name = %s AND version = %s",
                (tenant, artifact.kind, artifact.name, artifact.version),
            )
            found += [row[0] for row in rows]
        return found

    def _closure(self, query: str, tenant: str, start: list[int]) -> list[int]:
        return [row[0] for row in self._rows(query, {"tenant": tenant, "start": start})]

    def _graph(self, ids: list[int]) -> Graph:
        known = {
            row[0]: (Artifact(Kind(row[1]), row[2], row[3]), row[4])
            for row in self._rows(
                "SELECT id, kind, name, version, properties FROM lineage_artifact WHERE id = ANY(%s)", (ids,)
            )
        }
        rows = self._rows(
            "SELECT DISTINCT ON (source, target) source, target, job, run_id, at FROM lineage_edge "
            "WHERE source = ANY(%s) AND target = ANY(%s) ORDER BY source, target, at DESC",
            (ids, ids),
        )
        edges = [Edge(known[row[0]][0], known[row[1]][0], row[2], str(row[3]), row[4]) for row in rows]
        return Graph(dict(known.values()), tuple(edges))

    def _rows(self, query: str, parameters: Any) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query.encode(), parameters).fetchall()
        except psycopg.Error as error:
            raise DeliveryError(f"lineage store: {_line(error)}") from None


def _without_subjects(event: StepEvent) -> dict[str, Any]:
    """The event as JSON; digests are in their own table, a hundred thousand times over is enough once."""
    given: dict[str, Any] = json.loads(to_json(event))
    for dataset in [*given.get("inputs", []), *given.get("outputs", [])]:
        dataset.get("facets", {}).pop("falajSubjects", None)
    return given


def _line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
