"""Plots of a model's test period as PNG files: calibration, ROC, slices.  Equal scores make equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from runtime.registry.fairness import SliceReport
from runtime.registry.intervals import Interval, Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _MUTED, _ACCENT, _OTHER = "#22303a", "#9aa5ad", "#1f6f8b", "#b5562f"
_BINS: Final = 15
_MOST_BARS: Final = 24


def draw(
    directory: Path,
    title: str,
    scores: Scores,
    intervals: Mapping[str, Interval],
    slices: Sequence[SliceReport],
    baseline: Scores | None = None,
) -> tuple[Path, ...]:
    """Writes ``calibration.png``, ``roc.png`` and ``slices-COLUMN.png``; returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = [
        _save(_calibration(title, scores, intervals), directory / "calibration.png"),
        _save(_roc(title, scores, intervals, baseline), directory / "roc.png"),
    ]
    drawn += [_save(_slices(title, report), directory / f"slices-{report.column}.png") for report in slices]
    return tuple(drawn)


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Not pyplot: it keeps global state and looks for a display.
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure


def _axes(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=_INK, fontweight="bold")
    axes.set_xlabel(x, color=_INK, fontsize=9)
    axes.set_ylabel(y, color=_INK, fontsize=9)
    axes.tick_params(colors=_INK, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e6ebee", linewidth=0.8)
    axes.set_axisbelow(True)


def _calibration(title: str, scores: Scores, intervals: Mapping[str, Interval]) -> Figure:
    figure, _ = _figure(5.6, 5.6)
    upper, lower = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
    order = np.argsort(scores.probabilities, kind="stable")
    parts = np.array_split(order, min(_BINS, len(order)))
    predicted = np.array([scores.probabilities[part].mean() for part in parts])
    observed = np.array([scores.labels[part].mean() for part in parts])
    error = 1.96 * np.sqrt(observed * (1 - observed) / np.array([len(part) for part in parts]))
    top = min(1.0, 1.08 * max(predicted.max(), (observed + error).max()))
    upper.plot([0, top], [0, top], color=_MUTED, linestyle="--", linewidth=1, label="perfect")
    upper.errorbar(
        predicted,
        observed,
        yerr=error,
        color=_ACCENT,
        marker="o",
        markersize=4,
        linewidth=1.2,
        capsize=2,
        label="model",
    )
    _axes(upper, f"{title}: calibration", "", "observed share")
    found = intervals.get("calibration_error")
    if found:
        upper.text(
            0.98, 0.04, f"calibration error {found}", transform=upper.transAxes, ha="right", fontsize=8, color=_INK
        )
    upper.legend(frameon=False, fontsize=8, loc="upper left")
    upper.set_xlim(0, top)
    upper.set_ylim(0, top)
    lower.hist(scores.probabilities, bins=40, range=(0, top), color=_ACCENT, alpha=0.75)
    _axes(lower, "", "predicted probability (bins of equal size, 95 % intervals)", "rows")
    return figure


def _roc(title: str, scores: Scores, intervals: Mapping[str, Interval], baseline: Scores | None) -> Figure:
    from sklearn.metrics import roc_curve

    figure, _ = _figure(5.6, 5.4)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=_MUTED, linestyle="--", linewidth=1, label="chance")
    if baseline is not None:
        away, hit, _ = roc_curve(baseline.labels, baseline.probabilities)
        axes.plot(away, hit, color=_OTHER, linewidth=1.2, label="baseline (logistic regression)")
    away, hit, _ = roc_curve(scores.labels, scores.probabilities)
    label = f"model, AUC {intervals['auc']}" if "auc" in intervals else "model"
    axes.plot(away, hit, color=_ACCENT, linewidth=1.8, label=label)
    _axes(axes, f"{title}: ROC", "false positive rate", "true positive rate")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.01)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _slices(title: str, report: SliceReport) -> Figure:
    groups = report.groups[:_MOST_BARS]
    figure, _ = _figure(8.4, 1.7 + 0.24 * len(groups))
    left, middle, right = figure.subplots(1, 3, sharey=True)
    names = [f"{group.value[:24]}  ({group.rows:,})" for group in groups]
    places = np.arange(len(groups))
    colours = [_ACCENT if group.judged else "#cfd6da" for group in groups]
    aucs = [group.auc if group.auc is not None else np.nan for group in groups]
    left.scatter(aucs, places, color=colours, s=26, zorder=3)
    left.axvline(report.overall_auc, color=_OTHER, linewidth=1, linestyle="--")
    _axes(left, f"{title}: by {report.column}", "AUC (dashed: overall)", "")
    rates = [group.true_positive_rate if group.true_positive_rate is not None else np.nan for group in groups]
    middle.barh(places, rates, color=colours, height=0.6)
    _axes(middle, "", f"true positive rate at {report.threshold:g}", "")
    right.barh(places, [group.calibration_gap for group in groups], color=colours, height=0.6)
    right.axvline(0, color=_INK, linewidth=0.8)
    _axes(right, "", "predicted minus observed share", "")
    left.set_yticks(places, names)
    left.invert_yaxis()
    hidden = len(report.groups) - len(groups)
    note = "grey: too few rows to judge" + (f"; {hidden} smaller groups not drawn" if hidden else "")
    if hidden or any(not group.judged for group in groups):
        figure.supxlabel(note, fontsize=8, color=_MUTED)
    return figure


def _save(figure: Figure, path: Path) -> Path:
    # Without the library's version in it, equal pictures are equal files.
    figure.savefig(path, format="png", metadata={"Software": None})
    return path
