"""A training set is what its manifest says, or it is refused; its periods hold exactly the rows between their dates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem

from runtime.settings import Settings
from runtime.training.configuration import TrainingConfiguration
from runtime.training.dataset import GroupReader, index_rows, open_training_set, read_rows
from runtime.training.errors import DataError
from tests.support.training_sets import made_up_configuration, made_up_set, made_up_table, write_training_set

DATA = TrainingConfiguration.model_validate(made_up_configuration()).data
SETTINGS = Settings()


def rows_of(directory: Path, period: str, data: Any = DATA) -> list[int]:
    dataset = open_training_set(SETTINGS, str(directory))
    rows = index_rows(LocalFileSystem(), dataset, data)[period]
    batches = read_rows(LocalFileSystem(), dataset, rows, data.time_column, ["row"])
    return [value for batch in batches for value in batch.column(0).to_pylist()]


@pytest.mark.parametrize("rows_per_group", [1, 37, 500, 10_000])
def test_periods_hold_exactly_their_rows_however_groups_lie(tmp_path: Path, rows_per_group: int) -> None:
    made_up_set(tmp_path / "set", rows=900, rows_per_group=rows_per_group)
    times = made_up_table(900)["event_timestamp"].to_pylist()
    for name in ("train", "validation", "test"):
        period = getattr(DATA, name)
        expected = [n for n, time in enumerate(times) if period.start <= time < period.end]
        assert rows_of(tmp_path / "set", name) == expected


def test_periods_hold_exactly_their_rows_in_files_without_statistics_and_order(tmp_path: Path) -> None:
    table = made_up_table(900)
    shuffled = table.take(pa.array([(n * 7) % 900 for n in range(900)]))
    (tmp_path / "set").mkdir()
    pq.write_table(shuffled, tmp_path / "set" / "a.parquet", row_group_size=100, write_statistics=False)
    (tmp_path / "set" / "manifest.json").write_text(json.dumps({"files": [{"path": "a.parquet"}]}))
    times = table["event_timestamp"].to_pylist()
    expected = {n for n, time in enumerate(times) if DATA.train.start <= time < DATA.train.end}
    assert set(rows_of(tmp_path / "set", "train")) == expected


def test_ranges_read_in_any_order_equal_slices(tmp_path: Path) -> None:
    made_up_set(tmp_path / "set", rows=30_000, rows_per_group=30_000, files=1)
    dataset = open_training_set(SETTINGS, str(tmp_path / "set"))
    rows = index_rows(LocalFileSystem(), dataset, DATA)["validation"]
    reader = GroupReader(LocalFileSystem(), dataset.files, DATA.validation, DATA.time_column, ["row"])
    group = rows.groups[0]
    every = [v for batch in reader.read(group, 0, group.rows) for v in batch.column(0).to_pylist()]
    for start, stop in [(0, 10), (10, 3000), (3000, 4000), (5, 6), (0, 4000), (3999, 4000), (100, 100)]:
        part = [v for batch in reader.read(group, start, stop) for v in batch.column(0).to_pylist()]
        assert part == every[start:stop]


def change(directory: Path, **entry: Any) -> None:
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"][0] |= entry
    (directory / "manifest.json").write_text(json.dumps(manifest))


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    path = made_up_set(tmp_path / "set") / "part-000.parquet"
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="altered after it was made"):
        open_training_set(SETTINGS, str(tmp_path / "set"))


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = made_up_set(tmp_path / "set") / "part-001.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="cut short or replaced"):
        open_training_set(SETTINGS, str(tmp_path / "set"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (made_up_set(tmp_path / "set") / "part-001.parquet").unlink()
    with pytest.raises(DataError, match=r"part-001\.parquet: listed in .* but not there"):
        open_training_set(SETTINGS, str(tmp_path / "set"))


@pytest.mark.parametrize("path", ["../secret.parquet", "/etc/passwd", "a/../../b", "s3://other/x.parquet", ""])
def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path, path: str) -> None:
    change(made_up_set(tmp_path / "set"), path=path)
    with pytest.raises(DataError, match="not a manifest"):
        open_training_set(SETTINGS, str(tmp_path / "set"))


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', '{"files": []}', '{"uri": 3, "sha256": ""}', "{" * 10])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"not a manifest"):
        open_training_set(SETTINGS, str(tmp_path))


def test_a_set_of_one_file_may_be_named_by_its_uri(tmp_path: Path) -> None:
    directory = write_training_set(tmp_path / "set", [made_up_table(900)])
    entry = json.loads((directory / "manifest.json").read_text())["files"][0]
    (directory / "manifest.json").write_text(
        json.dumps({"uri": f"s3://bucket/sets/{entry['path']}", "sha256": entry["sha256"], "catalogue_digest": "c0"})
    )
    dataset = open_training_set(SETTINGS, str(directory))
    assert dataset.files[0].path == str(directory / "part-000.parquet")
    assert dataset.origin["catalogue_digest"] == "c0"


def test_a_period_without_rows_is_named(tmp_path: Path) -> None:
    made_up_set(tmp_path / "set")
    later = DATA.model_copy(update={"test": DATA.test.model_copy(update={"start": DATA.test.end})})
    with pytest.raises(DataError, match="no rows in period test"):
        rows_of(tmp_path / "set", "test", later)


def test_a_row_without_a_time_is_refused(tmp_path: Path) -> None:
    table = made_up_table(100)
    times = [None, *table["event_timestamp"].to_pylist()[1:]]
    table = table.set_column(0, "event_timestamp", pa.array(times, table["event_timestamp"].type))
    with pytest.raises(DataError, match="1 rows of row group 0 have no event_timestamp"):
        rows_of(write_training_set(tmp_path / "set", [table]), "train")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    directory = write_training_set(tmp_path / "set", [made_up_table(100).drop_columns(["wind", "city"])])
    with pytest.raises(DataError, match="columns missing: city, wind"):
        rows_of(directory, "train")
