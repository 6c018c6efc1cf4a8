"""Dashboards in Grafana's JSON model: the form that every viewer of Prometheus data reads or converts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

GRID_WIDTH: Final = 24
"""Columns of Grafana's grid."""
PANEL_HEIGHT: Final = 8
SCHEMA_VERSION: Final = 39
_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """One picture.  ``queries``: legend -> expression.  ``unit``: one of Grafana's names, such as ``percentunit``."""

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: Literal["timeseries", "stat", "table", "gauge"] = "timeseries"
    width: int = 8
    description: str = ""
    thresholds: Sequence[tuple[float | None, str]] = ()
    """(from this value on, colour); the first starts at None."""


@dataclass(frozen=True)
class Dashboard:
    """Panels from left to right, in rows as they fit."""

    uid: str
    title: str
    panels: Sequence[Panel]
    variables: Mapping[str, str] = field(default_factory=dict)
    """Name -> label_values query; each may be several values."""
    refresh: str = "1m"

    def model(self) -> dict[str, Any]:
        """As Grafana stores it."""
        placed = []
        x = y = 0
        for number, panel in enumerate(self.panels, start=1):
            if x + panel.width > GRID_WIDTH:
                x, y = 0, y + PANEL_HEIGHT
            placed.append(_panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": PANEL_HEIGHT}))
            x += panel.width
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["falaj"],
            "timezone": "Asia/Dubai",
            "schemaVersion": SCHEMA_VERSION,
            "refresh": self.refresh,
            "time": {"from": "now-6h", "to": "now"},
            "editable": False,
            "panels": placed,
            "templating": {
                "list": [
                    {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source"},
                    *(_variable(name, query) for name, query in self.variables.items()),
                ]
            },
        }


def _panel(panel: Panel, number: int, position: Mapping[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.thresholds:
        steps = [{"value": value, "color": colour} for value, colour in panel.thresholds]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    instant = panel.kind in ("stat", "table", "gauge")
    return {
        "id": number,
        "title": panel.title,
        "type": panel.kind,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "gridPos": dict(position),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _DATASOURCE,
                "expr": expr,
                "legendFormat": legend,
                "instant": instant,
                **({"format": "table"} if panel.kind == "table" else {}),
            }
            for index, (legend, expr) in enumerate(panel.queries.items())
        ],
    }


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": _DATASOURCE,
        "query": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
    }
