"""Table maintenance: small files are rewritten into large ones, old snapshots expire, unreferenced files go.

A consumer commits every few seconds, a file and a snapshot each time.  The three steps may run beside it and beside
each other, and may be killed at any moment:

- compaction reads small files of one partition, writes their rows as one file, and puts that in their place in one
  commit.  Reading and writing happen before the commit, so a consumer that commits meanwhile costs a repeated commit,
  not repeated work; files that are no longer in the table, or conflicts that do not end, leave the group for next time.
- expiry drops snapshots that are old, unless a record names them (``table_references``): what a training set was made
  from stays readable.
- removal deletes files below the table's location that no remaining snapshot reaches, once they are older than any
  commit can take: those of expired snapshots, and those that a killed process wrote and never committed.
"""

from __future__ import annotations

import datetime
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from runtime import metrics
from runtime.errors import FalajError

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask, Table

    from runtime.settings import Settings

COMMIT_ATTEMPTS: Final = 20
COMMIT_PAUSE_SECONDS: Final = 0.2
FULL_FRACTION: Final = 0.75
"""A file of this share of the target size is left as it is."""
SUMMARY_MARK: Final = "falaj.maintenance"
_KEYS_PER_DELETE: Final = 1_000

Observer = Callable[[str, dict[str, Any]], None]


class MaintenanceError(FalajError):
    """A table cannot be maintained as it is.  Its rows are as they were."""


@dataclass(frozen=True, kw_only=True)
class MaintenanceOptions:
    """``target_file_bytes`` bounds the memory too: one group of files, of that size together, is held at a time
    (decoded it is some ten times as large).  ``min_files``: fewer small files than this are not worth a rewrite.
    Snapshots are kept that are younger than ``keep_snapshots`` or among the last ``keep_last``; unreferenced files that
    are younger than ``orphan_age`` may belong to a commit under way.
    """

    target_file_bytes: int = 32 * 1024 * 1024
    min_files: int = 5
    keep_snapshots: datetime.timedelta = datetime.timedelta(days=5)
    keep_last: int = 20
    orphan_age: datetime.timedelta = datetime.timedelta(days=3)


@dataclass
class MaintenanceResult:
    """What was done to one table.  ``left``: groups of files that others were changing, for next time."""

    table: str
    rewritten_files: int = 0
    added_files: int = 0
    rewritten_rows: int = 0
    left: int = 0
    expired_snapshots: int = 0
    kept_referenced: int = 0
    removed_files: int = 0
    removed_bytes: int = 0


@dataclass
class Maintenance:
    """Maintains tables of one deployment.  ``referenced``: the snapshots of a table that records name.

    ``observe`` hears what is done, step by step: "rewriting", "committing", "compacted", "expired", "removed".
    """

    settings: Settings
    options: MaintenanceOptions = field(default_factory=MaintenanceOptions)
    referenced: Callable[[str], frozenset[int]] = lambda _name: frozenset()
    observe: Observer = lambda _name, _facts: None
    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC)

    def run(self, name: str, table: Table) -> MaintenanceResult:
        """All three steps on ``table``.  Raises MaintenanceError, and what ``referenced`` and the services raise."""
        result = MaintenanceResult(name)
        self._compact(table, result)
        self._expire(table, result)
        self._remove_orphans(table, result)
        return result

    # -- compaction ----------------------------------------------------------------------------------------------------

    def _compact(self, table: Table, result: MaintenanceResult) -> None:
        snapshot = table.current_snapshot()
        if snapshot is None:
            return
        for group in _groups(table.scan(snapshot_id=snapshot.snapshot_id).plan_files(), table, self.options):
            files = [task.file for task in group]
            rows = sum(file.record_count for file in files)
            self.observe("rewriting", {"files": len(files), "rows": rows})
            written = _rewritten(table, group)
            if (count := sum(file.record_count for file in written)) != rows:
                raise MaintenanceError(
                    f"{result.table}: {rows} rows were read back as {count}; nothing was changed, look at "
                    f"{files[0].file_path}"
                )
            if not self._replace(table, files, written):
                result.left += 1
                _count("falaj_ingestion_compactions_left_total", "Groups of files left for next time.", result.table, 1)
                continue
            result.rewritten_files += len(files)
            result.added_files += len(written)
            result.rewritten_rows += rows
            _count("falaj_ingestion_compacted_files_total", "Small files rewritten.", result.table, len(files))
            self.observe("compacted", {"files": len(files), "into": len(written), "rows": rows})

    def _replace(self, table: Table, old: Sequence[DataFile], new: Sequence[DataFile]) -> bool:
        """Puts ``new`` in the place of ``old`` in one commit; False if that cannot be, and then nothing has changed."""
        from pyiceberg.exceptions import CommitFailedException

        paths = {file.file_path for file in old}
        for _ in range(COMMIT_ATTEMPTS):
            table.refresh()
            if not paths <= _data_paths(table):
                return False
            self.observe("committing", {"files": len(old)})
            try:
                with table.transaction() as transaction:
                    update = transaction.update_snapshot(snapshot_properties={SUMMARY_MARK: "compaction"})
                    with update.overwrite() as overwrite:
                        for file in old:
                            overwrite.delete_data_file(file)
                        for file in new:
                            overwrite.append_data_file(file)
            except CommitFailedException:
                time.sleep(random.uniform(0, COMMIT_PAUSE_SECONDS))  # noqa: S311 (lets the others go first)
                continue
            return True
        return False

    # -- expiry --------------------------------------------------------------------------------------------------------

    def _expire(self, table: Table, result: MaintenanceResult) -> None:
        from pyiceberg.exceptions import CommitFailedException

        limit = (self.now() - self.options.keep_snapshots).timestamp() * 1000
        for _ in range(COMMIT_ATTEMPTS):
            table.refresh()
            ordered = sorted(table.snapshots(), key=lambda snapshot: snapshot.sequence_number or 0)
            old = [s.snapshot_id for s in ordered[: -self.options.keep_last or None] if s.timestamp_ms < limit]
            heads = {ref.snapshot_id for ref in table.metadata.refs.values()}
            # Asked again before each attempt: a training set may have been made of one meanwhile.
            referenced = self.referenced(result.table) if old else frozenset()
            result.kept_referenced = len(referenced & set(old))
            expired = [snapshot for snapshot in old if snapshot not in referenced and snapshot not in heads]
            if not expired:
                return
            try:
                table.maintenance.expire_snapshots().by_ids(expired).commit()
            except CommitFailedException:
                time.sleep(random.uniform(0, COMMIT_PAUSE_SECONDS))  # noqa: S311
                continue
            result.expired_snapshots = len(expired)
            _count("falaj_ingestion_expired_snapshots_total", "Snapshots expired.", result.table, len(expired))
            self.observe("expired", {"snapshots": len(expired)})
            return

    # -- files that nothing refers to ----------------------------------------------------------------------------------

    def _remove_orphans(self, table: Table, result: MaintenanceResult) -> None:
        from runtime.aws import client

        bucket, prefix = _location(table, self.settings)
        s3 = client(self.settings, "s3")
        limit = self.now() - self.options.orphan_age
        old: dict[str, int] = {}
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            old |= {item["Key"]: item["Size"] for item in page.get("Contents", ()) if item["LastModified"] < limit}
        if not old:
            return
        table.refresh()  # after the listing: what was committed before it is known, what came later is too young
        for path in _reachable(table):
            old.pop(urlsplit(path).path.lstrip("/"), None)
        keys = list(old)
        for start in range(0, len(keys), _KEYS_PER_DELETE):
            part = keys[start : start + _KEYS_PER_DELETE]
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in part], "Quiet": True})
            failed = {error["Key"] for error in answer.get("Errors", ())}
            result.removed_files += len(part) - len(failed)
            result.removed_bytes += sum(old[key] for key in part if key not in failed)
        _count("falaj_ingestion_removed_files_total", "Unreferenced files removed.", result.table, result.removed_files)
        self.observe("removed", {"files": result.removed_files, "bytes": result.removed_bytes})


def _groups(tasks: Iterable[FileScanTask], table: Table, options: MaintenanceOptions) -> Iterator[list[FileScanTask]]:
    """Small files of one partition that make one file of the target size together.

    A partition with row-level deletes, or of an older partitioning, is left alone.
    """
    partitions: dict[Any, list[FileScanTask]] = defaultdict(list)
    untouchable = set()
    for task in tasks:
        where = (task.file.spec_id, tuple(task.file.partition[place] for place in range(len(task.file.partition))))
        if task.delete_files or task.file.spec_id != table.metadata.default_spec_id:
            untouchable.add(where)
        elif task.file.file_size_in_bytes < options.target_file_bytes * FULL_FRACTION:
            partitions[where].append(task)
    for where, small in partitions.items():
        if where in untouchable:
            continue
        group: list[FileScanTask] = []
        size = 0
        for task in sorted(small, key=lambda task: task.file.file_size_in_bytes):
            if group and size + task.file.file_size_in_bytes > options.target_file_bytes:
                if len(group) >= options.min_files:
                    yield group
                group, size = [], 0
            group.append(task)
            size += task.file.file_size_in_bytes
        if len(group) >= options.min_files:
            yield group


def _rewritten(table: Table, group: Sequence[FileScanTask]) -> list[DataFile]:
    """The rows of ``group`` in new files, which no snapshot refers to yet."""
    from pyiceberg.expressions import AlwaysTrue

    # pyiceberg has no public way to write files without committing them in the same breath.
    from pyiceberg.io.pyarrow import ArrowScan, _dataframe_to_data_files

    scan = ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue())
    return list(_dataframe_to_data_files(table.metadata, scan.to_table(group), table.io))


def _data_paths(table: Table) -> set[str]:
    snapshot = table.current_snapshot()
    if snapshot is None:
        return set()
    return {task.file.file_path for task in table.scan(snapshot_id=snapshot.snapshot_id).plan_files()}


def _reachable(table: Table) -> Iterator[str]:
    """Every file that the table's metadata, as last refreshed, leads to; some more than once."""
    yield table.metadata_location
    yield from (entry.metadata_file for entry in table.metadata.metadata_log)
    for statistics in table.metadata.statistics:
        yield statistics.statistics_path
    seen: set[str] = set()
    for snapshot in table.snapshots():
        yield snapshot.manifest_list
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path in seen:
                continue
            seen.add(manifest.manifest_path)
            yield manifest.manifest_path
            # A file that a snapshot took away is in its manifest still, but no read of that snapshot leads to it.
            yield from (entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io))


def _location(table: Table, settings: Settings) -> tuple[str, str]:
    """Bucket and prefix that hold the table's files and nothing else.  Raises MaintenanceError for any other place."""
    parts = urlsplit(table.location())
    prefix = parts.path.strip("/")
    if parts.scheme != "s3" or parts.netloc != settings.lake_bucket or prefix.count("/") < 1:
        raise MaintenanceError(
            f"{'.'.join(table.name())} lies in {table.location()}, not below s3://{settings.lake_bucket}/: none of its "
            "files is removed; check FALAJ_LAKE_BUCKET"
        )
    return parts.netloc, prefix + "/"


def _count(name: str, documentation: str, table: str, number: int) -> None:
    metrics.counter(name, documentation, ["table"]).labels(table).inc(number)
