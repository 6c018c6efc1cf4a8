"""``python -m runtime ingest``: files and streams into the lake."""

from __future__ import annotations

import datetime
import json
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from runtime.settings import load_settings

if TYPE_CHECKING:
    from runtime.ingestion.consumer import StreamResult
    from runtime.ingestion.ports import OnlineWriter
    from runtime.settings import Settings

_contract_argument = click.argument("contract", metavar="MODULE:CONTRACT")
_as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of a table.")


class _Time(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A moment with its zone, as ``2013-07-01T00:00:00Z``."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime.datetime:
        if isinstance(value, datetime.datetime):
            return value
        try:
            moment = datetime.datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value} is no time; give one such as 2013-07-01T00:00:00Z", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value} has no zone; end it with Z or an offset such as +04:00", param, ctx)
        return moment.astimezone(datetime.UTC)


@click.group(
    epilog="Examples:\n\n  python -m runtime ingest file examples.flights.contracts:WEATHER weather.csv\n\n"
    "  python -m runtime ingest stream examples.flights.contracts:FLIGHTS --idle 10"
)
def group() -> None:
    """Files and streams into the lake's tables: whole, once, and under a contract."""


@group.command()
@_contract_argument
@click.argument("sources", nargs=-1, required=True, metavar="FILE...")
@click.option("--sha256", help="The digest that the (one) file must have.")
@_as_json
def file(contract: str, sources: tuple[str, ...], sha256: str | None, as_json: bool) -> None:
    """Take files into the contract's table.  FILE: a path or s3://bucket/key; CSV, JSON lines, Parquet, packed or not.

    A file that is in already adds nothing.  Refused records are kept in quarantine; a file with too many is refused.
    """
    if sha256 is not None and len(sources) > 1:
        raise click.UsageError("--sha256 is for one file")
    from runtime import metrics
    from runtime.ingestion.batch import BatchResult, ingest_file
    from runtime.ingestion.contract import load_contract
    from runtime.ingestion.lake import Lake
    from runtime.ingestion.provenance import JOBS, record_file
    from runtime.lineage.recording import recorded

    settings, taken = load_settings(), load_contract(contract)
    lake = Lake(settings)

    def one(source: str) -> BatchResult:
        with recorded(settings, f"{JOBS}batch") as step:
            result = ingest_file(lake, settings, taken, source, sha256=sha256)
            if step is not None:
                record_file(step, settings, lake, taken, result)
        return result

    with metrics.exporter(settings):
        results = _with_progress(sources, one, as_json)
    for result in results if as_json else []:
        click.echo(json.dumps(vars(result)))
    if not as_json:
        _table(
            ("file", "accepted", "duplicates", "refused", "snapshot", ""),
            [
                (
                    result.source.rsplit("/", 1)[-1],
                    f"{result.accepted:,}",
                    f"{result.duplicates:,}",
                    f"{result.refused:,}",
                    str(result.snapshot_id),
                    "is in already" if result.already_ingested else result.quarantine_uri or "",
                )
                for result in results
            ],
        )


@group.command()
@_contract_argument
@click.option("--name", default="lake", show_default=True, help="Whose checkpoints to go on from.")
@click.option(
    "--from", "replay_from", type=_Time(), help="Read again from this time of arrival; nothing comes in twice."
)
@click.option(
    "--start-at", type=_Time(), help="Where shards that were never read begin; by default at their first record."
)
@click.option("--online", metavar="MODULE:FACTORY", help="Makes, from the settings, the writer of the online store.")
@click.option("--worker", type=click.IntRange(0), default=0, help="Number of this worker, from 0.")
@click.option("--workers", type=click.IntRange(1), default=1, help="How many share the stream's shards.")
@click.option("--batch-rows", type=click.IntRange(1, 1_000_000), default=5_000, show_default=True)
@click.option("--batch-seconds", type=click.FloatRange(0.01, 3600), default=5.0, show_default=True)
@click.option("--poll-records", type=click.IntRange(1, 10_000), default=1_000, show_default=True)
@click.option("--idle", "idle_seconds", type=click.FloatRange(0), help="End when nothing has come for so many seconds.")
@click.option("--late", type=click.Choice(["keep", "refuse"]), default="keep", show_default=True)
@click.option("--allowed-lateness-minutes", type=click.FloatRange(0, 5_256_000), default=360.0, show_default=True)
@click.option("--outage-limit-seconds", type=click.FloatRange(0), default=900.0, show_default=True)
@_as_json
def stream(
    contract: str, online: str | None, late: str, allowed_lateness_minutes: float, as_json: bool, **given: Any
) -> None:
    """Take the configured stream into the contract's table, until Ctrl-C or --idle; then commit and end.

    Refused records go to the dead-letter queue with their reasons.
    """
    if given["worker"] >= given["workers"]:
        raise click.UsageError(f"--worker {given['worker']} of --workers {given['workers']}: they count from 0")
    from runtime import metrics
    from runtime.ingestion.consumer import ConsumerOptions, StreamIngestion
    from runtime.ingestion.contract import load_contract
    from runtime.ingestion.lake import Lake
    from runtime.ingestion.ports import stream_consumer
    from runtime.ingestion.provenance import commit_recorder
    from runtime.ingestion.triage import Rules

    settings, taken = load_settings(), load_contract(contract)
    rules = Rules(allowed_lateness=datetime.timedelta(minutes=allowed_lateness_minutes), late=late)  # type: ignore[arg-type]
    options = ConsumerOptions(rules=rules, **given)
    writer = _online_writer(online, settings) if online else None
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    source = stream_consumer(settings)
    try:
        with metrics.exporter(settings), _Display(as_json) as display:
            ingestion = StreamIngestion(
                settings,
                taken,
                options,
                lake=Lake(settings),
                stream=source,
                online=writer,
                observe=display.observe,
                record=commit_recorder(settings, taken),
            )
            result = ingestion.run(stop)
    finally:
        source.close()
    _print_stream(result, as_json)


@group.command("dead-letters")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--redrive", is_flag=True, help="Send the records to the stream again.")
@click.option("--discard", is_flag=True, help="Delete them.")
@_as_json
def dead_letters(limit: int, redrive: bool, discard: bool, as_json: bool) -> None:
    """Take refused records off the dead-letter queue and say why they were refused.

    One of --redrive (once what was wrong is mended) or --discard: what is taken off is gone from the queue.
    """
    if redrive == discard:
        raise click.UsageError("one of --redrive and --discard")
    from runtime.ingestion.dead_letters import receive, value_of
    from runtime.ingestion.ports import stream_producer

    settings = load_settings()
    producer = stream_producer(settings) if redrive else None

    def take(letter: dict[str, Any]) -> None:
        if producer is not None:
            producer.send(f"{letter['shard']}/{letter['position']}", value_of(settings, letter))
            producer.flush()
        shown = {name: letter[name] for name in ("shard", "position", "arrived_at", "reasons")}
        click.echo(
            json.dumps(shown) if as_json else f"{shown['shard']} {shown['position']}: {'; '.join(shown['reasons'])}"
        )

    taken, foreign = receive(settings, limit, take)
    if producer is not None:
        producer.close()
    if not as_json:
        click.echo(f"{taken} {'sent again' if redrive else 'discarded'}")
    if foreign:
        click.echo(f"{foreign} messages are no dead letters and were left on the queue", err=True)


@group.command()
@_as_json
def tables(as_json: bool) -> None:
    """List the lake's tables: version of the contract, rows, files, last commit."""
    from runtime.ingestion.lake import VERSION_PROPERTY, Lake

    lake = Lake(load_settings())
    found: list[dict[str, Any]] = []
    for name, table in lake.tables():
        snapshot = table.current_snapshot()
        summary = dict(snapshot.summary.additional_properties) if snapshot and snapshot.summary else {}
        found.append(
            {
                "table": name,
                "version": table.properties.get(VERSION_PROPERTY, ""),
                "rows": int(summary.get("total-records", 0)),
                "files": int(summary.get("total-data-files", 0)),
                "snapshot_id": snapshot.snapshot_id if snapshot else None,
            }
        )
    if as_json:
        for entry in found:
            click.echo(json.dumps(entry))
        return
    if not found:
        click.echo("the lake has no tables")
        return
    _table(
        ("table", "version", "rows", "files", "snapshot"),
        [(e["table"], e["version"], f"{e['rows']:,}", f"{e['files']:,}", str(e["snapshot_id"])) for e in found],
    )


@group.command()
@click.argument("names", nargs=-1, metavar="[TABLE]...")
@click.option(
    "--target-file-mib", type=click.IntRange(1, 512), default=32, show_default=True, help="Size of a full file."
)
@click.option("--min-files", type=click.IntRange(2), default=5, show_default=True, help="Fewer are not rewritten.")
@click.option("--keep-days", type=click.FloatRange(0), default=5.0, show_default=True, help="Snapshots younger stay.")
@click.option("--keep-last", type=click.IntRange(1), default=20, show_default=True, help="So many snapshots stay.")
@click.option(
    "--orphan-days",
    type=click.FloatRange(0.01),
    default=3.0,
    show_default=True,
    help="Unreferenced files younger than this may belong to a commit under way, and stay.",
)
@_as_json
def maintain(
    names: tuple[str, ...],
    target_file_mib: int,
    min_files: int,
    keep_days: float,
    keep_last: int,
    orphan_days: float,
    as_json: bool,
) -> None:
    """Compact small files, expire old snapshots, remove files that nothing refers to; all tables, or those named.

    Safe beside running consumers and beside itself; killed, it leaves every row where it was.  A snapshot that a
    feature snapshot or the lineage names stays.
    """
    import functools

    from runtime import metrics
    from runtime.ingestion.lake import Lake
    from runtime.ingestion.maintenance import Maintenance, MaintenanceOptions
    from runtime.ingestion.provenance import JOBS, record_maintenance
    from runtime.ingestion.table_references import referenced_snapshots
    from runtime.lineage.recording import recorded

    settings = load_settings()
    lake = Lake(settings)
    options = MaintenanceOptions(
        target_file_bytes=target_file_mib * 1024 * 1024,
        min_files=min_files,
        keep_snapshots=datetime.timedelta(days=keep_days),
        keep_last=keep_last,
        orphan_age=datetime.timedelta(days=orphan_days),
    )
    with metrics.exporter(settings), _Display(as_json, "maintaining tables") as display:
        maintenance = Maintenance(
            settings,
            options,
            referenced=functools.partial(referenced_snapshots, settings),
            observe=display.observe,
        )
        chosen = [(name, lake.table(name)) for name in names] or list(lake.tables())
        results = []
        for name, table in chosen:
            snapshot = table.current_snapshot()
            with recorded(settings, f"{JOBS}maintain") as step:
                results.append(maintenance.run(name, table))
                if step is not None:
                    record_maintenance(step, lake, name, snapshot.snapshot_id if snapshot else None)
    if as_json:
        for result in results:
            click.echo(json.dumps({"event": "result", **vars(result)}))
        return
    _table(
        ("table", "files", "into", "left", "snapshots expired", "kept for records", "files removed", "MiB removed"),
        [
            (
                result.table,
                f"{result.rewritten_files:,}",
                f"{result.added_files:,}",
                f"{result.left:,}",
                f"{result.expired_snapshots:,}",
                f"{result.kept_referenced:,}",
                f"{result.removed_files:,}",
                f"{result.removed_bytes / 1024**2:,.1f}",
            )
            for result in results
        ],
    )


class _Display:
    """What is being done, while it is: JSON lines, a line that is renewed on a terminal, or nothing."""

    def __init__(self, as_json: bool, doing: str = "reading the stream") -> None:
        self._as_json = as_json
        self._doing = doing
        self._status: Any = None
        self._lock = threading.Lock()

    def __enter__(self) -> _Display:
        if not self._as_json and sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status(self._doing)
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def observe(self, name: str, facts: dict[str, Any]) -> None:
        """Called from two threads."""
        with self._lock:
            if self._as_json:
                click.echo(json.dumps({"event": name, **facts}))
                sys.stdout.flush()
            elif self._status is not None and name == "committed":
                self._status.update(f"{self._doing}: {facts['total']:,} rows taken")
            elif self._status is not None and name == "compacted":
                self._status.update(f"{self._doing}: {facts['files']:,} files rewritten into {facts['into']}")


def _print_stream(result: StreamResult, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"event": "result", **vars(result)}))
        return
    names = ("table", "accepted", "duplicates", "late", "dead letters", "batches", "last snapshot")
    numbers = (result.accepted, result.duplicates, result.late, result.dead_letters, result.batches)
    _table(names, [(result.table, *(f"{number:,}" for number in numbers), str(result.last_snapshot_id))])


def _online_writer(reference: str, settings: Settings) -> OnlineWriter:
    import importlib

    from runtime.ingestion.ports import OnlineWriter

    module, _, attribute = reference.partition(":")
    try:
        writer = getattr(importlib.import_module(module), attribute)(settings)
    except (ImportError, AttributeError, ValueError) as error:
        raise click.UsageError(f'no online writer "{reference}": {error}; give MODULE:FACTORY') from error
    if not isinstance(writer, OnlineWriter):
        raise click.UsageError(f'"{reference}" makes a {type(writer).__name__}, which has no write method')
    return writer


def _with_progress(sources: tuple[str, ...], one: Callable[[str], Any], quiet: bool) -> list[Any]:
    if quiet or not sys.stderr.isatty():
        return [one(source) for source in sources]
    from rich.console import Console
    from rich.progress import track

    return [one(source) for source in track(sources, "taking files", console=Console(stderr=True), transient=True)]


def _table(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold", justify="right" if name in _NUMBERS else "left")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


_NUMBERS = frozenset(
    {
        *("accepted", "duplicates", "refused", "rows", "files", "late", "dead letters", "batches"),
        *("into", "left", "snapshots expired", "kept for records", "files removed", "MiB removed"),
    }
)
