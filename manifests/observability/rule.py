"""The form of a rule: what an alert must say, and how several become groups of a PrometheusRule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Severity = Literal["critical", "warning"]
"""critical: somebody is called, because users or data suffer now.  warning: somebody looks within a working day."""

RUNBOOKS: Final = "docs/runbooks.md"


@dataclass(frozen=True)
class Alert:
    """An expression that should be empty.

    ``hold_minutes``: how long it must hold.  ``summary`` and ``description`` may use Prometheus' templates.  The
    runbook is the section of ``docs/runbooks.md`` that bears the alert's name.
    """

    name: str
    expr: str
    severity: Severity
    summary: str
    description: str
    hold_minutes: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)

    def rule(self, area: str) -> dict[str, Any]:
        """As an entry of a rule group."""
        made: dict[str, Any] = {
            "alert": self.name,
            "expr": self.expr,
            "labels": {"severity": self.severity, "area": area, **self.labels},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOKS}#{self.name.lower()}",
            },
        }
        if self.hold_minutes:
            made["for"] = f"{self.hold_minutes}m"
        return made


@dataclass(frozen=True)
class Record:
    """A series that is computed once and read by alerts and dashboards."""

    name: str
    expr: str

    def rule(self, area: str) -> dict[str, Any]:
        """As an entry of a rule group."""
        return {"record": self.name, "expr": self.expr}


def group(area: str, rules: Sequence[Alert | Record]) -> dict[str, Any]:
    """A rule group: evaluated in its order, at Prometheus' own interval."""
    return {"name": f"falaj-{area}", "rules": [rule.rule(area) for rule in rules]}


def by_tenant(expr: str) -> str:
    """``expr`` with the label ``tenant`` where its namespace is a tenant's; alerts are routed by that label."""
    return f'label_replace({expr}, "tenant", "$1", "namespace", "tenant-(.+)")'
