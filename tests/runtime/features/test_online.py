"""The fast read path must answer what Feast answers, value for value, and refuse what is out of bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from runtime.features.declaration import Declaration
from runtime.features.errors import OnlineStoreAwayError, OnlineStoreError, RequestError, UnknownFeatureError
from runtime.features.generations import physical_project
from runtime.features.materialise import Materialisation, apply, materialise
from runtime.features.monitoring import ReadMonitor
from runtime.features.online import MAX_ROWS, OnlineFeatures, OnlineReader, open_reader
from runtime.features.snapshots import Snapshot
from runtime.features.valkey_store import connect
from runtime.settings import Settings
from tests.support.moto_server import free_port
from tests.support.ride_project import SERVICE, at

ROW = {"driver_id": [0], "zone": ["z0"], "city": ["dubai"], "distance_km": [30.0]}


@pytest.fixture
def live(online: Settings, declared: Declaration, snapshot: Snapshot) -> Materialisation:
    return materialise(online, declared, snapshot, as_of=at(47.25))


@pytest.fixture
def reader(online: Settings, live: Materialisation) -> OnlineReader:
    return open_reader(online, "rides")


def stock_feast(settings: Settings, declared: Declaration, generation: int, directory: Path) -> Any:
    """Feast with its own Redis store and nothing of ours, on the keys of one generation."""
    from feast import FeatureStore, RepoConfig

    from runtime.features.feast_store import quiet_feast

    config = RepoConfig(
        project=physical_project("rides", generation),
        provider="local",
        registry={"registry_type": "file", "path": str(directory / "stock.db"), "cache_ttl_seconds": 0},
        online_store={"type": "redis", "connection_string": settings.online_store_endpoint},
        offline_store={"type": "dask"},
        entity_key_serialization_version=3,
    )
    with quiet_feast():
        store = FeatureStore(config=config)
        store.apply(list(declared.objects))
    return store


def feast_answer(store: Any, features: Any, entities: dict[str, list[Any]]) -> dict[str, tuple[list[Any], Any, Any]]:
    """Values, statuses and event times by column, as Feast's response holds them."""
    from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

    from runtime.features.feast_store import quiet_feast

    with quiet_feast():
        response = store.get_online_features(features=features, entity_rows=entities)
    out = {}
    for name, vector in zip(response.proto.metadata.feature_names.val, response.proto.results, strict=True):
        values = [
            None if value.WhichOneof("val") is None else getattr(value, value.WhichOneof("val"))
            for value in vector.values
        ]
        times = [(moment.seconds, moment.nanos) for moment in vector.event_timestamps]
        statuses = [FieldStatus.Name(status) for status in vector.statuses]
        out[name] = (values, statuses, times or [(0, 0)] * len(values))
    return out


def our_answer(answer: OnlineFeatures) -> dict[str, tuple[list[Any], Any, Any]]:
    parts = zip(answer.names, answer.columns, answer.statuses, answer.event_times, strict=True)
    return {name: (column, statuses, times) for name, column, statuses, times in parts}


rows = st.lists(
    st.tuples(
        st.integers(0, 8),
        st.sampled_from(["z0", "z1", "z2", "nowhere", ""]),
        st.sampled_from(["dubai", "al ain", "دبي"]),
        st.floats(0, 100, allow_nan=False),
    ),
    min_size=1,
    max_size=6,
)


def test_every_answer_is_feasts_answer(
    online: Settings, declared: Declaration, live: Materialisation, reader: OnlineReader, directory: Path
) -> None:
    """Known and unknown keys, repeated rows, nulls, every type, subsets of features, short and full names."""
    store = stock_feast(online, declared, live.generation, directory)
    references = list(declared.catalogue.service(SERVICE))
    stored = [reference for reference in references if not reference.startswith("trip_value_v1")]

    @given(rows, st.sets(st.sampled_from(references), min_size=1))
    @hypothesis_settings(max_examples=60)
    def same(drawn: list[tuple[Any, ...]], wanted: set[str]) -> None:
        entities = {
            name: list(column)
            for name, column in zip(("driver_id", "zone", "city", "distance_km"), zip(*drawn, strict=True), strict=True)
        }
        chosen = sorted(wanted)
        plan = declared.catalogue.plan(chosen)
        asked = {field.name: entities[field.name] for field in (*plan.join_keys, *plan.request)}
        assert our_answer(reader.get(chosen, asked)) == feast_answer(store, chosen, asked)

    same()
    whole = {
        "driver_id": [5, 99, 5],
        "zone": ["z0"] * 3,
        "city": ["dubai", "x", "al ain"],
        "distance_km": [1.0, 2.0, 3.0],
    }
    assert our_answer(reader.get(SERVICE, whole)) == feast_answer(store, store.get_feature_service(SERVICE), whole)
    keys = {name: whole[name] for name in ("driver_id", "zone", "city")}
    with_full_names = feast_answer_full(store, stored, keys)
    assert our_answer(reader.get(stored, keys, full_names=True)) == with_full_names


def feast_answer_full(store: Any, features: list[str], entities: dict[str, list[Any]]) -> Any:
    import functools
    from types import SimpleNamespace

    full = functools.partial(store.get_online_features, full_feature_names=True)
    return feast_answer(SimpleNamespace(get_online_features=full), features, entities)


def test_values_are_those_known_at_the_instant_of_materialisation(reader: OnlineReader) -> None:
    answer = reader.get(["driver_stats_v1:rides", "driver_stats_v1:last_city"], {"driver_id": [0, 5]})
    # Rides of driver 0: hours 0, 6, ... 42 (8 of them up to 47.25); of driver 5: 5, 11, ... 47.
    assert answer.to_dict() == {"driver_id": [0, 5], "rides": [8, 8], "last_city": ["dubai", "al ain"]}
    assert [seconds for seconds, _ in answer.event_times[1]] == [int(at(42).timestamp()), int(at(47).timestamp())]


def test_one_round_trip_reads_every_view(online: Settings, reader: OnlineReader) -> None:
    reader.get(SERVICE, ROW)
    client = connect(online)
    before = client.info("stats")["total_reads_processed"]
    one = client.info("stats")["total_reads_processed"] - before
    reader.get(SERVICE, ROW)
    assert client.info("stats")["total_reads_processed"] - before == 2 * one + 1


@pytest.mark.parametrize(
    ("features", "entities", "error", "message"),
    [
        (SERVICE, {}, RequestError, "no column driver_id, city, zone, distance_km|no column"),
        (SERVICE, {**ROW, "zone": ["a", "b"]}, RequestError, "different lengths: 1, 2"),
        (SERVICE, {name: [] for name in ROW}, RequestError, "has 0 rows"),
        (SERVICE, {name: value * (MAX_ROWS + 1) for name, value in ROW.items()}, RequestError, "has 1001 rows"),
        (SERVICE, {**ROW, "zone": ["z" * 513]}, RequestError, "zone takes text of at most 512 bytes"),
        (SERVICE, {**ROW, "zone": ["ض" * 300]}, RequestError, "zone takes text of at most 512 bytes"),
        (SERVICE, {**ROW, "zone": [None]}, RequestError, "zone takes text"),
        (SERVICE, {**ROW, "driver_id": ["1"]}, RequestError, "driver_id takes whole numbers, not str"),
        (SERVICE, {**ROW, "driver_id": [True]}, RequestError, "driver_id takes whole numbers, not bool"),
        (SERVICE, {**ROW, "driver_id": [2**63]}, RequestError, "join key driver_id"),
        (SERVICE, {**ROW, "zone": ["\ud800"]}, RequestError, "join key"),
        ([], ROW, UnknownFeatureError, "no features asked for"),
        (["driver_stats_v2:rides"], ROW, UnknownFeatureError, "has no version 2; declared: driver_stats_v1"),
        ("fare_v2", ROW, UnknownFeatureError, "feature service 'fare_v2'"),
        (["driver_stats_v1:rides"] * 1001, ROW, RequestError, "1001 features asked for"),
    ],
)
def test_a_bad_request_is_a_clear_error(
    reader: OnlineReader, features: Any, entities: dict[str, list[Any]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        reader.get(features, entities)


def test_full_names_of_computed_features_are_refused(reader: OnlineReader) -> None:
    with pytest.raises(RequestError, match="trip_value_v1 is computed on demand"):
        reader.get(SERVICE, ROW, full_names=True)


def test_a_store_with_nothing_live_says_so(online: Settings) -> None:
    with pytest.raises(OnlineStoreError, match="no live generation"):
        open_reader(online, "rides").get(SERVICE, ROW)


def test_a_store_that_is_away_is_told_from_a_mistake(online: Settings) -> None:
    away = online.model_copy(update={"online_store_endpoint": f"127.0.0.1:{free_port()}"})
    with pytest.raises(OnlineStoreAwayError, match="does not answer"):
        open_reader(away, "rides").get(SERVICE, ROW)


def test_a_stored_value_that_is_damaged_is_an_error(
    online: Settings, reader: OnlineReader, live: Materialisation
) -> None:
    from runtime.features.encoding import hash_field, key_encoder

    key = key_encoder([("driver_id", "int64")], physical_project("rides", live.generation))([0])
    connect(online).hset(key, hash_field("driver_stats_v1", "rides"), b"\x20")
    with pytest.raises(OnlineStoreError, match="cut short"):
        reader.get(["driver_stats_v1:rides"], {"driver_id": [0]})


def test_the_first_generation_is_empty_and_serves_nulls(online: Settings, declared: Declaration) -> None:
    assert apply(online, declared) == 1
    answer = open_reader(online, "rides").get(["driver_stats_v1:rides"], {"driver_id": [0]})
    assert answer.to_dict() == {"driver_id": [0], "rides": [None]}


def test_reading_does_not_import_feast(online: Settings, live: Materialisation) -> None:
    """Feast takes seconds to import: a server that only reads must start without it."""
    import subprocess
    import sys

    from tests.support.runtime_servers import ROOT, environment

    program = (
        "import sys\n"
        "from runtime.features.online import open_reader\n"
        "from runtime.settings import load_settings\n"
        f"answer = open_reader(load_settings(), 'rides').get({SERVICE!r}, {ROW!r})\n"
        "assert answer.to_dict()['rides'] == [8], answer\n"
        "assert not [name for name in sys.modules if name == 'feast' or name.startswith('feast.')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(online), cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_freshness_and_nulls_are_counted_by_view(online: Settings, live: Materialisation) -> None:
    from prometheus_client import CollectorRegistry

    from runtime.features.generations import ValkeyPointer

    client = connect(online)
    now = at(43).timestamp()  # one hour after driver 0's last row, 4 h 59 before driver 5's: freshness is one hour
    reader = OnlineReader(client, "rides", load_record=ValkeyPointer(client, "rides").record, clock=lambda: now + 1)
    assert isinstance(reader.monitor, ReadMonitor)
    reader.get(["driver_stats_v1:rides", "driver_stats_v1:last_rating"], {"driver_id": [0, 5, 77]})
    registry = CollectorRegistry()
    registry.register(reader.monitor)
    labels = {"project": "rides", "view": "driver_stats_v1"}
    found = {
        name: registry.get_sample_value(f"falaj_features_online_{name}", labels)
        for name in ("rows_total", "missing_rows_total", "stale_rows_total", "null_ratio", "age_seconds")
    }
    # Driver 0's last ride (42) is a multiple of 7: no rating; driver 77 has nothing.
    assert found["rows_total"] == 3
    assert found["missing_rows_total"] == 1
    assert found["stale_rows_total"] == 1
    assert found["null_ratio"] == pytest.approx(3 / 6)
    assert found["age_seconds"] == pytest.approx(now + 1 - at(47).timestamp())
