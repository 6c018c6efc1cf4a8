"""The data files of one snapshot of an Iceberg table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.training.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from runtime.settings import Settings


def snapshot_files(settings: Settings, name: str, snapshot_id: int | None) -> tuple[int, list[tuple[str, int]]]:
    """The snapshot's id, and path and size in bytes of each of its Parquet files.  None: the newest snapshot.

    Raises LakeError for an unknown table; DataError for an unknown snapshot, an empty one, and one with row-level
    deletes: those would have to be applied to every slice read.
    """
    from runtime.ingestion.lake import Lake

    table = Lake(settings).table(name)
    snapshot = table.snapshot_by_id(snapshot_id) if snapshot_id is not None else table.current_snapshot()
    if snapshot is None:
        known = ", ".join(str(entry.snapshot_id) for entry in table.history()[-5:]) or "none"
        raise ConfigurationError(f"iceberg:{name}: no snapshot {snapshot_id or ''}; the latest are {known}")
    tasks = list(table.scan(snapshot_id=snapshot.snapshot_id).plan_files())
    if not tasks:
        raise DataError(f"iceberg:{name}@{snapshot.snapshot_id}: the snapshot holds no files")
    if any(task.delete_files for task in tasks):
        raise DataError(f"iceberg:{name}@{snapshot.snapshot_id}: has row-level deletes; compact the table first")
    return snapshot.snapshot_id, sorted((task.file.file_path, task.file.file_size_in_bytes) for task in tasks)
