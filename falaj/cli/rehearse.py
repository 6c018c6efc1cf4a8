"""``falaj rehearse``: a blueprint's capacity, proven with the real scheduler and Karpenter before anyone pays."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from falaj.cli.blueprint import BadInputError, overrides_from
from falaj.cli.project import find_project

if TYPE_CHECKING:
    from falaj.rehearse.plan import Plan
    from falaj.rehearse.report import Report

EXIT_MISSED = 3
"""A drill missed one of the blueprint's targets."""


@click.command(
    epilog="Examples:\n\n  falaj rehearse\n\n"
    "  falaj rehearse --blueprint enterprise --gpus 400 --html rehearsal.html\n\n"
    "  falaj rehearse --drill zone-loss --lose-zone mec1-az3 --json\n\n"
    "Exit codes: 0 every target met; 1 it could not be played; 2 bad input, nothing was started; 3 a target was missed."
)
@click.option("--blueprint", "name", default="smb", show_default=True, help="Blueprint to rehearse.")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="Override a key of it. Repeatable.")
@click.option("--gpus", type=int, help="Scale the ask to this many GPUs in all; serving keeps its own.")
@click.option("--drill", "drills", multiple=True, help="Judge this drill only; may be given more than once.")
@click.option("--lose-zone", help="Zone id to lose; by default the best that no pool depends on.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which spot nodes are interrupted.")
@click.option("--keep", is_flag=True, help="Leave the control plane running, to look at or to rehearse on again.")
@click.option("--end", is_flag=True, help="End a control plane that --keep left, and do nothing else.")
@click.option(
    "--binaries", "folder", type=click.Path(path_type=Path), help="Programs of your own; see falaj cluster up."
)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the report as one page.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def rehearse(
    name: str,
    assignments: tuple[str, ...],
    gpus: int | None,
    drills: tuple[str, ...],
    lose_zone: str | None,
    seed: int,
    keep: bool,
    end: bool,
    folder: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Play a blueprint's load on a real control plane with simulated nodes, and hold it to the blueprint's targets.

    Drills: scale-from-zero, spot-interruption, zone-loss, serving-burst, consolidation.
    """
    directory = find_project().falaj_dir / "rehearsal"
    if end:
        from falaj.cluster.control_plane import ControlPlane

        with _reported():
            click.echo("ended" if ControlPlane(directory).down(purge=True) else "was not running")
        return
    with _reported():
        planned, chosen, zone = _plan(name, assignments, gpus, drills, lose_zone, seed)
        if html is not None and not html.parent.is_dir():
            raise BadInputError(f"--html {html}: no folder {html.parent}; make it first")
        report = _play(planned, chosen, zone, directory, folder, keep=keep, quiet=as_json)
    if html is not None:
        from falaj.rehearse.page import page

        html.write_text(page(report), encoding="utf-8")
    if as_json:
        from falaj.rehearse.report import as_json as document

        click.echo(json.dumps(document(report), indent=1))
    else:
        from falaj.cli.rehearse_view import print_report

        print_report(report)
        if keep:
            click.echo(f"left running: export KUBECONFIG={directory / 'kubeconfig'}; `falaj rehearse --end` ends it")
    if not report.passed:
        sys.exit(EXIT_MISSED)


def _plan(
    name: str,
    assignments: tuple[str, ...],
    gpus: int | None,
    drills: tuple[str, ...],
    lose_zone: str | None,
    seed: int,
) -> tuple[Plan, tuple[str, ...], str | None]:
    """What is played, which drills are judged, and the zone that is lost.  Everything that can be refused is, here."""
    from blueprints import load
    from falaj.rehearse.plan import plan, zone_to_lose
    from falaj.rehearse.pools import pool_objects
    from falaj.rehearse.rehearsal import ZONE_LOSS, choose

    chosen = choose(drills)
    planned = plan(load(name, overrides_from(assignments)), gpus=gpus, seed=seed)
    pool_objects(planned)  # a pool that can never make a node is named before minutes are spent
    zone = zone_to_lose(planned, lose_zone) if ZONE_LOSS in chosen or lose_zone else None
    return planned, chosen, zone


def _play(
    planned: Plan,
    chosen: tuple[str, ...],
    zone: str | None,
    directory: Path,
    folder: Path | None,
    *,
    keep: bool,
    quiet: bool,
) -> Report:
    from falaj.cli.cluster import BuildDisplay
    from falaj.cli.rehearse_view import LiveProgress
    from falaj.cluster.binaries import BinaryStore
    from falaj.cluster.control_plane import ControlPlane
    from falaj.rehearse.rehearsal import rehearse as play
    from falaj.rehearse.stage import Stage

    # A rehearsal that is told to end takes its control plane with it, as at Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with BuildDisplay() as display:
        binaries = BinaryStore().ensure(folder=folder, report=display)
    with LiveProgress(quiet=quiet) as progress:
        began = time.monotonic()
        progress("starting the control plane", 0, 0, 0)
        stage = Stage(ControlPlane(directory), binaries, planned, zone_to_lose=zone, keep=keep, progress=progress)
        with stage:
            ready = time.monotonic() - began
            report = play(stage, chosen, start_seconds=ready, told=progress.finished)
            progress("ending the control plane", 0, 0, 0)
    return report


@contextmanager
def _reported() -> Iterator[None]:
    """Errors of the rehearsal and what it stands on, as one line and an exit code."""
    from blueprints.errors import BlueprintError
    from falaj.cluster.errors import ClusterError
    from falaj.engine.errors import EngineError
    from falaj.rehearse.errors import AskError, RehearsalError

    try:
        yield
    except (AskError, BlueprintError) as error:
        raise BadInputError(str(error)) from error
    except (RehearsalError, ClusterError) as error:
        raise EngineError(str(error)) from error
