"""The consumer of a stream: what becomes of every record, and that the table equals the source whatever happens."""

from __future__ import annotations

import base64
import datetime
import json
import threading
from collections.abc import Iterable
from typing import Any

import polars as pl
import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from runtime import metrics
from runtime.ingestion import checkpoints, events
from runtime.ingestion.consumer import Commit, ConsumerOptions, StreamIngestion, StreamResult
from runtime.ingestion.contract import Contract
from runtime.ingestion.errors import FencedError, OutageError, StreamError
from runtime.ingestion.lake import Lake
from runtime.ingestion.ports import Record, StreamConsumer
from runtime.ingestion.triage import Rules, triage
from runtime.settings import Settings
from tests.support.memory_stream import MemoryStream
from tests.support.readings import FIRST, contract, readings
from tests.support.runtime_servers import Aws

NOW = FIRST + datetime.timedelta(days=5)


class Pushed:
    """An online writer that remembers."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def write(self, contract: Contract, rows: pl.DataFrame) -> None:
        self.ids += rows["reading_id"].to_list()


def event(row: dict[str, Any], **changes: Any) -> bytes:
    envelope = {"id": row["reading_id"], "type": "falaj.water.read", "source": "/meters", "time": row["read_at"]}
    time = datetime.datetime.fromisoformat(row["read_at"])
    return events.encode(**{**envelope, "time": time, "data": row, **changes})


def encoded(rows: Iterable[dict[str, Any]]) -> list[bytes]:
    return [event(row) for row in rows]


def consume(
    settings: Settings,
    stream: StreamConsumer,
    *,
    online: Pushed | None = None,
    given: Contract | None = None,
    observe: Any = lambda *_: None,
    record: Any = None,
    **options: Any,
) -> StreamResult:
    chosen = {"idle_seconds": 0.0, "poll_seconds": 0.0, "batch_seconds": 60.0, "outage_limit_seconds": 30.0, **options}
    ingestion = StreamIngestion(
        settings,
        given or contract(),
        ConsumerOptions(**chosen),
        lake=Lake(settings),
        stream=stream,
        online=online,
        observe=observe,
        record=record,
        now=lambda: NOW,
    )
    return ingestion.run(threading.Event())


def ids(settings: Settings) -> list[str]:
    table = Lake(settings).table("water.readings")
    return sorted(table.scan(selected_fields=("reading_id",)).to_arrow()["reading_id"].to_pylist())


def letters(settings: Settings, aws: Aws) -> list[dict[str, Any]]:
    """All dead letters there are, and takes them off."""
    sqs, found = aws.client("sqs"), []
    while messages := sqs.receive_message(QueueUrl=settings.dead_letter_queue_url, MaxNumberOfMessages=10).get(
        "Messages"
    ):
        for message in messages:
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=settings.dead_letter_queue_url, ReceiptHandle=message["ReceiptHandle"])
    return found


def test_every_event_becomes_a_row_and_is_pushed_online(settings: Settings) -> None:
    rows, online = readings(60), Pushed()
    result = consume(settings, MemoryStream({"a": encoded(rows[::2]), "b": encoded(rows[1::2])}), online=online)
    expected = [row["reading_id"] for row in rows]
    assert (result.accepted, ids(settings), sorted(online.ids)) == (60, expected, expected)


def test_the_next_run_goes_on_behind_the_last_committed_record(settings: Settings) -> None:
    stream = MemoryStream({"a": encoded(readings(10))})
    consume(settings, stream)
    later = MemoryStream({"a": [*stream.values["a"], *encoded(readings(5, start=10))]})
    result = consume(settings, later)
    assert later.begun["a"].after == "9"
    assert (result.accepted, result.duplicates, len(ids(settings))) == (5, 0, 15)


def test_duplicates_in_a_batch_and_across_runs_come_in_once(settings: Settings) -> None:
    rows = readings(20)
    consume(settings, MemoryStream({"a": encoded([*rows, *rows[:5]])}))
    result = consume(settings, MemoryStream({"b": encoded(rows)}))
    assert (result.accepted, result.duplicates) == (0, 20)
    assert ids(settings) == [row["reading_id"] for row in rows]


def test_each_commit_is_told_with_what_it_added_and_the_version_from_before_the_run(settings: Settings) -> None:
    before = consume(settings, MemoryStream({"a": encoded(readings(4))})).last_snapshot_id
    told: list[Commit] = []
    stream = MemoryStream({"b": encoded(readings(30, start=4))})
    result = consume(settings, stream, record=told.append, batch_rows=10, poll_records=10)
    assert len({commit.snapshot_id for commit in told}) == len({commit.batch for commit in told}) == result.batches > 1
    assert {commit.snapshot_before_run for commit in told} == {before}
    assert [commit.accepted for commit in told] == [commit.rows.height for commit in told]
    assert sum(commit.accepted for commit in told) == result.accepted == 30
    assert told[-1].snapshot_id == result.last_snapshot_id
    assert told[-1].positions == {"b": result.positions["b"]}


def test_duplicates_in_different_batches_of_a_run_come_in_once(settings: Settings) -> None:
    rows = readings(30)
    stream = MemoryStream({"a": encoded([*rows, *rows])})
    result = consume(settings, stream, batch_rows=7, poll_records=3)
    assert (result.accepted, result.duplicates) == (30, 30)
    assert ids(settings) == [row["reading_id"] for row in rows]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\x00\xff garbage", "not JSON"),
        (b'{"id": 1}', "not a CloudEvent"),
        (event(readings(1)[0])[:-40], "not JSON"),
        (b'{"specversion": "1.0", "data": ' + b"[" * 100_000, "not "),
        (event(readings(1)[0], data={"reading_id": {"nested": 1}}), "data: reading_id: nested"),
        (event(readings(1)[0], id="other"), "id: differs from reading_id"),
        (event(readings(1)[0], data={"litres": 1}), "missing: meter"),
        (event({**readings(1)[0], "colour": "red"}), "unknown: colour"),
        (event({**readings(1)[0], "litres": -4}), "litres: in_range"),
        (event({**readings(1)[0], "litres": "wet"}), "litres: not a number"),
        (event({**readings(1)[0], "meter": None}), "meter: must not be empty"),
        (event(readings(1)[0], data={**readings(1)[0], "meter": "m" * 300_000}), "bytes; allowed"),
        (event({**readings(1)[0], "litres": "NaN"}), "litres: not a number"),
        (event({**readings(1)[0], "litres": "-Infinity"}), "litres: not a number"),
        (event(readings(1)[0]).replace(b'"litres":', b'"litres":NaN,"was":'), "not JSON"),
        (event({**readings(1)[0], "reading_id": None}, id="r0"), "id: differs from reading_id"),
        (event(readings(1)[0]).replace(b"2024-03-01T00:00:00Z", b"9999-12-31T23:00:00-14:00"), "time: outside"),
        (event(readings(1)[0], data={**readings(1)[0], "read_at": "0001-01-01T00:00:00Z"}), "read_at: not a time"),
        (event(readings(1)[0], data={**readings(1)[0], "read_at": "9999-12-31T23:00:00-02:00"}), "read_at: not a time"),
        (event(readings(1)[0], data={**readings(1)[0], "read_at": "1969-12-31T23:00:00Z"}), "read_at: before 1970"),
        (b"", "not JSON"),
    ],
)
def test_a_bad_record_goes_to_the_dead_letters_and_the_rest_into_the_table(
    settings: Settings, aws: Aws, value: bytes, reason: str
) -> None:
    good = readings(6, start=50)
    result = consume(settings, MemoryStream({"a": [*encoded(good[:3]), value, *encoded(good[3:])]}))
    (letter,) = letters(settings, aws)
    assert reason in "; ".join(letter["reasons"])
    assert (letter["shard"], letter["position"]) == ("a", "3")
    if "value_uri" in letter:
        bucket, _, key = letter["value_uri"].removeprefix("s3://").partition("/")
        assert aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read() == value
    else:
        assert base64.b64decode(letter["value_base64"]) == value
    assert (result.dead_letters, ids(settings)) == (1, [row["reading_id"] for row in good])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_ODD = st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "NaN", "1e999", "\x00", "\ud800", ""])


@given(
    envelope=st.dictionaries(st.sampled_from(["id", "time", "type", "data", "specversion"]), _JSON | _ODD, max_size=2),
    data=st.dictionaries(st.sampled_from(["reading_id", "meter", "read_at", "litres", "x"]), _JSON | _ODD, max_size=2),
    cut=st.integers(0, 400),
)
def test_whatever_a_record_holds_it_is_a_row_or_a_dead_letter_or_somebody_elses(
    envelope: dict[str, Any], data: dict[str, Any], cut: int
) -> None:
    """One record must never end the consumer: it would come again at every start."""
    row = readings(1)[0]
    whole = {"specversion": "1.0", "id": row["reading_id"], "type": "falaj.water.read", "source": "/m"}
    odd = {**whole, "time": row["read_at"], "data": {**row, **data}, **envelope}
    values = [json.dumps(odd).encode(), json.dumps(odd).encode()[:cut], event(readings(1, start=9)[0])]
    records = [Record("a", str(place), value, NOW) for place, value in enumerate(values)]
    found = triage(records, contract(), Rules(), NOW, {})
    assert found.rows.height + len(found.dead) + found.outcomes.get("other_type", 0) == 3
    assert found.rows["read_at"].to_list()[-1] == FIRST


def test_refused_records_are_counted_by_kind(settings: Settings) -> None:
    def counted(outcome: str) -> float:
        return metrics.value("falaj_ingestion_records_total", table="water.readings", outcome=outcome)

    before = {outcome: counted(outcome) for outcome in ("accepted", "poisoned", "invalid", "duplicate")}
    rows = readings(4)
    values = [*encoded(rows), b"?", event({**readings(1, start=9)[0], "litres": -1}), *encoded(rows[:2])]
    consume(settings, MemoryStream({"a": values}))
    assert {outcome: counted(outcome) - start for outcome, start in before.items()} == {
        "accepted": 4, "poisoned": 1, "invalid": 1, "duplicate": 2,
    }  # fmt: skip


def test_without_a_dead_letter_queue_a_bad_record_stops_the_consumer(settings: Settings) -> None:
    without = settings.model_copy(update={"dead_letter_queue_url": ""})
    with pytest.raises(StreamError, match="not JSON; FALAJ_DEAD_LETTER_QUEUE_URL must be set"):
        consume(without, MemoryStream({"a": [b"?"]}))


def test_an_event_with_a_future_time_is_refused(settings: Settings, aws: Aws) -> None:
    ahead = {**readings(1)[0], "read_at": (NOW + datetime.timedelta(hours=1)).isoformat()}
    consume(settings, MemoryStream({"a": [event(ahead), *encoded(readings(2, start=5))]}))
    assert letters(settings, aws)[0]["reasons"] == ["read_at: 3600 s in the future"]
    assert ids(settings) == ["r0000005", "r0000006"]


def late_stream() -> MemoryStream:
    rows = readings(3)
    rows[1]["read_at"] = (FIRST + datetime.timedelta(days=2)).isoformat()
    rows[2]["read_at"] = (FIRST + datetime.timedelta(hours=1)).isoformat()
    return MemoryStream({"a": encoded(rows)})


def test_a_late_event_reaches_the_table_but_not_the_online_store(settings: Settings) -> None:
    online = Pushed()
    result = consume(settings, late_stream(), online=online)
    assert (result.late, len(ids(settings)), online.ids) == (1, 3, ["r0000000", "r0000001"])


def test_a_late_event_is_a_dead_letter_where_the_rule_says_so(settings: Settings, aws: Aws) -> None:
    def counted() -> float:
        return metrics.value("falaj_ingestion_records_total", table="water.readings", outcome="too_late")

    before = counted()
    result = consume(settings, late_stream(), rules=Rules(late="refuse"))
    assert letters(settings, aws)[0]["reasons"] == ["read_at: 169200 s behind its shard"]
    assert ids(settings) == ["r0000000", "r0000001"]
    assert (result.late, counted() - before) == (1, 1)


def test_what_is_late_is_known_over_a_restart(settings: Settings) -> None:
    stream = late_stream()
    first = MemoryStream({"a": stream.values["a"][:2]})
    consume(settings, first)
    assert consume(settings, stream).late == 1


def test_events_of_other_types_are_left_to_others(settings: Settings, aws: Aws) -> None:
    other = event(readings(1)[0], type="falaj.other")
    result = consume(settings, MemoryStream({"a": [other, *encoded(readings(2, start=3))]}))
    assert (result.accepted, result.dead_letters, letters(settings, aws)) == (2, 0, [])


def test_a_replay_from_a_time_adds_nothing_and_pushes_nothing_twice_to_the_table(settings: Settings) -> None:
    values = {"a": encoded(readings(12))}
    consume(settings, MemoryStream(values))
    again = MemoryStream(values)
    result = consume(settings, again, replay_from=FIRST)
    assert again.begun["a"].at == FIRST
    assert (result.accepted, result.duplicates, len(ids(settings))) == (0, 12, 12)


def test_a_damaged_checkpoint_is_refused_and_a_replay_mends_it(settings: Settings) -> None:
    values = {"a": encoded(readings(5))}
    consume(settings, MemoryStream(values))
    with Lake(settings).table("water.readings").transaction() as transaction:
        transaction.set_properties({"falaj.stream.lake.a": "4|0123"})
    with pytest.raises(StreamError, match=r"checkpoint falaj\.stream\.lake\.a is damaged.*--from TIME"):
        consume(settings, MemoryStream(values))
    consume(settings, MemoryStream(values), replay_from=FIRST)
    assert consume(settings, MemoryStream(values)).duplicates == 0
    assert len(ids(settings)) == 5


@pytest.mark.parametrize("newest", [None, FIRST, NOW + datetime.timedelta(microseconds=5)])
def test_a_checkpoint_cut_short_at_any_place_is_refused_and_counted(newest: datetime.datetime | None) -> None:
    whole = checkpoints.Checkpoint("4959", "0123456789ab", newest)
    assert checkpoints.decode("name", whole.encode()) == whole
    before = metrics.value("falaj_ingestion_checkpoints_refused_total")
    for length in range(len(whole.encode())):
        with pytest.raises(StreamError, match="checkpoint name is damaged"):
            checkpoints.decode("name", whole.encode()[:length])
    assert metrics.value("falaj_ingestion_checkpoints_refused_total") - before == len(whole.encode())


def test_two_consumers_of_one_shard_do_not_both_write(settings: Settings) -> None:
    """The slower one is paused before its first commit, as a process that hangs would be."""
    values = {"a": encoded(readings(10))}

    def other_first(name: str, _facts: dict[str, Any]) -> None:
        if name == "committing":
            consume(settings, MemoryStream(values))

    Lake(settings).open(contract())
    with pytest.raises(FencedError, match="another consumer named lake reads shard a"):
        consume(settings, MemoryStream(values), observe=other_first)
    assert ids(settings) == [row["reading_id"] for row in readings(10)]


def test_rows_that_a_file_brought_in_the_meantime_are_not_taken_again(settings: Settings, tmp_path: Any) -> None:
    from runtime.ingestion.batch import ingest_file
    from tests.support.readings import write_csv

    file = write_csv(tmp_path / "a.csv", readings(10)[:6])
    done = []

    def file_first(name: str, _facts: dict[str, Any]) -> None:
        if name == "committing" and not done:
            done.append(ingest_file(Lake(settings), settings, contract(), file))

    result = consume(
        settings, MemoryStream({"a": encoded(readings(10))}), observe=file_first, batch_rows=4, poll_records=4
    )
    assert ids(settings) == [row["reading_id"] for row in readings(10)]
    assert result.accepted == 4


def test_workers_share_the_shards_and_leave_none(settings: Settings) -> None:
    rows = readings(40)
    values = {f"shard-{n}": encoded(rows[n::8]) for n in range(8)}
    results = [consume(settings, MemoryStream(values), worker=worker, workers=3) for worker in range(3)]
    assert sum(result.accepted for result in results) == 40
    assert ids(settings) == [row["reading_id"] for row in rows]


def away(service: str) -> EndpointConnectionError:
    return EndpointConnectionError(endpoint_url=f"http://{service}")


def test_a_stream_that_is_away_for_a_while_costs_nothing(settings: Settings) -> None:
    stream = MemoryStream({"a": encoded(readings(9))})
    stream.failures = [away("kinesis")] * 3
    before = metrics.value("falaj_ingestion_retries_total", service="stream")
    assert consume(settings, stream).accepted == 9
    assert metrics.value("falaj_ingestion_retries_total", service="stream") - before == 3


def test_a_stream_that_stays_away_ends_the_consumer_with_a_reason(settings: Settings) -> None:
    stream = MemoryStream({"a": []})
    stream.failures = [away("kinesis")] * 50
    with pytest.raises(OutageError, match=r"stream has been away for .*; nothing is lost: run again once it is back"):
        consume(settings, stream, outage_limit_seconds=0.3)


def test_a_mistake_is_not_taken_for_an_outage(settings: Settings) -> None:
    stream = MemoryStream({"a": []})
    stream.failures = [StreamError("no such stream")]
    with pytest.raises(StreamError, match="no such stream"):
        consume(settings, stream)


def test_an_online_store_that_is_away_is_waited_for(settings: Settings) -> None:
    class Flaky(Pushed):
        calls = 0

        def write(self, contract: Contract, rows: pl.DataFrame) -> None:
            self.calls += 1
            if self.calls < 3:
                raise ConnectionRefusedError("no online store")
            super().write(contract, rows)

    online = Flaky()
    consume(settings, MemoryStream({"a": encoded(readings(5))}), online=online)
    assert len(online.ids) == 5


def test_polling_stops_while_too_many_rows_wait_for_a_commit(settings: Settings) -> None:
    """The first commit is held until the consumer says that it waits: it must not have polled past the limit."""
    stream, seen = MemoryStream({"a": encoded(readings(100))}), []
    metric = "falaj_ingestion_back_pressure_seconds_total"
    before = metrics.value(metric, table="water.readings")
    polled_enough = threading.Event()

    def hold(name: str, _facts: dict[str, Any]) -> None:
        if name == "taken" and stream.polls >= 6:
            polled_enough.set()
        if name == "committing" and not seen:
            assert polled_enough.wait(20)
            seen.append(stream.polls)

    result = consume(settings, stream, batch_rows=10, poll_records=10, max_uncommitted_rows=60, observe=hold)
    assert seen == [6]
    assert metrics.value(metric, table="water.readings") > before
    assert result.accepted == 100
