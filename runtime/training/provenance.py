"""What a training run read and made, in the words of lineage.

Packages name their origin by the same functions, so that a model hangs together with its run and its training set
whichever commands made them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from runtime.lineage.artifacts import Artifact, Kind

if TYPE_CHECKING:
    from runtime.lineage.steps import Step
    from runtime.training.run import RunResult

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._/:=+ -]")
_MOST_NAME_CHARACTERS: Final = 400


def training_set_artifact(lineage: Mapping[str, Any]) -> Artifact:
    """A training set by its manifest's digest, an Iceberg table by its snapshot.

    ``lineage``: a ``TrainingLineage`` as a mapping, here and below.
    """
    origin = lineage["training_set_origin"]
    if "table" in origin and "snapshot_id" in origin:
        return Artifact(Kind.TABLE, str(origin["table"]), str(origin["snapshot_id"]))
    return Artifact(Kind.TRAINING_SET, _name(lineage), lineage["training_set_digest"])


def fitted_artifact(lineage: Mapping[str, Any], kind: str, model_digest: str) -> Artifact:
    """A model as training left it, before it is packaged."""
    return Artifact(Kind.CHECKPOINT, f"{_name(lineage)}/{kind}", model_digest)


def record_run(step: Step, result: RunResult, *, seed: int) -> None:
    """The training set in, every fitted model out, and the digests that decided the outcome."""
    lineage = asdict(result.lineage)
    step.read(training_set_artifact(lineage), {"location": result.lineage.training_set})
    for model in result.models:
        step.made(
            fitted_artifact(lineage, model.kind, model.model_digest),
            {"auc": round(model.test.auc, 4), "log_loss": round(model.test.log_loss, 4)},
        )
    step.note(
        configuration_digest=result.lineage.configuration_digest,
        code_digest=result.lineage.code_digest,
        environment_digest=result.lineage.environment_digest,
        seed=seed,
    )


def _name(lineage: Mapping[str, Any]) -> str:
    """The feature service, the set's own name, or where it lies; what a name may not hold is replaced."""
    origin = lineage["training_set_origin"]
    given = str(origin.get("service") or origin.get("name") or origin.get("table") or lineage["training_set"])
    kept = _NOT_IN_NAMES.sub("_", given.removeprefix("s3://").removeprefix("file://"))
    return kept[-_MOST_NAME_CHARACTERS:].strip("/._:=+ -") or "training-set"
