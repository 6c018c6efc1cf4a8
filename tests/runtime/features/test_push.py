"""A stream row must reach the online store once it is newest, in whatever order it comes and whatever flips."""

from __future__ import annotations

import random
import threading
from typing import Any

import polars as pl
import pytest

from runtime import metrics
from runtime.features.declaration import Declaration
from runtime.features.encoding import encode_row, key_encoder, timestamp_field
from runtime.features.errors import OnlineStoreAwayError, OnlineStoreError, UnknownFeatureError
from runtime.features.generations import Build, GenerationRecord, Generations, Pointer, open_pointer
from runtime.features.materialise import apply, materialise
from runtime.features.online import open_reader
from runtime.features.push import FeatureWriter
from runtime.features.snapshots import Snapshot
from runtime.features.valkey_store import connect, write_rows
from runtime.ingestion.contract import Contract
from runtime.ingestion.ports import OnlineWriter
from runtime.outages import is_outage
from runtime.settings import Settings
from tests.support.moto_server import free_port
from tests.support.ride_project import RIDE_FINISHED, RIDES, at, ride_tables

STREAM_FEATURES = ["driver_last_ride_v1:last_distance_km", "driver_last_ride_v1:last_zone"]


def _events(rides: int = 60) -> pl.DataFrame:
    return ride_tables(rides)["rides.rides"]


def _contract(event_type: str) -> Contract:
    import pandera.polars as pa

    schema = pa.DataFrameSchema({"ride_id": pa.Column(pl.String)})
    return Contract(
        table="rides.rides",
        version=1,
        schema=schema,
        key=("ride_id",),
        owner="tests",
        description="Rides",
        event_type=event_type,
    )


def _read(settings: Settings, drivers: int = 6) -> dict[str, list[Any]]:
    return open_reader(settings, "rides").get(STREAM_FEATURES, {"driver_id": list(range(drivers))}).to_dict()


def _expected(events: pl.DataFrame) -> list[float]:
    last = events.sort("known_at").group_by("driver_id").last().sort("driver_id")
    return list(last["distance_km"])


def test_the_writer_is_the_port_of_ingestion(online: Settings) -> None:
    assert isinstance(FeatureWriter(online, RIDES), OnlineWriter)


@pytest.mark.parametrize("seed", range(5))
def test_the_newest_row_wins_in_any_order_and_any_number_of_times(
    online: Settings, declared: Declaration, seed: int
) -> None:
    apply(online, declared)
    events = _events()
    order = [n for n in range(events.height) for _ in range(2)]
    random.Random(seed).shuffle(order)
    writer = FeatureWriter(online, RIDES)
    for start in range(0, len(order), 7):
        writer.write_events(RIDE_FINISHED, events[sorted(set(order[start : start + 7]))])
    assert _read(online)["last_distance_km"] == _expected(events)


def test_concurrent_writers_leave_the_newest_row(online: Settings, declared: Declaration) -> None:
    """What Feast's own write loses: it looks at the stored time first and writes afterwards."""
    apply(online, declared)
    events = _events(240)
    parts = [events[[n for n in range(240) if n % 4 == k]] for k in range(4)]

    def push(part: pl.DataFrame) -> None:
        writer = FeatureWriter(online, RIDES)
        for row in part.iter_slices(1):
            writer.write_events(RIDE_FINISHED, row)

    threads = [threading.Thread(target=push, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _read(online)["last_distance_km"] == _expected(events)


@pytest.mark.parametrize(
    ("stored", "offered", "wins"),
    [
        ((0, 0), (1, 0), True),
        ((1, 0), (0, 0), False),
        ((127, 0), (128, 0), True),
        ((16_384, 0), (16_383, 999_999_000), False),
        ((1_767_225_600, 0), (1_767_225_600, 1_000), True),
        ((1_767_225_600, 500_000_000), (1_767_225_600, 499_999_000), False),
        ((1_767_225_600, 0), (1_767_225_600, 0), False),
        ((2**33, 0), (2**33 + 1, 0), True),
    ],
)
def test_the_script_orders_times_as_numbers(
    online: Settings, stored: tuple[int, int], offered: tuple[int, int], wins: bool
) -> None:
    client = connect(online)
    key = key_encoder([("driver_id", "int64")], "rides_g1")([1])
    for value, moment in ((1, stored), (2, offered)):
        write_rows(client, "v_v1", [(key, encode_row("v_v1", {"x": "int64"}, {"x": value}, *moment))])
    from runtime.features.encoding import decode_timestamp, decode_value, hash_field

    found = client.hmget(key, [hash_field("v_v1", "x"), timestamp_field("v_v1")])
    assert (decode_value(found[0]), decode_timestamp(found[1])) == ((2, offered) if wins else (1, stored))


def test_rows_since_the_batch_survive_the_flip(online: Settings, declared: Declaration, snapshot: Snapshot) -> None:
    """The batch is cut at hour 30; the stream has brought all 60 hours."""
    apply(online, declared)
    FeatureWriter(online, RIDES).write_events(RIDE_FINISHED, _events())
    done = materialise(online, declared, snapshot, as_of=at(30), keep_previous=0)
    assert done.carried_forward == 6
    assert _read(online)["last_distance_km"] == _expected(_events())


def test_rows_that_come_during_a_build_are_in_both_generations(
    online: Settings, declared: Declaration, snapshot: Snapshot
) -> None:
    apply(online, declared)
    writer = FeatureWriter(online, RIDES)
    during: list[list[Any]] = []

    def push(view: str) -> None:
        if view == "zone_prices_v2":
            writer.write_events(RIDE_FINISHED, _events())
            during.append(_read(online)["last_distance_km"])

    materialise(online, declared, snapshot, as_of=at(30), progress=push, keep_previous=0)
    assert during == [_expected(_events())]
    assert _read(online)["last_distance_km"] == _expected(_events())


def test_a_flip_between_look_and_write_loses_no_row(
    online: Settings, declared: Declaration, snapshot: Snapshot
) -> None:
    """The whole build happens after the writer looked at the pointer and before it wrote."""
    apply(online, declared)
    pointer = open_pointer(online, "rides")

    class Stale(_Forwarding):
        looked = False

        def read(self) -> Generations:
            now = pointer.read()
            if not self.looked:
                self.looked = True
                materialise(online, declared, snapshot, as_of=at(30))
            return now

    writer = FeatureWriter(online, RIDES, pointer=Stale(pointer))
    writer.write_events(RIDE_FINISHED, _events())
    assert open_pointer(online, "rides").read().live == 2
    assert _read(online)["last_distance_km"] == _expected(_events())


def test_streams_and_materialisations_together_lose_nothing(
    online: Settings, declared: Declaration, snapshot: Snapshot
) -> None:
    apply(online, declared)
    events = _events(360)
    stop = threading.Event()

    def build() -> None:
        while not stop.is_set():
            materialise(online, declared, snapshot, as_of=at(30), keep_previous=0)

    builder = threading.Thread(target=build)
    builder.start()
    try:
        writer = FeatureWriter(online, RIDES)
        for part in events.iter_slices(3):
            writer.write_events(RIDE_FINISHED, part)
    finally:
        stop.set()
        builder.join()
    assert _read(online)["last_distance_km"] == _expected(events)


def test_events_of_other_types_are_left_alone(online: Settings) -> None:
    FeatureWriter(online, RIDES).write(_contract("tests.rides.rated"), _events())
    assert connect(online).dbsize() == 0


def test_events_of_a_contract_reach_the_store(online: Settings, declared: Declaration) -> None:
    apply(online, declared)
    before = metrics.value("falaj_features_pushed_rows_total", project="rides", view="driver_last_ride_v1")
    FeatureWriter(online, RIDES).write(_contract(RIDE_FINISHED), _events())
    assert _read(online)["last_distance_km"] == _expected(_events())
    after = metrics.value("falaj_features_pushed_rows_total", project="rides", view="driver_last_ride_v1")
    assert after - before == 60


def test_a_store_that_is_away_counts_as_an_outage(online: Settings) -> None:
    away = online.model_copy(update={"online_store_endpoint": f"127.0.0.1:{free_port()}"})
    with pytest.raises(OnlineStoreAwayError) as caught:
        FeatureWriter(away, RIDES).write_events(RIDE_FINISHED, _events())
    assert is_outage(caught.value)


def test_a_project_that_was_never_applied_is_named(online: Settings) -> None:
    with pytest.raises(
        OnlineStoreError, match="project rides has no live generation in the online store: apply it first"
    ):
        FeatureWriter(online, RIDES).write_events(RIDE_FINISHED, _events())


def test_a_stream_view_that_no_generation_knows_is_named(online: Settings, declared: Declaration) -> None:
    import dataclasses

    fewer = tuple(view for view in declared.catalogue.views if view.kind == "batch")
    catalogue = dataclasses.replace(declared.catalogue, views=fewer)
    open_pointer(online, "rides").ensure_live(GenerationRecord(catalogue=catalogue, snapshot_id="", as_of=""))
    with pytest.raises(UnknownFeatureError, match="driver_last_ride_v1 is in no generation of rides"):
        FeatureWriter(online, RIDES).write_events(RIDE_FINISHED, _events())


class _Forwarding:
    """A pointer that passes everything on to another."""

    def __init__(self, pointer: Pointer) -> None:
        self._pointer = pointer

    def read(self) -> Generations:
        return self._pointer.read()

    def record(self, generation: int) -> GenerationRecord:
        return self._pointer.record(generation)

    def ensure_live(self, record: GenerationRecord) -> int:
        return self._pointer.ensure_live(record)

    def begin(self, record: GenerationRecord) -> Build:
        return self._pointer.begin(record)

    def renew(self, build: Build) -> None:
        self._pointer.renew(build)

    def flip(self, build: Build) -> None:
        self._pointer.flip(build)

    def release(self, build: Build) -> None:
        self._pointer.release(build)

    def known(self) -> frozenset[int]:
        return self._pointer.known()

    def lived(self) -> frozenset[int]:
        return self._pointer.lived()

    def forget(self, generation: int) -> None:
        self._pointer.forget(generation)
