"""Figures that decide over a model's promotion must be the textbook's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from runtime.training.errors import DataError
from runtime.training.evaluation import BINS, evaluate


def sample(seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(1, 3, size=5000).astype(np.float32)
    return (rng.random(5000) < probabilities).astype(np.float32), probabilities


def test_figures_are_those_of_scikit_learn() -> None:
    labels, probabilities = sample()
    figures = evaluate(labels, probabilities)
    assert figures.auc == pytest.approx(roc_auc_score(labels, probabilities))
    assert figures.log_loss == pytest.approx(log_loss(labels, probabilities.astype(np.float64)), rel=1e-6)
    assert figures.brier == pytest.approx(brier_score_loss(labels, probabilities))
    assert figures.positive_rate == pytest.approx(labels.mean())


def test_calibration_error_tells_honest_from_boastful_probabilities() -> None:
    labels, probabilities = sample()
    boastful = np.clip(probabilities * 2, 0, 1)
    assert evaluate(labels, probabilities).calibration_error < 0.03
    # The same order, so the same AUC: only calibration shows it.
    assert evaluate(labels, boastful).auc == pytest.approx(evaluate(labels, probabilities).auc, abs=0.01)
    assert evaluate(labels, boastful).calibration_error > 0.15


def test_calibration_bins_hold_all_rows_in_order() -> None:
    bins = evaluate(*sample()).calibration
    assert len(bins) == BINS
    assert sum(entry.rows for entry in bins) == 5000
    assert [entry.mean_prediction for entry in bins] == sorted(entry.mean_prediction for entry in bins)


def test_certainty_that_is_wrong_is_costly_but_finite() -> None:
    assert 15 < evaluate([0, 1], [1.0, 0.0]).log_loss < 17


@pytest.mark.parametrize("labels", [[], [1, 1], [0, 0, 0]])
def test_one_label_only_cannot_be_judged(labels: list[int]) -> None:
    with pytest.raises(DataError, match="one label only"):
        evaluate(labels, [0.5] * len(labels))
