"""Batch ingestion: whole or not at all, once, and nothing refused is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl
import pytest

from runtime import metrics
from runtime.ingestion.batch import BatchResult, ingest_file
from runtime.ingestion.contract import Contract
from runtime.ingestion.errors import ContractError, QualityGateError, SourceError
from runtime.ingestion.lake import Lake, LakeError
from runtime.settings import Settings
from tests.support.readings import contract, readings, write_csv
from tests.support.runtime_servers import Aws


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return Lake(settings)


def ids(lake: Lake) -> list[str]:
    return sorted(
        lake.table("water.readings").scan(selected_fields=("reading_id",)).to_arrow()["reading_id"].to_pylist()
    )


def ingest(lake: Lake, settings: Settings, path: Path, given: Contract | None = None, **options: Any) -> BatchResult:
    return ingest_file(lake, settings, given or contract(), path, **options)


def test_a_csv_file_becomes_rows_of_the_contracts_types(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    rows = readings(50)
    result = ingest(lake, settings, write_csv(tmp_path / "a.csv", rows))
    table = pl.from_arrow(lake.table("water.readings").scan().to_arrow())
    assert isinstance(table, pl.DataFrame)
    assert (result.accepted, result.duplicates, result.refused) == (50, 0, 0)
    expected = pl.DataFrame(rows).with_columns(pl.col("read_at").str.to_datetime(time_unit="us", time_zone="UTC"))
    assert table.sort("reading_id").equals(expected.sort("reading_id"))


@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv.gz"])
def test_other_forms_of_the_same_records_give_the_same_table(
    lake: Lake, settings: Settings, tmp_path: Path, form: str
) -> None:
    import gzip

    rows = readings(40)
    path = tmp_path / f"a.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif form == "parquet":
        typed = pl.DataFrame(rows).with_columns(pl.col("read_at").str.to_datetime(time_unit="us", time_zone="UTC"))
        typed.write_parquet(path)
    else:
        path.write_bytes(gzip.compress(pl.DataFrame(rows).write_csv().encode()))
    assert ingest(lake, settings, path).accepted == 40
    assert ids(lake) == [row["reading_id"] for row in rows]


def test_the_table_is_partitioned_by_day(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    ingest(lake, settings, write_csv(tmp_path / "a.csv", readings(30, days=3)))
    days = lake.table("water.readings").inspect.partitions()["partition"].to_pylist()
    assert len(days) == 3


def test_a_file_that_is_in_already_adds_nothing_under_any_name(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    first = ingest(lake, settings, write_csv(tmp_path / "a.csv", readings(20)))
    again = ingest(lake, settings, write_csv(tmp_path / "b.csv", readings(20)))
    assert again.already_ingested
    assert (again.accepted, again.snapshot_id) == (0, first.snapshot_id)


def test_records_that_another_file_brought_already_are_counted_as_duplicates(
    lake: Lake, settings: Settings, tmp_path: Path
) -> None:
    ingest(lake, settings, write_csv(tmp_path / "a.csv", readings(20)))
    result = ingest(lake, settings, write_csv(tmp_path / "b.csv", [*readings(30), *readings(30)[-2:]]))
    assert (result.accepted, result.duplicates) == (10, 22)
    assert ids(lake) == [row["reading_id"] for row in readings(30)]


def test_a_bad_record_is_kept_with_its_reasons_and_counted(
    lake: Lake, settings: Settings, aws: Aws, tmp_path: Path
) -> None:
    rows = readings(40)
    rows[3]["litres"] = -5
    rows[7]["pulses"] = "many"
    rows[9]["read_at"] = "2024-03-01T00:00:00"
    before = metrics.value("falaj_ingestion_records_total", table="water.readings", outcome="refused")
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    result = ingest(lake, settings, path, contract(max_failed_fraction=0.2))
    assert (result.accepted, result.refused) == (37, 4)
    bucket, _, key = str(result.quarantine_uri).removeprefix("s3://").partition("/")
    kept = aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode().splitlines()
    about, *records = (json.loads(line) for line in kept)
    assert about["refused"] == 4
    assert [(record.get("place"), record["reasons"]) for record in records] == [
        (3, ["litres: in_range(0, 10000)"]),
        (7, ["pulses: not a whole number in range"]),
        (9, ["read_at: not a time with its zone"]),
        (None, ["not JSON"]),
    ]
    assert records[1]["record"]["pulses"] == "many"
    after = metrics.value("falaj_ingestion_records_total", table="water.readings", outcome="refused")
    assert after - before == 4


def test_a_file_over_the_failure_threshold_stops_before_the_table(
    lake: Lake, settings: Settings, tmp_path: Path
) -> None:
    ingest(lake, settings, write_csv(tmp_path / "a.csv", readings(20)))
    rows = readings(40, start=100)
    for row in rows[:5]:
        row["litres"] = 99_999.0
    before = lake.table("water.readings").metadata_location
    with pytest.raises(
        QualityGateError, match=r"5 of 40 records.*10\.0% are allowed; nothing was taken.*record 1: litres"
    ):
        ingest(lake, settings, write_csv(tmp_path / "b.csv", rows))
    assert lake.table("water.readings").metadata_location == before


def test_a_mended_file_is_taken_after_the_gate_refused_it(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    rows = readings(10)
    with pytest.raises(QualityGateError):
        ingest(lake, settings, write_csv(tmp_path / "a.csv", [{**row, "litres": -1.0} for row in rows]))
    assert ingest(lake, settings, write_csv(tmp_path / "a.csv", rows)).accepted == 10


def locked(archive: bytes) -> bytes:
    """A zip archive that says that its file has a password."""
    content = bytearray(archive)
    for place in (6, archive.index(b"PK\x01\x02") + 8):
        content[place] |= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("a.csv", lambda content: content[:-9], "is truncated: its last line has no end"),
        ("a.csv.gz", lambda content: content[:-9], "is truncated or damaged"),
        ("a.csv.zip", lambda content: content[:-40], "is truncated or damaged"),
        ("a.parquet", lambda content: content[:-9], "is truncated or no Parquet"),
        ("a.parquet", lambda content: content[:-8] + bytes(8), "is truncated or no Parquet"),
        ("a.csv", lambda content: b"", "is empty"),
        ("a.csv", lambda content: content.replace(b"meter", b"litres", 1), "must name each column once"),
        ("a.csv", lambda content: content.replace(b"litres", b"gallons", 1), "unknown: gallons"),
        ("a.csv", lambda content: content.replace(b"meter", b"gauge", 1), "missing: meter; unknown: gauge"),
        ("a.csv", lambda content: content.replace(b"meter", b"m\xfft", 1), "is not UTF-8"),
        ("a.txt", lambda content: content, r"allowed: \.csv"),
        ("a.csv", lambda content: content.decode().encode("utf-16"), "is not UTF-8"),
        ("a.csv", lambda content: content + b'x,"' + b"m" * (1 << 21) + b"\n", "over 1,048,576 bytes, or a quote is"),
        ("a.csv", lambda content: b"a" * 200_000 + content, "is no CSV: its first line: field larger"),
        ("a.csv", lambda content: b",".join(b"c%d" % n for n in range(3000)) + b"\n", "more than 2,000 columns"),
        ("a.jsonl", lambda content: content, "none of its 21 lines is a record; the first: not JSON"),
        ("a.jsonl", lambda content: b'{"litres": 1}\n', "missing: reading_id, meter, read_at"),
        ("a.csv.zip", lambda content: locked(content), "cannot be unpacked: .*password"),
    ],
)  # fmt: skip
def test_a_truncated_or_foreign_file_is_refused_whole(
    lake: Lake, settings: Settings, tmp_path: Path, name: str, damage: Any, message: str
) -> None:
    import gzip
    import io
    import zipfile

    text = pl.DataFrame(readings(20), infer_schema_length=None).write_csv().encode()
    packed = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.csv", text)
    elif name.endswith(".parquet"):
        pl.DataFrame(readings(20), infer_schema_length=None).write_parquet(packed)
    content = {".gz": gzip.compress(text), ".zip": packed.getvalue(), ".parquet": packed.getvalue()}
    path = tmp_path / name
    path.write_bytes(damage(content.get(path.suffix, text)))
    before = metrics.value("falaj_ingestion_files_total", table="water.readings", outcome="refused")
    with pytest.raises(SourceError, match=message) as raised:
        ingest(lake, settings, path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)
    assert metrics.value("falaj_ingestion_files_total", table="water.readings", outcome="refused") == before + 1
    assert not any(key.startswith("falaj.file.") for key in lake.open(contract()).properties)


def test_a_directory_is_no_file(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is no plain file"):
        ingest(lake, settings, tmp_path)


def test_what_became_of_files_is_counted(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    def counted() -> dict[str, float]:
        return {
            outcome: metrics.value("falaj_ingestion_files_total", table="water.readings", outcome=outcome)
            for outcome in ("taken", "already", "gated")
        }

    before, good = counted(), write_csv(tmp_path / "a.csv", readings(5))
    ingest(lake, settings, good)
    ingest(lake, settings, good)
    with pytest.raises(QualityGateError):
        ingest(lake, settings, write_csv(tmp_path / "b.csv", [{**row, "litres": -1.0} for row in readings(5)]))
    assert counted() == {outcome: number + 1 for outcome, number in before.items()}


def test_a_refused_line_is_kept_whole_to_the_last_byte(
    lake: Lake, settings: Settings, aws: Aws, tmp_path: Path
) -> None:
    path, long = tmp_path / "a.jsonl", b'{"meter": "' + b"m" * (1 << 20) + b'"}'
    lines = [json.dumps(row).encode() for row in readings(8)] + [long, b"\xff?"]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    result = ingest(lake, settings, path, contract(max_failed_fraction=0.5))
    assert (result.accepted, result.refused) == (8, 2)
    bucket, _, key = str(result.quarantine_uri).removeprefix("s3://").partition("/")
    kept = aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode().splitlines()
    assert [json.loads(line)["text"] for line in kept[1:]] == [long.decode(), "\\xff?"]


def test_a_file_that_is_not_the_one_that_was_sent_is_refused(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="was promised"):
        ingest(lake, settings, write_csv(tmp_path / "a.csv", readings(5)), sha256="0" * 64)


def test_a_packed_file_is_never_unpacked_beyond_the_limit(settings: Settings, tmp_path: Path) -> None:
    import gzip

    from runtime.ingestion import sources

    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 500_000))
    with pytest.raises(SourceError, match="more than 100,000 bytes when unpacked"):
        sources.read(path, settings, max_bytes=100_000)


def test_a_file_on_s3_is_a_source_too(lake: Lake, settings: Settings, aws: Aws) -> None:
    body = pl.DataFrame(readings(6)).write_csv().encode()
    aws.client("s3").put_object(Bucket=settings.lake_bucket, Key="in/a.csv", Body=body)
    assert ingest_file(lake, settings, contract(), f"s3://{settings.lake_bucket}/in/a.csv").accepted == 6


def test_a_missing_object_on_s3_is_an_error_of_the_caller(lake: Lake, settings: Settings) -> None:
    with pytest.raises(SourceError, match="cannot be read: NoSuchKey"):
        ingest_file(lake, settings, contract(), f"s3://{settings.lake_bucket}/nothing.csv")


def wider(**changes: Any) -> Contract:
    """Version 2: one more column, nullable."""
    columns = {**contract().schema.columns, "quality": pa.Column(pl.String, nullable=True)}
    return contract(version=2, schema=pa.DataFrameSchema(columns, strict=True), **changes)


def test_a_new_version_adds_a_column_and_old_rows_stay(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    ingest(lake, settings, write_csv(tmp_path / "a.csv", readings(5)))
    newer = [{**row, "quality": "good"} for row in readings(5, start=10)]
    ingest(lake, settings, write_csv(tmp_path / "b.csv", newer), wider())
    qualities = lake.table("water.readings").scan().to_arrow()["quality"].to_pylist()
    assert sorted(map(str, qualities)) == ["None"] * 5 + ["good"] * 5


def test_a_file_of_the_version_before_is_taken_with_nothing_in_the_new_column(
    lake: Lake, settings: Settings, tmp_path: Path
) -> None:
    assert ingest(lake, settings, write_csv(tmp_path / "a.csv", readings(5)), wider()).accepted == 5


def test_a_table_never_goes_back_to_an_older_version(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    lake.open(wider())
    with pytest.raises(ContractError, match="is at version 2 of its contract, this program knows 1"):
        ingest(lake, settings, write_csv(tmp_path / "a.csv", readings(5)))


def changed(version: int, **columns: pa.Column) -> Contract:
    merged = {name: column for name, column in {**contract().schema.columns, **columns}.items() if column is not None}
    return contract(version=version, schema=pa.DataFrameSchema(merged, strict=True))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (changed(1, litres=pa.Column(pl.String, nullable=True)), "differs from the table in litres"),
        (changed(2, litres=pa.Column(pl.String, nullable=True)), "cannot go from version 1 to 2"),
        (changed(2, litres=None), "drops litres"),
        (changed(2, extra=pa.Column(pl.String)), "adds extra, which older rows lack"),
    ],
)
def test_a_contract_that_the_table_cannot_follow_is_refused(lake: Lake, given: Contract, message: str) -> None:
    lake.open(contract())
    with pytest.raises(ContractError, match=message):
        lake.open(given)
    assert lake.table("water.readings").properties["falaj.contract.version"] == "1"


def test_reference_data_is_replaced_by_its_newest_file(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    reference = contract(mode="replace")
    ingest(lake, settings, write_csv(tmp_path / "a.csv", readings(20)), reference)
    ingest(lake, settings, write_csv(tmp_path / "b.csv", readings(7)), reference)
    assert ids(lake) == [row["reading_id"] for row in readings(7)]


def test_where_rows_came_from_stands_in_their_snapshot(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    result = ingest(lake, settings, write_csv(tmp_path / "a.csv", readings(20)))
    snapshot = lake.table("water.readings").snapshot_by_id(int(result.snapshot_id or 0))
    assert snapshot is not None
    assert snapshot.summary is not None
    assert snapshot.summary["falaj.source.sha256"] == result.sha256


def test_columns_with_personal_data_say_so_in_the_table(lake: Lake) -> None:
    lake.open(contract())
    assert "[personal data]" in str(lake.table("water.readings").schema().find_field("meter").doc)


def test_a_table_that_is_not_there_is_an_error_of_the_caller(lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"no table water\.nothing"):
        lake.table("water.nothing")


def test_two_files_at_the_same_time_both_come_in_once(settings: Settings, tmp_path: Path) -> None:
    import threading

    Lake(settings).open(contract())
    files = [write_csv(tmp_path / f"{n}.csv", readings(30, start=20 * n)) for n in range(4)]
    results: list[BatchResult] = []
    threads = [
        threading.Thread(target=lambda path=path: results.append(ingest(Lake(settings), settings, path)))
        for path in files
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.accepted for result in results) == 90
    assert ids(Lake(settings)) == [f"r{number:07d}" for number in range(90)]
