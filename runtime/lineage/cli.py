"""``python -m runtime lineage``: what was made from what, and who is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.errors import InputError
from runtime.lineage.artifacts import Artifact, Kind, parse_reference
from runtime.settings import Settings, load_settings

if TYPE_CHECKING:
    from runtime.lineage.store import LineageStore


@click.group()
def group() -> None:
    """What was made from what, back to the source files, and which artifacts hold data of a subject."""


@group.command(
    epilog="Examples:\n\n  lineage show model:flights-delay@1\n\n"
    "  lineage show model:flights-delay@1 --svg lineage.svg\n\n  lineage show table:flights.flights@123 --down"
)
@click.argument("reference")
@click.option("--down", is_flag=True, help="What was made from it, instead of what it was made from.")
@click.option("--svg", "picture", type=click.Path(path_type=Path, dir_okay=False), help="Also draw it into this file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(reference: str, down: bool, picture: Path | None, as_json: bool) -> None:
    """Print the graph around KIND:NAME@VERSION as a tree."""
    settings, artifact = load_settings(), parse_reference(reference)
    with _store(settings) as store:
        graph = store.descent(settings.tenant, [artifact]) if down else store.ancestry(settings.tenant, artifact)
        if artifact not in graph.artifacts:
            raise InputError(_unknown(store, settings.tenant, artifact))
    if picture is not None:
        from runtime.lineage.drawing import svg

        picture.write_text(svg(graph, f"{'From' if down else 'Origin of'} {reference}"), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(graph.as_json()))
        return
    from rich.console import Console

    from runtime.lineage.drawing import tree

    if down:
        for made in sorted(graph.artifacts):
            click.echo(made.reference)
    else:
        Console(highlight=False).print(tree(graph, artifact))
    if picture is not None:
        click.echo(f"drawn: {picture}")


@group.command(epilog="Example:\n\n  lineage subject N14228")
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def subject(key: str, as_json: bool) -> None:
    """Print which tables, features, training sets and models hold or have used data of the subject KEY."""
    from runtime.lineage.subjects import subject_digest

    settings = load_settings()
    digest = subject_digest(settings.subject_index_key, key)
    with _store(settings) as store:
        holders = store.holders(settings.tenant, digest)
        used = sorted(set(store.descent(settings.tenant, holders).artifacts) - set(holders))
    if as_json:
        found = {"holds": [each.reference for each in holders], "used_by": [each.reference for each in used]}
        click.echo(json.dumps(found))
        return
    if not holders:
        click.echo("no artifact holds data of this subject")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("kind", "artifact", "how"):
        table.add_column(column, overflow="fold")
    for artifacts, how in ((holders, "holds its data"), (used, "made from such data")):
        for artifact in sorted(artifacts):
            table.add_row(artifact.kind.replace("_", " "), f"{artifact.name}@{artifact.version}", how)
    Console(highlight=False).print(table)


@group.command(epilog="Example:\n\n  lineage load events.jsonl")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def load(file: Path) -> None:
    """Take the events of FILE, one a line, into the store.  Those that are there already change nothing."""
    from runtime.lineage.events import from_json

    with _store(load_settings()) as store, file.open(encoding="utf-8") as lines:
        count = 0
        for number, line in enumerate(lines, 1):
            try:
                store.add(from_json(line))
            except InputError as error:
                raise InputError(f"{file}, line {number}: {error}; the lines before it are taken") from None
            count += 1
    click.echo(f"{count} events")


@group.command(epilog="Example:\n\n  lineage serve --port 5000")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.option("--host", help="Address to listen on; by default FALAJ_LISTEN_ADDRESS (127.0.0.1).")
def serve(port: int, host: str | None) -> None:
    """Collect OpenLineage events over HTTP (POST /api/v1/lineage) into the store."""
    import uvicorn

    from runtime import metrics
    from runtime.lineage.collector import Collector

    settings = load_settings()
    settings.require("postgres_dsn")
    address = host or settings.listen_address
    with metrics.exporter(settings):
        uvicorn.run(Collector(settings.postgres_dsn), host=address, port=port, log_level="warning", lifespan="off")


def _store(settings: Settings) -> LineageStore:
    """The store: where events go directly, or the platform's database."""
    from runtime.lineage.store import LineageStore

    if settings.lineage_url.startswith("postgres"):
        return LineageStore.open(settings.lineage_url)
    settings.require("postgres_dsn")
    return LineageStore.open(settings.postgres_dsn)


def _unknown(store: LineageStore, tenant: str, artifact: Artifact) -> str:
    versions = store.versions(tenant, Kind(artifact.kind), artifact.name)
    known = f"known versions: {', '.join(versions[-5:])}" if versions else f"nothing is known of {artifact.name}"
    return f"{artifact.reference} is not in the lineage of tenant {tenant}; {known}"
