"""What the ingestion steps read and made, in the words of lineage.

A version of a table is made from the files or the part of a stream that came in with it, and from the version before.
Of a stream's consumer every commit is a record of its own, because features may be computed from any version.  It
names the version from before the run instead of the last commit's: the graph of a model grows with the consumer's
restarts and not with its commits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from runtime.lineage.artifacts import Artifact, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars
    from pyiceberg.table import Table

    from runtime.ingestion.batch import BatchResult
    from runtime.ingestion.consumer import Commit
    from runtime.ingestion.contract import Contract
    from runtime.ingestion.lake import Lake
    from runtime.lineage.steps import Step
    from runtime.settings import Settings

JOBS: Final = "ingest."
"""How the names of ingestion's jobs begin."""
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._/:=+ -]")
_NAME_CHARACTERS: Final = 500


def record_file(step: Step, settings: Settings, lake: Lake, contract: Contract, result: BatchResult) -> None:
    """The file and the version before in, the version that holds the file out.

    A file that was in already names the table's version of now: the run that took it may have died before its record.
    """
    step.read(source_artifact(result.source, result.sha256), {"location": result.source})
    step.note(accepted=result.accepted, duplicates=result.duplicates, refused=result.refused)
    if result.snapshot_id is None:
        return
    table = lake.table(contract.table)
    before = None if contract.mode == "replace" or result.already_ingested else _version_before(table, result)
    if before is not None:
        step.read(_version(contract, before))
    step.made(
        _version(contract, result.snapshot_id),
        _about(contract),
        subjects=_subjects_of_version(settings, table, contract, result.snapshot_id),
    )


def commit_recorder(settings: Settings, contract: Contract) -> Callable[[Commit], None] | None:
    """Records each commit of a consumer; None where no lineage is kept."""
    if not settings.lineage_url:
        return None
    from runtime.lineage.steps import step

    def record(commit: Commit) -> None:
        with step(settings, f"{JOBS}stream") as running:
            stream = Artifact(Kind.STREAM, _name(commit.stream), commit.batch)
            running.read(stream, {"positions": dict(commit.positions)})
            if commit.snapshot_before_run is not None:
                running.read(_version(contract, commit.snapshot_before_run))
            subjects = _subjects(settings, contract, commit.rows)
            running.made(_version(contract, commit.snapshot_id), _about(contract), subjects=subjects)
            running.note(accepted=commit.accepted)

    return record


def record_maintenance(step: Step, lake: Lake, name: str, before: int | None) -> None:
    """The version before in, the version of the same rows in other files out; nothing when no file was rewritten."""
    snapshot = lake.table(name).current_snapshot()
    if snapshot is None or before is None or snapshot.snapshot_id == before:
        return
    step.read(Artifact(Kind.TABLE, name, str(before)))
    step.made(Artifact(Kind.TABLE, name, str(snapshot.snapshot_id)))


def source_artifact(location: str, sha256: str) -> Artifact:
    """A file by its content; named by bucket and key, or by its last part where it lies on a disk."""
    key = location.removeprefix("s3://")
    return Artifact(Kind.SOURCE, _name(key if key != location else location.rsplit("/", 1)[-1]), sha256)


def _name(text: str) -> str:
    """``text`` as lineage can name it; the end of it where it is too long."""
    return _NOT_IN_NAMES.sub("_", text)[-_NAME_CHARACTERS:].lstrip("._/:=+ -") or "unnamed"


def _version(contract: Contract, snapshot_id: int) -> Artifact:
    return Artifact(Kind.TABLE, contract.table, str(snapshot_id))


def _about(contract: Contract) -> dict[str, object]:
    return {"contract_version": contract.version, "owner": contract.owner}


def _version_before(table: Table, result: BatchResult) -> int | None:
    found = table.snapshot_by_id(result.snapshot_id) if result.snapshot_id is not None else None
    return found.parent_snapshot_id if found is not None else None


def _subjects_of_version(settings: Settings, table: Table, contract: Contract, snapshot_id: int) -> Iterable[str]:
    if not settings.subject_index_key or not contract.personal_data:
        return ()
    import polars as pl

    columns = tuple(sorted(contract.personal_data))
    rows = pl.from_arrow(table.scan(snapshot_id=snapshot_id, selected_fields=columns).to_arrow())
    assert isinstance(rows, pl.DataFrame)
    return _subjects(settings, contract, rows)


def _subjects(settings: Settings, contract: Contract, rows: polars.DataFrame) -> Iterable[str]:
    """The distinct values of every column of personal data."""
    if not settings.subject_index_key:
        return ()
    columns = sorted(contract.personal_data & set(rows.columns))
    return {str(value) for column in columns for value in rows[column].drop_nulls().unique().to_list()}
