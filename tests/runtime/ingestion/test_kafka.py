"""The stream ports over Kafka, on a real broker."""

from __future__ import annotations

import base64
import datetime
import json
import threading
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.credentials import Credentials

from runtime.ingestion.consumer import ConsumerOptions, StreamIngestion
from runtime.ingestion.errors import StreamError
from runtime.ingestion.kafka import KafkaStreamConsumer, KafkaStreamProducer, endpoint, msk_token
from runtime.ingestion.lake import Lake
from runtime.ingestion.ports import Record, Start
from runtime.settings import Settings
from tests.runtime.ingestion.test_consumer import NOW, encoded, ids
from tests.support.readings import contract, readings
from tests.support.runtime_servers import Server


def produce(settings: Settings, count: int, first: int = 0) -> list[bytes]:
    values = [json.dumps({"n": number}).encode() for number in range(first, first + count)]
    producer = KafkaStreamProducer(settings)
    for value in values:
        producer.send(f"key-{value!r}", value)
    producer.close()
    return values


@pytest.fixture
def consumer(kafka_settings: Settings) -> Iterator[KafkaStreamConsumer]:
    made = KafkaStreamConsumer(kafka_settings)
    yield made
    made.close()


def drain(consumer: KafkaStreamConsumer, count: int, limit: int = 100) -> list[Record]:
    records: list[Record] = []
    deadline = time.monotonic() + 60
    while len(records) < count:
        assert time.monotonic() < deadline, f"{len(records)} of {count} came"
        records += consumer.poll(limit, 0.5)
    return [*records, *consumer.poll(limit, 0.2)]


def test_what_is_written_is_read_once_in_the_order_of_each_partition(
    kafka_settings: Settings, consumer: KafkaStreamConsumer
) -> None:
    values = produce(kafka_settings, 500)
    consumer.begin(dict.fromkeys(consumer.shards(), Start()))
    records = drain(consumer, 500)
    assert sorted(record.value for record in records) == sorted(values)
    for shard in consumer.shards():
        offsets = [int(record.position) for record in records if record.shard == shard]
        assert offsets == sorted(offsets)


def test_reading_goes_on_behind_a_position(kafka_settings: Settings, consumer: KafkaStreamConsumer) -> None:
    produce(kafka_settings, 40)
    consumer.begin(dict.fromkeys(consumer.shards(), Start()))
    positions = {record.shard: record.position for record in drain(consumer, 40)}
    later = produce(kafka_settings, 10, first=100)
    again = KafkaStreamConsumer(kafka_settings)
    again.begin({shard: Start(after=positions.get(shard)) for shard in again.shards()})
    assert sorted(record.value for record in drain(again, 10)) == sorted(later)
    again.close()


def test_reading_begins_at_a_time(kafka_settings: Settings, consumer: KafkaStreamConsumer) -> None:
    produce(kafka_settings, 20)
    consumer.begin(dict.fromkeys(consumer.shards(), Start()))
    last = max(record.arrived_at for record in drain(consumer, 20))
    while datetime.datetime.now(datetime.UTC) - last < datetime.timedelta(milliseconds=2):
        pass  # the broker's clock ticks in milliseconds
    later = produce(kafka_settings, 5, first=50)
    again = KafkaStreamConsumer(kafka_settings)
    again.begin(dict.fromkeys(again.shards(), Start(at=last + datetime.timedelta(milliseconds=1))))
    assert sorted(record.value for record in drain(again, 5)) == sorted(later)
    again.close()


def test_a_position_that_the_broker_no_longer_has_is_not_passed_over(
    kafka_settings: Settings, consumer: KafkaStreamConsumer
) -> None:
    produce(kafka_settings, 5)
    consumer.begin({consumer.shards()[0]: Start(after="100000")})
    with pytest.raises(StreamError, match="the records after the last position are gone"):
        drain(consumer, 1)


def test_a_topic_that_is_not_there_is_named(kafka_settings: Settings) -> None:
    wrong = kafka_settings.model_copy(update={"stream_endpoint": kafka_settings.stream_endpoint + "-not"})
    consumer = KafkaStreamConsumer(wrong)
    with pytest.raises(StreamError, match=r"Kafka has no topic events-.*-not; create it"):
        consumer.shards()
    consumer.close()


def test_a_stream_on_kafka_fills_the_table_like_one_on_kinesis(kafka_settings: Settings) -> None:
    rows = readings(300)
    producer = KafkaStreamProducer(kafka_settings)
    for row, value in zip([*rows, *rows[:20]], encoded([*rows, *rows[:20]]), strict=True):
        producer.send(row["reading_id"], value)
    producer.close()
    source = KafkaStreamConsumer(kafka_settings)
    ingestion = StreamIngestion(
        kafka_settings,
        contract(),
        ConsumerOptions(idle_seconds=2, batch_rows=100),
        lake=Lake(kafka_settings),
        stream=source,
        now=lambda: NOW,
    )
    result = ingestion.run(threading.Event())
    source.close()
    assert (result.accepted, result.duplicates) == (300, 20)
    assert ids(kafka_settings) == [row["reading_id"] for row in rows]


def test_a_broker_that_is_away_is_an_outage_and_comes_back(kafka_settings: Settings, kafka_server: Server) -> None:
    from tests.support.cuttable_proxy import cuttable

    produce(kafka_settings, 3)
    with cuttable(kafka_server.port) as proxy:
        topic = kafka_settings.stream_endpoint.partition("/")[2]
        through = kafka_settings.model_copy(update={"stream_endpoint": f"127.0.0.1:{proxy.port}/{topic}"})
        proxy.cut()
        consumer = KafkaStreamConsumer(through)
        with pytest.raises(OSError, match="Kafka: "):
            consumer.shards()
        proxy.mend()
        assert consumer.shards() == ["0", "1", "2", "3"]
        consumer.close()


@pytest.mark.parametrize("given", ["", "nowhere", "host", "host:x/topic", "host:9092,other/topic"])
def test_an_endpoint_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(StreamError, match="host:port, joined by commas"):
        endpoint(Settings(stream_endpoint=given, stream_engine="kafka"))


def test_a_checkpoint_of_another_stream_is_refused_before_a_record_is_read() -> None:
    consumer = KafkaStreamConsumer(Settings(stream_endpoint="127.0.0.1:9/events", stream_engine="kafka"))
    with pytest.raises(StreamError, match=r"partition 0: position shard-7 is no offset.*--from TIME"):
        consumer.begin({"0": Start(after="shard-7")})
    consumer.close()


def test_an_endpoint_names_servers_and_topic() -> None:
    assert endpoint(Settings(stream_endpoint="a:1,b:2/flights")) == ("a:1,b:2", "flights")
    assert endpoint(Settings(stream_endpoint="a:1")) == ("a:1", "events")


def test_a_token_for_msk_is_a_presigned_connect_request_of_a_quarter_of_an_hour() -> None:
    before = time.time()
    token, expires = msk_token("me-central-1", Credentials("AKIDEXAMPLE", "secret", "session"))
    url = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert url.hostname == "kafka.me-central-1.amazonaws.com"
    assert (query["Action"], query["X-Amz-Expires"]) == ("kafka-cluster:Connect", "900")
    assert query["X-Amz-Credential"].endswith("/me-central-1/kafka-cluster/aws4_request")
    assert query["X-Amz-Security-Token"] == "session"
    assert "secret" not in url.query
    assert before + 900 <= expires <= time.time() + 900
