"""What every trainer and every trained model can do; saved models and their checks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runtime.settings import Settings
from runtime.training.digests import code_digest, environment_digest, sha256_file, sha256_json
from runtime.training.errors import ArtifactError
from runtime.training.journal import NO_TRACKER, Tracker
from runtime.training.preparation import TrainingData
from runtime.training.schema import Encoded, InputSchema, read_schema

if TYPE_CHECKING:
    import onnx

Probabilities = npt.NDArray[np.float32]
MODEL: Final = "model.json"
SCHEMA: Final = "schema.json"
MOST_INDEX_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class TrainingLineage:
    """What a model was made from; digests are sha256 in hex."""

    training_set: str
    training_set_digest: str
    training_set_origin: dict[str, Any]
    configuration_digest: str
    code_digest: str
    schema_digest: str
    environment_digest: str
    """Names and versions of all installed distributions."""
    train_rows: int
    periods: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class FitContext:
    """Where and how a trainer works."""

    settings: Settings
    directory: Path
    """The trainer's own; its log and results go there."""
    checkpoints: str = ""
    """``s3://bucket/prefix`` or a directory; empty: beside the log."""
    workers: int = 1
    restarts: int = 3
    observe: Callable[[dict[str, Any]], object] = lambda _: None
    """Gets every line of the trainer's log: for progress displays."""
    tracker: Tracker = NO_TRACKER


class TrainedModel(Protocol):
    """A fitted model."""

    kind: ClassVar[str]
    schema: InputSchema
    metrics: Mapping[str, Any]
    """Of the fit: rounds, losses, seconds; not of the test period."""

    def probabilities(self, rows: Encoded) -> Probabilities:
        """Of label 1, [rows]."""

    def onnx_graph(self) -> onnx.ModelProto:
        """Raw features in, ``probability`` [rows] out; see ``onnx_graph`` for the inputs."""

    def write_state(self, directory: Path) -> None:
        """Files without executable content."""

    @classmethod
    def read_state(cls, directory: Path, schema: InputSchema, metrics: Mapping[str, Any]) -> TrainedModel:
        """Raises ArtifactError for files that do not add up."""


class Trainer(Protocol):
    """Fits one kind of model."""

    kind: ClassVar[str]

    def fit(self, data: TrainingData, context: FitContext) -> TrainedModel:
        """Raises FalajError when it cannot; what was reached stays in the checkpoints."""


def predict_proba(model: TrainedModel, batch: pa.RecordBatch | pa.Table) -> Probabilities:
    """Probabilities of label 1 for raw rows, [rows].  Raises DataError for missing columns or wrong types."""
    return model.probabilities(model.schema.encode(batch, with_label=False))


def lineage_of(data: TrainingData) -> TrainingLineage:
    configuration = data.configuration
    return TrainingLineage(
        training_set=data.dataset.uri,
        training_set_digest=data.dataset.manifest_digest,
        training_set_origin=data.dataset.origin,
        configuration_digest=configuration.digest,
        code_digest=code_digest(),
        schema_digest=data.schema.digest,
        environment_digest=environment_digest(),
        train_rows=data.rows["train"].count,
        periods={
            name: (rows.period.start.isoformat(), rows.period.end.isoformat()) for name, rows in data.rows.items()
        },
    )


def save_model(model: TrainedModel, directory: Path, lineage: TrainingLineage) -> str:
    """Writes state, schema and ONNX graph, then ``model.json`` with their digests; returns the model's digest.

    An existing model is replaced only once the new one is whole.
    """
    part = directory.with_name(f".{directory.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    model.write_state(part)
    model.schema.write(part / SCHEMA)
    (part / "model.onnx").write_bytes(model.onnx_graph().SerializeToString(deterministic=True))
    files = {path.relative_to(part).as_posix(): sha256_file(path) for path in sorted(part.rglob("*")) if path.is_file()}
    digest = sha256_json(files)
    index = {
        "format_version": 1,
        "kind": model.kind,
        "digest": digest,
        "files": files,
        "metrics": dict(model.metrics),
        "lineage": asdict(lineage),
    }
    (part / MODEL).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(directory, ignore_errors=True)
    part.rename(directory)
    return digest


def load_model(directory: Path) -> TrainedModel:
    """Raises ArtifactError if a file is missing, altered or of an unknown kind; nothing is unpickled."""
    index = read_index(directory)
    from runtime.training.kinds import model_class

    schema = read_schema(directory / SCHEMA)
    return model_class(index["kind"]).read_state(directory, schema, index["metrics"])


def read_index(directory: Path) -> dict[str, Any]:
    """``model.json`` of a saved model, after its files were checked against it."""
    path = directory / MODEL
    try:
        if path.stat().st_size > MOST_INDEX_BYTES:
            raise ArtifactError(f"{path}: larger than {MOST_INDEX_BYTES} bytes; that is no model")
        index: dict[str, Any] = json.loads(path.read_bytes())
        files, digest = index["files"], index["digest"]
        index["kind"], index["metrics"], index["lineage"]
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error.strerror}); name a directory made by `train run`"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ArtifactError(f"{path}: not the index of a model; train again or use another copy") from None
    if sha256_json(files) != digest:
        raise ArtifactError(f"{path}: the list of files does not match its digest; refused")
    for name, expected in files.items():
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise ArtifactError(f"{path}: names {name}, which lies outside the model; refused")
        if not (directory / name).is_file() or sha256_file(directory / name) != expected:
            raise ArtifactError(f"{directory / name}: missing or altered after training; refused")
    return index
