"""Slices: is the model as good for every group as it is overall?  Metrics per group by fairlearn's MetricFrame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from runtime.registry.errors import PackageError
from runtime.registry.intervals import Scores

LEAST_ROWS: Final = 200
"""Groups with fewer rows are listed and not judged: their rates say more about chance than about the model."""
MOST_GROUPS: Final = 1000


@dataclass(frozen=True)
class Group:
    """One value of a slice column.  Rates are shares, 0 to 1; None where a rate has no meaning."""

    value: str
    rows: int
    positive_rate: float
    """Share of rows with outcome 1."""
    selection_rate: float
    """Share of rows predicted 1 at the decision threshold."""
    true_positive_rate: float | None
    false_positive_rate: float | None
    auc: float | None
    calibration_gap: float
    """Mean prediction minus positive rate: above zero, the model says too much."""
    judged: bool


@dataclass(frozen=True)
class SliceReport:
    """All groups of one column, largest first, and the widest gaps between those that are judged."""

    column: str
    threshold: float
    overall_auc: float
    groups: tuple[Group, ...]

    @property
    def judged(self) -> tuple[Group, ...]:
        return tuple(group for group in self.groups if group.judged)

    @property
    def auc_drop(self) -> tuple[float, str]:
        """How far the worst group's AUC lies below the overall one, and which group it is."""
        found = [(self.overall_auc - group.auc, group.value) for group in self.judged if group.auc is not None]
        return max(found, default=(0.0, ""))

    @property
    def calibration_gap(self) -> tuple[float, str]:
        """The largest absolute gap between predicted and observed rate, and its group."""
        return max(((abs(group.calibration_gap), group.value) for group in self.judged), default=(0.0, ""))

    @property
    def true_positive_rate_difference(self) -> tuple[float, str]:
        """Widest difference of true positive rates (equal opportunity), and the group that is served worst."""
        found = [(g.true_positive_rate, g.value) for g in self.judged if g.true_positive_rate is not None]
        return (max(found)[0] - min(found)[0], min(found)[1]) if found else (0.0, "")

    @property
    def false_positive_rate_difference(self) -> tuple[float, str]:
        """Widest difference of false positive rates, and the group with the highest."""
        found = [(g.false_positive_rate, g.value) for g in self.judged if g.false_positive_rate is not None]
        return (max(found)[0] - min(found)[0], max(found)[1]) if found else (0.0, "")


def slice_report(scores: Scores, column: str, *, threshold: float, least_rows: int = LEAST_ROWS) -> SliceReport:
    """Judges a column.  ``threshold``: the probability from which a row counts as predicted 1.

    Raises PackageError if the scores have no such column, or more than MOST_GROUPS values in it.
    """
    from fairlearn.metrics import MetricFrame, count, false_positive_rate, selection_rate, true_positive_rate
    from sklearn.metrics import roc_auc_score

    if column not in scores.slices:
        known = ", ".join(sorted(scores.slices)) or "none"
        raise PackageError(f"slice {column}: not among the columns kept with the scores ({known}); train with --slice")
    values = np.asarray([_text(value) for value in scores.slices[column]], dtype=object)
    if len(set(values)) > MOST_GROUPS:
        raise PackageError(f"slice {column}: more than {MOST_GROUPS} values; that is a key, not a group")
    predicted = (scores.probabilities >= threshold).astype(np.int64)
    outcomes = scores.labels.astype(np.int64)
    decided: Any = MetricFrame(
        metrics={
            "rows": count,
            "selection_rate": selection_rate,
            "true_positive_rate": true_positive_rate,
            "false_positive_rate": false_positive_rate,
        },
        y_true=outcomes,
        y_pred=predicted,
        sensitive_features=values,
    )

    def auc(labels: Any, probabilities: Any) -> float:
        # Undefined for a group in which all had the same outcome.
        return float(roc_auc_score(labels, probabilities)) if 0 < np.mean(labels) < 1 else float("nan")

    ranked: Any = MetricFrame(
        metrics={
            "auc": auc,
            "positive_rate": lambda labels, _: float(np.mean(labels)),
            "calibration_gap": lambda labels, probabilities: float(np.mean(probabilities) - np.mean(labels)),
        },
        y_true=outcomes,
        y_pred=scores.probabilities,
        sensitive_features=values,
    )
    rows = {value: {**decided.by_group.loc[value], **ranked.by_group.loc[value]} for value in decided.by_group.index}
    groups = [_group(str(value), found, least_rows) for value, found in rows.items()]
    return SliceReport(
        column=column,
        threshold=threshold,
        overall_auc=float(roc_auc_score(outcomes, scores.probabilities)),
        groups=tuple(sorted(groups, key=lambda group: (-group.rows, group.value))),
    )


def _group(value: str, found: Mapping[str, Any], least_rows: int) -> Group:
    rate = float(found["positive_rate"])
    return Group(
        value=value,
        rows=int(found["rows"]),
        positive_rate=rate,
        selection_rate=float(found["selection_rate"]),
        true_positive_rate=float(found["true_positive_rate"]) if rate > 0 else None,
        false_positive_rate=float(found["false_positive_rate"]) if rate < 1 else None,
        auc=float(found["auc"]) if 0 < rate < 1 else None,
        calibration_gap=float(found["calibration_gap"]),
        judged=int(found["rows"]) >= least_rows,
    )


def _text(value: Any) -> str:
    return "(missing)" if value is None or value != value else str(value)
