"""Which experiment tracker a run reports to.  A tracker that goes away while models are fitted ends no run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime import metrics
from runtime.errors import FalajError
from runtime.training.journal import Tracker

if TYPE_CHECKING:
    from runtime.registry.tracking import Tracking
    from runtime.settings import Settings

Trackers = Callable[[str], AbstractContextManager[Tracker]]
"""Opens the tracker of one kind of model."""


def trackers_of(
    settings: Settings, choice: str | None, *, experiment: str, name: str, warn: Callable[[str], object]
) -> Trackers | None:
    """``choice``: ``mlflow``, ``none``, or None for MLflow where FALAJ_MLFLOW_TRACKING_URI says where it is.

    Each model gets a run ``KIND-NAME`` of the experiment; ``warn`` hears once for each that figures are missing.
    Raises SettingsError where MLflow is asked for and not set; the opened run raises RegistryAwayError where it does
    not answer at the beginning.
    """
    if choice == "none" or (choice is None and not settings.mlflow_tracking_uri):
        return None
    from runtime.registry.tracking import Tracking

    tracking = Tracking(settings)
    return lambda kind: _tolerant(tracking, experiment, f"{kind}-{name}", warn)


@contextmanager
def _tolerant(
    tracking: Tracking, experiment: str, name: str, warn: Callable[[str], object]
) -> Iterator[TolerantTracker]:
    opened = tracking.run(experiment, name)
    tracker = TolerantTracker(opened.__enter__(), warn)
    try:
        yield tracker
    except BaseException as error:
        tracker.tolerate(partial(opened.__exit__, type(error), error, error.__traceback__))
        raise
    tracker.tolerate(lambda: opened.__exit__(None, None, None))


class TolerantTracker:
    """Another tracker, of which a failed call is counted and told, and costs nothing but its figures."""

    def __init__(self, tracker: Tracker, warn: Callable[[str], object]) -> None:
        self._tracker, self._warn, self._warned = tracker, warn, False

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        self.tolerate(lambda: self._tracker.log_parameters(parameters))

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        self.tolerate(lambda: self._tracker.log_metrics(values, step))

    def log_artifact(self, path: Path) -> None:
        self.tolerate(lambda: self._tracker.log_artifact(path))

    def tolerate(self, call: Callable[[], object]) -> None:
        try:
            call()
        except FalajError as error:
            metrics.counter("falaj_training_tracker_failures_total", "Calls that the experiment tracker failed.").inc()
            if not self._warned:
                self._warned = True
                self._warn(f"{error}; training goes on, some of its figures are not tracked")
