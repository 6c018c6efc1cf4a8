"""Feature views, the training set, the online store and the comparison of the two."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from examples.flights.demo.ingest import Observe
from examples.flights.demo.scope import Scope
from examples.flights.features import PROJECT
from runtime.features.declaration import Declaration, declare
from runtime.features.lake_tables import LakeTables
from runtime.features.materialise import Materialisation, apply, materialise
from runtime.features.release import check_skew
from runtime.features.skew import SkewReport
from runtime.features.snapshots import Snapshot, compute_snapshot, fetch_views
from runtime.features.training_set import TrainingSet, build_training_set
from runtime.lineage.artifacts import Artifact, Kind
from runtime.lineage.steps import step
from runtime.training.dataset import open_training_set

if TYPE_CHECKING:
    from runtime.settings import Settings

SERVICE: Final = "late_arrival_v1"
ONLINE: Final = "online-store/flights"


@dataclass(frozen=True)
class Features:
    """What the feature store made."""

    declaration: Declaration
    snapshot: Snapshot
    training_set: TrainingSet
    training_set_uri: str
    training_set_artifact: Artifact


def declared(settings: Settings, directory: Path) -> Declaration:
    """The project's declaration, known to the online store."""
    declaration = declare(PROJECT, directory)
    apply(settings, declaration)
    return declaration


def build(
    settings: Settings, declaration: Declaration, tables: LakeTables, directory: Path, observe: Observe
) -> Features:
    """Computes every view, then joins the training set as each prediction would have seen it."""
    views = [view.name for view in declaration.catalogue.views]
    snapshot = compute_snapshot(
        settings,
        PROJECT,
        declaration.catalogue,
        tables,
        progress=lambda view: observe(view, views.index(view), len(views) + 1),
    )
    _record_views(settings, declaration, snapshot, directory)
    observe("training set", len(views), len(views) + 1)
    with step(settings, "features.training_set") as running:
        made = build_training_set(settings, PROJECT, declaration.catalogue, snapshot, tables, service=SERVICE)
        uri = made.manifest_uri.rpartition("/")[0]
        for view in made.views:
            running.read(_view_artifact(view.view, view.sha256))
        for name in PROJECT.examples.tables:
            running.read(_table_artifact(snapshot, name))
        # Training and registry name a training set by the digest of its manifest.
        artifact = Artifact(Kind.TRAINING_SET, SERVICE, open_training_set(settings, uri).manifest_digest)
        examples = PROJECT.examples.build({name: tables.read(name)[0] for name in PROJECT.examples.tables})
        running.made(
            artifact,
            {"rows": made.rows, "location": made.uri, "positive_share": round(made.positive_share, 4)},
            subjects=_distinct(examples),
        )
        running.note(catalogue_digest=made.catalogue_digest, snapshot_id=made.snapshot_id)
    observe("", 1, 1)
    return Features(declaration, snapshot, made, uri, artifact)


def publish(settings: Settings, features: Features, scope: Scope, observe: Observe) -> Materialisation:
    """A new generation of the online store, known up to the end of the scope."""
    views = [view.name for view in features.declaration.catalogue.views]
    with step(settings, "features.materialise") as running:
        done = materialise(
            settings,
            features.declaration,
            features.snapshot,
            as_of=scope.until,
            progress=lambda view: observe(view, views.index(view), len(views)),
        )
        for view in done.views:
            running.read(_view_artifact(view.view, view.sha256))
        running.made(Artifact(Kind.DEPLOYMENT, ONLINE, str(done.generation)), {"as_of": done.as_of})
    observe("", 1, 1)
    return done


def compare(
    settings: Settings, features: Features, tables: LakeTables, scope: Scope, done: Materialisation, path: Path
) -> SkewReport:
    """Training against serving on a sample; the report goes to ``path``.  Raises SkewError over the threshold."""
    with step(settings, "features.skew") as running:
        report = check_skew(settings, PROJECT, tables, service=SERVICE, sample_rows=scope.skew_rows)
        path.write_text(json.dumps({**asdict(report), "passed": report.passed}), encoding="utf-8")
        running.read(Artifact(Kind.DEPLOYMENT, ONLINE, str(done.generation)))
        running.read(features.training_set_artifact)
        running.made(Artifact(Kind.REPORT, f"skew/{SERVICE}", report.snapshot_id), {"worst": report.worst.share})
        report.raise_if_failed()
    return report


def _record_views(settings: Settings, declaration: Declaration, snapshot: Snapshot, directory: Path) -> None:
    """A step for each view: a view is made from its own tables, not from all that were read."""
    specs = {view.name: view for view in declaration.catalogue.views}
    subjects = [name for name, spec in specs.items() if PROJECT.subject_key in [key.name for key in spec.join_keys]]
    directory.mkdir(parents=True, exist_ok=True)
    files = fetch_views(settings, snapshot, subjects, directory)
    for file in snapshot.views:
        spec = specs[file.view]
        with step(settings, "features.compute") as running:
            for name in PROJECT.computations[file.view].tables:
                running.read(_table_artifact(snapshot, name))
            running.made(
                _view_artifact(file.view, file.sha256),
                {"rows": file.rows, "owner": spec.owner, "purpose": spec.purpose, "personal_data": spec.pii},
                subjects=_distinct(pl.read_parquet(files[file.view])) if file.view in files else (),
            )
            running.note(catalogue_digest=snapshot.catalogue_digest, snapshot_id=snapshot.id)


def _distinct(rows: pl.DataFrame) -> Iterable[str]:
    assert PROJECT.subject_key is not None
    return rows[PROJECT.subject_key].drop_nulls().unique().to_list()


def _table_artifact(snapshot: Snapshot, name: str) -> Artifact:
    return Artifact(Kind.TABLE, name, next(table.snapshot_id for table in snapshot.inputs if table.name == name))


def _view_artifact(view: str, sha256: str) -> Artifact:
    return Artifact(Kind.FEATURE_VIEW, view, sha256)
