"""From a finished training run to a package: everything a judge or a server needs, and nothing that could run."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from runtime.registry import plots
from runtime.registry.card import ModelCard, render
from runtime.registry.errors import PackageError
from runtime.registry.fairness import SliceReport, slice_report
from runtime.registry.gates import SkewEvidence
from runtime.registry.intervals import Interval, Scores, metrics_with_intervals
from runtime.registry.package import Package, place, seal, write_document
from runtime.training.digests import environment_digest, sha256_file

REPORT: Final = "report.json"
SCORES: Final = "evaluation/scores.parquet"
METRICS: Final = "evaluation/metrics.json"
SKEW: Final = "evaluation/skew.json"
CARD: Final = "card.json"
FEATURES: Final = "features.json"
LINEAGE: Final = "lineage.json"
BASELINE: Final = "logistic_regression"
MOST_REPORT_BYTES: Final = 16 << 20
MOST_SCORES: Final = 50_000_000
_OPERATORS: Final = ("", "ai.onnx", "ai.onnx.ml")


@dataclass(frozen=True)
class FeatureView:
    """A feature view version that the model was trained on; ``personal`` is None where nobody said."""

    name: str
    sha256: str
    personal: bool | None


@dataclass(frozen=True)
class Ingredients:
    """What a package is made from."""

    run: Path
    """Directory of a finished run of ``train run``."""
    kind: str
    """Which of its models."""
    card: ModelCard
    author: str
    personal_views: Mapping[str, bool]
    """Whether each feature view holds personal data, as the feature catalogue says."""
    skew: SkewEvidence | None = None
    requirements: Path | None = None
    """The hash-locked list of requirements the run was installed from."""
    decision_threshold: float = 0.5


def assemble(
    ingredients: Ingredients, directory: Path, progress: Callable[[str, int, int], object] = lambda *_: None
) -> Package:
    """Writes the package; ``directory`` appears once it is whole.

    Raises PackageError if the run is not finished, was altered, or holds what a package may not hold.
    """
    stages = ("model", "scores", "intervals", "plots", "manifest")

    def tell(stage: str) -> None:
        progress(stage, stages.index(stage), len(stages))

    part = directory.with_name(f".{directory.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        report, entry, baseline = _run_report(ingredients.run, ingredients.kind)
        tell("model")
        index = _place_model(ingredients.run / entry["directory"], part)
        lineage = index["lineage"]
        features = _features(lineage, ingredients.personal_views)
        write_document(part, FEATURES, features)
        write_document(part, "environment.json", _environment(lineage, ingredients.requirements))
        write_document(part, LINEAGE, {"training": report["lineage"], "inputs": _inputs(index, ingredients.kind)})
        write_document(part, CARD, ingredients.card.model_dump(mode="json"))
        if ingredients.skew is not None:
            write_document(part, SKEW, asdict(ingredients.skew))
        tell("scores")
        place(ingredients.run / entry["scores"], part, SCORES)
        scores = read_scores(part / SCORES)
        columns = ingredients.card.slices or tuple(scores.slices)
        threshold = ingredients.decision_threshold
        slices = [slice_report(scores, column, threshold=threshold) for column in columns]
        tell("intervals")
        intervals = metrics_with_intervals(scores)
        write_document(part, METRICS, _metrics(scores, intervals, slices, index["metrics"]))
        tell("plots")
        known = read_scores(ingredients.run / baseline["scores"]) if baseline and ingredients.kind != BASELINE else None
        plots.draw(part / "evaluation", ingredients.card.name, scores, intervals, slices, known)
        tell("manifest")
        facts = _facts(index, intervals, slices, features)
        (part / "CARD.md").write_text(render(ingredients.card, facts), encoding="utf-8")
        package = seal(
            part,
            name=ingredients.card.name,
            kind=ingredients.kind,
            author=ingredients.author,
            model_digest=index["digest"],
        )
        shutil.rmtree(directory, ignore_errors=True)
        part.rename(directory)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    progress("done", len(stages), len(stages))
    return Package(directory, package.manifest)


def read_scores(path: Path) -> Scores:
    """The scores that training wrote.  Raises PackageError if they cannot be judged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as parquet:
            if parquet.metadata.num_rows > MOST_SCORES:
                raise PackageError(f"{path}: more than {MOST_SCORES} rows; judge a sample")
            table = parquet.read()
        return Scores(
            labels=table["label"].to_numpy().astype(np.float64),
            probabilities=table["probability"].to_numpy().astype(np.float64),
            slices={
                name: table[name].to_numpy(zero_copy_only=False)
                for name in table.column_names
                if name not in ("label", "probability")
            },
        )
    except (OSError, KeyError, pa.ArrowException) as error:
        raise PackageError(f"{path}: not the scores of a run ({type(error).__name__})") from None


def _run_report(run: Path, kind: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]:
    path = run / REPORT
    try:
        if path.stat().st_size > MOST_REPORT_BYTES:
            raise PackageError(f"{path}: larger than {MOST_REPORT_BYTES} bytes; that is no report")
        report: dict[str, Any] = json.loads(path.read_bytes())
        models = {str(model["kind"]): model for model in report["models"]}
        for model in models.values():
            model["directory"], model["scores"], report["lineage"]
    except OSError as error:
        raise PackageError(f"{path}: cannot be read ({error.strerror}); name the directory of a finished run") from None
    except (ValueError, KeyError, TypeError):
        raise PackageError(f"{path}: not the report of a run") from None
    if kind not in models:
        raise PackageError(f"{run}: has no model {kind}; it holds {', '.join(models)}")
    return report, models[kind], models.get(BASELINE)


def _place_model(source: Path, directory: Path) -> dict[str, Any]:
    """Copies the saved model after its own digests were checked; returns its index."""
    from runtime.training.trainers import MODEL, read_index

    index = read_index(source)
    for name in (MODEL, *index["files"]):
        place(source / name, directory, f"model/{name}")
    if "model.onnx" not in index["files"]:
        raise PackageError(f"{source}: holds no model.onnx; train again with this version")
    write_document(directory, "interface.json", _interface(directory / "model"))
    return index


def _interface(model: Path) -> dict[str, Any]:
    """Inputs and outputs of the graph, and the columns behind them.  Refuses a graph that reaches out."""
    import onnx

    from runtime.training.schema import read_schema

    try:
        graph = onnx.load_model_from_string((model / "model.onnx").read_bytes())
    except Exception as error:  # protobuf raises errors of its own, which differ with its implementation
        raise PackageError(f"model.onnx: not an ONNX graph ({type(error).__name__})") from None
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.graph.initializer):
        raise PackageError("model.onnx: names data in other files; export one self-contained file")
    foreign = sorted({each.domain for each in graph.opset_import} - set(_OPERATORS))
    if foreign or graph.functions:
        raise PackageError(
            f"model.onnx: needs operators of {', '.join(foreign) or 'its own'}; only standard ones are run"
        )
    schema = read_schema(model / "schema.json")

    def described(value: Any) -> dict[str, Any]:
        tensor = value.type.tensor_type
        shape = [dimension.dim_param or dimension.dim_value for dimension in tensor.shape.dim]
        return {"name": value.name, "type": onnx.TensorProto.DataType.Name(tensor.elem_type).lower(), "shape": shape}

    return {
        "inputs": [described(value) for value in graph.graph.input],
        "outputs": [described(value) for value in graph.graph.output],
        "categorical": [feature.name for feature in schema.categoricals],
        "numerical": [feature.name for feature in schema.numericals],
        "label": schema.label,
        "schema_digest": schema.digest,
    }


def _features(lineage: Mapping[str, Any], personal: Mapping[str, bool]) -> dict[str, Any]:
    origin = lineage["training_set_origin"]
    views = [
        FeatureView(str(view["view"]), str(view.get("sha256", "")), personal.get(str(view["view"])))
        for view in origin.get("views", ())
    ]
    return {
        "project": origin.get("project", ""),
        "service": origin.get("service", ""),
        "snapshot_id": str(origin.get("snapshot_id", "")),
        "catalogue_digest": origin.get("catalogue_digest", ""),
        "views": [asdict(view) for view in views],
    }


def _environment(lineage: Mapping[str, Any], requirements: Path | None) -> dict[str, Any]:
    """Of this machine, which is the run's only if digests agree; ``trained_in`` says what it was."""
    from importlib.metadata import distributions

    installed = sorted({f"{each.metadata['Name'].lower()}=={each.version}" for each in distributions()})
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}-{platform.machine()}",
        "distributions": installed,
        "digest": environment_digest(),
        "trained_in": lineage["environment_digest"],
        "requirements_sha256": sha256_file(requirements) if requirements else "",
    }


def _inputs(index: Mapping[str, Any], kind: str) -> list[str]:
    from runtime.training.provenance import fitted_artifact, training_set_artifact

    lineage = index["lineage"]
    return [training_set_artifact(lineage).reference, fitted_artifact(lineage, kind, index["digest"]).reference]


def _metrics(
    scores: Scores, intervals: Mapping[str, Interval], slices: list[SliceReport], fit: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "rows": len(scores),
        "positive_rate": float(scores.labels.mean()),
        "test": {name: asdict(interval) for name, interval in intervals.items()},
        "slices": [asdict(report) for report in slices],
        "fit": dict(fit),
    }


def _facts(
    index: Mapping[str, Any],
    intervals: Mapping[str, Interval],
    slices: list[SliceReport],
    features: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    lineage = index["lineage"]
    periods = {name: f"{start[:10]} to {end[:10]}" for name, (start, end) in lineage["periods"].items()}
    return {
        "Metrics of the test period (95 % intervals)": dict(intervals),
        "Slices": {
            f"{report.column}: {what}": f"{value:.4f} ({group})"
            for report in slices
            for what, (value, group) in (
                ("most AUC below overall", report.auc_drop),
                ("widest calibration gap", report.calibration_gap),
                ("TPR difference", report.true_positive_rate_difference),
            )
        },
        "Periods": periods,
        "Feature views": {
            view["name"]: {True: "personal data", False: "no personal data", None: "not stated"}[view["personal"]]
            for view in features["views"]
        },
        "Origin": {
            "Kind": index["kind"],
            "Model digest": index["digest"],
            "Training set digest": lineage["training_set_digest"],
            "Configuration digest": lineage["configuration_digest"],
            "Environment digest": lineage["environment_digest"],
            "Training rows": lineage["train_rows"],
        },
    }
