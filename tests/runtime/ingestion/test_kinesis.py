"""The stream ports over Kinesis, on the emulated account."""

from __future__ import annotations

import datetime
import json

import pytest
from botocore.stub import Stubber

from runtime.aws import client
from runtime.ingestion.errors import OutageError, StreamError
from runtime.ingestion.kinesis import KinesisConsumer, KinesisProducer
from runtime.ingestion.outage import Patience
from runtime.ingestion.ports import Record, Start
from runtime.settings import Settings
from tests.support.cuttable_proxy import cuttable
from tests.support.runtime_servers import Aws


def produce(settings: Settings, count: int, first: int = 0) -> list[bytes]:
    values = [json.dumps({"n": number}).encode() for number in range(first, first + count)]
    producer = KinesisProducer(settings)
    for value in values:
        producer.send(f"key-{value!r}", value)
    producer.close()
    return values


def drain(consumer: KinesisConsumer, count: int, limit: int = 100) -> list[Record]:
    records: list[Record] = []
    while len(records) < count:
        records += consumer.poll(limit, 5)
    return [*records, *consumer.poll(limit, 0)]


def begun(settings: Settings, start: Start) -> KinesisConsumer:
    consumer = KinesisConsumer(settings)
    consumer.begin(dict.fromkeys(consumer.shards(), start))
    return consumer


def test_what_is_written_is_read_once_from_all_shards(settings: Settings) -> None:
    values = produce(settings, 1200)
    records = drain(begun(settings, Start()), 1200)
    assert sorted(record.value for record in records) == sorted(values)
    assert len({record.shard for record in records}) == 2


def test_a_shard_is_read_in_its_order(settings: Settings) -> None:
    produce(settings, 300)
    records = drain(begun(settings, Start()), 300, limit=37)
    for shard in {record.shard for record in records}:
        numbers = [json.loads(record.value)["n"] for record in records if record.shard == shard]
        assert numbers == sorted(numbers)


def test_no_poll_gives_more_than_asked_for(settings: Settings) -> None:
    produce(settings, 100)
    assert len(begun(settings, Start()).poll(7, 5)) == 7


def test_reading_goes_on_behind_a_position(settings: Settings) -> None:
    produce(settings, 40)
    consumer = begun(settings, Start())
    positions = {record.shard: record.position for record in drain(consumer, 40)}
    later = produce(settings, 10, first=100)
    again = KinesisConsumer(settings)
    again.begin({shard: Start(after=positions[shard]) for shard in again.shards()})
    assert sorted(record.value for record in drain(again, 10)) == sorted(later)


def test_reading_begins_at_a_time(settings: Settings) -> None:
    produce(settings, 20)
    last = max(record.arrived_at for record in drain(begun(settings, Start()), 20))
    later = produce(settings, 5, first=50)
    after = drain(begun(settings, Start(at=last + datetime.timedelta(microseconds=1))), 5)
    assert sorted(record.value for record in after) == sorted(later)


def test_children_of_a_split_shard_are_found_behind_their_parent(settings: Settings, aws: Aws) -> None:
    consumer = KinesisConsumer(settings)
    parent = consumer.shards()[0]
    kinesis = aws.client("kinesis")
    kinesis.split_shard(StreamName=settings.stream_endpoint, ShardToSplit=parent, NewStartingHashKey=str(2**126))
    shards = list(consumer.shards())
    assert len(shards) == 4
    assert shards.index(parent) < min(shards.index(shard) for shard in shards[2:])


def test_a_position_of_another_stream_is_refused_and_says_how_to_go_on(settings: Settings) -> None:
    """As AWS answers (API reference of GetShardIterator); the emulated account fails with a 500."""
    consumer = KinesisConsumer(settings)
    consumer.begin({"shardId-000000000000": Start(after="4959")})
    with Stubber(client(settings, "kinesis")) as answers:
        answers.add_client_error("get_shard_iterator", "InvalidArgumentException", http_status_code=400)
        with pytest.raises(StreamError, match=r"InvalidArgumentException; .*--from TIME"):
            consumer.poll(10, 0.0)


def test_a_stream_that_is_not_there_is_named(settings: Settings) -> None:
    wrong = settings.model_copy(update={"stream_endpoint": "nothing"})
    with pytest.raises(StreamError, match="Kinesis stream nothing: list_shards: ResourceNotFoundException"):
        KinesisConsumer(wrong).shards()


def test_records_wait_in_the_producer_while_kinesis_is_away(settings: Settings, aws: Aws) -> None:
    with cuttable(int(aws.endpoint_url.rpartition(":")[2])) as proxy:
        through = settings.model_copy(update={"aws_endpoint_url": f"http://127.0.0.1:{proxy.port}"})
        producer = KinesisProducer(through, Patience(limit_seconds=0.05))
        proxy.cut()
        producer.send("k", b"{}")
        with pytest.raises(OutageError, match="kinesis has been away"):
            producer.flush()
        proxy.mend()
        producer.flush()
        producer.flush()
    assert [record.value for record in drain(begun(settings, Start()), 1)] == [b"{}"]
