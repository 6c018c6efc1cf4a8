"""Feature snapshots: every stored view computed from curated tables, as Parquet in the feature bucket.

A snapshot's id is a digest of what went in and what came out.  Computing the same features from the same table
snapshots gives the same id, and writes nothing new.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from runtime.features.bucket import FeatureBucket, file_digest
from runtime.features.catalogue import Catalogue, ViewSpec
from runtime.features.errors import DeclarationError, SnapshotError
from runtime.features.project import EVENT_TIMESTAMP, FeatureProject

if TYPE_CHECKING:
    import polars as pl

    from runtime.settings import Settings

LATEST: Final = "latest.json"
ROW_GROUP_ROWS: Final = 65_536
"""Rows per row group: a reader that streams holds one of them."""


@dataclass(frozen=True)
class TableInput:
    """A curated table as it was read."""

    name: str
    snapshot_id: str
    rows: int


class TableSource(Protocol):
    """Where curated tables come from."""

    def read(self, name: str) -> tuple[pl.DataFrame, TableInput]:
        """The whole table and which snapshot of it that was."""


@dataclass(frozen=True)
class ViewFile:
    """One view's rows.  ``key`` is relative to the project's prefix; times are ISO 8601, UTC, empty without rows."""

    view: str
    key: str
    uri: str
    sha256: str
    rows: int
    first_known_at: str
    last_known_at: str
    null_rates: Mapping[str, float]


@dataclass(frozen=True)
class Snapshot:
    """What one computation read and wrote: inputs and outputs for lineage."""

    id: str
    project: str
    catalogue_digest: str
    inputs: tuple[TableInput, ...]
    views: tuple[ViewFile, ...]

    def view(self, name: str) -> ViewFile:
        """Raises SnapshotError when this snapshot was computed without that view."""
        for file in self.views:
            if file.view == name:
                return file
        raise SnapshotError(f"feature snapshot {self.id} of {self.project} has no rows of {name}; compute it again")


def bucket_of(settings: Settings, project: str) -> FeatureBucket:
    """The project's part of the feature bucket."""
    return FeatureBucket(settings, f"features/{project}")


def compute_snapshot(
    settings: Settings,
    project: FeatureProject,
    catalogue: Catalogue,
    tables: TableSource,
    *,
    progress: Callable[[str], None] = lambda view: None,
) -> Snapshot:
    """Computes every stored view and makes the result the latest snapshot.

    Raises DeclarationError when a computation returns other columns, types or keys than its view declares, before
    anything is written; SnapshotError when the bucket cannot be written.
    """
    bucket = bucket_of(settings, project.name)
    names = sorted({name for computation in project.computations.values() for name in computation.tables})
    read = {name: tables.read(name) for name in names}
    frames = {name: frame for name, (frame, _) in read.items()}
    inputs = tuple(table for _, table in read.values())
    with tempfile.TemporaryDirectory(prefix="falaj-features-") as directory:
        computed: list[tuple[Path, ViewFile]] = []
        for view in catalogue.views:
            progress(view.name)
            rows = conform(view, project.computations[view.name].compute(frames))
            path = Path(directory, f"{view.name}.parquet")
            rows.write_parquet(path, row_group_size=ROW_GROUP_ROWS, statistics=True)
            computed.append((path, _describe(view, path, rows, bucket)))
        for path, file in computed:
            bucket.put_file(file.key, path)
    files = tuple(file for _, file in computed)
    snapshot = Snapshot(
        id=_identity(catalogue.digest, inputs, files),
        project=project.name,
        catalogue_digest=catalogue.digest,
        inputs=inputs,
        views=files,
    )
    bucket.put_json(f"catalogues/{catalogue.digest.removeprefix('sha256:')}.json", json.loads(catalogue.to_json()))
    bucket.put_json(f"snapshots/{snapshot.id}.json", asdict(snapshot))
    bucket.put_json(LATEST, {"snapshot": snapshot.id})
    return snapshot


def load_snapshot(settings: Settings, project: str, snapshot_id: str | None = None) -> Snapshot:
    """The snapshot of that id, or the latest.  Raises SnapshotError when there is none."""
    bucket = bucket_of(settings, project)
    if snapshot_id is None:
        snapshot_id = str(bucket.get_json(LATEST)["snapshot"])
    if not snapshot_id.isalnum():
        raise SnapshotError(f"feature snapshot id {snapshot_id[:40]!r} is letters and digits only")
    document = bucket.get_json(f"snapshots/{snapshot_id}.json")
    try:
        return Snapshot(
            **{
                **document,
                "inputs": tuple(TableInput(**row) for row in document["inputs"]),
                "views": tuple(ViewFile(**row) for row in document["views"]),
            }
        )
    except (KeyError, TypeError) as error:
        raise SnapshotError(f"{bucket.uri(f'snapshots/{snapshot_id}.json')} is no snapshot manifest: {error}") from None


def load_catalogue(settings: Settings, project: str, digest: str) -> Catalogue:
    """The catalogue a snapshot was computed with.  Raises SnapshotError when it is missing or was altered."""
    bucket = bucket_of(settings, project)
    key = f"catalogues/{digest.removeprefix('sha256:')}.json"
    try:
        catalogue = Catalogue.from_json(json.dumps(bucket.get_json(key)))
    except (KeyError, TypeError, ValueError) as error:
        raise SnapshotError(f"{bucket.uri(key)} is no catalogue: {error}") from None
    if catalogue.digest != digest:
        raise SnapshotError(f"{bucket.uri(key)} has digest {catalogue.digest}, expected {digest}; compute it again")
    return catalogue


def fetch_views(settings: Settings, snapshot: Snapshot, views: Sequence[str], directory: Path) -> dict[str, Path]:
    """Downloads the files of ``views`` to ``directory/<view>.parquet``, digests checked."""
    bucket = bucket_of(settings, snapshot.project)
    paths = {}
    for name in views:
        file = snapshot.view(name)
        paths[name] = directory / f"{name}.parquet"
        bucket.fetch_file(file.key, paths[name], file.sha256)
    return paths


def conform(view: ViewSpec, rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` with exactly the view's columns, types and order.

    Raises DeclarationError for a missing column, a type that does not fit, a row without key or time, or two rows of
    one key at one instant (which of them a reader would get is then chance).
    """
    import polars as pl

    wanted = {**{f.name: f.type for f in (*view.join_keys, *view.features)}}
    missing = sorted({*wanted, EVENT_TIMESTAMP} - set(rows.columns))
    if missing:
        raise DeclarationError(f"{view.name}: its computation returned no column {', '.join(missing)}")
    keys = [key.name for key in view.join_keys]
    time = pl.col(EVENT_TIMESTAMP)
    if rows.schema[EVENT_TIMESTAMP] != pl.Datetime("us", "UTC"):
        time = time.cast(pl.Datetime("us", "UTC"))
    try:
        shaped = rows.select(*keys, time, *(pl.col(f.name).cast(polars_type(f.type)) for f in view.features))
        # Feast's online stores keep no NaN: it becomes a null there, so it must be one in training too.
        shaped = shaped.with_columns(pl.col(pl.Float32, pl.Float64).fill_nan(None))
    except pl.exceptions.PolarsError as error:
        raise DeclarationError(f"{view.name}: its computation does not fit the declared types: {error}") from None
    bare = shaped.select(pl.any_horizontal(pl.col([*keys, EVENT_TIMESTAMP]).is_null()).sum()).item()
    if bare:
        raise DeclarationError(f"{view.name}: {bare} rows have no key or no {EVENT_TIMESTAMP}")
    doubled = shaped.height - shaped.n_unique([*keys, EVENT_TIMESTAMP])
    if doubled:
        raise DeclarationError(f"{view.name}: {doubled} rows repeat a key at one instant; keep one of each")
    return shaped.sort([EVENT_TIMESTAMP, *keys])


def polars_type(kind: str) -> Any:
    """The polars type that holds one of ``catalogue.SCALARS``."""
    import polars as pl

    return {
        "bool": pl.Boolean,
        "int32": pl.Int32,
        "int64": pl.Int64,
        "float32": pl.Float32,
        "float64": pl.Float64,
        "string": pl.String,
        "bytes": pl.Binary,
        "unix_timestamp": pl.Datetime("us", "UTC"),
    }[kind]


def _describe(view: ViewSpec, path: Path, rows: pl.DataFrame, bucket: FeatureBucket) -> ViewFile:
    digest = file_digest(path)
    key = f"views/{view.name}/{digest[:32]}.parquet"
    first, last = rows[EVENT_TIMESTAMP].min(), rows[EVENT_TIMESTAMP].max()
    return ViewFile(
        view=view.name,
        key=key,
        uri=bucket.uri(key),
        sha256=digest,
        rows=rows.height,
        first_known_at=first.isoformat() if isinstance(first, datetime) else "",
        last_known_at=last.isoformat() if isinstance(last, datetime) else "",
        null_rates={
            field.name: round(rows[field.name].null_count() / rows.height, 6) if rows.height else 0.0
            for field in view.features
        },
    )


def _identity(catalogue_digest: str, inputs: Sequence[TableInput], files: Sequence[ViewFile]) -> str:
    body = json.dumps([catalogue_digest, [asdict(i) for i in inputs], [[f.view, f.sha256] for f in files]])
    return hashlib.sha256(body.encode()).hexdigest()[:16]
