"""What contracts, de-duplication and atomic commits cost over writing the same rows with bare pyarrow.

    python benchmarks/ingestion.py [--months 2] [--repeats 3] [--events 20000] [--json] [--most-ratio 6]

Runs in the runtime's environment, against one emulated account on loopback.  In turns, the same rows each time:

- bare: pyarrow writes the finished rows, in memory already and parted by day, as Parquet (zstd) to S3: a file a day,
  one request a file, from four threads.  (``pyarrow.dataset.write_dataset`` takes several times as long.)
- parquet: ``ingest_file`` takes the finished rows from a Parquet file: reads, checks each record, looks for
  duplicates, writes an Iceberg table partitioned by day, commits;
- csv: the same from the data set's CSV file, whose columns are first made into those of the contract;
- stream: a consumer takes ``--events`` of them from Kinesis, in micro-batches, without an online store.

For each: elapsed time, and processor time of this process, which does not depend on what else the machine does; the
account's server is another process.  ``--most-ratio`` sets the exit code: 1 when parquet took more than that many
times the processor time of bare pyarrow.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
import pyarrow
import pyarrow.fs
import pyarrow.parquet

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the runtime's environment does not install the project

from examples.flights import data
from examples.flights.contracts import FLIGHTS
from falaj.local import process_table
from falaj.local.aws.server import AwsServer
from runtime.aws import LOCAL_CREDENTIAL, client
from runtime.ingestion.batch import ingest_file
from runtime.ingestion.consumer import ConsumerOptions, StreamIngestion
from runtime.ingestion.contract import Contract
from runtime.ingestion.kinesis import KinesisConsumer, KinesisProducer
from runtime.ingestion.lake import Lake
from runtime.settings import Settings

Times = tuple[float, float]
"""Elapsed and processor seconds."""

BUCKET = "benchmark-lake"
STREAM = "benchmark-events"
SHARDS = 4
WRITERS = 4


@dataclass(frozen=True)
class Measurement:
    """``seconds`` elapsed and ``cpu_seconds`` of this process: medians of the repeats.  Ratios are per row."""

    what: str
    rows: int
    seconds: float
    cpu_seconds: float
    ratio: float
    cpu_ratio: float

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds


def measure(settings: Settings, folder: Path, months: int, repeats: int, events: int) -> list[Measurement]:
    """Everything, in turns.  Raises AssertionError if what was written is not what was to be."""
    rows, csv_file, parquet_file = _files(folder, months)
    days = _by_day(rows)
    encoded = [
        (flight.flight["flight_id"], flight.encode()) for flight in data.completed(rows, *_span(rows)) if events > 0
    ][:events]
    bare: list[Times] = []
    from_parquet: list[Times] = []
    from_csv: list[Times] = []
    from_stream: list[Times] = []
    finished = dataclasses.replace(FLIGHTS, prepare=None)

    def fresh(name: str, **changes: str) -> Settings:
        return settings.model_copy(update={"catalog_uri": f"sqlite:///{folder}/{name}.db", **changes})

    _write_bare(settings, days[:1], "warm-up")
    _take_file(fresh("warm-up"), FLIGHTS, csv_file, rows.height)
    for turn in range(repeats):
        bare.append(_timed(functools.partial(_write_bare, settings, days, f"bare-{turn}")))
        for name, contract, file, times in (
            ("parquet", finished, parquet_file, from_parquet),
            ("csv", FLIGHTS, csv_file, from_csv),
        ):
            own = fresh(f"{name}-{turn}")
            times.append(_timed(functools.partial(_take_file, own, contract, file, rows.height)))
        if encoded:
            stream = f"{STREAM}-{turn}"
            _fill(settings, stream, encoded)
            from_stream.append(_take_stream(fresh(f"stream-{turn}", stream_endpoint=stream), len(encoded)))
    elapsed, cpu = (statistics.median(times) / rows.height for times in zip(*bare, strict=True))
    cases = [
        ("bare pyarrow", rows.height, bare),
        ("parquet", rows.height, from_parquet),
        ("csv", rows.height, from_csv),
        ("stream", len(encoded), from_stream),
    ]
    measurements = []
    for what, count, times in cases:
        if times:
            seconds, cpu_seconds = (statistics.median(each) for each in zip(*times, strict=True))
            ratios = (seconds / count / elapsed, cpu_seconds / count / cpu)
            measurements.append(Measurement(what, count, seconds, cpu_seconds, *ratios))
    return measurements


def _files(folder: Path, months: int) -> tuple[pl.DataFrame, Path, Path]:
    raw = data.raw_flights().filter(pl.col("month").cast(pl.Int64) <= months)
    csv_file, parquet_file = folder / "flights.csv", folder / "flights.parquet"
    raw.write_csv(csv_file, null_value="NA")
    rows = data.flights(raw)
    rows.write_parquet(parquet_file)
    return rows, csv_file, parquet_file


def _by_day(rows: pl.DataFrame) -> list[tuple[str, pyarrow.Table]]:
    """The rows of each day with the contract's Arrow types."""
    dated = rows.with_columns(pl.col("scheduled_departure").dt.date().alias("day"))
    parts = dated.partition_by("day", as_dict=True, include_key=False)
    return [(str(day), part.to_arrow().cast(FLIGHTS.arrow_schema)) for (day,), part in parts.items()]


def _span(rows: pl.DataFrame) -> tuple[object, object]:
    from datetime import timedelta

    known = rows["known_at"]
    return known.min(), known.max() + timedelta(days=1)  # type: ignore[operator, return-value]


def _write_bare(settings: Settings, days: Sequence[tuple[str, pyarrow.Table]], prefix: str) -> None:
    host = settings.aws_endpoint_url.removeprefix("http://")
    s3 = pyarrow.fs.S3FileSystem(
        access_key=LOCAL_CREDENTIAL,
        secret_key=LOCAL_CREDENTIAL,
        endpoint_override=host,
        scheme="http",
        region=settings.aws_region,
        allow_delayed_open=True,  # one request for a small file instead of three
    )

    def write(day: tuple[str, pyarrow.Table]) -> None:
        path = f"{BUCKET}/{prefix}/day={day[0]}/rows.parquet"
        pyarrow.parquet.write_table(day[1], path, filesystem=s3, compression="zstd")

    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(write, days))


def _take_file(settings: Settings, contract: Contract, file: Path, rows: int) -> None:
    result = ingest_file(Lake(settings), settings, contract, file)
    assert (result.accepted, result.refused) == (rows, 0)


def _fill(settings: Settings, stream: str, encoded: Sequence[tuple[str, bytes]]) -> None:
    client(settings, "kinesis").create_stream(StreamName=stream, ShardCount=SHARDS)
    client(settings, "kinesis").get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})
    producer = KinesisProducer(settings.model_copy(update={"stream_endpoint": stream}))
    for key, value in encoded:
        producer.send(key, value)
    producer.close()


def _take_stream(settings: Settings, events: int) -> Times:
    """From the start of the consumer to its last commit; the wait that tells it the stream is dry is left out."""
    committed: list[Times] = []

    def observe(name: str, _facts: object) -> None:
        if name == "committed":
            committed.append((time.perf_counter(), time.process_time()))

    options = ConsumerOptions(idle_seconds=0.5, batch_rows=5_000, batch_seconds=0.3)
    ingestion = StreamIngestion(
        settings, FLIGHTS, options, lake=Lake(settings), stream=KinesisConsumer(settings), observe=observe
    )
    began, cpu_began = time.perf_counter(), time.process_time()
    result = ingestion.run(threading.Event())
    assert result.accepted == events
    return committed[-1][0] - began, committed[-1][1] - cpu_began


def _timed(work: Callable[[], None]) -> Times:
    began, cpu_began = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - cpu_began


def show(measurements: Sequence[Measurement]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="rows into a lake partitioned by day, on an emulated account")
    for name in ("what", "rows", "s", "CPU, s", "rows/s", "time / bare", "CPU / bare"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for item in measurements:
        table.add_row(
            item.what,
            f"{item.rows:,}",
            f"{item.seconds:.2f}",
            f"{item.cpu_seconds:.2f}",
            f"{item.rows_per_second:,.0f}",
            f"{item.ratio:.2f}",
            f"{item.cpu_ratio:.2f}",
        )
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What ingestion costs over bare pyarrow.")
    parser.add_argument("--months", type=int, choices=range(1, 13), default=2, metavar="1..12")
    parser.add_argument("--repeats", type=int, choices=range(1, 21), default=3, metavar="1..20")
    parser.add_argument("--events", type=int, default=20_000, help="events of the stream; 0 leaves it out")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    parser.add_argument("--most-ratio", type=float, help="exit code 1 when CPU of parquet / bare is more than this")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        server = AwsServer(Path(folder) / "aws", port=process_table.free_port())
        try:
            settings = Settings(aws_endpoint_url=server.start().endpoint_url, lake_bucket=BUCKET)
            client(settings, "s3").create_bucket(
                Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": settings.aws_region}
            )
            measurements = measure(settings, Path(folder), options.months, options.repeats, options.events)
        finally:
            server.stop()
    if options.json:
        for item in measurements:
            print(json.dumps({**asdict(item), "rows_per_second": item.rows_per_second}))
    else:
        show(measurements)
    worst = next(item.cpu_ratio for item in measurements if item.what == "parquet")
    return 1 if options.most_ratio is not None and worst > options.most_ratio else 0


if __name__ == "__main__":
    sys.exit(main())
