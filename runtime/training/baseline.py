"""Logistic regression: one weight per number and per category.  What the other models have to beat."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from runtime.training import tensors as tensor_files
from runtime.training.errors import ArtifactError
from runtime.training.preparation import TrainingData
from runtime.training.schema import Encoded, InputSchema, concatenate
from runtime.training.trainers import FitContext, Probabilities

if TYPE_CHECKING:
    import onnx

STATE = "weights.safetensors"


class LogisticRegressionModel:
    """``categories`` [all codes], ``numbers`` [normalised_width], ``bias`` [1], float32."""

    kind: ClassVar[str] = "logistic_regression"

    def __init__(
        self, schema: InputSchema, weights: Mapping[str, npt.NDArray[np.float32]], metrics: Mapping[str, Any]
    ) -> None:
        """Raises ArtifactError for weights of another schema."""
        self.schema, self.weights, self.metrics = schema, weights, metrics
        sizes = [feature.codes for feature in schema.categoricals]
        self._starts = np.array([sum(sizes[:position]) for position in range(len(sizes))], dtype=np.int64)
        expected = {"categories": (sum(sizes),), "numbers": (schema.normalised_width,), "bias": (1,)}
        if {name: array.shape for name, array in weights.items()} != expected:
            raise ArtifactError(f"weights do not fit the schema: expected {expected}")

    def probabilities(self, rows: Encoded) -> Probabilities:
        logits = self.weights["categories"][rows.codes + self._starts].sum(axis=1)
        logits = logits + self.schema.normalise(rows.numbers) @ self.weights["numbers"] + self.weights["bias"]
        probabilities: Probabilities = (1 / (1 + np.exp(-logits))).astype(np.float32)
        return probabilities

    def onnx_graph(self) -> onnx.ModelProto:
        from runtime.training.onnx_graph import GraphBuilder

        graph = GraphBuilder(self.schema)
        one = graph.constant([1], np.int64)
        total = graph.constant(self.weights["bias"])
        if self.schema.categoricals:
            found = graph.node("Gather", graph.constant(self.weights["categories"]), graph.offset_codes())
            total = graph.node("Add", total, graph.node("ReduceSum", found, one, keepdims=0))
        if self.schema.numericals:
            product = graph.node("MatMul", graph.normalised(), graph.constant(self.weights["numbers"]))
            total = graph.node("Add", total, product)
        return graph.build(self.kind, graph.node("Sigmoid", total))

    def write_state(self, directory: Path) -> None:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in self.weights.items()}
        (directory / STATE).write_bytes(tensor_files.encode(tensors))

    @classmethod
    def read_state(cls, directory: Path, schema: InputSchema, metrics: Mapping[str, Any]) -> LogisticRegressionModel:
        try:
            data = (directory / STATE).read_bytes()
        except OSError as error:
            raise ArtifactError(f"{directory / STATE}: cannot be read ({error.strerror})") from None
        tensors = tensor_files.decode(data, str(directory / STATE))
        return cls(schema, {name: tensor.numpy() for name, tensor in tensors.items()}, metrics)


class LogisticRegressionTrainer:
    """scikit-learn on a sparse matrix of at most ``most_rows`` rows."""

    kind: ClassVar[str] = "logistic_regression"

    def fit(self, data: TrainingData, context: FitContext) -> LogisticRegressionModel:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        parameters, schema = data.configuration.logistic_regression, data.schema
        context.tracker.log_parameters({"kind": self.kind, **parameters.model_dump(mode="json")})
        started = time.monotonic()
        every = -(-data.rows["train"].count // parameters.most_rows)
        parts, position = [], 0
        for batch in data.encoded("train"):
            parts.append(batch.take(slice(-position % every, None, every)))
            position += len(batch)
        rows = concatenate(parts)
        matrix = _sparse(schema, rows)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model = LogisticRegression(C=1 / parameters.l2, max_iter=parameters.iterations).fit(matrix, rows.labels)
        weights = model.coef_[0].astype(np.float32)
        codes = sum(feature.codes for feature in schema.categoricals)
        return LogisticRegressionModel(
            schema,
            {"categories": weights[:codes], "numbers": weights[codes:], "bias": model.intercept_.astype(np.float32)},
            {
                "rows": len(rows),
                "iterations": int(model.n_iter_[0]),
                "converged": not any(issubclass(w.category, ConvergenceWarning) for w in caught),
                "seconds": round(time.monotonic() - started, 2),
            },
        )


def _sparse(schema: InputSchema, rows: Encoded) -> Any:
    """One column per code of each categorical, then the normalised numbers."""
    from scipy import sparse

    sizes = [feature.codes for feature in schema.categoricals]
    starts = [sum(sizes[:position]) for position in range(len(sizes))]
    columns = (rows.codes + np.array(starts, dtype=np.int32)).reshape(-1)
    pointers = np.arange(len(rows) + 1, dtype=np.int64) * len(sizes)
    ones = np.ones(len(columns), dtype=np.float32)
    categories = sparse.csr_matrix((ones, columns, pointers), shape=(len(rows), sum(sizes)))
    return sparse.hstack([categories, sparse.csr_matrix(schema.normalise(rows.numbers))], format="csr")
