"""The steps of the demonstration in their order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from examples.flights.demo import environment, ingest
from examples.flights.demo.ingest import Observe
from examples.flights.demo.scope import Scope

if TYPE_CHECKING:
    from examples.flights.demo.features import Features
    from examples.flights.demo.release import Released
    from runtime.features.materialise import Materialisation
    from runtime.features.skew import SkewReport
    from runtime.ingestion.batch import BatchResult
    from runtime.ingestion.consumer import StreamResult
    from runtime.registry.gates import GatePolicy
    from runtime.registry.intervals import Interval
    from runtime.settings import Settings
    from runtime.training.run import RunResult

_COUNTED: Final = ("step", "epoch", "resumed", "member")
"""Lines of a trainer's log whose ``step`` counts towards its ``total_steps``."""


class Steps(Protocol):
    """Shows and times the steps."""

    def step(self, title: str) -> AbstractContextManager[Observe]:
        """A step that runs while the block does."""


@dataclass(frozen=True)
class Outcome:
    """All that the steps made."""

    settings: Settings
    batch: dict[str, list[BatchResult]]
    stream: StreamResult
    features: Features
    materialisation: Materialisation
    skew: SkewReport
    training: RunResult
    above_baseline: Mapping[str, Interval]
    """AUC of each model minus the logistic regression's."""
    released: Released
    picture: Path

    @property
    def rows_added(self) -> int:
        """To the lake, by this run."""
        return self.stream.accepted + sum(file.accepted for files in self.batch.values() for file in files)


def run(settings: Settings, scope: Scope, state: Path, policy: GatePolicy, steps: Steps) -> Outcome:
    """From files to champion.  The same again adds nothing.  Raises FalajError; what was reached stays."""
    with _alone(state):
        with steps.step("environment"):
            complete = environment.prepared(settings, state)
            (state / "settings.sh").write_text(environment.variables(complete), encoding="utf-8")
            (state / "settings.sh").chmod(0o600)
        with steps.step("files"):
            files = ingest.write_files(scope, state / "files")
        with steps.step("batch ingestion") as observe:
            batch = ingest.ingest_batch(complete, files, observe)
        with steps.step("feature declarations"):
            # Feast is imported here: seconds that belong to no other step.
            from examples.flights.demo import features as feature_steps
            from runtime.features.lake_tables import LakeTables

            declaration = feature_steps.declared(complete, state / "views")
        with steps.step("stream ingestion") as observe:
            stream = ingest.ingest_stream(complete, files, observe)
        tables = LakeTables(complete)
        with steps.step("features and training set") as observe:
            features = feature_steps.build(complete, declaration, tables, state / "views", observe)
        with steps.step("materialisation") as observe:
            done = feature_steps.publish(complete, features, scope, observe)
        with steps.step("skew check"):
            skew_file = state / "skew.json"
            skew = feature_steps.compare(complete, features, tables, scope, done, skew_file)
        with steps.step("training") as observe:
            from examples.flights.demo import train

            directory = state / "runs" / features.training_set.id
            trained = train.train(complete, features, scope, directory, _training_progress(observe))
        with steps.step("comparison with the baseline"):
            above = train.above_baseline(trained)
        with steps.step("release") as observe:
            from examples.flights.demo import release

            kind = release.better(complete, trained, features, scope.training)
            document = json.loads(skew_file.read_bytes())
            package = state / "packages" / features.training_set.id
            released = release.release(complete, trained, features, kind, document, package, policy, observe)
        with steps.step("lineage"):
            picture = _draw(complete, released, state / "lineage.svg")
    return Outcome(complete, batch, stream, features, done, skew, trained, above, released, picture)


def _draw(settings: Settings, released: Released, path: Path) -> Path:
    from runtime.lineage.drawing import svg
    from runtime.lineage.store import LineageStore

    with LineageStore.open(settings.lineage_url) as store:
        graph = store.ancestry(settings.tenant, released.artifact)
    path.write_text(svg(graph, f"Origin of {released.artifact.reference}"), encoding="utf-8")
    return path


def _training_progress(observe: Observe) -> Callable[[str, dict[str, Any]], None]:
    """From lines of the trainers' logs to steps done of steps to do."""
    reached: dict[str, tuple[int, int]] = {}

    def watch(kind: str, entry: dict[str, Any]) -> None:
        done, todo = reached.get(kind, (0, 0))
        if entry["event"] in _COUNTED:
            done = int(entry["step"])
        reached[kind] = done, int(entry.get("total_steps") or todo)
        observe(kind, *reached[kind])

    return watch


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """One demonstration at a time in a directory; the lock ends with its holder."""
    import fcntl

    from runtime.errors import InputError

    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{state}: another demonstration runs there; wait for it or give --state") from None
        yield
