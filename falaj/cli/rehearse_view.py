"""A rehearsal on a terminal: a line that moves while it is played, and tables when it is over."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from falaj.rehearse.picture import Picture
    from falaj.rehearse.report import DrillReport, Report

_REDRAW_SECONDS: Final = 0.2
_LINE_SECONDS: Final = 10.0


class LiveProgress:
    """Says on standard error what is waited for: a moving line on a terminal, now and then a line elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._progress: Progress | None = None
        self._said = ("", 0.0)

    def __enter__(self) -> LiveProgress:
        if self._terminal:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._progress.add_task("", total=None)
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def __call__(self, what: str, standing: int, wanted: int, nodes: int) -> None:
        now = time.monotonic()
        text = f"{what}: {standing:,} of {wanted:,} pods, {nodes:,} nodes" if wanted else what
        if self._progress is not None:
            if now - self._said[1] >= _REDRAW_SECONDS or what != self._said[0]:
                self._said = (what, now)
                task = self._progress.task_ids[0]
                self._progress.update(task, description=text, completed=standing, total=wanted or None)
        elif not self._quiet and (what != self._said[0] or now - self._said[1] >= _LINE_SECONDS):
            self._said = (what, now)
            click.echo(text, err=True)

    def finished(self, drill: DrillReport) -> None:
        """Says that a drill is over."""
        if self._quiet and not self._terminal:
            return
        outcome = "passed" if drill.passed else "missed a target"
        text = f"{drill.title}: {outcome if drill.judged else 'prepared'} after {drill.seconds:.1f} s"
        if self._progress is not None:
            self._progress.console.print(text, highlight=False)
        else:
            click.echo(text, err=True)


def print_report(report: Report) -> None:
    """The report in tables that fit 80 columns."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    scaled = f", limits of GPU pools x {report.limit_factor:.2g}" if report.limit_factor > 1 else ""
    console.print(
        f"{report.blueprint} in {report.region} ({', '.join(report.zones)}): {report.pods:,} pods, "
        f"{report.gpus:,} GPUs{scaled}; seed {report.seed}"
    )
    _print_drills(console, report)
    _print_nodes(console, report)
    for drill in report.drills:
        _print_misses(console, drill)
    for drill in report.drills:
        for note in drill.notes:
            console.print(f"note: {drill.title}: {note}")
    for warning in report.warnings:
        console.print(f"warning: {warning}")
    console.print("passed: every target met" if report.passed else "missed: see above", style="bold")


def _print_drills(console: Console, report: Report) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (
        ("drill, s", "left"),
        ("first", "right"),
        ("p50", "right"),
        ("p99", "right"),
        ("last", "right"),
        ("left", "right"),
        ("nodes", "right"),
        ("GPUs", "right"),
        ("USD/h", "right"),
        ("AED/h", "right"),
        ("", "left"),
    ):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for drill in report.drills:
        placed = drill.placement
        times = (
            ("", "", "", "")
            if placed is None
            else _times(placed.first_seconds, placed.p50_seconds, placed.p99_seconds, placed.last_seconds)
        )
        packing = drill.after.gpu_packing_percent
        cost = drill.after.usd_per_hour
        table.add_row(
            drill.short,
            *times,
            str(drill.pending_pods),
            str(drill.after.nodes),
            "" if packing is None else f"{packing:.0f}%",
            f"{cost:,.2f}" if cost < 100 else f"{cost:,.0f}",
            f"{report.aed(cost):,.2f}" if cost < 100 else f"{report.aed(cost):,.0f}",
            _mark(drill),
        )
    console.print(table)


def _times(*seconds: float) -> tuple[str, ...]:
    return tuple(f"{each:.1f}" for each in seconds)


def _mark(drill: DrillReport) -> str:
    if not drill.judged:
        return "[dim]prepared[/]"
    return "[green]passed[/]" if drill.passed else "[red]missed[/]"


def _print_nodes(console: Console, report: Report) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("nodes by type, zone and capacity", no_wrap=True)
    for drill in report.drills:
        table.add_column(drill.short, justify="right")
    rows: dict[tuple[str, str, str], list[int]] = {}
    for number, drill in enumerate(report.drills):
        for key, count in _counted(drill.after).items():
            rows.setdefault(key, [0] * len(report.drills))[number] = count
    for (kind, zone, capacity), counts in sorted(rows.items()):
        table.add_row(f"{kind} {zone} {capacity}", *(str(count) if count else "" for count in counts))
    console.print(table)


def _counted(picture: Picture) -> dict[tuple[str, str, str], int]:
    counts: dict[tuple[str, str, str], int] = {}
    for group in picture.node_groups:
        key = (group.instance_type, group.zone, group.capacity)
        counts[key] = counts.get(key, 0) + group.nodes
    return counts


def _print_misses(console: Console, drill: DrillReport) -> None:
    for verdict in drill.verdicts:
        if drill.judged and not verdict.passed:
            console.print(f"[red]missed[/]: {drill.title}: {verdict.target}: {verdict.got}; wanted {verdict.wanted}")
    for reason in drill.pending:
        groups = ", ".join(reason.groups[:4]) + (", ..." if len(reason.groups) > 4 else "")
        console.print(f"pending: {drill.title}: {reason.pods} pods of {groups}: ", end="")
        console.print(reason.words, markup=False)
