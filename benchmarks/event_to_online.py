"""How long an event takes from the stream to the online store, beside what stream and store take by themselves.

Runs in the runtime's environment.  Events are put on a stream at a bounded rate: Kinesis of an emulated account, over
HTTP on loopback, and Kafka, a real broker, where it was fetched and Java is present.  The product's consumer runs as a
process of its own, with its data contract, de-duplication, micro-batches to Iceberg and its push to a real Valkey.

Time is taken twice, from different clocks and different code:

- witness: this process notes when it puts a probe, an event of a plane of its own, and reads the probes that it has not
  seen yet from the online store, as a caller would, until the features are there.  It cannot see faster than it reads:
  the time of its own reads is a row of the table.
- consumer: the consumer's histogram falaj_ingestion_online_latency_seconds, from the event's arrival in the stream to
  the end of its push; quantiles are interpolated within buckets, as Prometheus does.

The limit is what no consumer could beat: the same stream written to and read with the bare client, one record at a
time, then a SET and a GET in the same Valkey, half before and half after the load, on servers that do nothing else.
Ratios are to the limit's quantile of the same name.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the runtime's environment does not install the project

if TYPE_CHECKING:
    from runtime.settings import Settings

EXAMPLES: Final = """examples:
  .venv/runtime/bin/python benchmarks/event_to_online.py
  .venv/runtime/bin/python benchmarks/event_to_online.py --stream kafka --rate 200 --seconds 60
  .venv/runtime/bin/python benchmarks/event_to_online.py --json --most-p99-seconds 1
"""
HISTOGRAM: Final = "falaj_ingestion_online_latency_seconds"
FEATURE: Final = "tail_last_flight_v1:tail_known_at_seconds"
WITNESSED: Final = "put to readable, witness"
PROBE_EVERY: Final = 5
READ_PAUSE_SECONDS: Final = 0.002
PROBES_PER_READ: Final = 200
WARM_UP_SECONDS: Final = 4.0
ARRIVAL_LIMIT_SECONDS: Final = 120.0
STOP_LIMIT_SECONDS: Final = 60.0
LIMIT_SAMPLES: Final = 200
SHARDS: Final = 2
QUANTILES: Final = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class Measurement:
    """Milliseconds at QUANTILES, and their ratios to those of the limit of the same stream."""

    stream: str
    what: str
    samples: int
    milliseconds: tuple[float, ...]
    ratios: tuple[float, ...] = ()


@dataclass
class Witness(threading.Thread):
    """Reads the probes that are outstanding, again and again, and notes how long each took to be there."""

    reader: Any
    seen_seconds: list[float] = field(default_factory=list)
    read_seconds: list[float] = field(default_factory=list)
    failure: Exception | None = None

    def __post_init__(self) -> None:
        super().__init__(name="witness", daemon=True)
        self._outstanding: dict[str, float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()

    __hash__ = threading.Thread.__hash__

    def expect(self, probes: Sequence[str], put_at: float) -> None:
        """``probes`` are about to be put; to be called before they are."""
        with self._lock:
            self._outstanding |= dict.fromkeys(probes, put_at)

    def wait(self, check: Callable[[], None]) -> None:
        """Returns when every probe was seen.  Raises SystemExit when that takes too long or reads fail, and what
        ``check`` raises."""
        deadline = time.monotonic() + ARRIVAL_LIMIT_SECONDS
        while self._outstanding:
            check()
            if self.failure is not None:
                raise SystemExit(f"reading the online store: {self.failure}")
            if time.monotonic() > deadline:
                raise SystemExit(f"{len(self._outstanding)} probes are not online after {ARRIVAL_LIMIT_SECONDS:.0f} s")
            time.sleep(0.01)

    def forget(self) -> None:
        """Drops what was measured so far."""
        self.seen_seconds.clear()
        self.read_seconds.clear()

    def run(self) -> None:
        try:
            while not self._ended.wait(READ_PAUSE_SECONDS):
                with self._lock:
                    asked = list(self._outstanding)[:PROBES_PER_READ]
                if asked:
                    self._look(asked)
        except Exception as error:
            self.failure = error

    def end(self) -> None:
        self._ended.set()
        self.join(timeout=10)

    def _look(self, asked: Sequence[str]) -> None:
        began = time.perf_counter()
        (values,) = [
            column
            for name, column in self.reader.get([FEATURE], {"tailnum": asked}).to_dict().items()
            if name != "tailnum"
        ]
        now = time.perf_counter()
        self.read_seconds.append(now - began)
        with self._lock:
            for probe, value in zip(asked, values, strict=True):
                if value is not None:
                    self.seen_seconds.append(now - self._outstanding.pop(probe))


@dataclass(frozen=True)
class Stream:
    """A stream under test: its settings, and one round trip of its bare client, put to read, in seconds."""

    name: str
    settings: Settings
    round_trip: Callable[[], float]


def measure(
    stream: Stream, rate: int, seconds: int, directory: Path, progress: Callable[[str], None]
) -> list[Measurement]:
    """All rows of one stream.  Raises SystemExit when an event was lost or refused."""
    from runtime.features.online import open_reader
    from runtime.features.valkey_store import connect

    valkey = connect(stream.settings)
    bare: list[tuple[float, float]] = []

    def measure_limit(samples: int) -> None:
        for number in range(-5, samples):
            taken = stream.round_trip(), _set_and_get(valkey)
            if number >= 0:
                bare.append(taken)

    progress("the bare stream and store")
    measure_limit(LIMIT_SAMPLES // 2)
    witness = Witness(open_reader(stream.settings, "flights"))
    encoded = _events(rate * (seconds + int(WARM_UP_SECONDS) + 1))
    log = directory / f"consumer-{stream.name}.jsonl"
    with _consumer(stream.settings, log) as consumer:
        progress("warming up")
        witness.start()
        try:
            warm = _send(stream.settings, encoded, rate, WARM_UP_SECONDS, witness)
            witness.wait(consumer.check)
            consumer.await_events(warm)
            witness.forget()
            before = consumer.buckets()
            progress(f"{rate} events/s for {seconds} s")
            began = time.perf_counter()
            sent = _send(stream.settings, encoded[warm:], rate, seconds, witness)
            achieved = sent / (time.perf_counter() - began)
            witness.wait(consumer.check)
            after = consumer.await_events(warm + sent)
        finally:
            witness.end()
        result = consumer.stop()
    if (result["accepted"], result["dead_letters"]) != (warm + sent, 0):
        raise SystemExit(f"{warm + sent} events were sent, the consumer says {result}")
    if achieved < 0.95 * rate:
        print(f"{stream.name}: only {achieved:.0f} events/s could be sent, not {rate}", file=sys.stderr)
    progress("the bare stream and store")
    measure_limit(LIMIT_SAMPLES - len(bare))
    streams, stores = zip(*bare, strict=True)
    limit = _milliseconds([sum(pair) for pair in bare])
    counted = {bound: number - before.get(bound, 0) for bound, number in after.items()}

    def row(what: str, samples: int, values: tuple[float, ...]) -> Measurement:
        ratios = tuple(value / least for value, least in zip(values, limit, strict=True))
        return Measurement(stream.name, what, samples, values, ratios)

    return [
        row("bare put + get of the stream", len(bare), _milliseconds(streams)),
        row("bare SET + GET of Valkey", len(bare), _milliseconds(stores)),
        row("limit: both", len(bare), limit),
        row("a read of the witness", len(witness.read_seconds), _milliseconds(witness.read_seconds)),
        row(WITNESSED, len(witness.seen_seconds), _milliseconds(witness.seen_seconds)),
        row("arrival to pushed, consumer", sent, tuple(quantile(counted, share) * 1000 for share in QUANTILES)),
    ]


def quantile(buckets: Mapping[float, float], share: float) -> float:
    """The quantile of a histogram, upper bound -> cumulative count, by linear interpolation within its bucket.

    In the last bucket, which has no upper bound, the answer is its lower bound; 0.0 for an empty histogram.
    """
    wanted = share * max(buckets.values(), default=0.0)
    lower = below = 0.0
    for bound in sorted(buckets):
        if buckets[bound] >= wanted and buckets[bound] > below:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (wanted - below) / (buckets[bound] - below)
        lower, below = bound, buckets[bound]
    return 0.0


def _milliseconds(seconds: Sequence[float]) -> tuple[float, ...]:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return tuple(cuts[round(share * 100) - 1] * 1000 for share in QUANTILES)


def _events(number: int) -> list[tuple[str, str | None, bytes]]:
    """Events in order of time: key in the stream, the plane if it is a probe's own, and the encoded event."""
    from examples.flights import data

    raw = data.raw_flights()
    flights = list(
        data.completed(
            data.flights(raw.head(60_000)), datetime(2013, 1, 2, tzinfo=UTC), datetime(2013, 12, 31, tzinfo=UTC)
        )
    )[:number]
    if len(flights) < number:
        raise SystemExit(f"{number} events are more than the {len(flights)} at hand: lower --rate or --seconds")
    run = uuid.uuid4().hex[:3].upper()  # planes that no run before has left in the store
    events = []
    for place, flight in enumerate(flights):
        probe = f"{run}{place:05d}" if place % PROBE_EVERY == 0 else None
        if probe is not None:
            flight.flight["tailnum"] = probe
        events.append((flight.flight["tailnum"] or flight.flight["flight_id"], probe, flight.encode()))
    return events


def _send(
    settings: Settings,
    events: Sequence[tuple[str, str | None, bytes]],
    rate: int,
    seconds: float,
    witness: Witness,
) -> int:
    """Puts events when they are due, those that are due together in one request; returns how many."""
    from runtime.ingestion.ports import stream_producer

    producer = stream_producer(settings)
    number, sent, began = int(rate * seconds), 0, time.perf_counter()
    while sent < number:
        due = min(number, int((time.perf_counter() - began) * rate) + 1)
        if due > sent:
            for key, _, value in events[sent:due]:
                producer.send(key, value)
            probes = [probe for _, probe, _ in events[sent:due] if probe is not None]
            witness.expect(probes, time.perf_counter())
            producer.flush()
            sent = due
        time.sleep(max(0.0, began + sent / rate - time.perf_counter()))
    producer.close()
    return number


def _set_and_get(client: Any) -> float:
    began = time.perf_counter()
    client.set("benchmark", b"x" * 64)
    assert client.get("benchmark") is not None
    return time.perf_counter() - began


class _Consumer:
    """The running consumer as its metrics and its output show it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self._process = process
        self._port = port
        self._log = log

    def buckets(self) -> dict[float, float]:
        """Cumulative counts of the histogram by upper bound, in seconds."""
        from prometheus_client.parser import text_string_to_metric_families

        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        return {
            float(sample.labels["le"]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == f"{HISTOGRAM}_bucket"
        }

    def await_events(self, number: int) -> dict[float, float]:
        """The histogram once it has counted ``number`` events.  Raises SystemExit when it does not."""
        deadline = time.monotonic() + ARRIVAL_LIMIT_SECONDS
        while True:
            found = self.buckets()
            if (counted := found.get(float("inf"), 0)) == number:
                return found
            if self._process.poll() is not None or time.monotonic() > deadline or counted > number:
                raise SystemExit(f"{number} events were sent, the consumer pushed {counted:.0f}; see {self.tail()}")
            time.sleep(0.05)

    def await_start(self) -> None:
        deadline = time.monotonic() + STOP_LIMIT_SECONDS
        while '"started"' not in self._log.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the consumer did not start: {self.tail()}")
            time.sleep(0.05)

    def check(self) -> None:
        """Raises SystemExit when it has ended."""
        if self._process.poll() is not None:
            raise SystemExit(f"the consumer ended: {self.tail()}")

    def stop(self) -> dict[str, Any]:
        """Lets it commit what it holds; returns its result."""
        self._process.terminate()
        self._process.wait(timeout=STOP_LIMIT_SECONDS)
        if self._process.returncode:
            raise SystemExit(f"the consumer failed: {self.tail()}")
        return dict(json.loads(self._log.read_text().splitlines()[-1]))

    def tail(self) -> str:
        return self._log.read_text(errors="replace")[-600:]


@contextmanager
def _consumer(settings: Settings, log: Path) -> Iterator[_Consumer]:
    from tests.support.moto_server import free_port

    port = free_port()
    own = settings.model_copy(update={"metrics_port": port})
    command = [
        *(sys.executable, "-m", "runtime", "ingest", "stream", "examples.flights.contracts:FLIGHTS", "--json"),
        *("--online", "examples.flights.features:online_writer", "--batch-rows", "500", "--batch-seconds", "1"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **own.variables(), "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        consumer = _Consumer(process, port, log)
        consumer.await_start()
        yield consumer
    finally:
        process.kill()
        process.wait()


class _Bench:
    """The servers, all ended with ``stack``: an account, Valkey with the project applied, Kafka if asked for."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        from falaj.local.servers import valkey
        from runtime.aws import client
        from runtime.settings import Settings
        from tests.support.moto_server import free_port, running_account

        self._stack, self._directory = stack, directory
        port, data = free_port(), directory / "valkey"
        data.mkdir()
        self._start(valkey.command(data, port), port, valkey.answers)
        self._settings = Settings(
            aws_endpoint_url=stack.enter_context(running_account(directory / "aws")),
            lake_bucket="benchmark-lake",
            online_store_endpoint=valkey.endpoint(port),
        )
        client(self._settings, "s3").create_bucket(
            Bucket=self._settings.lake_bucket,
            CreateBucketConfiguration={"LocationConstraint": self._settings.aws_region},
        )
        queue = client(self._settings, "sqs").create_queue(QueueName="benchmark-dead-letters")["QueueUrl"]
        self._settings = self._settings.model_copy(update={"dead_letter_queue_url": queue})
        self._apply()

    def kinesis(self) -> Stream:
        from runtime.aws import client

        kinesis = client(self._settings, "kinesis")
        for name, shards in (("events", SHARDS), ("bare", 1)):
            kinesis.create_stream(StreamName=name, ShardCount=shards)
            kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        shard = kinesis.list_shards(StreamName="bare")["Shards"][0]["ShardId"]
        iterator = kinesis.get_shard_iterator(StreamName="bare", ShardId=shard, ShardIteratorType="LATEST")[
            "ShardIterator"
        ]

        def round_trip() -> float:
            nonlocal iterator
            began = time.perf_counter()
            kinesis.put_record(StreamName="bare", PartitionKey="k", Data=b"x" * 512)
            while True:
                answer = kinesis.get_records(ShardIterator=iterator)
                iterator = answer["NextShardIterator"]
                if answer["Records"]:
                    return time.perf_counter() - began

        return Stream("kinesis", self._with(catalog="kinesis", stream_endpoint="events"), round_trip)

    def kafka(self) -> Stream:
        from confluent_kafka import Consumer, Producer, TopicPartition
        from confluent_kafka.admin import AdminClient, NewTopic

        from falaj.local.servers import kafka
        from tests.support.moto_server import free_port

        archives = kafka_archives()
        port = free_port()
        server = f"127.0.0.1:{port}"
        prepared = kafka.prepare(archives, self._directory / "kafka", port, free_port())
        self._start(kafka.command(archives, prepared), port, kafka.answers)
        admin = AdminClient({"bootstrap.servers": server})
        for created in admin.create_topics([NewTopic("events", SHARDS, 1), NewTopic("bare", 1, 1)]).values():
            created.result(timeout=30)
        producer = Producer({"bootstrap.servers": server, "linger.ms": 0, "log_level": 3})
        consumer = Consumer({"bootstrap.servers": server, "group.id": "bare", "enable.auto.commit": False})
        consumer.assign([TopicPartition("bare", 0, 0)])
        self._stack.callback(consumer.close)

        def round_trip() -> float:
            began = time.perf_counter()
            producer.produce("bare", b"x" * 512)
            producer.flush(30)
            if (message := consumer.poll(30)) is None or message.error() is not None:
                raise SystemExit("Kafka does not give back what it was given")
            return time.perf_counter() - began

        return Stream(
            "kafka", self._with(catalog="kafka", stream_engine="kafka", stream_endpoint=f"{server}/events"), round_trip
        )

    def _with(self, *, catalog: str, **changes: str) -> Settings:
        """Settings of one stream, with a table of its own: the same events are sent on each."""
        uri = f"sqlite:///{self._directory}/{catalog}.db"
        return self._settings.model_copy(update={**changes, "catalog_uri": uri})

    def _start(self, command: tuple[str, ...], port: int, answers: Callable[[int], bool]) -> None:
        from tests.support.runtime_servers import end, start_program

        process = start_program(command, port, answers, self._directory / f"server-{port}.log")
        self._stack.callback(end, process)

    def _apply(self) -> None:
        from examples.flights.features import PROJECT
        from runtime.features.declaration import declare
        from runtime.features.materialise import apply

        apply(self._settings, declare(PROJECT, self._directory))


def kafka_archives() -> Path:
    """Where Kafka was fetched to.  Raises SystemExit, which says what is missing."""
    from falaj.local.servers import kafka
    from falaj.local.servers.errors import NotInstalledError

    archives = ROOT / ".falaj" / "tools" / f"kafka-{kafka.VERSION}"
    if not archives.is_dir():
        raise SystemExit("Kafka is not here: `falaj local start --kafka` fetches it, and needs Java and Maven")
    try:
        kafka.java()
    except NotInstalledError as error:
        raise SystemExit(str(error)) from None
    return archives


def show(measurements: Sequence[Measurement]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="An event on its way to the online store", title_justify="left")
    for name in ("stream", "what", "samples", "p50, ms", "p95, ms", "p99, ms", "p50 / limit", "p99 / limit"):
        table.add_column(name, justify="left" if name in ("stream", "what") else "right")
    for item in measurements:
        table.add_row(
            item.stream,
            item.what,
            f"{item.samples:,}",
            *(f"{value:.2f}" for value in item.milliseconds),
            f"{item.ratios[0]:.2f}",
            f"{item.ratios[-1]:.2f}",
        )
    Console(width=120).print(table)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stream", choices=("kinesis", "kafka", "all"), default="all", help="all: those that are here")
    parser.add_argument("--rate", type=int, default=100, metavar="1..500", help="events a second (100)")
    parser.add_argument("--seconds", type=int, default=20, metavar="5..120", help="how long they are sent (20)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    parser.add_argument("--most-p99-seconds", type=float, help="exit code 1 when the witness saw a higher p99")
    options = parser.parse_args(argv)
    if not 1 <= options.rate <= 500 or not 5 <= options.seconds <= 120:
        parser.error("--rate takes 1 to 500, --seconds 5 to 120")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended then too
    names = ["kinesis", "kafka"] if options.stream == "all" else [options.stream]
    if options.stream != "kinesis":
        try:
            kafka_archives()
        except SystemExit as missing:
            if options.stream == "kafka":
                raise
            print(f"without Kafka: {missing}", file=sys.stderr)
            names.remove("kafka")
    measurements = _measure_all(names, options.rate, options.seconds)
    if options.json:
        for item in measurements:
            print(json.dumps({**asdict(item), "quantiles": QUANTILES}))
    else:
        show(measurements)
    worst = max(item.milliseconds[-1] for item in measurements if item.what == WITNESSED)
    return 1 if options.most_p99_seconds is not None and worst > options.most_p99_seconds * 1000 else 0


def _measure_all(names: Sequence[str], rate: int, seconds: int) -> list[Measurement]:
    import logging
    import warnings

    from rich.console import Console

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    measurements: list[Measurement] = []
    with (
        tempfile.TemporaryDirectory(prefix="falaj-benchmark-", ignore_cleanup_errors=True) as folder,
        Console(stderr=True).status("starting the servers") as status,
        ExitStack() as servers,
    ):
        bench = _Bench(servers, Path(folder))
        for name in names:
            stream = {"kinesis": bench.kinesis, "kafka": bench.kafka}[name]()

            def progress(doing: str, name: str = name) -> None:
                status.update(f"{name}: {doing}")

            measurements += measure(stream, rate, seconds, Path(folder), progress)
    return measurements


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
