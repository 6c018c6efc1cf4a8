"""The stream ports over Apache Kafka: Amazon MSK with IAM in the cloud, a plain broker on loopback."""

from __future__ import annotations

import base64
import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from runtime.ingestion.errors import OutageError, StreamError
from runtime.ingestion.ports import Record, Start

if TYPE_CHECKING:
    from runtime.settings import Settings

DEFAULT_TOPIC: Final = "events"
REQUEST_TIMEOUT_SECONDS: Final = 10.0
DELIVERY_TIMEOUT_SECONDS: Final = 60.0
PREFETCH_KIB: Final = 65_536
TOKEN_SECONDS: Final = 900
"""How long a signed token for MSK holds; the broker accepts no more."""

_LOGICAL_BEGINNING: Final = -2
_LOGICAL_END: Final = -1


class KafkaStreamConsumer:
    """Reads partitions that it is told to read; where it stands is the lake's to know, not the broker's."""

    def __init__(self, settings: Settings) -> None:
        from confluent_kafka import Consumer

        servers, self._topic = endpoint(settings)
        self._away = False
        self._failed: Any = None
        self._next: dict[int, int] = {}
        self._newest: dict[int, float] = {}
        self._consumer = Consumer(
            {
                **_connection(settings, servers),
                "group.id": f"falaj-{settings.tenant}",  # required; no group is ever joined
                "enable.auto.commit": False,
                # A position that the broker no longer has means lost records: that must not pass silently.
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "queued.max.messages.kbytes": PREFETCH_KIB,
                "fetch.wait.max.ms": 100,
                "error_cb": self._on_error,
            }
        )

    def shards(self) -> Sequence[str]:
        topics = self._answer(lambda: self._consumer.list_topics(self._topic, REQUEST_TIMEOUT_SECONDS)).topics
        topic = topics.get(self._topic)
        if topic is None or topic.error is not None or not topic.partitions:
            raise StreamError(f"Kafka has no topic {self._topic}; create it, or name another in FALAJ_STREAM_ENDPOINT")
        return [str(partition) for partition in sorted(topic.partitions)]

    def begin(self, starts: Mapping[str, Start]) -> None:
        from confluent_kafka import TopicPartition

        for shard, start in starts.items():
            partition = int(shard)
            self._next[partition] = self._offset(partition, start)
        self._consumer.assign([TopicPartition(self._topic, part, offset) for part, offset in self._next.items()])

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        if self._failed is not None:
            error, self._failed = self._failed, None
            self._raise(error)
        messages: list[Any] = self._consumer.consume(max_records, timeout_seconds)
        records = []
        for message in messages:
            if message.error() is not None:
                self._failed = message.error()  # told by the next poll: what came with it has been read already
                continue
            partition, offset, arrived_at = message.partition(), message.offset(), message.timestamp()[1] / 1000
            self._next[partition] = offset + 1
            self._newest[partition] = arrived_at
            moment = datetime.datetime.fromtimestamp(arrived_at, datetime.UTC)
            records.append(Record(str(partition), str(offset), message.value() or b"", moment))
        if records:
            self._away = False
        elif self._away:
            self._answer(lambda: self._consumer.list_topics(self._topic, REQUEST_TIMEOUT_SECONDS))
            self._away = False
        return records

    def lag_seconds(self) -> float:
        from confluent_kafka import TopicPartition

        lag = 0.0
        for partition, arrived_at in self._newest.items():
            known = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
            if known is not None and known[1] > self._next[partition]:
                lag = max(lag, time.time() - arrived_at)
        return lag

    def close(self) -> None:
        self._consumer.close()

    def _offset(self, partition: int, start: Start) -> int:
        from confluent_kafka import TopicPartition

        if start.after is not None:
            if not start.after.isdecimal():
                raise StreamError(
                    f"Kafka topic {self._topic}, partition {partition}: position {start.after[:40]} is no offset: the "
                    "checkpoint is of another stream; `--from TIME` reads again from there, nothing comes in twice"
                )
            return int(start.after) + 1
        if start.at is None:
            return _LOGICAL_BEGINNING
        wanted = TopicPartition(self._topic, partition, int(start.at.timestamp() * 1000))
        found = self._answer(lambda: self._consumer.offsets_for_times([wanted], REQUEST_TIMEOUT_SECONDS))[0]
        if found.error is not None:
            self._raise(found.error)
        if found.offset != _LOGICAL_END:
            return int(found.offset)
        high = self._answer(lambda: self._consumer.get_watermark_offsets(wanted, REQUEST_TIMEOUT_SECONDS))[1]
        return int(high)

    def _answer(self, request: Callable[[], Any]) -> Any:
        from confluent_kafka import KafkaException

        try:
            return request()
        except KafkaException as error:
            self._raise(error.args[0])

    def _on_error(self, error: Any) -> None:
        """Called by the client, from ``poll``, about the connection as a whole."""
        from confluent_kafka import KafkaError

        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._away = True

    def _raise(self, error: Any) -> None:
        """OSError for what passes, StreamError for what does not."""
        from confluent_kafka import KafkaError

        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise StreamError(
                f"Kafka topic {self._topic}: the records after the last position are gone ({error.str()}): it "
                "keeps them for less time than this consumer was away; `--from TIME` goes on without them"
            )
        if error.retriable() or error.code() in (
            KafkaError._TRANSPORT,
            KafkaError._TIMED_OUT,
            KafkaError._ALL_BROKERS_DOWN,
            KafkaError._RESOLVE,
        ):
            raise OSError(f"Kafka: {error.str()}")
        raise StreamError(f"Kafka topic {self._topic}: {error.str()}")


class KafkaStreamProducer:
    """Idempotent producer: what it sends again after a failure is stored once, in order."""

    def __init__(self, settings: Settings) -> None:
        from confluent_kafka import Producer

        servers, self._topic = endpoint(settings)
        self._failed: list[str] = []
        self._producer = Producer(
            {
                **_connection(settings, servers),
                "enable.idempotence": True,
                "compression.type": "zstd",
                "linger.ms": 20,
                "delivery.timeout.ms": int(DELIVERY_TIMEOUT_SECONDS * 1000),
            }
        )

    def send(self, key: str, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value=value, key=key.encode(), on_delivery=self._delivered)
            except BufferError:  # the queue is full: wait for the broker, which is the back-pressure wanted here
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def flush(self) -> None:
        left = self._producer.flush(DELIVERY_TIMEOUT_SECONDS + 5)
        failed, self._failed = self._failed, []
        if failed or left:
            raise OutageError(
                f"Kafka topic {self._topic}: {len(failed) + left} records were not accepted "
                f"({failed[0] if failed else 'no answer'}); send them again"
            )

    def close(self) -> None:
        self.flush()

    def _delivered(self, error: Any, _message: Any) -> None:
        if error is not None:
            self._failed.append(error.str())


def endpoint(settings: Settings) -> tuple[str, str]:
    """Bootstrap servers and topic of ``host:port[,host:port][/topic]``.  Raises StreamError."""
    servers, _, topic = settings.stream_endpoint.partition("/")
    if not all(part.rpartition(":")[0] and part.rpartition(":")[2].isdigit() for part in servers.split(",")):
        raise StreamError("FALAJ_STREAM_ENDPOINT for Kafka is host:port, joined by commas, and then /topic")
    return servers, topic or DEFAULT_TOPIC


def _connection(settings: Settings, servers: str) -> dict[str, Any]:
    """Plain on loopback; anywhere else TLS and the caller's AWS identity."""
    from runtime.settings import is_loopback

    common = {"bootstrap.servers": servers, "client.id": "falaj-runtime", "log_level": 3}
    if all(is_loopback(server.rpartition(":")[0]) for server in servers.split(",")):
        return {**common, "security.protocol": "PLAINTEXT"}
    return {
        **common,
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "OAUTHBEARER",
        "oauth_cb": lambda _: msk_token(settings.aws_region),
    }


def msk_token(region: str, credentials: Any = None) -> tuple[str, float]:
    """A bearer token for MSK with IAM, and when it expires (seconds since 1970).

    It is a presigned request for ``kafka-cluster:Connect``, base64url without padding (AWS' published scheme for
    SASL/OAUTHBEARER).  Raises StreamError without AWS credentials.
    """
    import botocore.session
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest

    if credentials is None:
        credentials = botocore.session.get_session().get_credentials()
        if credentials is None:
            raise StreamError("Kafka with IAM needs AWS credentials, and none were found")
    url = f"https://kafka.{region}.amazonaws.com/"
    request = AWSRequest("GET", url, params={"Action": "kafka-cluster:Connect"})
    SigV4QueryAuth(credentials, "kafka-cluster", region, expires=TOKEN_SECONDS).add_auth(request)
    signed = f"{request.url}&User-Agent=falaj-runtime"
    token = base64.urlsafe_b64encode(signed.encode()).rstrip(b"=").decode()
    return token, time.time() + TOKEN_SECONDS
