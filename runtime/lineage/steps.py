"""Recording a step of the ML path while it runs."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from runtime.lineage.artifacts import Artifact
from runtime.lineage.events import Part, StepEvent
from runtime.lineage.subjects import subject_digests
from runtime.lineage.transports import Transport, transport_of
from runtime.settings import Settings


class Step:
    """A running step: tell it what is read and made as that becomes known."""

    def __init__(self, settings: Settings, job: str, transport: Transport) -> None:
        self.run_id = str(uuid.uuid4())
        self._settings, self._job, self._transport = settings, job, transport
        self._inputs: dict[Artifact, Part] = {}
        self._outputs: dict[Artifact, Part] = {}
        self._properties: dict[str, Any] = {}

    def read(self, artifact: Artifact, properties: Mapping[str, Any] | None = None) -> None:
        """``properties``: plain JSON values, such as a row count or a location."""
        self._inputs[artifact] = Part(artifact, dict(properties or {}))

    def made(
        self,
        artifact: Artifact,
        properties: Mapping[str, Any] | None = None,
        *,
        subjects: Iterable[str] = (),
    ) -> None:
        """``subjects``: keys of the persons or things that the artifact holds data of; only digests are kept.

        Raises InputError where there are subjects and no key for their index.
        """
        digests = subject_digests(self._settings.subject_index_key, subjects)
        self._outputs[artifact] = Part(artifact, dict(properties or {}), digests)

    def note(self, **properties: Any) -> None:
        """What decided the outcome: digests of code and configuration, seeds, versions."""
        self._properties.update(properties)

    def emit(self, state: str, error: str = "") -> None:
        self._transport.emit(
            StepEvent(
                run_id=self.run_id,
                job=self._job,
                tenant=self._settings.tenant,
                state=state,
                time=datetime.datetime.now(datetime.UTC),
                inputs=tuple(self._inputs.values()),
                outputs=tuple(self._outputs.values()),
                properties=self._properties,
                error=error,
            )
        )


@contextmanager
def step(settings: Settings, job: str, *, transport: Transport | None = None) -> Iterator[Step]:
    """Record one run of ``job`` (``ingest.batch``, ``features.materialise``...): START, then COMPLETE or FAIL.

    Without ``settings.lineage_url`` it is an error to record nothing silently: raises InputError.
    """
    running = Step(settings, job, transport or transport_of(settings))
    running.emit("START")
    try:
        yield running
    except BaseException as error:
        # The kind of error only: its text may quote data.
        running.emit("FAIL", type(error).__name__)
        raise
    running.emit("COMPLETE")
