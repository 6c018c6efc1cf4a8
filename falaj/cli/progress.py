"""A deployment as a person follows it: rows by component, built from engine events.  Pure; the renderers read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from falaj.engine.events import (
    Diagnostic,
    Event,
    Op,
    PolicyLoaded,
    PolicyRemediation,
    PolicyViolation,
    Severity,
    StepDone,
    StepFailed,
    StepInfo,
    StepStarted,
    Summary,
)

STACK_TYPE = "pulumi:pulumi:Stack"
PROVIDER_TYPE_PREFIX = "pulumi:providers:"

UNCHANGING = frozenset({Op.SAME, Op.READ, Op.REFRESH})
"""Operations that change nothing outside."""


def resource_name(urn: str) -> str:
    """The last part of a URN; names may themselves contain ``::``."""
    return urn.split("::", 3)[-1]


@dataclass
class ComponentRow:
    """One top-level component (or the stack's own resources) and what happened in it."""

    urn: str
    title: str
    operations: Counter[Op] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    running: dict[str, Op] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    emulated: set[str] = field(default_factory=set)

    @property
    def resources(self) -> int:
        """Resources that exist after the operations seen so far, the component itself left out."""
        return len(self.seen)

    @property
    def changed(self) -> int:
        return sum(n for op, n in self.operations.items() if op not in UNCHANGING)


@dataclass
class Progress:
    """Feed every event to ``update``; read ``rows``, ``diagnostics``, ``violations`` and ``summary``."""

    rows: dict[str, ComponentRow] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    violations: list[PolicyViolation] = field(default_factory=list)
    remediations: list[PolicyRemediation] = field(default_factory=list)
    packs: list[PolicyLoaded] = field(default_factory=list)
    steps: list[StepInfo] = field(default_factory=list)
    summary: Summary | None = None
    _parents: dict[str, str] = field(default_factory=dict)
    _types: dict[str, str] = field(default_factory=dict)

    def update(self, event: Event) -> None:
        match event:
            case StepStarted(step=step):
                self._enter(step)
            case StepDone(step=step):
                self._leave(step, failed=False)
            case StepFailed(step=step):
                self._leave(step, failed=True)
            case Diagnostic() if event.severity is not Severity.DEBUG:
                self.diagnostics.append(event)
            case PolicyViolation():
                self.violations.append(event)
            case PolicyRemediation():
                self.remediations.append(event)
            case PolicyLoaded():
                self.packs.append(event)
            case Summary():
                self.summary = event

    def row_of(self, step: StepInfo) -> ComponentRow:
        """The row of the component just below the stack that ``step`` belongs to."""
        urn, parent = step.urn, step.parent
        while parent and self._types.get(parent) != STACK_TYPE:
            urn, parent = parent, self._parents.get(parent, "")
        kind = self._types.get(urn, "")
        if urn == step.urn and (step.custom or kind == STACK_TYPE):
            return self.rows.setdefault("", ComponentRow("", "stack"))
        return self.rows.setdefault(urn, ComponentRow(urn, resource_name(urn)))

    def components(self) -> Iterator[ComponentRow]:
        """Rows by name, the stack's own resources last."""
        yield from sorted(self.rows.values(), key=lambda row: (row.urn == "", row.title))

    def changes(self) -> Iterator[StepInfo]:
        """Finished steps that changed something, in order; one entry for a replacement."""
        for step in self.steps:
            if step.op not in UNCHANGING and step.op not in (Op.CREATE_REPLACEMENT, Op.DELETE_REPLACED):
                yield step

    def emulated_state_only(self) -> int:
        return sum(len(row.emulated) for row in self.rows.values())

    def _enter(self, step: StepInfo) -> None:
        self._parents[step.urn], self._types[step.urn] = step.parent, step.type
        if step.type != STACK_TYPE:
            self.row_of(step).running[step.urn] = step.op

    def _leave(self, step: StepInfo, *, failed: bool) -> None:
        self._parents.setdefault(step.urn, step.parent)
        self._types.setdefault(step.urn, step.type)
        self.steps.append(step)
        if step.type == STACK_TYPE:
            return
        row = self.row_of(step)
        row.running.pop(step.urn, None)
        if failed:
            row.failed.append(step.urn)
            return
        if step.op in (Op.CREATE_REPLACEMENT, Op.DELETE_REPLACED):
            return  # a replacement shows once, as `replace`
        if step.custom:
            row.operations[step.op] += 1
            if step.op in (Op.DELETE, Op.DISCARD):
                row.seen.discard(step.urn)
                row.emulated.discard(step.urn)
                return
            if step.urn not in row.seen:
                row.seen.add(step.urn)
                row.types[step.type] += 1
            # Not only at first sight: with `up --refresh` a resource is read before it is deployed.
            if is_state_only(step):
                row.emulated.add(step.urn)


def is_state_only(step: StepInfo) -> bool:
    """Whether the local provider keeps this resource in the state alone, because the emulated account lacks its API."""
    return _mark(step).get("emulated") == "state"


def lacks_handler(step: StepInfo) -> bool:
    """Whether nobody has written a handler for the type yet: it is in the state, checked but not emulated."""
    return _mark(step).get("handler") == "none"


def _mark(step: StepInfo) -> Mapping[str, Any]:
    mark = (step.new_outputs or {}).get("__falaj")
    return mark if isinstance(mark, dict) else {}
