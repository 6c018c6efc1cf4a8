"""S3, Kinesis and the catalogue away for a while: nothing lost, nothing twice, and said in one line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.ingestion.batch import ingest_file
from runtime.ingestion.consumer import ConsumerOptions, StreamIngestion
from runtime.ingestion.errors import OutageError
from runtime.ingestion.kinesis import KinesisConsumer, KinesisProducer
from runtime.ingestion.lake import Lake
from runtime.ingestion.outage import Patience
from runtime.settings import Settings
from tests.runtime.ingestion.test_consumer import NOW, encoded, ids, letters
from tests.support.cuttable_proxy import CuttableProxy, cuttable
from tests.support.memory_stream import MemoryStream
from tests.support.readings import contract, readings, write_csv
from tests.support.runtime_servers import Aws

COUNT = 120


@pytest.fixture
def proxy(aws: Aws) -> Iterator[CuttableProxy]:
    with cuttable(int(aws.endpoint_url.rpartition(":")[2])) as made:
        yield made


def through(settings: Settings, proxy: CuttableProxy) -> Settings:
    return settings.model_copy(update={"aws_endpoint_url": f"http://127.0.0.1:{proxy.port}"})


def consume_with_a_cut(
    settings: Settings, proxy: CuttableProxy, cut_at: Callable[[str], bool], *, read: Settings, written: Settings
) -> Any:
    """Runs a consumer whose connections are cut at the event that ``cut_at`` says yes to, and mended once felt."""
    producer = KinesisProducer(settings)
    for number, value in enumerate(encoded(readings(COUNT))):
        producer.send(str(number), value)
    producer.close()
    mended: list[threading.Thread] = []

    def observe(name: str, _facts: dict[str, Any]) -> None:
        if not mended and cut_at(name):
            proxy.cut()
            mended.append(threading.Thread(target=lambda: (proxy.wait_refused(), proxy.mend())))
            mended[0].start()

    ingestion = StreamIngestion(
        settings,
        contract(),
        ConsumerOptions(idle_seconds=2, batch_rows=30, poll_records=15, outage_limit_seconds=120),
        lake=Lake(written),
        stream=KinesisConsumer(read),
        observe=observe,
        now=lambda: NOW,
    )
    result = ingestion.run(threading.Event())
    mended[0].join()
    return result


def test_kinesis_away_in_the_middle_costs_nothing(settings: Settings, proxy: CuttableProxy) -> None:
    taken = iter(range(1000))
    result = consume_with_a_cut(
        settings,
        proxy,
        lambda name: name == "taken" and next(taken) == 2,
        read=through(settings, proxy),
        written=settings,
    )
    assert proxy.refused > 0
    assert result.accepted == COUNT
    assert ids(settings) == [row["reading_id"] for row in readings(COUNT)]


def test_s3_away_at_a_commit_costs_nothing(settings: Settings, proxy: CuttableProxy) -> None:
    result = consume_with_a_cut(
        settings, proxy, lambda name: name == "committing", read=settings, written=through(settings, proxy)
    )
    assert result.accepted == COUNT
    assert ids(settings) == [row["reading_id"] for row in readings(COUNT)]
    assert proxy.refused > 0


def test_a_dead_letter_queue_that_is_away_is_waited_for(settings: Settings, proxy: CuttableProxy, aws: Aws) -> None:
    def cut(name: str, _facts: dict[str, Any]) -> None:
        if name == "started":
            proxy.cut()
            mender.start()

    mender = threading.Thread(target=lambda: (proxy.wait_refused(), proxy.mend()))
    ingestion = StreamIngestion(
        through(settings, proxy),
        contract(),
        ConsumerOptions(idle_seconds=0, poll_seconds=0, outage_limit_seconds=120),
        lake=Lake(settings),
        stream=MemoryStream({"a": [b"no event", *encoded(readings(5))]}),
        observe=cut,
        now=lambda: NOW,
    )
    result = ingestion.run(threading.Event())
    mender.join()
    assert (result.accepted, result.dead_letters, len(letters(settings, aws))) == (5, 1, 1)
    assert proxy.refused > 0


def test_a_file_is_not_half_taken_when_s3_stays_away(settings: Settings, proxy: CuttableProxy, tmp_path: Path) -> None:
    lake = Lake(through(settings, proxy))
    lake.open(contract())
    file = write_csv(tmp_path / "a.csv", readings(20))
    proxy.cut()
    with pytest.raises(OutageError, match="nothing is lost: run again once it is back"):
        ingest_file(lake, settings, contract(), file, patience=Patience(limit_seconds=0.2))
    proxy.mend()
    assert ids(settings) == []
    assert ingest_file(lake, settings, contract(), file).accepted == 20


def test_a_catalogue_on_postgresql_that_is_away_is_waited_for(
    settings: Settings, postgres_dsn: str, postgres_server: Any, tmp_path: Path
) -> None:
    with cuttable(postgres_server.port) as proxy:
        uri = postgres_dsn.replace(f":{postgres_server.port}/", f":{proxy.port}/")
        lake = Lake(settings.model_copy(update={"catalog_uri": uri}))
        lake.open(contract())
        proxy.cut()
        mender = threading.Thread(target=lambda: (proxy.wait_refused(), proxy.mend()))
        mender.start()
        result = ingest_file(lake, settings, contract(), write_csv(tmp_path / "a.csv", readings(20)))
        mender.join()
        assert result.accepted == 20
