"""The steps of a feature release put together, as the command line and the demonstration call them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.features import skew
from runtime.features.errors import OnlineStoreError, SkewError
from runtime.features.generations import open_pointer
from runtime.features.online import OnlineFeatures, open_reader
from runtime.features.snapshots import Snapshot, TableSource, fetch_views, load_snapshot

if TYPE_CHECKING:
    from runtime.features.project import FeatureProject
    from runtime.settings import Settings


def check_skew(
    settings: Settings,
    project: FeatureProject,
    tables: TableSource,
    *,
    service: str,
    sample_rows: int = 500,
    seed: int = 0,
    threshold: float = skew.DEFAULT_THRESHOLD,
) -> skew.SkewReport:
    """Compares the live generation with the snapshot it was made from.

    Raises SkewError when the live generation was never materialised.  The report says whether the release may go on
    (``raise_if_failed``).
    """
    import polars as pl

    pointer = open_pointer(settings, project.name)
    live = pointer.read().live
    record = pointer.record(live) if live is not None else None
    if record is None or not record.snapshot_id:
        raise SkewError(
            f"project {project.name}: the live generation was never materialised; materialise, then compare"
        )
    snapshot: Snapshot = load_snapshot(settings, project.name, record.snapshot_id)
    catalogue = record.catalogue
    plan = catalogue.plan(catalogue.service(service))
    frames = {name: tables.read(name)[0] for name in project.examples.tables}
    with tempfile.TemporaryDirectory(prefix="falaj-skew-") as directory:
        paths = fetch_views(settings, snapshot, [view.name for view, _ in plan.stored], Path(directory))
        rows = {name: pl.read_parquet(path) for name, path in paths.items()}
    with online_reads(settings, project) as read:
        return skew.compare(
            catalogue,
            service,
            project.examples.build(frames),
            rows,
            read,
            as_of=datetime.fromisoformat(record.as_of),
            snapshot_id=snapshot.id,
            sample_rows=sample_rows,
            seed=seed,
            threshold=threshold,
        )


@contextmanager
def online_reads(settings: Settings, project: FeatureProject) -> Iterator[skew.ReadOnline]:
    """How serving reads: the fast path on Valkey, Feast on DynamoDB."""
    if settings.online_store_engine == "valkey":
        yield open_reader(settings, project.name).get
        return
    with tempfile.TemporaryDirectory(prefix="falaj-feast-") as directory:
        yield _feast_reads(settings, project, Path(directory))


def _feast_reads(settings: Settings, project: FeatureProject, directory: Path) -> skew.ReadOnline:
    from runtime.features.declaration import declare
    from runtime.features.feast_store import open_live, quiet_feast

    store = open_live(settings, declare(project, directory), directory / "registry.db")
    pointer = open_pointer(settings, project.name)

    def read(references: Sequence[str], entities: Mapping[str, list[Any]]) -> OnlineFeatures:
        live = pointer.read().live
        if live is None:
            raise OnlineStoreError(f"project {project.name} has no live generation: apply it, then materialise")
        with quiet_feast():
            response = store.get_online_features(features=list(references), entity_rows=dict(entities))
            # Timestamps as seconds, as the store has them and the fast path answers.
            values = {
                name: [int(value.timestamp()) if isinstance(value, datetime) else value for value in column]
                for name, column in response.to_dict().items()
            }
        names = tuple(response.proto.metadata.feature_names.val)
        times = tuple(
            [(moment.seconds, moment.nanos) for moment in vector.event_timestamps] for vector in response.proto.results
        )
        return OnlineFeatures(names, tuple(values[name] for name in names), times, live)

    return read
