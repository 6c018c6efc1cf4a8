"""Tells whoever watches what happens, and counts it."""

from __future__ import annotations

import threading
from collections import Counter

from falaj.engine.events import (
    Diagnostic,
    Event,
    EventSink,
    Op,
    Severity,
    StepDone,
    StepFailed,
    StepStarted,
    Summary,
)
from falaj.engine.steps import Step
from falaj.engine.urn import is_default_provider

_AT_ONCE = (Op.DELETE, Op.DELETE_REPLACED, Op.DISCARD, Op.DISCARD_REPLACED, Op.REMOVE_PENDING_REPLACE, Op.REFRESH)
"""Operations on components that are done when their step is; the others wait for the registration of outputs."""


class Reporter:
    """One event at a time goes to the sink, from whatever thread it comes."""

    def __init__(self, sink: EventSink, planning: bool) -> None:
        self.planning = planning
        self.changes: Counter[Op] = Counter()
        self.violations: Counter[str] = Counter()
        self.policies_evaluated = 0
        self._sink, self._lock = sink, threading.Lock()
        self._open: dict[str, Step] = {}

    def emit(self, event: Event) -> None:
        with self._lock:
            self._sink(event)

    def tell(self, severity: Severity, message: str, urn: str = "") -> None:
        self.emit(Diagnostic(severity, message, urn))

    def started(self, step: Step) -> None:
        self.emit(StepStarted(step.info(), self.planning))

    def done(self, step: Step) -> None:
        """A component that the program still has to give outputs is done with ``outputs_registered``."""
        if step.logical:
            self.count(step.state.urn, step.operation)
        if step.state.custom or self.planning or step.operation in _AT_ONCE:
            self.emit(StepDone(step.info(), self.planning))
        else:
            self._open[step.state.urn] = step

    def count(self, urn: str, op: Op) -> None:
        if not is_default_provider(urn):
            self.changes[op] += 1

    def outputs_registered(self, urn: str) -> None:
        step = self._open.pop(urn, None)
        if step is not None:
            self.emit(StepDone(step.info(), self.planning))

    def failed(self, step: Step, message: str) -> None:
        self.tell(Severity.ERROR, message, step.state.urn)
        self.emit(StepFailed(step.info()))

    def summary(self, *, resources: int, seconds: float, succeeded: bool) -> Summary:
        summary = Summary(
            dict(self.changes),
            resources,
            seconds,
            "succeeded" if succeeded else "failed",
            self.policies_evaluated,
            dict(self.violations),
        )
        self.emit(summary)
        return summary
