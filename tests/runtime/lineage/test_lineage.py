"""Every step leaves a record, records are delivered once, and the graph answers where a model came from."""

from __future__ import annotations

import datetime
import itertools
import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InputError
from runtime.lineage.artifacts import Artifact, Kind, parse_reference
from runtime.lineage.drawing import svg, tree
from runtime.lineage.events import Part, StepEvent, from_json, to_json
from runtime.lineage.graph import Edge, Graph
from runtime.lineage.steps import step
from runtime.lineage.store import LineageStore
from runtime.lineage.subjects import subject_digest
from runtime.lineage.transports import DeliveryError, FileTransport, SpoolingTransport, transport_of
from runtime.settings import Settings

KEY = "k" * 32
SOURCE = Artifact(Kind.SOURCE, "flights.csv", "aa11")
TABLE = Artifact(Kind.TABLE, "flights.flights", "7001")
WEATHER = Artifact(Kind.TABLE, "flights.weather", "7002")
VIEW = Artifact(Kind.FEATURE_VIEW, "carrier_delay", "v1")
SET = Artifact(Kind.TRAINING_SET, "delay", "bb22")
MODEL = Artifact(Kind.MODEL, "flights-delay", "3")

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/:=+ -]{0,40}", fullmatch=True)
versions = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,40}", fullmatch=True)
artifacts = st.builds(Artifact, st.sampled_from(Kind), names, versions)
json_values = st.dictionaries(st.text(max_size=8), st.one_of(st.integers(), st.text(max_size=8), st.booleans()))
parts = st.builds(
    Part,
    artifacts,
    json_values,
    st.lists(st.from_regex(r"[0-9a-f]{32}", fullmatch=True), max_size=3).map(tuple),
)


@given(artifacts)
def test_a_reference_names_its_artifact_and_no_other(artifact: Artifact) -> None:
    assert parse_reference(artifact.reference) == artifact


@pytest.mark.parametrize("text", ["", "model", "model:x", "modle:x@1", "model:@1", "model:x@", "model:x@1\n2"])
def test_what_is_no_reference_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_reference(text)
    assert "\n" not in str(caught.value)


@given(
    st.lists(parts, max_size=3).map(tuple),
    st.lists(parts, max_size=3).map(tuple),
    st.sampled_from(["START", "COMPLETE", "FAIL"]),
    json_values,
)
def test_an_event_comes_back_from_openlineage_as_it_was(
    inputs: tuple[Part, ...], outputs: tuple[Part, ...], state: str, properties: dict[str, Any]
) -> None:
    event = StepEvent(
        str(uuid.UUID(int=5)),
        "train.run",
        "risk",
        state,
        datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC),
        inputs,
        outputs,
        properties,
        "ValueError" if state == "FAIL" else "",
    )
    assert from_json(to_json(event)) == event


@pytest.mark.parametrize("text", ["", "[]", "{", '{"run": 3}', '{"run": {"runId": 1}, "job": {"name": "x"}}'])
def test_what_is_no_event_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match="not an OpenLineage run event") as caught:
        from_json(text)
    assert "\n" not in str(caught.value)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=40))
def test_every_edge_points_to_a_later_column(pairs: list[tuple[int, int]]) -> None:
    nodes = [Artifact(Kind.TABLE, f"t{number}", "1") for number in range(13)]
    edges = [edge(nodes[min(pair)], nodes[max(pair)]) for pair in pairs if pair[0] != pair[1]]
    graph = Graph({key: {} for key in nodes}, tuple(edges))
    column = {artifact: number for number, layer in enumerate(graph.layers()) for artifact in layer}
    assert set(column) == set(nodes)
    assert all(column[each.source] < column[each.target] for each in edges)


def test_a_chain_deeper_than_python_recurses_is_laid_out() -> None:
    nodes = [Artifact(Kind.MODEL, "m", str(number)) for number in range(3000)]
    graph = Graph({key: {} for key in nodes}, tuple(edge(a, b) for a, b in itertools.pairwise(nodes)))
    assert [len(layer) for layer in graph.layers()] == [1] * 3000


def test_an_unsound_record_with_a_cycle_is_laid_out_all_the_same() -> None:
    graph = Graph({TABLE: {}, SET: {}, MODEL: {}}, (edge(TABLE, SET), edge(SET, MODEL), edge(MODEL, TABLE)))
    assert sorted(artifact for layer in graph.layers() for artifact in layer) == sorted([TABLE, SET, MODEL])


def edge(source: Artifact, target: Artifact) -> Edge:
    return Edge(source, target, "job", "run", datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))


# -- the store ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(postgres_dsn: str) -> Iterator[tuple[Settings, LineageStore]]:
    settings = Settings(lineage_url=postgres_dsn, subject_index_key=KEY, tenant="risk")
    with LineageStore.open(postgres_dsn) as store:
        yield settings, store


def run_all_steps(settings: Settings, spool: Path) -> None:
    transport = transport_of(settings, spool=spool)
    with step(settings, "ingest.batch", transport=transport) as running:
        running.read(SOURCE)
        running.made(TABLE, {"rows": 3}, subjects=["N1", "N2", "N1"])
    with step(settings, "ingest.batch", transport=transport) as running:
        running.made(WEATHER)
    with step(settings, "features.materialise", transport=transport) as running:
        running.read(TABLE)
        running.made(VIEW)
    with step(settings, "features.training_set", transport=transport) as running:
        for artifact in (TABLE, WEATHER, VIEW):
            running.read(artifact)
        running.made(SET, subjects=["N2"])
    with step(settings, "train.run", transport=transport) as running:
        running.read(SET)
        running.made(MODEL, {"digest": "cc"})
        running.note(seed=7)


def test_a_model_leads_back_to_the_source_files(stored: tuple[Settings, LineageStore], tmp_path: Path) -> None:
    settings, store = stored
    run_all_steps(settings, tmp_path / "spool")
    graph = store.ancestry("risk", MODEL)
    assert set(graph.artifacts) == {SOURCE, TABLE, WEATHER, VIEW, SET, MODEL}
    assert graph.artifacts[TABLE] == {"rows": 3}
    assert [e.source for e in graph.made_from(SET)] == [VIEW, TABLE, WEATHER]
    assert {e.job for e in graph.made_from(MODEL)} == {"train.run"}


def test_another_tenant_sees_nothing(stored: tuple[Settings, LineageStore], tmp_path: Path) -> None:
    settings, store = stored
    run_all_steps(settings, tmp_path / "spool")
    assert store.ancestry("retail", MODEL).artifacts == {}
    assert store.holders("retail", subject_digest(KEY, "N2")) == ()


def test_a_subject_leads_to_what_holds_and_what_used_its_data(
    stored: tuple[Settings, LineageStore], tmp_path: Path
) -> None:
    settings, store = stored
    run_all_steps(settings, tmp_path / "spool")
    assert store.holders("risk", subject_digest(KEY, "N2")) == (TABLE, SET)
    assert store.holders("risk", subject_digest(KEY, "N1")) == (TABLE,)
    assert store.holders("risk", subject_digest(KEY, "N3")) == ()
    assert set(store.descent("risk", [SET]).artifacts) == {SET, MODEL}


def test_the_store_holds_no_subject_and_no_digest_in_its_events(
    stored: tuple[Settings, LineageStore], postgres_dsn: str, tmp_path: Path
) -> None:
    import psycopg

    settings, _ = stored
    run_all_steps(settings, tmp_path / "spool")
    with psycopg.connect(postgres_dsn) as connection:
        text = str(connection.execute("SELECT event FROM lineage_event").fetchall())
    assert "ingest.batch" in text
    assert "N1" not in text
    assert subject_digest(KEY, "N1") not in text


def test_an_event_that_arrives_twice_changes_nothing(stored: tuple[Settings, LineageStore], tmp_path: Path) -> None:
    _settings, store = stored
    file = tmp_path / "events.jsonl"
    run_all_steps(Settings(lineage_url=f"file:{file}", subject_index_key=KEY, tenant="risk"), tmp_path / "spool")
    events = [from_json(line) for line in file.read_text().splitlines()]
    for event in [*events, *reversed(events), *events]:
        store.add(event)
    graph = store.ancestry("risk", MODEL)
    assert len(graph.edges) == 6
    assert len(graph.artifacts) == 6


def test_what_a_failed_run_made_does_not_count(stored: tuple[Settings, LineageStore], tmp_path: Path) -> None:
    settings, store = stored
    transport = transport_of(settings, spool=tmp_path / "spool")
    with pytest.raises(RuntimeError), step(settings, "train.run", transport=transport) as running:
        running.read(SET)
        running.made(MODEL)
        raise RuntimeError("N1 is in row 7")
    assert store.ancestry("risk", MODEL).artifacts == {}


def test_a_failure_is_recorded_by_its_kind_and_never_quotes_data(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    settings = Settings(lineage_url=f"file:{file}")
    with pytest.raises(RuntimeError), step(settings, "train.run"):
        raise RuntimeError("N1 is in row 7")
    start, fail = (json.loads(line) for line in file.read_text().splitlines())
    assert (start["eventType"], fail["eventType"]) == ("START", "FAIL")
    assert fail["run"]["facets"]["errorMessage"]["message"] == "RuntimeError"
    assert "N1" not in file.read_text()


def test_subjects_without_a_key_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    settings = Settings(lineage_url=f"file:{tmp_path / 'events.jsonl'}")
    with pytest.raises(InputError, match="FALAJ_SUBJECT_INDEX_KEY"), step(settings, "ingest.batch") as running:
        running.made(TABLE, subjects=["N1"])


# -- delivery ----------------------------------------------------------------------------------------------------------


def test_what_the_store_refused_is_delivered_in_order_once_it_is_back(postgres_dsn: str, tmp_path: Path) -> None:
    class Flaky:
        """A store behind a cable that somebody pulls."""

        def __init__(self) -> None:
            self.away, self.taken = False, list[str]()

        def emit(self, event: StepEvent) -> None:
            if self.away:
                raise DeliveryError("away")
            self.taken.append(f"{event.job} {event.state}")

    store = Flaky()
    transport = SpoolingTransport(store, tmp_path / "spool.jsonl")
    settings = Settings(lineage_url=postgres_dsn)
    store.away = True
    with step(settings, "a", transport=transport):
        pass
    with step(settings, "b", transport=transport):
        pass
    assert (store.taken, transport.waiting) == ([], 4)
    store.away = False
    with step(settings, "c", transport=transport):
        pass
    assert store.taken == [f"{job} {state}" for job in "abc" for state in ("START", "COMPLETE")]
    assert transport.waiting == 0


def test_a_database_that_is_not_there_does_not_fail_the_step(tmp_path: Path) -> None:
    settings = Settings(lineage_url="postgresql://falaj@127.0.0.1:1/none")
    transport = transport_of(settings, spool=tmp_path / "spool.jsonl")
    with step(settings, "ingest.batch", transport=transport) as running:
        running.made(WEATHER)
    assert len((tmp_path / "spool.jsonl").read_text().splitlines()) == 2


def test_lines_of_many_writers_stay_whole(tmp_path: Path) -> None:
    transport = FileTransport(tmp_path / "events.jsonl")
    settings = Settings(lineage_url="file:unused")

    def write() -> None:
        for _ in range(20):
            with step(settings, "job", transport=transport) as running:
                running.made(WEATHER, {"text": "x" * 4000})

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert len([from_json(line) for line in lines]) == 160


@pytest.mark.parametrize("url", ["", "file:", "ftp://x/y", "http://collector.example.com", "http://x.svc.example.com"])
def test_a_url_that_names_no_safe_transport_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="FALAJ_LINEAGE_URL"):
        transport_of(Settings(lineage_url=url))


def test_a_collector_in_the_cluster_may_be_reached_over_plain_http(tmp_path: Path) -> None:
    settings = Settings(lineage_url="http://lineage.falaj-platform.svc:8080")
    assert isinstance(transport_of(settings, spool=tmp_path / "spool"), SpoolingTransport)


def test_the_collector_takes_events_over_http_and_refuses_what_is_none(
    stored: tuple[Settings, LineageStore], postgres_dsn: str, tmp_path: Path
) -> None:
    import urllib.error
    import urllib.request

    import uvicorn

    from runtime.lineage.collector import PATH, Collector
    from tests.support.moto_server import free_port

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(Collector(postgres_dsn), port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    try:
        url = f"http://127.0.0.1:{port}"
        settings = Settings(lineage_url=url, subject_index_key=KEY, tenant="risk")
        run_all_steps(settings, tmp_path / "spool")
        assert not (tmp_path / "spool").exists()
        assert set(stored[1].ancestry("risk", MODEL).artifacts) == {SOURCE, TABLE, WEATHER, VIEW, SET, MODEL}
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(f"{url}{PATH}", b"{}", method="POST"))
        with refused.value as answer:
            assert answer.code == 400
    finally:
        server.should_exit = True
        thread.join()


# -- looking at it -----------------------------------------------------------------------------------------------------


def test_the_tree_and_the_picture_name_every_artifact(stored: tuple[Settings, LineageStore], tmp_path: Path) -> None:
    import io
    import xml.etree.ElementTree as ET

    from rich.console import Console

    settings, store = stored
    run_all_steps(settings, tmp_path / "spool")
    graph = store.ancestry("risk", MODEL)
    console = Console(file=io.StringIO(), width=100)
    console.print(tree(graph, MODEL))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    picture = svg(graph, "Origin of <model>")
    ET.fromstring(picture)
    for artifact in graph.artifacts:
        assert f"{artifact.name}@{artifact.version}" in text
        assert artifact.reference in picture


def test_the_commands_answer(
    stored: tuple[Settings, LineageStore],
    postgres_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from runtime.cli import main

    settings, _ = stored
    run_all_steps(settings, tmp_path / "spool")
    for name, value in (("LINEAGE_URL", postgres_dsn), ("SUBJECT_INDEX_KEY", KEY), ("TENANT", "risk")):
        monkeypatch.setenv(f"FALAJ_{name}", value)
    main(["lineage", "show", "model:flights-delay@3", "--svg", str(tmp_path / "origin.svg")])
    assert "flights.csv@aa11" in capsys.readouterr().out
    assert "flights.csv" in (tmp_path / "origin.svg").read_text()
    main(["lineage", "subject", "N2", "--json"])
    assert json.loads(capsys.readouterr().out) == {
        "holds": ["table:flights.flights@7001", "training_set:delay@bb22"],
        "used_by": ["feature_view:carrier_delay@v1", "model:flights-delay@3"],
    }
    with pytest.raises(SystemExit) as ended:
        main(["lineage", "show", "model:flights-delay@9"])
    assert ended.value.code == 2
    assert "known versions: 3" in capsys.readouterr().err
