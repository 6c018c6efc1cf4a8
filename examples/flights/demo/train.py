"""Both models, and the logistic regression that they must beat."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from examples.flights.demo.features import Features
from examples.flights.demo.scope import Scope
from runtime.lineage.steps import step
from runtime.training.kinds import BASELINE
from runtime.training.provenance import record_run
from runtime.training.run import REPORT, RunRequest, RunResult, run

if TYPE_CHECKING:
    from runtime.registry.intervals import Interval
    from runtime.settings import Settings
    from runtime.training.journal import Tracker

MODEL: Final = "flights-delay"
KINDS: Final = ("boosted_trees", "tabular_network")
SLICES: Final = ("carrier", "origin")
RESAMPLES: Final = 200
"""For the comparison that is shown; the gates judge by their own."""


def train(
    settings: Settings,
    features: Features,
    scope: Scope,
    directory: Path,
    observe: Callable[[str, dict[str, Any]], object],
) -> RunResult:
    """Fits and judges; what an earlier call in ``directory`` finished is not fitted again."""
    name = f"{settings.tenant}/{MODEL}/{features.training_set.id}"
    request = RunRequest(
        configuration=scope.training,
        training_set=features.training_set_uri,
        kinds=KINDS,
        workers=scope.workers,
        restarts=1,
        checkpoints=f"s3://{settings.model_bucket}/checkpoints/{name}",
        slices=SLICES,
    )
    with step(settings, "train.run") as running:
        running.read(features.training_set_artifact)
        trackers = None if (directory / REPORT).exists() else _trackers(settings, features)
        result = run(settings, request, directory, observe=observe, trackers=trackers)
        record_run(running, result, seed=scope.training.seed)
    return result


def above_baseline(result: RunResult) -> dict[str, Interval]:
    """By how much the AUC of each model is above the baseline's on the test period, with 95 % intervals."""
    from runtime.registry.assembly import read_scores
    from runtime.registry.intervals import difference_with_intervals

    scores = {model.kind: read_scores(model.scores) for model in result.models}
    return {
        kind: difference_with_intervals(scores[kind], scores[BASELINE], resamples=RESAMPLES)[0]["auc"] for kind in KINDS
    }


def _trackers(settings: Settings, features: Features) -> Callable[[str], AbstractContextManager[Tracker]]:
    """A run of MLflow for each model; the baseline needs none of its own."""
    from runtime.registry.tracking import Tracking
    from runtime.training.journal import NO_TRACKER

    tracking = Tracking(settings)

    def tracker(kind: str) -> AbstractContextManager[Tracker]:
        if kind == BASELINE:
            return nullcontext(NO_TRACKER)
        return tracking.run(MODEL, f"{kind}-{features.training_set.id}")

    return tracker
