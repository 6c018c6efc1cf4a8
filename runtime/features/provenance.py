"""What the feature steps read and made, in the words of lineage.

Views and training sets that hold rows of the project's subject key are recorded with the subjects in them, as keyed
digests, when the tenant has a key for that index: so that an erasure request finds them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.features.catalogue import Catalogue
from runtime.features.materialise import Materialisation
from runtime.features.project import FeatureProject
from runtime.features.skew import SkewReport
from runtime.features.snapshots import Snapshot, TableInput, ViewFile, bucket_of, fetch_views
from runtime.features.training_set import TrainingSet
from runtime.lineage.artifacts import Artifact, Kind

if TYPE_CHECKING:
    from runtime.lineage.steps import Step
    from runtime.settings import Settings


def view_artifact(project: str, view: str, sha256: str) -> Artifact:
    """One view's rows: a version for each content."""
    return Artifact(Kind.FEATURE_VIEW, f"{project}.{view}", sha256)


def training_set_artifact(settings: Settings, made: TrainingSet) -> Artifact:
    """One training set, by the digest of its manifest: training and registry name it so."""
    from runtime.training.dataset import open_training_set

    found = open_training_set(settings, made.manifest_uri, verify=False)
    return Artifact(Kind.TRAINING_SET, made.service, found.manifest_digest)


def record_view(
    step: Step, settings: Settings, project: FeatureProject, catalogue: Catalogue, snapshot: Snapshot, file: ViewFile
) -> None:
    """The tables that the view is computed from in, the view's rows out."""
    tables = project.computations[file.view].tables
    _read_tables(step, (table for table in snapshot.inputs if table.name in tables))
    step.note(snapshot=snapshot.id, catalogue=snapshot.catalogue_digest)
    view = next(view for view in catalogue.views if view.name == file.view)
    step.made(
        view_artifact(project.name, file.view, file.sha256),
        {"uri": file.uri, "rows": file.rows, "owner": view.owner, "purpose": view.purpose, "pii": view.pii},
        subjects=_view_subjects(settings, project, catalogue, snapshot, file),
    )


def record_training_set(step: Step, settings: Settings, project: FeatureProject, made: TrainingSet) -> None:
    """View versions and the tables of the examples in, the training set out."""
    for view in made.views:
        step.read(view_artifact(made.project, view.view, view.sha256), {"uri": view.uri})
    _read_tables(step, (table for table in made.inputs if table.name in project.examples.tables))
    properties = {"uri": made.uri, "rows": made.rows, "sha256": made.sha256, "label": made.label}
    step.made(training_set_artifact(settings, made), properties, subjects=_training_subjects(settings, project, made))


def record_materialisation(step: Step, done: Materialisation) -> None:
    """View versions in, a generation of the online store out."""
    for file in done.views:
        step.read(view_artifact(done.project, file.view, file.sha256), {"uri": file.uri, "rows": file.rows})
    step.made(
        _generation(done.project, done.generation),
        {"as_of": done.as_of, "catalogue": done.catalogue_digest, "carried_forward": done.carried_forward},
    )


def record_skew(step: Step, project: FeatureProject, report: SkewReport) -> None:
    """A generation of the online store in, the report of the comparison out."""
    step.read(_generation(project.name, report.generation))
    step.made(
        Artifact(Kind.REPORT, f"skew/{report.service}", report.snapshot_id),
        {"rows": report.rows, "worst": report.worst.share, "passed": report.passed},
    )


def _generation(project: str, generation: int) -> Artifact:
    return Artifact(Kind.DEPLOYMENT, f"{project}.online-store", str(generation))


def _read_tables(step: Step, tables: Iterable[TableInput]) -> None:
    for table in tables:
        step.read(Artifact(Kind.TABLE, table.name, table.snapshot_id), {"rows": table.rows})


def _view_subjects(
    settings: Settings, project: FeatureProject, catalogue: Catalogue, snapshot: Snapshot, file: ViewFile
) -> Iterable[str]:
    keys = {key.name for view in catalogue.views if view.name == file.view for key in view.join_keys}
    if project.subject_key not in keys or not settings.subject_index_key:
        return ()
    with tempfile.TemporaryDirectory(prefix="falaj-subjects-") as directory:
        return _column(fetch_views(settings, snapshot, [file.view], Path(directory))[file.view], project.subject_key)


def _training_subjects(settings: Settings, project: FeatureProject, made: TrainingSet) -> Iterable[str]:
    if project.subject_key not in made.columns or not settings.subject_index_key:
        return ()
    with tempfile.TemporaryDirectory(prefix="falaj-subjects-") as directory:
        path = Path(directory, "training-set.parquet")
        key = f"training-sets/{made.service}/{made.id}/training-set.parquet"
        bucket_of(settings, made.project).fetch_file(key, path, made.sha256)
        return _column(path, project.subject_key)


def _column(path: Path, name: str) -> list[str]:
    import polars as pl

    return [str(value) for value in pl.read_parquet(path, columns=[name])[name].drop_nulls().unique().sort()]
