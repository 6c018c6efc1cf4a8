"""A table must hold the same rows before and after its maintenance, whatever happens in between."""

from __future__ import annotations

import contextlib
import datetime
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from runtime import metrics
from runtime.cli import cli as runtime_cli
from runtime.features.snapshots import TableInput
from runtime.ingestion.lake import Lake, LakeTable
from runtime.ingestion.maintenance import (
    Maintenance,
    MaintenanceError,
    MaintenanceOptions,
    MaintenanceResult,
)
from runtime.ingestion.table_references import ReferencesError, referenced_snapshots
from runtime.settings import Settings
from tests.support.readings import READINGS, readings
from tests.support.runtime_servers import ROOT, environment

NAME = READINGS.table
DAYS = 3
COMMITS = 8
ROWS_PER_COMMIT = 30
NOTHING_OLD = MaintenanceOptions(min_files=2)
ALL_OLD = MaintenanceOptions(
    min_files=2, keep_snapshots=datetime.timedelta(0), keep_last=1, orphan_age=datetime.timedelta(days=1)
)


def frame(start: int, count: int = ROWS_PER_COMMIT) -> pl.DataFrame:
    """Rows of all days, as a micro-batch brings them."""
    rows = pl.DataFrame(readings(count, days=DAYS, start=start), infer_schema_length=None)
    return rows.with_columns(pl.col("read_at").str.to_datetime(time_unit="us", time_zone="UTC")).select(
        pl.col(name).cast(kind) for name, kind in READINGS.types.items()
    )


def fill(settings: Settings, commits: int = COMMITS) -> LakeTable:
    """A table of ``commits`` micro-batches: a file a day and a snapshot each."""
    table = Lake(settings).open(READINGS)
    for number in range(commits):
        table.commit(frame(number * ROWS_PER_COMMIT), {})
    return table


def rows_of(settings: Settings) -> pl.DataFrame:
    found = pl.from_arrow(Lake(settings).table(NAME).scan().to_arrow())
    assert isinstance(found, pl.DataFrame)
    return found.sort("reading_id")


def files_of(settings: Settings) -> list[str]:
    return sorted(task.file.file_path for task in Lake(settings).table(NAME).scan().plan_files())


def objects_of(settings: Settings, aws: Any) -> set[str]:
    prefix = Lake(settings).table(NAME).location().partition(f"{settings.lake_bucket}/")[2]
    answer = aws.client("s3").list_objects_v2(Bucket=settings.lake_bucket, Prefix=prefix)
    assert not answer["IsTruncated"]
    return {item["Key"] for item in answer["Contents"]}


def maintain(settings: Settings, options: MaintenanceOptions = NOTHING_OLD, **given: Any) -> MaintenanceResult:
    return Maintenance(settings, options, **given).run(NAME, Lake(settings).table(NAME))


def in_two_days() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2)


def test_small_files_become_one_a_day_with_the_same_rows(settings: Settings) -> None:
    fill(settings)
    before = rows_of(settings)
    done = maintain(settings)
    assert (done.rewritten_files, done.added_files, done.left) == (COMMITS * DAYS, DAYS, 0)
    assert len(files_of(settings)) == DAYS
    assert rows_of(settings).equals(before)


def test_a_second_run_finds_nothing_to_do(settings: Settings) -> None:
    fill(settings)
    maintain(settings)
    snapshot = Lake(settings).table(NAME).metadata.current_snapshot_id
    assert maintain(settings) == MaintenanceResult(NAME)
    assert Lake(settings).table(NAME).metadata.current_snapshot_id == snapshot


def test_few_small_files_are_left(settings: Settings) -> None:
    fill(settings, commits=3)
    assert maintain(settings, MaintenanceOptions(min_files=4)).rewritten_files == 0


def test_no_more_than_the_target_is_rewritten_at_once(settings: Settings) -> None:
    fill(settings)
    sizes = [task.file.file_size_in_bytes for task in Lake(settings).table(NAME).scan().plan_files()]
    seen: list[int] = []

    def observe(name: str, facts: dict[str, Any]) -> None:
        if name == "rewriting":
            seen.append(facts["files"])

    maintain(settings, MaintenanceOptions(min_files=2, target_file_bytes=int(max(sizes) * 3.5)), observe=observe)
    assert seen
    assert max(seen) <= 4


def test_a_table_without_rows_is_left_alone(settings: Settings) -> None:
    Lake(settings).open(READINGS)
    assert maintain(settings, ALL_OLD) == MaintenanceResult(NAME)


def test_a_commit_that_comes_in_between_costs_an_attempt_and_no_row(settings: Settings) -> None:
    """What a consumer does beside it: it commits between the look at the table and the commit of the compaction."""
    fill(settings)
    beside, commits = Lake(settings).open(READINGS), []

    def observe(name: str, _facts: dict[str, Any]) -> None:
        if name == "committing" and len(commits) < 3:
            beside.refresh()
            commits.append(beside.commit(frame((COMMITS + len(commits)) * ROWS_PER_COMMIT), {"falaj.test": "kept"}))

    before = rows_of(settings)
    done = maintain(settings, observe=observe)
    after = rows_of(settings)
    assert (done.rewritten_files, done.left) == (COMMITS * DAYS, 0)
    assert after.filter(pl.col("reading_id").is_in(before["reading_id"].implode())).equals(before)
    assert after.height == before.height + 3 * ROWS_PER_COMMIT == after["reading_id"].n_unique()
    assert Lake(settings).table(NAME).properties["falaj.test"] == "kept"


def test_conflicts_without_end_leave_the_files_for_next_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 3
    monkeypatch.setattr("runtime.ingestion.maintenance.COMMIT_ATTEMPTS", attempts)
    fill(settings, commits=2)
    beside, sent = Lake(settings).open(READINGS), 0

    def observe(name: str, _facts: dict[str, Any]) -> None:
        nonlocal sent
        if name == "committing":
            beside.refresh()
            sent += 1
            beside.commit(frame(1000 + sent, 1), {})

    before = rows_of(settings)
    done = maintain(settings, observe=observe)
    assert (done.rewritten_files, done.left) == (0, DAYS)
    assert sent == attempts * DAYS
    assert rows_of(settings).height == before.height + sent
    counted = metrics.value("falaj_ingestion_compactions_left_total", table=NAME)
    assert counted >= DAYS


def test_a_writer_goes_on_after_the_table_was_compacted_under_it(settings: Settings) -> None:
    """It is told that somebody else committed, looks again, and takes nothing twice."""
    from runtime.ingestion.known_keys import unknown
    from runtime.ingestion.lake import ConflictError

    writer = fill(settings)
    maintain(settings)
    again = frame(0)
    with pytest.raises(ConflictError):
        writer.commit(again, {})
    assert unknown(again, writer).is_empty()
    writer.commit(frame(COMMITS * ROWS_PER_COMMIT), {})
    assert rows_of(settings).height == (COMMITS + 1) * ROWS_PER_COMMIT


def test_files_that_another_run_took_first_are_left(settings: Settings) -> None:
    fill(settings)
    before, raced = rows_of(settings), []

    def observe(name: str, _facts: dict[str, Any]) -> None:
        if name == "rewriting" and not raced:
            raced.append(True)
            maintain(settings)

    done = maintain(settings, observe=observe)
    assert (done.rewritten_files, done.left) == (0, DAYS)
    assert rows_of(settings).equals(before)


def test_old_snapshots_go_and_the_last_stay(settings: Settings) -> None:
    fill(settings)
    options = MaintenanceOptions(min_files=99, keep_snapshots=datetime.timedelta(0), keep_last=3)
    done = maintain(settings, options, now=in_two_days)
    assert done.expired_snapshots == COMMITS - 3
    assert len(Lake(settings).table(NAME).snapshots()) == 3


def test_young_snapshots_stay(settings: Settings) -> None:
    fill(settings)
    done = maintain(settings, MaintenanceOptions(min_files=99, keep_last=1))
    assert done.expired_snapshots == 0


def test_a_snapshot_that_a_record_names_stays_readable(settings: Settings, aws: Any) -> None:
    table = fill(settings, commits=2)
    assert table.snapshot_id is not None
    named = table.snapshot_id
    before = rows_of(settings)
    for number in range(2, COMMITS):
        table.commit(frame(number * ROWS_PER_COMMIT), {})
    done = maintain(settings, ALL_OLD, referenced=lambda _: frozenset({named}), now=in_two_days)
    assert done.kept_referenced == 1
    found = pl.from_arrow(Lake(settings).table(NAME).scan(snapshot_id=named).to_arrow())
    assert isinstance(found, pl.DataFrame)
    assert found.sort("reading_id").equals(before)


def test_files_of_expired_snapshots_are_removed_and_no_others(settings: Settings, aws: Any) -> None:
    fill(settings)
    before, objects = rows_of(settings), objects_of(settings, aws)
    done = maintain(settings, ALL_OLD, now=in_two_days)
    left = objects_of(settings, aws)
    assert len(objects - left) >= COMMITS * DAYS
    assert done.removed_bytes > 0
    data = {file.partition(f"{settings.lake_bucket}/")[2] for file in files_of(settings)}
    assert {key for key in left if key.endswith(".parquet")} == data
    assert rows_of(settings).equals(before)
    assert maintain(settings, ALL_OLD, now=in_two_days).removed_files == 0


def test_a_file_that_was_never_committed_goes_when_it_is_old_enough(settings: Settings, aws: Any) -> None:
    """What a process leaves that was killed between writing a file and committing it."""
    fill(settings, commits=1)
    location = Lake(settings).table(NAME).location().partition(f"{settings.lake_bucket}/")[2]
    stray, neighbour = f"{location}/data/stray.parquet", f"{location}_2/data/stray.parquet"
    for key in (stray, neighbour):
        aws.client("s3").put_object(Bucket=settings.lake_bucket, Key=key, Body=b"x")
    assert maintain(settings).removed_files == 0
    assert stray in objects_of(settings, aws)
    assert maintain(settings, ALL_OLD, now=in_two_days).removed_files == 1
    assert stray not in objects_of(settings, aws)
    aws.client("s3").head_object(Bucket=settings.lake_bucket, Key=neighbour)


def test_a_table_that_lies_elsewhere_loses_no_file(settings: Settings, aws: Any) -> None:
    fill(settings, commits=1)
    other = settings.model_copy(update={"lake_bucket": "falaj-another"})
    with pytest.raises(MaintenanceError, match="not below s3://falaj-another/"):
        Maintenance(other, ALL_OLD, now=in_two_days).run(NAME, Lake(settings).table(NAME))


def test_what_is_done_is_counted(settings: Settings) -> None:
    fill(settings)
    names = ("compacted_files", "expired_snapshots", "removed_files")
    before = [metrics.value(f"falaj_ingestion_{name}_total", table=NAME) for name in names]
    done = maintain(settings, ALL_OLD, now=in_two_days)
    after = [metrics.value(f"falaj_ingestion_{name}_total", table=NAME) for name in names]
    grown = [late - early for late, early in zip(after, before, strict=True)]
    assert grown == [done.rewritten_files, done.expired_snapshots, done.removed_files]


# -- what records name -------------------------------------------------------------------------------------------------


def put_feature_snapshot(settings: Settings, aws: Any, *inputs: TableInput, body: bytes | None = None) -> None:
    document = {"inputs": [vars(table) for table in inputs]}
    aws.client("s3").put_object(
        Bucket=settings.feature_bucket,
        Key="features/water/snapshots/0123456789abcdef.json",
        Body=json.dumps(document).encode() if body is None else body,
    )


def test_feature_snapshots_name_the_snapshots_they_were_computed_from(settings: Settings, aws: Any) -> None:
    put_feature_snapshot(settings, aws, TableInput(NAME, "11", 1), TableInput("water.meters", "12", 1))
    assert referenced_snapshots(settings, NAME) == {11}


def test_a_table_that_was_empty_names_no_snapshot(settings: Settings, aws: Any) -> None:
    put_feature_snapshot(settings, aws, TableInput(NAME, "empty", 0))
    assert referenced_snapshots(settings, NAME) == frozenset()


@pytest.mark.parametrize("lineage", ["file", "postgresql"])
def test_lineage_names_the_snapshots_that_steps_read(
    settings: Settings, lineage: str, postgres_dsn: str, tmp_path: Any
) -> None:
    from runtime.lineage.artifacts import Artifact, Kind
    from runtime.lineage.steps import step

    url = f"file:{tmp_path}/lineage.jsonl" if lineage == "file" else postgres_dsn
    mine = settings.model_copy(update={"lineage_url": url})
    with step(mine, "train.run") as running:
        running.read(Artifact(Kind.TABLE, NAME, "21"))
        running.made(Artifact(Kind.MODEL, "water", "1"))
    with step(mine, "ingest.batch") as running:  # keeps no version: it makes them all
        running.read(Artifact(Kind.TABLE, NAME, "21"))
        running.made(Artifact(Kind.TABLE, NAME, "22"))
    assert referenced_snapshots(mine, NAME) == {21}
    assert referenced_snapshots(mine, "water.meters") == frozenset()


def test_a_damaged_record_stops_expiry(settings: Settings, aws: Any) -> None:
    put_feature_snapshot(settings, aws, body=b'{"inputs": [{"na')
    fill(settings)
    with pytest.raises(ReferencesError, match="is no feature snapshot"):
        maintain(settings, ALL_OLD, referenced=lambda name: referenced_snapshots(settings, name), now=in_two_days)
    assert len(Lake(settings).table(NAME).snapshots()) == COMMITS + DAYS


def test_a_damaged_lineage_file_stops_expiry(settings: Settings, tmp_path: Any) -> None:
    (tmp_path / "lineage.jsonl").write_text('{"eventType": "COMP')
    mine = settings.model_copy(update={"lineage_url": f"file:{tmp_path}/lineage.jsonl"})
    with pytest.raises(ReferencesError, match="line 1, is no lineage event"):
        referenced_snapshots(mine, NAME)


def test_a_collector_that_cannot_be_asked_stops_expiry(settings: Settings) -> None:
    mine = settings.model_copy(update={"lineage_url": "https://lineage.example/"})
    with pytest.raises(ReferencesError, match="cannot be asked what is in use"):
        referenced_snapshots(mine, NAME)


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_maintains_every_table(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    fill(settings)
    answer = CliRunner().invoke(runtime_cli, ["ingest", "maintain", "--json"])
    assert answer.exit_code == 0, answer.output
    last = json.loads(answer.stdout.splitlines()[-1])
    assert (last["event"], last["table"], last["rewritten_files"], last["added_files"]) == ("result", NAME, 24, 3)


@contextlib.contextmanager
def maintaining(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "runtime", "ingest", "maintain", "--json", "--min-files", "2"),
            *("--keep-days", "0", "--keep-last", "1"),
        ],
        cwd=ROOT,
        env=environment(settings),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_any_step_it_loses_no_row(settings: Settings) -> None:
    """A real SIGKILL as soon as the process says what it is about to do, or has done; then a run to the end."""
    fill(settings)
    before = rows_of(settings)
    for moment, occurrence in (
        ("rewriting", 1),
        ("committing", 1),
        ("compacted", 1),
        ("committing", 2),
        ("expired", 1),
    ):
        with maintaining(settings) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if json.loads(line)["event"] == moment:
                    occurrence -= 1
                    if occurrence == 0:
                        break
            assert occurrence == 0, f"it ended before it came to {moment}"
            process.kill()
            process.wait()
        assert rows_of(settings).equals(before), f"killed at {moment}"
    with maintaining(settings) as process:
        assert process.wait() == 0
    assert rows_of(settings).equals(before)
    assert len(files_of(settings)) == DAYS
    assert len(Lake(settings).table(NAME).snapshots()) == 1
