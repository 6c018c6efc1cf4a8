"""What a person sees of the demonstration: progress while it runs, tables and pictures at its end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from examples.flights.demo.ingest import Observe

if TYPE_CHECKING:
    from pathlib import Path

    from examples.flights.demo.path import Outcome
    from runtime.training.evaluation import Evaluation

TOLD_AFTER_SECONDS: Final = 2.0
TOLD_EVERY_SECONDS: Final = 5.0
"""Without a terminal a step that lasts says where it is, no oftener than this."""


@dataclass(frozen=True)
class Timing:
    """Of one step; CPU of this process and of the children that ended in it, not of the servers."""

    title: str
    seconds: float
    cpu_seconds: float


class Display:
    """Shows steps on a console and keeps their times."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.timings: list[Timing] = []

    @contextmanager
    def step(self, title: str) -> Iterator[Observe]:
        """A bar where a terminal is attached, plain lines elsewhere."""
        began, cpu = time.monotonic(), _cpu_seconds()
        try:
            if self._console.is_terminal:
                with self._bar(title) as observe:
                    yield observe
            else:
                yield self._lines(title)
        finally:
            timing = Timing(title, time.monotonic() - began, _cpu_seconds() - cpu)
            self.timings.append(timing)
        self._console.print(f"{title}: {timing.seconds:.1f} s", highlight=False)

    def outcome(self, outcome: Outcome) -> None:
        """Metrics, gates, card, lineage, times."""
        console = self._console
        for part in (_metrics(outcome), _calibration(outcome), _gates(outcome)):
            console.print()
            console.print(part)
        console.print()
        console.print(_card(outcome.released.card))
        console.print()
        console.print(_lineage(outcome))
        console.print()
        console.print(self._times())
        released = outcome.released
        word = "promoted" if released.promoted_now else "had been promoted"
        console.print(f"{outcome.rows_added:,} rows added to the lake; {released.artifact.reference} {word}")
        for name, path in (("card", released.card), ("lineage", outcome.picture), ("plots", _plots(outcome))):
            console.print(f"{name:8} {path}", highlight=False, soft_wrap=True)

    @contextmanager
    def _bar(self, title: str) -> Iterator[Observe]:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:<26}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[what]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(title, total=None, what="")

            def observe(what: str, done: int, todo: int) -> None:
                progress.update(task, completed=done, total=todo or None, what=what)

            yield observe

    def _lines(self, title: str) -> Observe:
        due = time.monotonic() + TOLD_AFTER_SECONDS

        def observe(what: str, done: int, todo: int) -> None:
            nonlocal due
            now = time.monotonic()
            if what and now > due:
                share = f", {done} of {todo}" if todo else ""
                self._console.print(f"{title}: {what}{share}", highlight=False)
                due = now + TOLD_EVERY_SECONDS

        return observe

    def _times(self) -> Table:
        table = _table("time", "step", "seconds", "CPU seconds")
        for timing in self.timings:
            table.add_row(timing.title, f"{timing.seconds:.1f}", f"{timing.cpu_seconds:.1f}")
        total = (sum(t.seconds for t in self.timings), sum(t.cpu_seconds for t in self.timings))
        table.add_section()
        table.add_row("all", f"{total[0]:.1f}", f"{total[1]:.1f}")
        return table


def _metrics(outcome: Outcome) -> Table:
    training = outcome.training
    start, end = training.lineage.periods["test"]
    table = _table(
        f"judged on flights of {start[:10]} to {end[:10]}, trained on {training.lineage.train_rows:,} before",
        "model", "rows", "AUC", "above baseline", "log-loss", "Brier", "calibration error",
    )  # fmt: skip
    for model in training.models:
        mark = " (champion)" if model.kind == outcome.released.kind else ""
        test = model.test
        above = outcome.above_baseline.get(model.kind)
        more = f"{above.value:+.4f} ({above.low:+.4f} to {above.high:+.4f})" if above else "the baseline"
        figures = (test.log_loss, test.brier, test.calibration_error)
        cells = (f"{test.rows:,}", f"{test.auc:.4f}", more, *(f"{figure:.4f}" for figure in figures))
        table.add_row(model.kind + mark, *cells)
    return table


def _calibration(outcome: Outcome) -> Table:
    """Predicted and observed share of late flights, from the least likely fifteenth to the most likely."""
    models = outcome.training.models
    table = _table("calibration: predicted and observed share of late flights", "part", *(m.kind for m in models))
    bins: list[Evaluation] = [model.test for model in models]
    for number in range(min(len(each.calibration) for each in bins)):
        cells = [each.calibration[number] for each in bins]
        table.add_row(str(number + 1), *(f"{cell.mean_prediction:.3f} {cell.observed_rate:.3f}" for cell in cells))
    return table


def _gates(outcome: Outcome) -> Table:
    table = _table(f"gates of {outcome.released.artifact.reference}", "gate", "", "why")
    for verdict in outcome.released.gates.verdicts:
        table.add_row(verdict.gate, "open" if verdict.open else "closed", verdict.reason)
    return table


def _card(path: Path) -> object:
    from rich.markdown import Markdown
    from rich.panel import Panel

    return Panel(Markdown(path.read_text(encoding="utf-8")), title="model card")


def _lineage(outcome: Outcome) -> object:
    from runtime.lineage.drawing import tree
    from runtime.lineage.store import LineageStore

    with LineageStore.open(outcome.settings.lineage_url) as store:
        graph = store.ancestry(outcome.settings.tenant, outcome.released.artifact)
    return tree(graph, outcome.released.artifact, version_characters=12)


def _plots(outcome: Outcome) -> Path:
    return outcome.released.package.directory / "evaluation"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        words = column in ("why", "gate", "") or number == 0
        table.add_column(column, justify="left" if words else "right", overflow="fold", no_wrap=number == 0)
    return table


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
