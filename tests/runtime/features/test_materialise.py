"""Online reads must never fail, and never see two generations in one answer, whatever a materialisation does."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from runtime.features import materialise as materialisation
from runtime.features.declaration import Declaration, declare
from runtime.features.errors import FalajError, MaterialisationError, OnlineStoreError, SnapshotError
from runtime.features.generations import GenerationRecord, ValkeyPointer, open_pointer, physical_project
from runtime.features.materialise import apply, clean_up, materialise
from runtime.features.online import open_reader
from runtime.features.project import EVENT_TIMESTAMP, Computation, FeatureProject
from runtime.features.snapshots import Snapshot, compute_snapshot
from runtime.features.valkey_store import connect, drop_project
from runtime.settings import Settings
from tests.support.ride_project import RIDES, SERVICE, FrameTables, at, ride_tables
from tests.support.runtime_servers import ROOT, environment

ROW = {"driver_id": [0], "zone": ["z0"], "city": ["dubai"], "distance_km": [30.0]}


def marked(number: int, project: FeatureProject = RIDES) -> FeatureProject:
    """The project with every driver's ``rides``, ``rides_short`` and ``last_distance_km`` set to ``number``."""

    def stats(tables: Any) -> pl.DataFrame:
        rows = RIDES.computations["driver_stats_v1"].compute(tables)
        return rows.with_columns(rides=pl.lit(number), rides_short=pl.lit(number))

    def price(tables: Any) -> pl.DataFrame:
        return RIDES.computations["zone_prices_v2"].compute(tables).with_columns(price=pl.lit(float(number)))

    computations = {
        **project.computations,
        "driver_stats_v1": Computation(("rides.rides",), stats),
        "zone_prices_v2": Computation(("rides.prices",), price),
    }
    return dataclasses.replace(project, computations=computations)


def _snapshot(settings: Settings, declared: Declaration, number: int, drivers: int = 6) -> Snapshot:
    tables = FrameTables(ride_tables(drivers=drivers), str(number))
    return compute_snapshot(settings, marked(number), declared.catalogue, tables)


def _keys(settings: Settings, generation: int) -> int:
    from runtime.features.encoding import project_of_key

    project = physical_project("rides", generation)
    return sum(project_of_key(key) == project for key in connect(settings).scan_iter(count=1000))


def test_reads_never_fail_or_mix_while_generations_come_and_go(online: Settings, declared: Declaration) -> None:
    """Eight generations, each with its own number in every value, under readers that never pause."""
    snapshots = [_snapshot(online, declared, number) for number in (1, 2)]
    materialise(online, declared, snapshots[0], as_of=at(48))
    stop = threading.Event()
    faults: list[str] = []
    seen: set[tuple[int, int]] = set()

    def read() -> None:
        reader = open_reader(online, "rides")
        newest = 0
        while not stop.is_set():
            try:
                answer = reader.get(SERVICE, {name: value * 2 for name, value in ROW.items()})
            except FalajError as error:
                faults.append(str(error))
                return
            values = answer.to_dict()
            numbers = {*values["rides"], *values["rides_short"], *values["price"]}
            if len(numbers) != 1 or numbers - {1, 2}:
                faults.append(f"generation {answer.generation} answered {numbers}")
            if answer.generation < newest:
                faults.append(f"generation {answer.generation} after {newest}")
            newest = answer.generation
            seen.add((answer.generation, int(numbers.pop() or 0)))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in readers:
        thread.start()
    try:
        for turn in range(7):
            # Nothing is kept behind: a reader that looked at the old generation finds it gone.
            materialise(online, declared, snapshots[(turn + 1) % 2], as_of=at(48), keep_previous=0)
    finally:
        stop.set()
        for thread in readers:
            thread.join()
    assert faults == []
    assert {(generation, 1 + (generation + 1) % 2) for generation, _ in seen} == seen
    assert len(seen) >= 5


def test_a_builder_killed_in_the_middle_leaves_the_live_generation_serving(
    online: Settings, declared: Declaration, directory: Path
) -> None:
    materialise(online, declared, _snapshot(online, declared, 1), as_of=at(48))
    second = _snapshot(online, declared, 2)
    program = (
        "import sys, time, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from pathlib import Path\n"
        "from runtime.features import declaration, materialise, snapshots\n"
        "from runtime.settings import load_settings\n"
        "from tests.support.ride_project import RIDES, at\n"
        "settings = load_settings()\n"
        "declared = declaration.declare(RIDES, Path(sys.argv[1]))\n"
        "def step(view):\n"
        "    if view == 'zone_prices_v2':\n"
        "        print('half', flush=True)\n"
        "        time.sleep(600)\n"
        f"snapshot = snapshots.load_snapshot(settings, 'rides', {second.id!r})\n"
        "materialise.materialise(settings, declared, snapshot, as_of=at(48), progress=step)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(directory)], env=environment(online), cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        # Feast prints nothing: the one line is ours, once two of three views are written.
        assert child.stdout.readline() == b"half\n"
        pointer = open_pointer(online, "rides")
        assert (pointer.read().live, pointer.read().building) == (1, 2)
        assert _keys(online, 2) > 0
        assert open_reader(online, "rides").get(SERVICE, ROW).to_dict()["rides"] == [1]
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=30)
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
    with pytest.raises(MaterialisationError, match="generation 2 is being built by another process"):
        materialise(online, declared, second, as_of=at(48))
    connect(online).pexpire("falaj:features:rides:building", 1)  # the lease runs out, without the wait
    while connect(online).exists("falaj:features:rides:building"):
        pass
    done = materialise(online, declared, second, as_of=at(48))
    assert (done.generation, done.previous, done.dropped) == (3, 1, (2,))
    assert _keys(online, 2) == 0
    assert open_reader(online, "rides").get(SERVICE, ROW).to_dict()["rides"] == [2]


def test_a_builder_whose_lease_ran_out_may_not_flip(online: Settings, declared: Declaration) -> None:
    materialise(online, declared, _snapshot(online, declared, 1), as_of=at(48))

    def lose(view: str) -> None:
        connect(online).delete("falaj:features:rides:building")

    with pytest.raises(MaterialisationError, match="generation 2 lost its lease"):
        materialise(online, declared, _snapshot(online, declared, 2), as_of=at(48), progress=lose)
    assert open_pointer(online, "rides").read().live == 1
    assert _keys(online, 2) == 0
    assert open_reader(online, "rides").get(SERVICE, ROW).to_dict()["rides"] == [1]


def test_a_builder_that_fails_frees_the_lease_and_cleans_up(
    online: Settings, declared: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _snapshot(online, declared, 1)

    def fail(*_: object) -> None:
        raise SnapshotError("the bucket went away")

    with monkeypatch.context() as patch:
        patch.setattr(materialisation, "_carry_forward", fail)
        with pytest.raises(SnapshotError, match="went away"):
            materialise(online, declared, first, as_of=at(48))
    pointer = open_pointer(online, "rides")
    assert (pointer.read().live, pointer.read().building, pointer.known()) == (None, None, frozenset())
    assert _keys(online, 1) == 0
    assert materialise(online, declared, first, as_of=at(48)).generation == 2


def test_old_generations_are_cleaned_up_and_the_previous_one_is_kept(online: Settings, declared: Declaration) -> None:
    snapshot = _snapshot(online, declared, 1)
    for _ in range(4):
        materialise(online, declared, snapshot, as_of=at(48))
    assert open_pointer(online, "rides").known() == {3, 4}
    assert [_keys(online, generation) > 0 for generation in (1, 2, 3, 4)] == [False, False, True, True]
    assert clean_up(online, "rides", keep_previous=0) == (3,)
    assert _keys(online, 3) == 0


def test_clean_up_leaves_projects_with_similar_names_alone(online: Settings) -> None:
    from runtime.features.encoding import encode_row, key_encoder

    client = connect(online)
    for project in ("rides_g1", "other_rides_g1", "rides_g11"):
        encode = key_encoder([("city", "string")], project)
        client.hset(encode(["dubai"]), mapping=encode_row("v_v1", {"x": "int64"}, {"x": 1}, 10))
    assert drop_project(client, "rides_g1") == 1
    assert client.dbsize() == 2


def test_rows_after_as_of_are_not_materialised(online: Settings, declared: Declaration) -> None:
    snapshot = compute_snapshot(online, RIDES, declared.catalogue, FrameTables(ride_tables()))
    done = materialise(online, declared, snapshot, as_of=at(12))
    answer = open_reader(online, "rides").get(["driver_stats_v1:rides"], {"driver_id": [0, 1]})
    assert answer.to_dict()["rides"] == [3, 2]  # hours 0, 6, 12; and 1, 7
    assert (done.as_of, done.snapshot_id, done.catalogue_digest) == (
        at(12).isoformat(),
        snapshot.id,
        declared.catalogue.digest,
    )


def test_an_instant_without_a_zone_is_refused(online: Settings, declared: Declaration, snapshot: Snapshot) -> None:
    with pytest.raises(MaterialisationError, match="has no time zone"):
        materialise(online, declared, snapshot, as_of=at(1).replace(tzinfo=None))


@pytest.mark.filterwarnings("ignore::RuntimeWarning:feast.*")
def test_a_snapshot_of_other_definitions_is_refused(online: Settings, snapshot: Snapshot, directory: Path) -> None:
    def objects(path_of: Any) -> list[Any]:
        found = list(RIDES.declare(path_of))
        next(o for o in found if o.name == "driver_stats_v1").owner = "another team"
        return found

    other = declare(dataclasses.replace(RIDES, declare=objects), directory)
    with pytest.raises(MaterialisationError, match="was computed from other definitions"):
        materialise(online, other, snapshot, as_of=at(48))
    assert open_pointer(online, "rides").read().live is None


def test_apply_is_idempotent_and_never_replaces_what_is_live(
    online: Settings, declared: Declaration, snapshot: Snapshot
) -> None:
    assert [apply(online, declared), apply(online, declared)] == [1, 1]
    assert materialise(online, declared, snapshot, as_of=at(48)).generation == 2
    assert apply(online, declared) == 2


def test_a_lease_that_runs_out_lets_the_next_builder_in(online: Settings, declared: Declaration) -> None:
    record = GenerationRecord(catalogue=declared.catalogue, snapshot_id="s", as_of="")
    short = ValkeyPointer(connect(online), "rides", lease_seconds=0.05)
    lost = short.begin(record)
    while short.read().building is not None:
        pass
    second = open_pointer(online, "rides").begin(record)
    assert second.generation == lost.generation + 1
    for refused in (short.renew, short.flip):
        with pytest.raises(MaterialisationError, match="lost its lease"):
            refused(lost)
    short.release(lost)  # harmless
    open_pointer(online, "rides").flip(second)
    assert open_pointer(online, "rides").read().live == second.generation


def test_a_generation_that_is_not_there_is_named(online: Settings) -> None:
    with pytest.raises(OnlineStoreError, match="generation 7 of rides is not in the online store"):
        open_pointer(online, "rides").record(7)


def test_feast_follows_every_flip(online: Settings, declared: Declaration, directory: Path) -> None:
    """The store that Feast's own server uses reads whatever is live, without being opened again."""
    from runtime.features.feast_store import open_live, quiet_feast

    first, second = (_snapshot(online, declared, number) for number in (1, 2))
    materialise(online, declared, first, as_of=at(48))
    store = open_live(online, declared, directory / "registry.db")
    answers = []
    for snapshot in (None, second):
        if snapshot is not None:
            materialise(online, declared, snapshot, as_of=at(48), keep_previous=0)
        with quiet_feast():
            answers.append(
                store.get_online_features(features=store.get_feature_service(SERVICE), entity_rows=ROW).to_dict()
            )
    assert [answer["rides"] for answer in answers] == [[1], [2]]
    assert [answer["price"] for answer in answers] == [[1.0], [2.0]]


def test_feast_reads_again_when_a_flip_comes_in_between(
    online: Settings, declared: Declaration, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.features.feast_store import open_live, quiet_feast
    from runtime.features.online_store import ValkeyOnlineStore

    first, second = (_snapshot(online, declared, number) for number in (1, 2))
    materialise(online, declared, first, as_of=at(48))
    store = open_live(online, declared, directory / "registry.db")
    fetch = ValkeyOnlineStore._read_hash_fields
    flips = iter([second])

    def flip_first(self: Any, *arguments: Any) -> Any:
        for snapshot in flips:
            materialise(online, declared, snapshot, as_of=at(48), keep_previous=0)
        return fetch(self, *arguments)

    monkeypatch.setattr(ValkeyOnlineStore, "_read_hash_fields", flip_first)
    with quiet_feast():
        answer = store.get_online_features(features=store.get_feature_service(SERVICE), entity_rows=ROW).to_dict()
    assert (answer["rides"], answer["price"]) == ([2], [2.0])
    assert len(answer["rides"]) == 1
    assert EVENT_TIMESTAMP not in answer
