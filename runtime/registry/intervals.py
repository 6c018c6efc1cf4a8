"""Metrics of probabilities with bootstrap confidence intervals, alone and against another model on the same rows.

Percentile bootstrap (Efron and Tibshirani 1993) over rows.  A resample is a vector of counts per row: with the order of
predictions computed once, AUC costs one pass per resample instead of one sort.  Two models on the same rows are
resampled together, which takes out the noise that they share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from runtime.registry.errors import PackageError

RESAMPLES: Final = 400
CONFIDENCE: Final = 0.95
_SMALLEST: Final = 1e-7
Vector = npt.NDArray[np.float64]

HIGHER_IS_BETTER: Final = {"auc": True, "log_loss": False, "brier": False, "calibration_error": False}
_BINS: Final = 15


@dataclass(frozen=True)
class Interval:
    """A figure with its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True)
class Scores:
    """Outcomes (0 or 1) and predicted probabilities of the test period, row by row, and the columns to slice by."""

    labels: Vector
    probabilities: Vector
    slices: Mapping[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.labels)

    def __post_init__(self) -> None:
        """Raises PackageError for scores that cannot be judged."""
        columns = [self.probabilities, *self.slices.values()]
        if any(len(column) != len(self.labels) for column in columns) or not len(self.labels):
            raise PackageError("scores: no rows, or columns of different lengths")
        if not np.isin(self.labels, (0.0, 1.0)).all() or self.labels.min() == self.labels.max():
            raise PackageError("scores: labels must be 0 and 1, and both must occur")
        if not ((self.probabilities >= 0) & (self.probabilities <= 1)).all():
            raise PackageError("scores: probabilities must lie between 0 and 1")


class _Judge:
    """Every metric of one model under row counts."""

    def __init__(self, labels: Vector, probabilities: Vector) -> None:
        order = np.argsort(probabilities, kind="stable")
        ordered = probabilities[order]
        # Rows of equal prediction are one step of the ROC curve.
        self._steps = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        self._labels = labels[order]
        self._excess = ordered - self._labels
        clipped = np.clip(ordered, _SMALLEST, 1 - _SMALLEST)
        self._losses = -np.log(np.where(self._labels == 1, clipped, 1 - clipped))
        self._squares = self._excess**2
        sizes = [len(part) for part in np.array_split(order, min(_BINS, len(order)))]
        self._bins = np.cumsum([0, *sizes[:-1]])
        # Rows that come in order already are not moved for every resample.
        self._order = None if (order[1:] > order[:-1]).all() else order

    def metrics(self, counts: Vector) -> dict[str, float]:
        ordered = counts if self._order is None else counts[self._order]
        total = float(ordered.sum())
        # Products and sums, not dot products: those start threads that wait for each other on a busy machine.
        positive = ordered * self._labels
        positives = np.add.reduceat(positive, self._steps)
        negatives = np.add.reduceat(ordered - positive, self._steps)
        below = np.cumsum(negatives) - negatives
        pairs = positives.sum() * negatives.sum()
        return {
            "auc": float((positives * (below + negatives / 2)).sum() / pairs) if pairs else float("nan"),
            "log_loss": float((ordered * self._losses).sum()) / total,
            "brier": float((ordered * self._squares).sum()) / total,
            "calibration_error": float(np.abs(np.add.reduceat(ordered * self._excess, self._bins)).sum()) / total,
        }


def metrics_with_intervals(
    scores: Scores,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Callable[[int], object] = lambda _: None,
) -> dict[str, Interval]:
    """AUC, log-loss, Brier score and calibration error of a model, each with its interval."""
    order = np.argsort(scores.probabilities, kind="stable")
    judge = _Judge(scores.labels[order], scores.probabilities[order])
    drawn = []
    for number, counts in enumerate(_resamples(len(scores), resamples, seed)):
        drawn.append(judge.metrics(counts))
        progress(number + 1)
    return _intervals(judge.metrics(np.ones(len(scores))), drawn)


def difference_with_intervals(
    candidate: Scores,
    champion: Scores,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Callable[[int], object] = lambda _: None,
) -> tuple[dict[str, Interval], bool]:
    """Candidate minus champion, each metric turned so that above zero is better; and whether rows were paired.

    They are paired where both hold the same outcomes and slices in the same order.
    """
    paired = same_rows(candidate, champion)
    order = np.argsort(candidate.probabilities, kind="stable")
    ours = _Judge(candidate.labels[order], candidate.probabilities[order])
    rows = order if paired else np.argsort(champion.probabilities, kind="stable")
    theirs = _Judge(champion.labels[rows], champion.probabilities[rows])
    drawn = []
    own = _resamples(len(candidate), resamples, seed)
    other = own if paired else _resamples(len(champion), resamples, seed + 1)
    for number in range(resamples):
        counts = next(own)
        drawn.append(_better(ours.metrics(counts), theirs.metrics(counts if paired else next(other))))
        progress(number + 1)
    value = _better(ours.metrics(np.ones(len(candidate))), theirs.metrics(np.ones(len(champion))))
    return _intervals(value, drawn), paired


def same_rows(one: Scores, other: Scores) -> bool:
    """Whether two models were judged on the same rows, as far as outcomes and slices tell."""
    return (
        len(one) == len(other)
        and np.array_equal(one.labels, other.labels)
        and set(one.slices) == set(other.slices)
        and all(np.array_equal(one.slices[name], other.slices[name]) for name in one.slices)
    )


def _better(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    return {name: (ours[name] - theirs[name]) * (1 if HIGHER_IS_BETTER[name] else -1) for name in ours}


def _resamples(rows: int, resamples: int, seed: int) -> Any:
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = generator.integers(0, rows, rows, dtype=np.int64)
        yield np.bincount(drawn, minlength=rows).astype(np.float64)


def _intervals(value: Mapping[str, float], drawn: list[dict[str, float]]) -> dict[str, Interval]:
    tail = (1 - CONFIDENCE) / 2
    found = {}
    for name in value:
        column = np.array([each[name] for each in drawn])
        low, high = np.nanquantile(column, [tail, 1 - tail]) if np.isfinite(column).any() else (np.nan, np.nan)
        found[name] = Interval(float(value[name]), float(low), float(high))
    return found
