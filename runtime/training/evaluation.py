"""How good a model is on a period it was not fitted on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from runtime.training.errors import DataError
from runtime.training.preparation import TrainingData
from runtime.training.trainers import TrainedModel

BINS: Final = 15
_SMALLEST: Final = 1e-7
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CalibrationBin:
    """Rows of similar prediction."""

    rows: int
    mean_prediction: float
    observed_rate: float


@dataclass(frozen=True)
class Evaluation:
    """Of probabilities against labels."""

    rows: int
    positive_rate: float
    auc: float
    """Area under the ROC curve."""
    log_loss: float
    """Mean negative log-likelihood, natural logarithm."""
    brier: float
    """Mean squared difference of probability and outcome."""
    calibration_error: float
    """Mean distance of predicted and observed rate over BINS bins of equal size, weighted by rows."""
    calibration: tuple[CalibrationBin, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Evaluation:
    """Raises DataError if one of the two labels does not occur: AUC has no meaning then."""
    from sklearn.metrics import roc_auc_score

    outcomes: Vector = np.asarray(labels, dtype=np.float64)
    predicted: Vector = np.asarray(probabilities, dtype=np.float64)
    if outcomes.min(initial=1.0) == outcomes.max(initial=0.0) or not len(outcomes):
        raise DataError(f"{len(outcomes)} rows with one label only; a longer period is needed to judge a model")
    clipped = np.clip(predicted, _SMALLEST, 1 - _SMALLEST)
    bins = tuple(_bins(outcomes, predicted))
    return Evaluation(
        rows=len(outcomes),
        positive_rate=float(outcomes.mean()),
        auc=float(roc_auc_score(outcomes, predicted)),
        log_loss=float(-(outcomes * np.log(clipped) + (1 - outcomes) * np.log(1 - clipped)).mean()),
        brier=float(((predicted - outcomes) ** 2).mean()),
        calibration_error=sum(abs(b.mean_prediction - b.observed_rate) * b.rows for b in bins) / len(outcomes),
        calibration=bins,
    )


def score(
    model: TrainedModel, data: TrainingData, period: str, *, keep: tuple[str, ...] = (), scores: Path | None = None
) -> Evaluation:
    """Judges the model on a period, batch by batch; with ``scores`` also writes label, probability and ``keep``.

    The Parquet file is what slice reports and significance tests start from.
    """
    labels: list[npt.NDArray[np.float32]] = []
    probabilities: list[npt.NDArray[np.float32]] = []
    writer: pq.ParquetWriter | None = None
    part = scores.with_name(f".{scores.name}.part") if scores else None
    try:
        for batch in data.batches(period, tuple(name for name in keep if name not in data.schema.columns)):
            rows = model.schema.encode(batch, with_label=True)
            assert rows.labels is not None
            labels.append(rows.labels)
            probabilities.append(model.probabilities(rows))
            if part is not None:
                table = _scored(batch, keep, rows.labels, probabilities[-1])
                writer = writer or pq.ParquetWriter(part, table.schema)
                writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    if part is not None and scores is not None:
        part.replace(scores)
    return evaluate(np.concatenate(labels), np.concatenate(probabilities))


def _scored(batch: pa.RecordBatch, keep: tuple[str, ...], labels: Any, probabilities: Any) -> pa.Table:
    kept = {name: batch.column(name) for name in keep}
    return pa.table({**kept, "label": pa.array(labels.astype(np.int8)), "probability": pa.array(probabilities)})


def _bins(outcomes: Vector, predicted: Vector) -> Iterator[CalibrationBin]:
    order = np.argsort(predicted, kind="stable")
    for rows in np.array_split(order, min(BINS, len(order))):
        yield CalibrationBin(len(rows), float(predicted[rows].mean()), float(outcomes[rows].mean()))
