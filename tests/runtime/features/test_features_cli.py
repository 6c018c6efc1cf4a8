"""The command line over a real lake: one command per step, readable output, one line for an error."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from runtime.cli import main
from runtime.ingestion.lake import Lake
from runtime.lineage.events import from_json
from runtime.settings import Settings
from runtime.training.dataset import open_training_set
from tests.support.ride_project import SERVICE, ride_tables

PROJECT = ["--project", "tests.support.ride_project:RIDES"]


@pytest.fixture
def told(online: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings in this process's environment, where the command line finds them."""
    for name, value in online.model_dump().items():
        monkeypatch.setenv(f"FALAJ_{name.upper()}", str(value))
    return online


@pytest.fixture
def lake(told: Settings) -> Settings:
    """The ride tables as Iceberg tables."""
    lake = Lake(told)
    lake.catalog.create_namespace_if_not_exists("rides")
    for name, frame in ride_tables().items():
        table = lake.catalog.create_table(name, schema=frame.to_arrow().schema)
        table.append(frame.to_arrow())
    return told


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            main(["features", *arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_every_step_from_the_lake_to_online_features(
    lake: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what each step read and made stands in the lineage, the subjects of its rows with it."""
    record = tmp_path / "lineage.jsonl"
    monkeypatch.setenv("FALAJ_LINEAGE_URL", f"file:{record}")
    monkeypatch.setenv("FALAJ_SUBJECT_INDEX_KEY", "a key that only tests use")
    code, out, _ = run(capsys, "apply", *PROJECT)
    assert (code, "generation 1 is live" in out, "driver_stats_v1" in out, "trip_value_v1" in out) == (
        0,
        True,
        True,
        True,
    )

    code, out, _ = run(capsys, "compute", *PROJECT, "--json")
    snapshot = json.loads(out)
    assert {table["name"]: table["rows"] for table in snapshot["inputs"]} == {"rides.rides": 60, "rides.prices": 30}
    assert all(table["snapshot_id"].isdecimal() for table in snapshot["inputs"])

    code, out, _ = run(capsys, "build-training-set", *PROJECT, "--service", SERVICE, "--until", "2026-01-02", "--json")
    made = json.loads(out)
    assert (code, made["rows"], made["snapshot_id"]) == (0, 25, snapshot["id"])

    code, out, _ = run(capsys, "materialise", *PROJECT, "--as-of", "2026-01-03T00:00:00")
    assert (code, out.startswith("generation 2 of rides is live (was 1)")) == (0, True)

    keys = ["--entity", "driver_id=0", "--entity", "zone=z0", "--entity", "city=dubai", "--entity", "distance_km=30"]
    code, out, _ = run(capsys, "get", *PROJECT, "--service", SERVICE, *keys, "--json")
    answer = json.loads(out)
    assert (code, answer["rides"], answer["is_long"]) == (0, 9, True)

    code, out, _ = run(capsys, "get", *PROJECT, "--feature", "driver_stats_v1:rides", "--entity", "driver_id=0")
    assert (code, "rides, generation 2" in out, "9" in out) == (0, True, True)

    code, out, _ = run(capsys, "skew", *PROJECT, "--service", SERVICE, "--rows", "40")
    assert (code, "passed" in out) == (0, True)

    events = [from_json(line) for line in record.read_text().splitlines()]
    done = {event.job: event for event in events if event.state == "COMPLETE"}
    steps = ["build-training-set", "compute", "compute-view", "materialise", "skew"]
    assert sorted(done) == [f"features.{name}" for name in steps]
    computed = [event for event in events if event.job == "features.compute-view" and event.state == "COMPLETE"]
    assert {event.outputs[0].artifact.name: [part.artifact.name for part in event.inputs] for event in computed} == {
        "rides.driver_stats_v1": ["rides.rides"],
        "rides.driver_last_ride_v1": ["rides.rides"],
        "rides.zone_prices_v2": ["rides.prices"],
    }
    views = {str(event.outputs[0].artifact) for event in computed}
    assert views == {str(part.artifact) for part in done["features.materialise"].inputs}
    assert views < {str(part.artifact) for part in done["features.build-training-set"].inputs}
    digest = open_training_set(lake, made["manifest_uri"]).manifest_digest
    assert [str(part.artifact) for part in done["features.build-training-set"].outputs] == [
        f"training_set:{SERVICE}@{digest}"
    ]
    assert done["features.skew"].inputs[0].artifact == done["features.materialise"].outputs[0].artifact
    subjects = {part.artifact.name: len(part.subjects) for event in computed for part in event.outputs}
    assert subjects == {"rides.driver_stats_v1": 6, "rides.driver_last_ride_v1": 6, "rides.zone_prices_v2": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["get", "--feature", "driver_stats_v9:rides", "--entity", "driver_id=0"], "has no version 9"),
        (["get", "--feature", "driver_stats_v1:rides", "--entity", "driver_id=x"], "'x' is no int64"),
        (["get", "--feature", "driver_stats_v1:rides", "--entity", "driver_id"], "COLUMN=VALUE"),
        (["get", "--entity", "driver_id=0"], "--service or for one or more --feature"),
        (["build-training-set", "--service", SERVICE], "there is no such object"),
        (["materialise", "--as-of", "2026-01-03"], "there is no such object"),
        (["skew", "--service", SERVICE], "was never materialised"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    told: Settings, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    run(capsys, "apply", *PROJECT)
    code, _, err = run(capsys, arguments[0], *PROJECT, *arguments[1:])
    assert code in (1, 2)
    assert message in err
    assert err.count("\n") == 1
