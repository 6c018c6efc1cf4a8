"""The example's data on its way into the platform: files for batches, and a year of flights replayed as a stream.

python -m examples.flights.data files DIRECTORY --months 1-6
python -m examples.flights.data replay --day 2013-07-01 --speed 3600
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from examples.flights import curation
from examples.flights.contracts import EVENT_TYPE, FLIGHTS
from examples.flights.source import NULLS, path
from runtime.ingestion import events, sources
from runtime.settings import Settings

if TYPE_CHECKING:
    from runtime.ingestion.ports import StreamProducer

EVENT_SOURCE: Final = "/falaj/examples/flights"
LONGEST_WAIT_SECONDS: Final = 0.5
"""A producer is flushed before a longer pause, so that its records do not wait for company."""

_MISSING: Final = "NA"


@dataclass(frozen=True)
class Completed:
    """A flight whose outcome has become known: an event to be."""

    time: datetime.datetime
    flight: dict[str, Any]

    def encode(self) -> bytes:
        identity = self.flight["flight_id"]
        return events.encode(id=identity, type=EVENT_TYPE, source=EVENT_SOURCE, time=self.time, data=self.flight)


def raw_flights() -> pl.DataFrame:
    """The data set's flights with the columns of its file, all text; "no value" is null."""
    return sources.read(path("flights"), Settings(), csv_nulls=NULLS).records


def monthly_files(directory: Path, months: Iterable[int]) -> list[Path]:
    """Writes the flights of each of ``months`` of 2013 as a CSV file of the data set's own columns."""
    directory.mkdir(parents=True, exist_ok=True)
    raw, files = raw_flights(), []
    for month in months:
        file = directory / f"flights-2013-{month:02d}.csv"
        raw.filter(pl.col("month") == str(month)).write_csv(file, null_value=_MISSING)
        files.append(file)
    return files


def flights(raw: pl.DataFrame | None = None) -> pl.DataFrame:
    """All flights, or those of ``raw``, with the columns and types of ``flights.flights``."""
    from runtime.ingestion.quality import check

    return check(curation.flights(raw_flights() if raw is None else raw), FLIGHTS).accepted


def completed(rows: pl.DataFrame, first: datetime.datetime, last: datetime.datetime) -> Iterator[Completed]:
    """The flights whose outcome became known in [``first``, ``last``), in the order in which it did."""
    known = rows.filter((pl.col("known_at") >= first) & (pl.col("known_at") < last)).sort("known_at", "flight_id")
    for row in known.iter_rows(named=True):
        yield Completed(row["known_at"], row)


def replay(
    flights: Iterable[Completed],
    producer: StreamProducer,
    *,
    speed: float | None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    sent: Callable[[Completed], None] = lambda _flight: None,
) -> int:
    """Sends each flight when it is due, ``speed`` times as fast as it happened, and returns how many there were.

    ``speed=None`` sends as fast as the stream takes them.  A flight keeps its plane's order: the stream's key is the
    registration.  Raises what the producer raises.
    """
    sent_flights, began, first = 0, clock(), None
    for flight in flights:
        if speed is not None:
            first = flight.time if first is None else first
            due = began + (flight.time - first).total_seconds() / speed
            if (wait := due - clock()) > 0:
                if wait > LONGEST_WAIT_SECONDS:
                    producer.flush()
                sleep(wait)
        producer.send(flight.flight["tailnum"] or flight.flight["flight_id"], flight.encode())
        sent(flight)
        sent_flights += 1
    producer.flush()
    return sent_flights


def main() -> None:
    """The command line of this module."""
    import click

    from runtime.ingestion.ports import stream_producer
    from runtime.settings import load_settings

    @click.group()
    def commands() -> None:
        """The flights example's data."""

    @commands.command()
    @click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
    @click.option("--months", default="1-6", show_default=True, help="A month of 2013, or the first and the last.")
    def files(directory: Path, months: str) -> None:
        """Write a CSV file for each month."""
        first, _, last = months.partition("-")
        try:
            wanted = range(int(first), int(last or first) + 1)
        except ValueError:
            raise click.BadParameter(f"{months}; give 7 or 1-6", param_hint="--months") from None
        if not wanted or wanted[0] < 1 or wanted[-1] > 12:
            raise click.BadParameter(f"{months}; allowed: 1 to 12", param_hint="--months")
        for file in monthly_files(directory, wanted):
            click.echo(str(file))

    @commands.command("replay")
    @click.option("--day", type=click.DateTime(["%Y-%m-%d"]), required=True, help="The day, in UTC.")
    @click.option("--days", type=click.IntRange(1, 366), default=1, show_default=True)
    @click.option(
        "--speed", type=click.FloatRange(min=0, min_open=True), help="Times real time; as fast as can be if unset."
    )
    def replay_command(day: datetime.datetime, days: int, speed: float | None) -> None:
        """Send the flights whose outcome became known on a day to the configured stream, in the order of time."""
        from rich.console import Console
        from rich.progress import Progress

        producer = stream_producer(load_settings())
        start = day.replace(tzinfo=datetime.UTC)
        wanted = list(completed(flights(), start, start + datetime.timedelta(days=days)))
        with Progress(
            console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal
        ) as bar:
            task = bar.add_task("sending flights", total=len(wanted))
            number = replay(wanted, producer, speed=speed, sent=lambda _flight: bar.advance(task))
        producer.close()
        click.echo(f"{number} flights sent")

    commands(prog_name="python -m examples.flights.data")


if __name__ == "__main__":
    main()
