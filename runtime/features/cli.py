"""``python -m runtime features``: from declared views to online features, one command per step.

Every command takes ``--project MODULE:ATTRIBUTE``.  Commands that write print what they made as one JSON document with
``--json``, else as a table.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.features.errors import RequestError

if TYPE_CHECKING:
    from runtime.features.declaration import Declaration
    from runtime.features.project import FeatureProject

_project = click.option(
    "--project", "reference", required=True, metavar="MODULE:ATTRIBUTE",
    help="The feature project, as examples.flights.features:PROJECT.",
)  # fmt: skip
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
_service = click.option("--service", required=True, help="Feature service.")
_instant = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])


@click.group("features")
def group() -> None:
    """Feature views, training sets, the online store."""


@group.command("apply")
@_project
@_json
def apply_command(reference: str, as_json: bool) -> None:
    """Checks the declared views and makes the project known to the online store."""
    from runtime.features.materialise import apply
    from runtime.settings import load_settings

    project, declaration = _declared(reference)
    live = apply(load_settings(), declaration)
    catalogue = declaration.catalogue
    if as_json:
        click.echo(json.dumps({"project": project.name, "live": live, "digest": catalogue.digest}))
        return
    rows = [
        (v.name, getattr(v, "kind", "on demand"), v.owner, "yes" if v.pii else "no", str(len(v.features)), v.purpose)
        for v in catalogue.all_views
    ]
    _table(
        f"{project.name}: generation {live} is live, definition {catalogue.digest[:19]}",
        ("view", "kind", "owner", "personal data", "features", "purpose"),
        rows,
    )


@group.command("compute")
@_project
@_json
def compute_command(reference: str, as_json: bool) -> None:
    """Computes every stored view from the curated tables; the result is the latest feature snapshot."""
    from runtime.features import provenance
    from runtime.features.lake_tables import LakeTables
    from runtime.features.monitoring import export_snapshot
    from runtime.features.snapshots import compute_snapshot
    from runtime.lineage.recording import recorded
    from runtime.settings import load_settings

    settings = load_settings()
    project, declaration = _declared(reference)
    with (
        recorded(settings, "features.compute") as run,
        _progress("computing", len(declaration.catalogue.views)) as step,
    ):
        snapshot = compute_snapshot(settings, project, declaration.catalogue, LakeTables(settings), progress=step)
        if run is not None:
            run.note(snapshot=snapshot.id, catalogue=snapshot.catalogue_digest)
    # A run for each view: a view is made from its own tables, not from all that were read.
    for file in snapshot.views:
        with recorded(settings, "features.compute-view") as run:
            if run is not None:
                provenance.record_view(run, settings, project, declaration.catalogue, snapshot, file)
    export_snapshot(snapshot, now_seconds=time.time())
    if as_json:
        click.echo(json.dumps(asdict(snapshot)))
        return
    rows = [
        (f.view, f"{f.rows:,}", f.first_known_at, f.last_known_at, _worst_null(f.null_rates)) for f in snapshot.views
    ]
    _table(f"snapshot {snapshot.id}", ("view", "rows", "first known", "last known", "most nulls"), rows)


@group.command("build-training-set")
@_project
@_service
@click.option("--snapshot", "snapshot_id", help="Feature snapshot; the latest without it.")
@click.option("--since", type=_instant, help="First prediction time, UTC.")
@click.option("--until", type=_instant, help="End of the prediction times (not included), UTC.")
@_json
def training_set_command(
    reference: str, service: str, snapshot_id: str | None, since: datetime | None, until: datetime | None, as_json: bool
) -> None:
    """Joins the project's examples with the features known at each prediction time; writes Parquet and a manifest."""
    from runtime.features import provenance
    from runtime.features.lake_tables import LakeTables
    from runtime.features.project import load_project
    from runtime.features.snapshots import load_catalogue, load_snapshot
    from runtime.features.training_set import build_training_set
    from runtime.lineage.recording import recorded
    from runtime.settings import load_settings

    settings, project = load_settings(), load_project(reference)
    snapshot = load_snapshot(settings, project.name, snapshot_id)
    catalogue = load_catalogue(settings, project.name, snapshot.catalogue_digest)
    with recorded(settings, "features.build-training-set") as run:
        made = build_training_set(
            settings,
            project,
            catalogue,
            snapshot,
            LakeTables(settings),
            service=service,
            since=_utc(since),
            until=_utc(until),
        )
        if run is not None:
            provenance.record_training_set(run, settings, project, made)
    if as_json:
        click.echo(json.dumps(asdict(made)))
        return
    _table(
        f"training set {made.id}",
        ("", ""),
        [
            ("rows", f"{made.rows:,}"),
            ("features", str(len(made.features))),
            ("label", f"{made.label}: {made.positive_share:.1%} positive"),
            ("predictions", f"{made.first_prediction_at} to {made.last_prediction_at}"),
            ("written to", made.uri),
            ("sha256", made.sha256),
            ("views", ", ".join(view.view for view in made.views)),
        ],
    )


@group.command("materialise")
@_project
@click.option("--as-of", type=_instant, help="Rows known up to this instant, UTC; by default now.")
@click.option("--snapshot", "snapshot_id", help="Feature snapshot; the latest without it.")
@click.option("--keep", default=1, show_default=True, type=click.IntRange(0, 20), help="Generations kept behind.")
@_json
def materialise_command(
    reference: str, as_of: datetime | None, snapshot_id: str | None, keep: int, as_json: bool
) -> None:
    """Fills a new generation of the online store beside the live one, then puts it live in one write."""
    from runtime.features import provenance
    from runtime.features.materialise import materialise
    from runtime.features.snapshots import load_snapshot
    from runtime.lineage.recording import recorded
    from runtime.settings import load_settings

    settings = load_settings()
    project, declaration = _declared(reference)
    snapshot = load_snapshot(settings, project.name, snapshot_id)
    moment = _utc(as_of) or datetime.now(UTC)
    with (
        recorded(settings, "features.materialise") as run,
        _progress("materialising", len(declaration.catalogue.views)) as step,
    ):
        done = materialise(settings, declaration, snapshot, as_of=moment, keep_previous=keep, progress=step)
        if run is not None:
            provenance.record_materialisation(run, done)
    if as_json:
        click.echo(json.dumps(asdict(done)))
        return
    dropped = f"; cleaned up {', '.join(map(str, done.dropped))}" if done.dropped else ""
    click.echo(
        f"generation {done.generation} of {done.project} is live (was {done.previous or 'none'}), known up to "
        f"{done.as_of}; {done.carried_forward} stream rows carried forward{dropped}"
    )


@group.command("get")
@_project
@click.option("--service", help="Feature service; or name features.")
@click.option("--feature", "features", multiple=True, help="view_v1:feature; may be repeated.")
@click.option("--entity", "entities", multiple=True, required=True, metavar="COLUMN=VALUE", help="May be repeated.")
@_json
def get_command(
    reference: str, service: str | None, features: Sequence[str], entities: Sequence[str], as_json: bool
) -> None:
    """Reads the online features of one row."""
    from runtime.features.generations import open_pointer
    from runtime.features.online import nothing_live
    from runtime.features.project import load_project
    from runtime.features.release import online_reads
    from runtime.settings import load_settings

    if bool(service) == bool(features):
        raise RequestError("ask for a --service or for one or more --feature, not for both")
    settings, project = load_settings(), load_project(reference)
    pointer = open_pointer(settings, project.name)
    live = pointer.read().live
    if live is None:
        raise nothing_live(project.name)
    catalogue = pointer.record(live).catalogue
    plan = catalogue.plan(catalogue.service(service) if service else features)
    types = {field.name: field.type for field in (*plan.join_keys, *plan.request)}
    with online_reads(settings, project) as read:
        answer = read(plan.references, _entity_columns(entities, types))
    if as_json:
        click.echo(json.dumps({name: column[0] for name, column in answer.to_dict().items()}))
        return
    rows = [
        (
            name,
            str(column[0]),
            "" if times[0] == (0, 0) else datetime.fromtimestamp(times[0][0]).astimezone().isoformat(),
        )
        for name, column, times in zip(answer.names, answer.columns, answer.event_times, strict=True)
    ]
    _table(f"{project.name}, generation {answer.generation}", ("feature", "value", "known since"), rows)


@group.command("serve")
@_project
@click.option("--port", default=6566, show_default=True, type=click.IntRange(1, 65535))
@click.option("--engine", type=click.Choice(["fast", "feast"]), default="fast", show_default=True)
def serve_command(reference: str, port: int, engine: str) -> None:
    """Serves online features on FALAJ_LISTEN_ADDRESS (127.0.0.1): the fast path, or Feast's own server."""
    from runtime import metrics
    from runtime.settings import load_settings

    settings = load_settings()
    if engine == "fast":
        from runtime.features.project import load_project
        from runtime.features.server import serve

        serve(settings, load_project(reference).name, port=port)
        return
    from runtime.features import feast_server

    _, declaration = _declared(reference)
    with metrics.exporter(settings), feast_server.running(settings, declaration, port=port) as process:
        click.echo(f"Feast's server answers on {settings.listen_address}:{port}", err=True)
        process.wait()


@group.command("skew")
@_project
@_service
@click.option("--rows", default=500, show_default=True, type=click.IntRange(1, 100_000), help="Keys to compare.")
@click.option("--threshold", default=0.001, show_default=True, type=click.FloatRange(0, 1), help="Differing share.")
@click.option("--seed", default=0, show_default=True)
@_json
def skew_command(reference: str, service: str, rows: int, threshold: float, seed: int, as_json: bool) -> None:
    """Compares training and serving on a sample; fails over the threshold."""
    from runtime.features import provenance
    from runtime.features.lake_tables import LakeTables
    from runtime.features.project import load_project
    from runtime.features.release import check_skew
    from runtime.lineage.recording import recorded
    from runtime.settings import load_settings

    settings, project = load_settings(), load_project(reference)
    with recorded(settings, "features.skew") as run:
        report = check_skew(
            settings, project, LakeTables(settings), service=service, sample_rows=rows, seed=seed, threshold=threshold
        )
        if run is not None:
            provenance.record_skew(run, project, report)
    if as_json:
        click.echo(json.dumps({**asdict(report), "passed": report.passed}))
    else:
        _table(
            f"{service}, generation {report.generation}: {report.rows} rows, {'passed' if report.passed else 'FAILED'}",
            ("feature", "compared", "different", "fresher online", "largest difference"),
            [
                (f.feature, str(f.compared), str(f.different), str(f.fresher_online), str(f.largest_difference or ""))
                for f in report.features
            ],
        )
    report.raise_if_failed()


def _declared(reference: str) -> tuple[FeatureProject, Declaration]:
    from runtime.features.declaration import declare
    from runtime.features.project import load_project

    project = load_project(reference)
    return project, declare(project, Path(tempfile.gettempdir(), "falaj-features"))


def _entity_columns(pairs: Sequence[str], types: Mapping[str, str]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise RequestError(f"--entity {pair!r} must be given as COLUMN=VALUE")
        kind = types.get(name, "string")
        try:
            value: Any = float(text) if kind.startswith("float") else text if kind in ("string", "bytes") else int(text)
        except ValueError:
            raise RequestError(f"--entity {name}: {text!r} is no {kind}") from None
        columns[name] = [value]
    return columns


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _worst_null(rates: Mapping[str, float]) -> str:
    name, share = max(rates.items(), key=lambda item: item[1], default=("", 0.0))
    return f"{share:.1%} ({name})" if share else "none"


@contextmanager
def _progress(verb: str, total: int) -> Iterator[Callable[[str], None]]:
    """A progress bar on standard error when a terminal is attached; the yielded function names the next view."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(verb, total=total)
        started = False

        def step(view: str) -> None:
            nonlocal started
            bar.update(task, advance=1 if started else 0, description=f"{verb} {view}")
            started = True

        yield step


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=any(columns))
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=index == 0)  # names are copied from here
    for row in rows:
        table.add_row(*row)
    Console().print(table)
