"""A whole training run: prepare, fit the trainers asked for, judge them beside the baseline, write the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from runtime.settings import Settings
from runtime.training.configuration import TrainingConfiguration
from runtime.training.errors import ConfigurationError
from runtime.training.evaluation import Evaluation, score
from runtime.training.journal import NO_TRACKER, Tracker
from runtime.training.kinds import BASELINE, KINDS, trainer
from runtime.training.preparation import TrainingData, prepare
from runtime.training.trainers import FitContext, TrainingLineage, lineage_of, load_model, read_index, save_model

RUN: Final = "run.json"
REPORT: Final = "report.json"
MODEL_DIRECTORY: Final = "model"
SCORES: Final = "scores.parquet"


@dataclass(frozen=True)
class RunRequest:
    """What ``run.json`` keeps, so that a run can be resumed by its directory alone."""

    configuration: TrainingConfiguration
    training_set: str
    kinds: tuple[str, ...]
    workers: int
    restarts: int
    checkpoints: str
    """``s3://bucket/prefix`` or a directory; empty: in the run's directory."""
    slices: tuple[str, ...] = ()
    """Columns to keep beside each test row's probability."""

    def write(self, directory: Path) -> None:
        document = {
            "configuration": self.configuration.model_dump(mode="json"),
            "training_set": self.training_set,
            "kinds": self.kinds,
            "workers": self.workers,
            "restarts": self.restarts,
            "checkpoints": self.checkpoints,
            "slices": self.slices,
        }
        directory.mkdir(parents=True, exist_ok=True)
        (directory / RUN).write_text(json.dumps(document, indent=1) + "\n")


@dataclass(frozen=True)
class TrainedResult:
    """One model of a run."""

    kind: str
    directory: Path
    """The saved model: state, schema, ``model.onnx``, ``model.json`` with all digests."""
    model_digest: str
    fit_metrics: dict[str, Any]
    test: Evaluation
    scores: Path


@dataclass(frozen=True)
class RunResult:
    """What a run made, and from what; the same stands in ``report.json``."""

    directory: Path
    lineage: TrainingLineage
    models: tuple[TrainedResult, ...]


def read_request(directory: Path) -> RunRequest:
    """Raises ConfigurationError if the directory holds no run."""
    path = directory / RUN
    try:
        document = json.loads(path.read_bytes())
        configuration = TrainingConfiguration.model_validate(document.pop("configuration"))
        lists: dict[str, Any] = {name: tuple(document.pop(name)) for name in ("kinds", "slices")}
        return RunRequest(configuration=configuration, **lists, **document)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); name the directory of a run") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path}: not a run: {str(error).splitlines()[0]}") from None


def run(
    settings: Settings,
    request: RunRequest,
    directory: Path,
    *,
    observe: Callable[[str, dict[str, Any]], object] = lambda kind, entry: None,
    tracker: Tracker = NO_TRACKER,
    trackers: Callable[[str], AbstractContextManager[Tracker]] | None = None,
) -> RunResult:
    """Runs, or goes on where an earlier call in the same directory stopped: finished models are not fitted again.

    ``observe(kind, entry)`` gets every line of the trainers' logs.  ``trackers(kind)`` opens a tracker for one model,
    where one for all would mix their figures.  Raises FalajError; what was reached is kept.
    """
    tracker_of = trackers or (lambda _kind: nullcontext(tracker))
    unknown = [kind for kind in request.kinds if kind not in KINDS]
    if unknown:
        raise ConfigurationError(f"trainer {', '.join(unknown)} does not exist; choose {', '.join(KINDS)}")
    kinds = tuple(dict.fromkeys((BASELINE, *request.kinds)))
    request.write(directory)
    observe("prepare", {"event": "started"})
    data = prepare(settings, request.configuration, request.training_set)
    data.schema.write(directory / "schema.json")
    observe("prepare", {"event": "finished", "rows": {name: rows.count for name, rows in data.rows.items()}})
    lineage = lineage_of(data)
    models = []
    for kind in kinds:
        # A finished model of an earlier call was tracked by that call.
        done = _is_done(directory / kind / MODEL_DIRECTORY, lineage)
        with nullcontext(NO_TRACKER) if done else tracker_of(kind) as own:
            models.append(_model(settings, request, data, lineage, kind, directory, observe, own))
    result = RunResult(directory, lineage, tuple(models))
    _write_report(result)
    tracker.log_artifact(directory / REPORT)
    return result


def _model(
    settings: Settings,
    request: RunRequest,
    data: TrainingData,
    lineage: TrainingLineage,
    kind: str,
    directory: Path,
    observe: Callable[[str, dict[str, Any]], object],
    tracker: Tracker,
) -> TrainedResult:
    home = directory / kind
    saved = home / MODEL_DIRECTORY
    context = FitContext(
        settings=settings,
        directory=home,
        checkpoints=f"{request.checkpoints.rstrip('/')}/{kind}" if request.checkpoints else "",
        workers=request.workers,
        restarts=request.restarts,
        observe=lambda entry: observe(kind, entry),
        tracker=tracker,
    )
    if not _is_done(saved, lineage):
        home.mkdir(parents=True, exist_ok=True)
        save_model(trainer(kind).fit(data, context), saved, lineage)
    # What is judged is what was saved, read back as whoever uses it will read it.
    model = load_model(saved)
    scores = home / SCORES
    evaluation = score(model, data, "test", keep=request.slices, scores=scores)
    tracker.log_metrics(
        {f"test_{name}": getattr(evaluation, name) for name in ("auc", "log_loss", "brier", "calibration_error")}, 0
    )
    observe(kind, {"event": "judged", "auc": evaluation.auc})
    return TrainedResult(kind, saved, read_index(saved)["digest"], dict(model.metrics), evaluation, scores)


def _is_done(saved: Path, lineage: TrainingLineage) -> bool:
    """Whether a whole model of exactly this origin is there; a damaged one is an error, not a reason to start over."""
    if not saved.exists():
        return False
    found = read_index(saved)["lineage"]
    same = ("training_set_digest", "configuration_digest", "schema_digest", "code_digest")
    return all(found.get(name) == getattr(lineage, name) for name in same)


def _write_report(result: RunResult) -> None:
    document = {
        "lineage": asdict(result.lineage),
        "models": [
            {
                **{
                    name: value
                    for name, value in vars(replace(model)).items()
                    if name not in ("test", "directory", "scores")
                },
                "directory": model.directory.relative_to(result.directory).as_posix(),
                "scores": model.scores.relative_to(result.directory).as_posix(),
                "test": model.test.as_dict(),
            }
            for model in result.models
        ],
    }
    part = result.directory / f".{REPORT}.part"
    part.write_text(json.dumps(document, indent=1) + "\n")
    part.replace(result.directory / REPORT)
