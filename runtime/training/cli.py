"""``python -m runtime train ...``: run, resume, evaluate."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.settings import load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from runtime.training.evaluation import Evaluation
    from runtime.training.run import RunRequest, RunResult

_PATH = click.Path(path_type=Path)


_tracker = click.option(
    "--tracker", type=click.Choice(["mlflow", "none"]),
    help="Where figures go beside the log; default: mlflow where FALAJ_MLFLOW_TRACKING_URI is set.",
)  # fmt: skip
_experiment = click.option("--experiment", default="training", show_default=True, help="Of the tracker.")


@click.group(name="train")
def group() -> None:
    """Fit models on a training set, survive interruption, judge them."""


@group.command()
@click.option("--config", "config", type=_PATH, required=True, help="YAML file: columns, periods, hyper-parameters.")
@click.option(
    "--data", required=True, help="Directory or s3://bucket/prefix with manifest.json, or iceberg:ns.table[@id]."
)
@click.option("--out", type=_PATH, required=True, help="Directory of the run; a run found there goes on.")
@click.option("--trainer", "kinds", multiple=True, help="tabular_network, boosted_trees; default: both.  Repeatable.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 1024), help="Workers of the network.")
@click.option("--max-restarts", default=3, show_default=True, type=click.IntRange(0, 100))
@click.option(
    "--checkpoints", default="", help="s3://bucket/prefix or directory; default: FALAJ_MODEL_BUCKET or --out."
)
@click.option("--slice", "slices", multiple=True, help="Column to keep beside each test prediction.  Repeatable.")
@_tracker
@_experiment
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def run(
    config: Path,
    data: str,
    out: Path,
    kinds: tuple[str, ...],
    workers: int,
    max_restarts: int,
    checkpoints: str,
    slices: tuple[str, ...],
    tracker: str | None,
    experiment: str,
    as_json: bool,
) -> None:
    """Train, judge beside the logistic regression, write models and report."""
    from runtime.training.configuration import load_configuration
    from runtime.training.run import RunRequest

    settings = load_settings()
    if not checkpoints and settings.model_bucket:
        checkpoints = f"s3://{settings.model_bucket}/checkpoints/{settings.tenant}/{out.absolute().name}"
    request = RunRequest(
        configuration=load_configuration(config),
        training_set=data,
        kinds=kinds or ("tabular_network", "boosted_trees"),
        workers=workers,
        restarts=max_restarts,
        checkpoints=checkpoints,
        slices=slices,
    )
    _run(request, out, tracker, experiment, as_json)


@group.command()
@click.option("--out", type=_PATH, required=True, help="Directory of an interrupted run.")
@click.option("--workers", type=click.IntRange(1, 1024), help="More or fewer workers than before.")
@_tracker
@_experiment
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def resume(out: Path, workers: int | None, tracker: str | None, experiment: str, as_json: bool) -> None:
    """Go on with a run from its last good checkpoints."""
    from dataclasses import replace

    from runtime.training.run import read_request

    request = read_request(out)
    _run(replace(request, workers=workers) if workers else request, out, tracker, experiment, as_json)


@group.command()
@click.option("--model", type=_PATH, required=True, help="Directory of a saved model.")
@click.option("--config", "config", type=_PATH, required=True, help="YAML file that names the columns and periods.")
@click.option("--data", required=True, help="As for run.")
@click.option("--period", type=click.Choice(["train", "validation", "test"]), default="test", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def evaluate(model: Path, config: Path, data: str, period: str, as_json: bool) -> None:
    """Judge a saved model on a period of a training set."""
    from rich.console import Console

    from runtime.training.configuration import load_configuration
    from runtime.training.evaluation import score
    from runtime.training.preparation import prepare
    from runtime.training.trainers import load_model, read_index

    kind = read_index(model)["kind"]
    with _progress(Console(stderr=True)) as observe:
        observe(kind, {"event": "started", "total_steps": 0})
        evaluation = score(load_model(model), prepare(load_settings(), load_configuration(config), data), period)
    if as_json:
        click.echo(json.dumps({"kind": kind, **evaluation.as_dict()}))
        return
    console = Console()
    console.print(_table(f"{model}: {period}", [(kind, evaluation)]))
    console.print(_calibration(evaluation))


def _run(request: RunRequest, out: Path, tracker: str | None, experiment: str, as_json: bool) -> None:
    from rich.console import Console

    from runtime.lineage.recording import recorded
    from runtime.training.provenance import record_run
    from runtime.training.run import REPORT, run
    from runtime.training.tracking import trackers_of

    settings, console = load_settings(), Console(stderr=True)

    def warn(text: str) -> None:
        console.print(f"warning: {text}", highlight=False, markup=False, soft_wrap=True)

    trackers = trackers_of(settings, tracker, experiment=experiment, name=out.absolute().name, warn=warn)
    with recorded(settings, "train.run") as step, _progress(console) as observe:
        result = run(settings, request, out, observe=observe, trackers=trackers)
        if step is not None:
            record_run(step, result, seed=request.configuration.seed)
    if as_json:
        click.echo((out / REPORT).read_text(), nl=False)
    else:
        _show(result)


def _show(result: RunResult) -> None:
    from rich.console import Console

    console = Console()
    period = result.lineage.periods["test"]
    title = f"test period {period[0][:10]} to {period[1][:10]}"
    console.print(_table(title, [(model.kind, model.test) for model in result.models]))
    for model in result.models:
        console.print(f"{model.kind}: fitted in {_effort(model.fit_metrics)}", highlight=False)
        console.print(f"  {model.directory} (sha256 {model.model_digest[:16]})", soft_wrap=True, highlight=False)
    lineage = result.lineage
    digests = {
        "training set": lineage.training_set_digest,
        "configuration": lineage.configuration_digest,
        "environment": lineage.environment_digest,
    }
    console.print("  ".join(f"{name} {digest[:16]}" for name, digest in digests.items()), highlight=False)


def _effort(metrics: dict[str, Any]) -> str:
    parts = [f"{metrics.get('seconds', 0):.1f} s"]
    if metrics.get("samples_per_second"):
        parts.append(f"{metrics['samples_per_second']:,.0f} rows/s")
        parts.append(f"MFU {metrics['mfu']:.1%}" if metrics["mfu"] is not None else "MFU n/a")
    return ", ".join(parts)


def _table(title: str, rows: list[tuple[str, Evaluation]]) -> Any:
    from rich.table import Table

    caption = "ECE: expected calibration error, over bins of equal size"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for name in ("model", "rows", "AUC", "log-loss", "Brier", "ECE"):
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for name, figures in rows:
        table.add_row(
            name,
            f"{figures.rows:,}",
            f"{figures.auc:.4f}",
            f"{figures.log_loss:.4f}",
            f"{figures.brier:.4f}",
            f"{figures.calibration_error:.4f}",
        )
    return table


def _calibration(evaluation: Evaluation) -> Any:
    from rich.table import Table

    table = Table(title="calibration", title_justify="left")
    for name in ("rows", "predicted", "observed"):
        table.add_column(name, justify="right")
    for entry in evaluation.calibration:
        table.add_row(f"{entry.rows:,}", f"{entry.mean_prediction:.3f}", f"{entry.observed_rate:.3f}")
    return table


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, dict[str, Any]], object]]:
    """A bar per model where a terminal is attached; nothing elsewhere, the log has it all."""
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def observe(kind: str, entry: dict[str, Any]) -> None:
            if kind not in tasks:
                tasks[kind] = progress.add_task(kind, total=None, note="")
            task = tasks[kind]
            if "total_steps" in entry:
                progress.update(task, total=entry["total_steps"] or None)
            if "loss" in entry or "validation_loss" in entry:
                note = f"loss {entry.get('loss', entry.get('validation_loss')):.4f}"
                progress.update(task, note=note)
            if entry["event"] in ("step", "epoch", "resumed", "member"):
                progress.update(task, completed=entry["step"])
            if entry["event"] in ("finished", "judged"):
                progress.update(task, total=1, completed=1)

        yield observe
