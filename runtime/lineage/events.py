"""Steps as OpenLineage run events, and back.

OpenLineage ends at the dataset; here features, training sets and models are datasets too, told apart by the first part
of their name, and carry facets of our own.  Any OpenLineage consumer reads the events: unknown facets are allowed.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import attr
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    DatasetFacet,
    RunFacet,
    dataset_version_dataset,
    error_message_run,
    job_type_job,
)
from openlineage.client.serde import Serde

from runtime.errors import InputError
from runtime.lineage.artifacts import Artifact, Kind

PRODUCER: Final = "urn:falaj:runtime"
FACET: Final = "falaj"
SUBJECTS_FACET: Final = "falajSubjects"
MOST_EVENT_BYTES: Final = 8 * 1024 * 1024
"""Of one event: more is refused when it is read, so that a collector's memory is bounded."""
MOST_ARTIFACTS: Final = 10_000


@attr.define
class ArtifactFacet(DatasetFacet):
    """What the artifact is, beyond its name: digests, owners, metrics; plain JSON values."""

    properties: dict[str, Any] = attr.field(factory=dict)

    @staticmethod
    def _get_schema() -> str:
        return "urn:falaj:facet:artifact:1"


@attr.define
class SubjectsFacet(DatasetFacet):
    """Keyed digests of the data subjects in the artifact (``runtime.lineage.subjects``); never the keys themselves."""

    digests: list[str] = attr.field(factory=list)

    @staticmethod
    def _get_schema() -> str:
        return "urn:falaj:facet:subjects:1"


@attr.define
class StepFacet(RunFacet):
    """What decided the outcome: digests of code, configuration and environment, seeds, versions."""

    properties: dict[str, Any] = attr.field(factory=dict)

    @staticmethod
    def _get_schema() -> str:
        return "urn:falaj:facet:step:1"


@dataclass(frozen=True)
class Part:
    """An artifact's part in a step."""

    artifact: Artifact
    properties: Mapping[str, Any] = field(default_factory=dict)
    subjects: Sequence[str] = ()
    """Digests of data subjects."""


@dataclass(frozen=True)
class StepEvent:
    """One moment of one run of a step."""

    run_id: str
    job: str
    tenant: str
    state: str
    """``START``, ``COMPLETE`` or ``FAIL``."""
    time: datetime.datetime
    inputs: tuple[Part, ...] = ()
    outputs: tuple[Part, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def to_openlineage(event: StepEvent) -> RunEvent:
    facets: dict[str, Any] = {FACET: StepFacet(properties=dict(event.properties))}
    if event.error:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(event.error, "python")
    job_type = job_type_job.JobTypeJobFacet(processingType="BATCH", integration="FALAJ", jobType="STEP")
    return RunEvent(
        eventType=RunState[event.state],
        eventTime=event.time.astimezone(datetime.UTC).isoformat(),
        producer=PRODUCER,
        run=Run(event.run_id, facets=facets),
        job=Job(_namespace(event.tenant), event.job, facets={"jobType": job_type}),
        inputs=[InputDataset(**_dataset(event.tenant, part)) for part in event.inputs],
        outputs=[OutputDataset(**_dataset(event.tenant, part)) for part in event.outputs],
    )


def to_json(event: StepEvent) -> str:
    """One line of OpenLineage JSON."""
    return str(Serde.to_json(to_openlineage(event)))


def from_json(text: str | bytes) -> StepEvent:
    """Read an event that ``to_json`` wrote.  Raises InputError, in one line, for anything else."""
    if len(text) > MOST_EVENT_BYTES:
        raise InputError(f"lineage event of {len(text)} bytes; at most {MOST_EVENT_BYTES} are read")
    try:
        given = json.loads(text)
        run, job = given["run"], given["job"]
        facets = run.get("facets", {})
        if len(given.get("inputs", [])) + len(given.get("outputs", [])) > MOST_ARTIFACTS:
            raise InputError(f"lineage event with more than {MOST_ARTIFACTS} artifacts")
        return StepEvent(
            run_id=str(run["runId"]),
            job=str(job["name"]),
            tenant=str(job["namespace"]).removeprefix(f"{FACET}/"),
            state=RunState[given["eventType"]].value,
            time=datetime.datetime.fromisoformat(given["eventTime"]),
            inputs=tuple(_part(dataset) for dataset in given.get("inputs", [])),
            outputs=tuple(_part(dataset) for dataset in given.get("outputs", [])),
            properties=facets.get(FACET, {}).get("properties", {}),
            error=facets.get("errorMessage", {}).get("message", ""),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"not an OpenLineage run event of Falaj: {type(error).__name__}: {error}") from None


def _namespace(tenant: str) -> str:
    return f"{FACET}/{tenant}"


def _dataset(tenant: str, part: Part) -> dict[str, Any]:
    facets: dict[str, Any] = {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(part.artifact.version),
        FACET: ArtifactFacet(properties=dict(part.properties)),
    }
    if part.subjects:
        facets[SUBJECTS_FACET] = SubjectsFacet(digests=list(part.subjects))
    return {
        "namespace": _namespace(tenant),
        "name": f"{part.artifact.kind}/{part.artifact.name}",
        "facets": facets,
    }


def _part(dataset: Mapping[str, Any]) -> Part:
    kind, _, name = str(dataset["name"]).partition("/")
    facets = dataset.get("facets", {})
    return Part(
        Artifact(Kind(kind), name, str(facets["version"]["datasetVersion"])),
        facets.get(FACET, {}).get("properties", {}),
        tuple(str(digest) for digest in facets.get(SUBJECTS_FACET, {}).get("digests", [])),
    )
