"""Training sets: Parquet files behind a manifest of digests, or a snapshot of an Iceberg table; read in row groups.

A training set is named by a URI:

- a directory or ``s3://bucket/prefix`` with ``manifest.json`` in it, or that file's own path;
- ``iceberg:namespace.table`` or ``iceberg:namespace.table@SNAPSHOT_ID``: the data files of one snapshot.

Which rows belong to a period is read from the time column's statistics in the footers; only row groups that a boundary
runs through are looked into.  No function here holds more than a slice of one row group.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from runtime.training.configuration import DataConfiguration, Period
from runtime.training.digests import sha256_bytes, sha256_json, sha256_stream
from runtime.training.errors import ConfigurationError, DataError, StoreUnavailableError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

    from runtime.settings import Settings

MANIFEST: Final = "manifest.json"
MOST_MANIFEST_BYTES: Final = 16 << 20
MOST_FILES: Final = 100_000
SLICE_ROWS: Final = 8192
PERIODS: Final = ("train", "validation", "test")
_INSTANT: Final = pa.timestamp("us", "UTC")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataFile(_Frozen):
    path: str
    """In the file system's own form: ``bucket/key`` or a local path."""
    bytes: int = Field(ge=0)
    sha256: str | None = None


class RowGroup(_Frozen):
    """Rows of one row group that belong to a period."""

    file: int
    group: int
    rows: int
    whole: bool
    """Whether every row of the group belongs to the period."""


class TrainingSet(_Frozen):
    """Names files, holds none of their rows; JSON, so that workers need not look again."""

    uri: str
    manifest_digest: str
    """sha256 of the manifest, or of the snapshot's list of files: what lineage calls this training set."""
    scheme: Literal["file", "s3"]
    files: tuple[DataFile, ...]
    origin: dict[str, Any]
    """What the manifest or the catalogue says it was made from."""


class Rows(_Frozen):
    """Which row groups make up a period."""

    period: Period
    groups: tuple[RowGroup, ...]

    @property
    def count(self) -> int:
        return sum(group.rows for group in self.groups)


def open_training_set(settings: Settings, uri: str, *, verify: bool = True) -> TrainingSet:
    """Finds and checks the files.  ``verify`` compares sizes and, where the manifest has them, digests.

    Raises DataError for a missing or altered file, StoreUnavailableError if the store does not answer.
    """
    if uri.startswith("iceberg:"):
        return _iceberg(settings, uri)
    scheme: Literal["file", "s3"] = "s3" if uri.startswith("s3://") else "file"
    root = uri.removeprefix("s3://").removeprefix("file://").rstrip("/")
    path = root if root.endswith(".json") else f"{root}/{MANIFEST}"
    root = path.rpartition("/")[0]
    filesystem = filesystem_of(settings, scheme)
    text = _read(filesystem, path, MOST_MANIFEST_BYTES)
    files = _manifest_files(text, path, root)
    if verify:
        files = tuple(_verified(filesystem, file, path) for file in files)
    document = json.loads(text)
    origin = {key: value for key, value in document.items() if key != "files"}
    return TrainingSet(uri=uri, manifest_digest=sha256_bytes(text), scheme=scheme, files=files, origin=origin)


def filesystem_of(settings: Settings, scheme: str) -> FileSystem:
    """pyarrow's file system with the same endpoint, time limits and retries as every other AWS client here."""
    from pyarrow import fs

    from runtime import aws

    if scheme == "file":
        return fs.LocalFileSystem()
    endpoint = settings.aws_endpoint_url
    keys = {"access_key": aws.LOCAL_CREDENTIAL, "secret_key": aws.LOCAL_CREDENTIAL} if settings.is_local else {}
    return fs.S3FileSystem(
        region=settings.aws_region,
        connect_timeout=aws.CONNECT_TIMEOUT_SECONDS,
        request_timeout=aws.READ_TIMEOUT_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=aws.ATTEMPTS),
        **(
            {"endpoint_override": endpoint.split("://", 1)[1], "scheme": endpoint.split("://", 1)[0]}
            if endpoint
            else {}
        ),
        **keys,
    )


def index_rows(filesystem: FileSystem, dataset: TrainingSet, data: DataConfiguration) -> dict[str, Rows]:
    """Rows of the three periods.  Raises DataError for missing columns, a null time or a period without rows."""
    wanted = {*data.categoricals, *data.numericals, data.label, data.time_column}
    found: dict[str, list[RowGroup]] = {name: [] for name in PERIODS}
    periods = {name: getattr(data, name) for name in PERIODS}
    for position, file in enumerate(dataset.files):
        with _parquet(filesystem, file.path) as parquet:
            absent = sorted(wanted - set(parquet.schema_arrow.names))
            if absent:
                given = ", ".join(parquet.schema_arrow.names)
                raise DataError(f"{file.path}: columns missing: {', '.join(absent)}; given are {given}")
            for group in range(parquet.metadata.num_row_groups):
                for name, rows in _rows_by_period(parquet, group, data.time_column, periods, file.path).items():
                    total = parquet.metadata.row_group(group).num_rows
                    if rows:
                        found[name].append(RowGroup(file=position, group=group, rows=rows, whole=rows == total))
    empty = [name for name, groups in found.items() if not groups]
    if empty:
        raise DataError(f"{dataset.uri}: no rows in period {', '.join(empty)}; check the dates of the configuration")
    return {name: Rows(period=periods[name], groups=tuple(groups)) for name, groups in found.items()}


@dataclass
class GroupReader:
    """Reads ranges of row groups, filtered to a period, in slices of at most SLICE_ROWS rows.

    A range that goes on where the last one ended continues without decoding again.
    """

    filesystem: FileSystem
    files: Sequence[DataFile]
    period: Period
    time_column: str
    columns: Sequence[str]

    def __post_init__(self) -> None:
        self._at: tuple[int, int, int] | None = None
        self._slices: Iterator[pa.RecordBatch] = iter(())
        self._rest: pa.RecordBatch | None = None
        # The file read last stays open: its footer may list thousands of groups.
        self._opened: tuple[int, pq.ParquetFile] | None = None

    def read(self, group: RowGroup, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """Rows ``start`` to ``stop`` of the group's rows within the period."""
        if self._at != (group.file, group.group, start):
            self._slices, self._rest, position = self._open(group), None, 0
        else:
            position = start
        while position < stop:
            batch = self._rest if self._rest is not None else next(self._slices, None)
            self._rest = None
            if batch is None:
                raise DataError(
                    f"{self.files[group.file].path}: row group {group.group} ends early; was the file replaced?"
                )
            end = position + batch.num_rows
            if end > stop:
                self._rest = batch.slice(stop - position)
                batch, end = batch.slice(0, stop - position), stop
            if end > start:
                yield batch.slice(max(0, start - position))
            position = end
        self._at = (group.file, group.group, stop)

    def _open(self, group: RowGroup) -> Iterator[pa.RecordBatch]:
        path = self.files[group.file].path
        columns = list(dict.fromkeys([*self.columns, *(() if group.whole else (self.time_column,))]))
        try:
            if self._opened is None or self._opened[0] != group.file:
                self._opened = (group.file, _parquet(self.filesystem, path))
            for batch in self._opened[1].iter_batches(SLICE_ROWS, row_groups=[group.group], columns=columns):
                rows = batch if group.whole else batch.filter(_within(batch.column(self.time_column), self.period))
                if rows.num_rows:
                    yield rows.select(list(self.columns))
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: cannot be read: {' '.join(str(error).split())[:300]}") from None


def read_rows(
    filesystem: FileSystem, dataset: TrainingSet, rows: Rows, time_column: str, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """All rows of a period, in the order of the files."""
    reader = GroupReader(filesystem, dataset.files, rows.period, time_column, columns)
    for group in rows.groups:
        yield from reader.read(group, 0, group.rows)


def _rows_by_period(
    parquet: pq.ParquetFile, group: int, time_column: str, periods: dict[str, Period], path: str
) -> dict[str, int]:
    metadata = parquet.metadata.row_group(group)
    column = parquet.schema_arrow.names.index(time_column)
    statistics = metadata.column(column).statistics if metadata.num_columns == len(parquet.schema_arrow.names) else None
    if statistics is not None and statistics.has_min_max and statistics.null_count == 0:
        low, high = _instant(statistics.min), _instant(statistics.max)
        if low is not None and high is not None:
            for name, period in periods.items():
                if period.start <= low and high < period.end:
                    return {name: metadata.num_rows}
            if all(high < period.start or low >= period.end for period in periods.values()):
                return {}
    times = pa.chunked_array(
        [batch.column(0) for batch in parquet.iter_batches(65_536, row_groups=[group], columns=[time_column])]
    )
    if times.null_count:
        raise DataError(f"{path}: {times.null_count} rows of row group {group} have no {time_column}; give each a time")
    return {name: int(pc.sum(_within(times, period)).as_py() or 0) for name, period in periods.items()}


def _instant(value: Any) -> dt.datetime | None:
    if not isinstance(value, dt.datetime):
        return None
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def _within(times: pa.Array | pa.ChunkedArray, period: Period) -> pa.Array | pa.ChunkedArray:
    if not pa.types.is_timestamp(times.type):
        raise DataError(f"the time column is {times.type}; a timestamp is needed to tell the periods apart")
    instants = times.cast(_INSTANT, safe=False)
    return pc.and_(
        pc.greater_equal(instants, pa.scalar(period.start, _INSTANT)),
        pc.less(instants, pa.scalar(period.end, _INSTANT)),
    )


def _parquet(filesystem: FileSystem, path: str) -> pq.ParquetFile:
    try:
        # A buffered stream reads column chunks piece by piece; without it a whole chunk is held at once.
        return pq.ParquetFile(filesystem.open_input_file(path), buffer_size=1 << 20, pre_buffer=False)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; the training set is incomplete") from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not readable as Parquet: {' '.join(str(error).split())[:300]}") from None


def _read(filesystem: FileSystem, path: str, most_bytes: int) -> bytes:
    from pyarrow import fs

    try:
        info = filesystem.get_file_info(path)
        if info.type == fs.FileType.NotFound:
            raise DataError(f"{path}: no such file; name a training set that holds {MANIFEST}")
        if info.size > most_bytes:
            raise DataError(f"{path}: larger than {most_bytes} bytes; that is no manifest")
        with filesystem.open_input_stream(path) as stream:
            data: bytes = stream.read()
            return data
    except OSError as error:
        raise StoreUnavailableError(f"{path}: the store did not answer: {' '.join(str(error).split())[:300]}") from None


def _manifest_files(text: bytes, path: str, root: str) -> tuple[DataFile, ...]:
    try:
        document = json.loads(text)
        # A set of one file may name it by its URI, as the feature store writes it; it lies beside its manifest.
        entries = document.get("files") or [{"path": document["uri"].rpartition("/")[2], "sha256": document["sha256"]}]
        files = tuple(
            DataFile(path=f"{root}/{_safe(entry['path'])}", bytes=entry.get("bytes", 0), sha256=entry.get("sha256"))
            for entry in entries
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f'{path}: not a manifest; it needs "files": [{{"path": ..., "bytes": ..., "sha256": ...}}], '
            'or "uri" and "sha256" of one file'
        ) from None
    if not 0 < len(files) <= MOST_FILES:
        raise DataError(f"{path}: lists {len(files)} files; 1 to {MOST_FILES} are allowed")
    return files


def _safe(path: str) -> str:
    """A manifest names files beside itself; nothing else of the machine is opened on its word."""
    if not path or path.startswith("/") or "\\" in path or ".." in path.split("/") or "://" in path:
        raise ValueError(path)
    return path


def _verified(filesystem: FileSystem, file: DataFile, manifest: str) -> DataFile:
    from pyarrow import fs

    info = filesystem.get_file_info(file.path)
    if info.type != fs.FileType.File:
        raise DataError(f"{file.path}: listed in {manifest}, but not there; the training set is incomplete")
    if file.bytes and info.size != file.bytes:
        raise DataError(f"{file.path}: {info.size} bytes where {manifest} says {file.bytes}; cut short or replaced")
    if file.sha256 is not None:
        with filesystem.open_input_stream(file.path) as stream:
            digest = sha256_stream(stream)
        if digest != file.sha256:
            raise DataError(
                f"{file.path}: its digest is not the one in {manifest}; the file was altered after it was made"
            )
    return DataFile(path=file.path, bytes=info.size, sha256=file.sha256)


def _iceberg(settings: Settings, uri: str) -> TrainingSet:
    from runtime.training.iceberg import snapshot_files

    name, _, snapshot = uri.removeprefix("iceberg:").partition("@")
    if name.count(".") < 1 or (snapshot and not snapshot.isdigit()):
        raise ConfigurationError(f"{uri}: write iceberg:NAMESPACE.TABLE or iceberg:NAMESPACE.TABLE@SNAPSHOT_ID")
    snapshot_id, entries = snapshot_files(settings, name, int(snapshot) if snapshot else None)
    schemes = {"s3" if path.startswith(("s3://", "s3a://")) else "file" for path, _ in entries}
    if len(schemes) != 1:
        raise DataError(f"{uri}: data files lie in several kinds of store; rewrite the table into one")
    files = tuple(
        DataFile(path=path.partition("://")[2] if "://" in path else path.removeprefix("file:"), bytes=size)
        for path, size in entries
    )
    return TrainingSet(
        uri=f"iceberg:{name}@{snapshot_id}",
        manifest_digest=sha256_json({"table": name, "snapshot": snapshot_id, "files": sorted(f.path for f in files)}),
        scheme="s3" if schemes == {"s3"} else "file",
        files=files,
        origin={"table": name, "snapshot_id": snapshot_id},
    )
