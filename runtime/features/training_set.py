"""Point-in-time training sets: every row sees the features as they were known at its prediction time.

The join is polars' as-of join on the instant at which a feature row became known; tests prove it equal to Feast's
historical retrieval on a sample, which takes far longer and, on files, drops examples whose keys have rows in a view
but none in time (feast 0.67, dask store): here they stay, with nulls.  Afterwards each joined row's instant is
compared with the prediction time once more: a training set with one value from the future is never written.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.features.bucket import FeatureBucket, file_digest
from runtime.features.catalogue import Catalogue, OnDemandSpec, ReadPlan, ViewSpec
from runtime.features.errors import LeakageError, RequestError
from runtime.features.project import EVENT_TIMESTAMP, FeatureProject, load_transformation
from runtime.features.snapshots import (
    ROW_GROUP_ROWS,
    Snapshot,
    TableInput,
    TableSource,
    bucket_of,
    fetch_views,
    polars_type,
)

if TYPE_CHECKING:
    import polars as pl

    from runtime.settings import Settings

_KNOWN_AT: Final = "__known_at__"
_ROW: Final = "__row__"


@dataclass(frozen=True)
class ViewVersion:
    """Which rows of which view version went into a training set."""

    view: str
    uri: str
    sha256: str


@dataclass(frozen=True)
class TrainingSet:
    """A written training set: where it lies, what is in it, what it was made from."""

    id: str
    project: str
    service: str
    uri: str
    manifest_uri: str
    sha256: str
    rows: int
    features: tuple[str, ...]
    label: str
    columns: tuple[str, ...]
    first_prediction_at: str
    last_prediction_at: str
    positive_share: float
    catalogue_digest: str
    snapshot_id: str
    views: tuple[ViewVersion, ...]
    inputs: tuple[TableInput, ...]


def build_training_set(
    settings: Settings,
    project: FeatureProject,
    catalogue: Catalogue,
    snapshot: Snapshot,
    tables: TableSource,
    *,
    service: str,
    since: datetime | None = None,
    until: datetime | None = None,
) -> TrainingSet:
    """Joins the project's examples in [since, until) with the features of ``service`` and writes Parquet and manifest.

    Raises UnknownFeatureError for a service or feature that is not declared, SnapshotError for feature files that are
    not what their manifest says, LeakageError when a value is from after its row's prediction time.
    """
    import polars as pl

    plan = catalogue.plan(catalogue.service(service))
    read = {name: tables.read(name) for name in project.examples.tables}
    examples = project.examples.build({name: frame for name, (frame, _) in read.items()})
    if since is not None:
        examples = examples.filter(pl.col(EVENT_TIMESTAMP) >= since)
    if until is not None:
        examples = examples.filter(pl.col(EVENT_TIMESTAMP) < until)
    bucket = bucket_of(settings, project.name)
    with tempfile.TemporaryDirectory(prefix="falaj-training-set-") as directory:
        names = [view.name for view, _ in plan.stored]
        paths = fetch_views(settings, snapshot, names, Path(directory))
        rows = point_in_time_join(examples, plan, {name: pl.read_parquet(path) for name, path in paths.items()})
        path = Path(directory, "training-set.parquet")
        rows.write_parquet(path, row_group_size=ROW_GROUP_ROWS, statistics=True)
        return _publish(
            bucket, project, catalogue, snapshot, plan, service, path, rows, tuple(t for _, t in read.values())
        )


def point_in_time_join(examples: pl.DataFrame, plan: ReadPlan, view_rows: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """``examples`` with one column per reference of ``plan``, in that order, row order kept.

    ``view_rows`` hold join keys, EVENT_TIMESTAMP and features.  Raises RequestError when the examples lack a join key
    or a column of request data, LeakageError as described above.
    """
    import polars as pl

    needed = [field.name for field in (*plan.join_keys, *plan.request)]
    missing = sorted({*needed, EVENT_TIMESTAMP} - set(examples.columns))
    if missing:
        raise RequestError(f"training examples have no column {', '.join(missing)}, which the asked features need")
    joined = examples.with_row_index(_ROW).sort(EVENT_TIMESTAMP, maintain_order=True)
    for view, fields in plan.stored:
        keys = [key.name for key in view.join_keys]
        right = view_rows[view.name].select(
            *keys, EVENT_TIMESTAMP, *(field.name for field in fields), pl.col(EVENT_TIMESTAMP).alias(_KNOWN_AT)
        )
        joined = joined.join_asof(
            right.sort(EVENT_TIMESTAMP), on=EVENT_TIMESTAMP, by=keys, strategy="backward", check_sortedness=False
        )
        _refuse_the_future(view, joined)
        joined = joined.drop(_KNOWN_AT)
    for on_demand, _ in plan.on_demand:
        joined = _transform(joined, on_demand)
    features = [reference.partition(":")[2] for reference in plan.references]
    own = [column for column in examples.columns if column not in features]
    return joined.sort(_ROW).select(*own, *features)


def _refuse_the_future(view: ViewSpec, joined: pl.DataFrame) -> None:
    import polars as pl

    leaked = joined.filter(pl.col(_KNOWN_AT) > pl.col(EVENT_TIMESTAMP))
    if leaked.height:
        example = leaked.row(0, named=True)
        raise LeakageError(
            f"{view.name}: {leaked.height} training rows would see a value from after their prediction time, the first "
            f"known at {example[_KNOWN_AT]} for a prediction at {example[EVENT_TIMESTAMP]}; nothing was written"
        )


def _transform(joined: pl.DataFrame, view: OnDemandSpec) -> pl.DataFrame:
    import polars as pl

    function = load_transformation(view.transformation)
    columns = [field.name for field in view.request] + [reference.partition(":")[2] for reference in view.inputs]
    parts = []
    # In slices: a column of Python objects takes many times the memory of the column it came from.
    for slice_ in joined.select(columns).iter_slices(ROW_GROUP_ROWS):
        produced = function(slice_.to_dict(as_series=False))
        parts.append(
            pl.DataFrame(
                {f.name: pl.Series(f.name, produced[f.name], dtype=polars_type(f.type)) for f in view.features}
            )
        )
    empty = pl.DataFrame(schema={field.name: polars_type(field.type) for field in view.features})
    return joined.hstack(pl.concat(parts) if parts else empty)


def _publish(
    bucket: FeatureBucket,
    project: FeatureProject,
    catalogue: Catalogue,
    snapshot: Snapshot,
    plan: ReadPlan,
    service: str,
    path: Path,
    rows: pl.DataFrame,
    inputs: tuple[TableInput, ...],
) -> TrainingSet:
    digest = file_digest(path)
    identity = hashlib.sha256(f"{catalogue.digest} {snapshot.id} {digest}".encode()).hexdigest()[:16]
    folder = f"training-sets/{service}/{identity}"
    first, last = rows[EVENT_TIMESTAMP].min(), rows[EVENT_TIMESTAMP].max()
    share = rows[project.examples.label].mean()
    training_set = TrainingSet(
        id=identity,
        project=project.name,
        service=service,
        uri=bucket.put_file(f"{folder}/training-set.parquet", path),
        manifest_uri=bucket.uri(f"{folder}/manifest.json"),
        sha256=digest,
        rows=rows.height,
        features=tuple(reference.partition(":")[2] for reference in plan.references),
        label=project.examples.label,
        columns=tuple(rows.columns),
        first_prediction_at=first.isoformat() if isinstance(first, datetime) else "",
        last_prediction_at=last.isoformat() if isinstance(last, datetime) else "",
        positive_share=float(share) if isinstance(share, int | float) else 0.0,
        catalogue_digest=catalogue.digest,
        snapshot_id=snapshot.id,
        views=_versions(plan, snapshot),
        inputs=tuple({table.name: table for table in (*snapshot.inputs, *inputs)}.values()),
    )
    bucket.put_json(f"{folder}/manifest.json", asdict(training_set))
    return training_set


def _versions(plan: ReadPlan, snapshot: Snapshot) -> tuple[ViewVersion, ...]:
    files: Sequence[str] = [view.name for view, _ in plan.stored]
    return tuple(ViewVersion(name, snapshot.view(name).uri, snapshot.view(name).sha256) for name in files)
