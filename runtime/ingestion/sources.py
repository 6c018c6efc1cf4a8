"""Files as sources of records: CSV, JSON lines and Parquet, from disk or S3, plain or packed, whole or refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from runtime.ingestion.errors import SourceError

if TYPE_CHECKING:
    import polars

    from runtime.settings import Settings

MAX_BYTES: Final = 1 << 30
"""A file, unpacked.  It is held in memory, because it is taken whole or not at all."""
MAX_LINE_BYTES: Final = 1 << 20
MAX_COLUMNS: Final = 2_000

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_OTHER_ENCODINGS: Final = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")

FORMATS: Final = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


@dataclass(frozen=True)
class Source:
    """A file's records before any contract.

    ``digest``     sha256 of the file as it lies there, hex
    ``records``    as given: every value of CSV and JSON is text here, to be read as the contract says
    ``malformed``  (reason, text) of lines that are no records
    """

    uri: str
    digest: str
    records: polars.DataFrame
    malformed: list[tuple[str, str]]

    @property
    def total(self) -> int:
        return self.records.height + len(self.malformed)


def read(
    uri: str | Path,
    settings: Settings,
    *,
    csv_nulls: tuple[str, ...] = ("",),
    sha256: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> Source:
    """The records of ``uri``: a path or ``s3://bucket/key``; CSV and JSON lines also packed, ``.gz`` or ``.zip``.

    Raises SourceError for a file that is missing, too large, truncated or not of the format that its name tells, or
    whose digest is not ``sha256`` where one is given.
    """
    name = str(uri)
    content = _from_s3(name, settings, max_bytes) if name.startswith("s3://") else _from_disk(Path(name), max_bytes)
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise SourceError(
            f"{name}: sha256 is {digest}, {sha256.lower()} was promised; it is not the file that was sent"
        )
    inner, content = _unpacked(name, content, max_bytes)
    kind = FORMATS.get(Path(inner).suffix.lower())
    if kind is None:
        raise SourceError(f"{name}: what is in it? allowed: {', '.join(FORMATS)}, and .gz or .zip of them")
    if kind == "parquet":
        return Source(name, digest, _parquet(name, content, max_bytes), [])
    if not content.strip():
        raise SourceError(f"{name}: is empty")
    if content.startswith(_OTHER_ENCODINGS) or b"\x00" in content[:4]:
        raise SourceError(f"{name}: is not UTF-8 text; write it again in UTF-8")
    if not content.endswith(b"\n"):
        raise SourceError(f"{name}: is truncated: its last line has no end; send it again, whole")
    records, malformed = _csv(name, content, csv_nulls) if kind == "csv" else _json_lines(name, content)
    return Source(name, digest, records, malformed)


def flat_record(value: Any) -> dict[str, str | None]:
    """A decoded JSON object as a record of texts.  Raises ValueError for anything that is not a flat object."""
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    record: dict[str, str | None] = {}
    for name, item in value.items():
        if isinstance(item, dict | list):
            raise ValueError(f"{str(name)[:60]}: nested; allowed: text, numbers, true, false, null")
        if item is None or isinstance(item, str):
            record[name] = item
        elif isinstance(item, bool):
            record[name] = "true" if item else "false"
        else:
            record[name] = repr(item)
    return record


def frame_of(records: list[dict[str, str | None]]) -> polars.DataFrame:
    """Records of texts as a frame, with a column for each name that any of them has."""
    import polars as pl

    names = dict.fromkeys(name for record in records for name in record)
    return pl.DataFrame({name: pl.Series([record.get(name) for record in records], dtype=pl.String) for name in names})


def _from_disk(path: Path, max_bytes: int) -> bytes:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise SourceError(f"{path}: is no plain file; name a file, and each one of a directory")
        if about.st_size > max_bytes:
            raise SourceError(f"{path}: {about.st_size:,} bytes; allowed: {max_bytes:,}; split it")
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error


def _from_s3(uri: str, settings: Settings, max_bytes: int) -> bytes:
    from botocore.exceptions import ClientError

    from runtime.aws import client

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        answer = client(settings, "s3").get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
            raise SourceError(f"{uri}: cannot be read: {error.response['Error']['Code']}") from error
        raise
    if answer["ContentLength"] > max_bytes:
        raise SourceError(f"{uri}: {answer['ContentLength']:,} bytes; allowed: {max_bytes:,}; split it")
    content: bytes = answer["Body"].read()
    return content


def _unpacked(name: str, content: bytes, max_bytes: int) -> tuple[str, bytes]:
    """The name without its packing, and what is in it.  Never unpacks more than ``max_bytes``."""
    suffix = Path(name).suffix.lower()
    try:
        if suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                if len(members) != 1:
                    raise SourceError(f"{name}: holds {len(members)} files; allowed: one")
                with archive.open(members[0]) as member:
                    inner = members[0].filename if Path(members[0].filename).suffix else Path(name).stem
                    return inner, _bounded(name, member.read(max_bytes + 1), max_bytes)
        if suffix == ".gz":
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
                return Path(name).stem, _bounded(name, stream.read(max_bytes + 1), max_bytes)
    except (zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise SourceError(f"{name}: is truncated or damaged: {error}; send it again, whole") from error
    except RuntimeError as error:  # a password, or a method that this cannot read
        raise SourceError(f"{name}: cannot be unpacked: {error}; pack it with deflate and no password") from error
    return name, content


def _bounded(name: str, content: bytes, max_bytes: int) -> bytes:
    if len(content) > max_bytes:
        raise SourceError(f"{name}: more than {max_bytes:,} bytes when unpacked; split it")
    return content


def _parquet(name: str, content: bytes, max_bytes: int) -> polars.DataFrame:
    import polars as pl
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(content))
        _check_width(name, file.metadata.num_columns)
        size = sum(file.metadata.row_group(group).total_byte_size for group in range(file.num_row_groups))
        if size > max_bytes:
            raise SourceError(f"{name}: {size:,} bytes when unpacked; allowed: {max_bytes:,}; split it")
        records = pl.from_arrow(file.read())
    except (pyarrow.ArrowException, OSError) as error:
        raise SourceError(f"{name}: is truncated or no Parquet: {str(error).splitlines()[0][:200]}") from error
    assert isinstance(records, pl.DataFrame)
    return records


def _csv(name: str, content: bytes, nulls: tuple[str, ...]) -> tuple[polars.DataFrame, list[tuple[str, str]]]:
    import polars as pl
    import pyarrow
    from pyarrow import csv

    malformed: list[tuple[str, str]] = []

    def keep(row: Any) -> str:
        malformed.append((f"{row.actual_columns} fields; allowed: {row.expected_columns}", row.text[:MAX_LINE_BYTES]))
        return "skip"

    columns = _header(name, content)
    try:
        table = csv.read_csv(
            io.BytesIO(content),
            parse_options=csv.ParseOptions(invalid_row_handler=keep, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pyarrow.string()), null_values=list(nulls), strings_can_be_null=True
            ),
        )
    except pyarrow.ArrowException as error:
        text = str(error).splitlines()[0][:200]
        if "straddling" in text:  # larger than the blocks that it is read by
            text = f"a record is over {MAX_LINE_BYTES:,} bytes, or a quote is never closed"
        raise SourceError(f"{name}: is no CSV: {text}") from error
    records = pl.from_arrow(table)
    assert isinstance(records, pl.DataFrame)
    return records, malformed


def _header(name: str, content: bytes) -> list[str]:
    import csv

    try:
        line = content[: content.index(b"\n")].decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError as error:
        raise SourceError(f"{name}: is not UTF-8 text") from error
    try:
        columns = next(csv.reader([line]), [])
    except csv.Error as error:
        raise SourceError(f"{name}: is no CSV: its first line: {error}") from error
    _check_width(name, len(columns))
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice or not all(columns):
        raise SourceError(f"{name}: its first line must name each column once; {', '.join(twice) or 'one has no name'}")
    return columns


def _json_lines(name: str, content: bytes) -> tuple[polars.DataFrame, list[tuple[str, str]]]:
    records, malformed = [], []
    columns: set[str] = set()
    for line in content.removeprefix(_BYTE_ORDER_MARK).splitlines():
        if not line.strip():
            continue
        try:
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"{len(line):,} bytes in a line; allowed: {MAX_LINE_BYTES:,}")
            record = flat_record(msgspec.json.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            malformed.append(("not JSON", line.decode(errors="backslashreplace")))
        except ValueError as error:
            malformed.append((str(error), line.decode(errors="backslashreplace")))
        else:
            records.append(record)
            columns.update(record)
            _check_width(name, len(columns))
    if not records and malformed:
        raise SourceError(f"{name}: none of its {len(malformed)} lines is a record; the first: {malformed[0][0]}")
    return frame_of(records), malformed


def _check_width(name: str, columns: int) -> None:
    """Raises SourceError for a file whose records would fill the memory with columns."""
    if columns > MAX_COLUMNS:
        raise SourceError(f"{name}: more than {MAX_COLUMNS:,} columns; leave out those that its contract has not")
