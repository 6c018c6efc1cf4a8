"""Service levels of the served models, judged by how fast they spend their error budget.

Two windows at a time, as the Site Reliability Workbook has it (chapter 5, multiwindow, multi-burn-rate alerts): the
long one says that it matters, the short one that it still goes on.  A burn rate of 14.4 over an hour spends 2 % of a
month's budget, 6 over six hours 5 %, 1 over three days 10 %.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from blueprints.schema import Blueprint
from manifests.objects import PLATFORM_NAMESPACE
from manifests.observability.metrics import latency_bound
from manifests.observability.rule import Alert, Record

AVAILABILITY: Final = 0.999
"""Share of requests that are answered without a fault of the platform: 43 minutes of outage in a month."""
WITHIN_TARGET: Final = 0.99
"""Share of requests within a model's ``p99_target_ms``: what a p99 means."""
FAST: Final = (("1h", "5m", 14.4), ("6h", "30m", 6.0))
SLOW: Final = (("3d", "6h", 1.0),)
"""(long window, short window, burn rate)"""
MINIMUM_PER_SECOND: Final = 0.05
"""Below three requests a minute one failure says nothing about a service level."""

REQUESTS: Final = "falaj:serving_requests:rate5m"
ERRORS: Final = "falaj:serving_errors:rate5m"
OVER_TARGET: Final = "falaj:serving_over_target:rate5m"


def serving_rules(blueprint: Blueprint) -> tuple[Alert | Record, ...]:
    """Availability and latency of every model of the blueprint, and whether serving can still grow."""
    failed = 'sum by (model) (rate(falaj_serving_requests_total{code=~"5.."}[5m]))'
    return (
        Record(REQUESTS, "sum by (model) (rate(falaj_serving_requests_total[5m]))"),
        # A model without failures has no such series: zero, or its ratio would be unknown.
        Record(ERRORS, f"{failed} or {REQUESTS} * 0"),
        Record(OVER_TARGET, " or ".join(_over_target(blueprint))),
        _burn("ServingErrors", ERRORS, 1 - AVAILABILITY, FAST, "critical", f"{AVAILABILITY:.1%} of requests answered"),
        _burn("ServingErrors", ERRORS, 1 - AVAILABILITY, SLOW, "warning", f"{AVAILABILITY:.1%} of requests answered"),
        _burn("ServingLatency", OVER_TARGET, 1 - WITHIN_TARGET, FAST, "critical", "its latency target"),
        _burn("ServingLatency", OVER_TARGET, 1 - WITHIN_TARGET, SLOW, "warning", "its latency target"),
        Alert(
            "ServingAtMaximum",
            f'kube_horizontalpodautoscaler_status_current_replicas{{namespace="{PLATFORM_NAMESPACE}"}} >= '
            "on (namespace, horizontalpodautoscaler) kube_horizontalpodautoscaler_spec_max_replicas",
            "warning",
            "{{ $labels.horizontalpodautoscaler }} runs as many replicas as it may",
            "It has done so for 20 minutes: more load will be slower, not wider.",
            hold_minutes=20,
        ),
    )


def _over_target(blueprint: Blueprint) -> list[str]:
    """Requests a second that took longer than their model's target; one expression for each bound."""
    models: dict[str, list[str]] = defaultdict(list)
    for model in blueprint.models:
        models[latency_bound(model.p99_target_ms)].append(model.name)
    expressions = []
    for bound, names in sorted(models.items(), key=lambda entry: float(entry[0])):
        chosen = f'model=~"{"|".join(sorted(names))}"'
        expressions.append(
            f"sum by (model) (rate(falaj_serving_request_seconds_count{{{chosen}}}[5m])) - "
            f'sum by (model) (rate(falaj_serving_request_seconds_bucket{{{chosen},le="{bound}"}}[5m]))'
        )
    return expressions


def _burn(
    what: str,
    bad: str,
    budget: float,
    windows: tuple[tuple[str, str, float], ...],
    severity: str,
    promise: str,
) -> Alert:
    """An alert for a budget that is spent too fast in any pair of windows."""
    spent = " or ".join(
        f"({_ratio(bad, long)} > {rate * budget:.6g} and {_ratio(bad, short)} > {rate * budget:.6g})"
        for long, short, rate in windows
    )
    long, _, _ = windows[0]
    enough = f"avg_over_time({REQUESTS}[{long}]) > {MINIMUM_PER_SECOND}"
    fast = windows is FAST
    return Alert(
        f"{what}Burn{'Fast' if fast else 'Slow'}",
        f"({spent}) and {enough}",
        "critical" if severity == "critical" else "warning",
        f"{{{{ $labels.model }}}} spends the error budget of {promise} "
        + ("within days" if fast else "before the month ends"),
        "{{ $value | humanizePercentage }} of its requests over the last "
        + (f"{long} are beyond what it promises." if not fast else "hours are beyond what it promises."),
    )


def _ratio(bad: str, window: str) -> str:
    """Share of bad requests over a window, every request weighing the same."""
    return f"sum_over_time({bad}[{window}]) / sum_over_time({REQUESTS}[{window}])"
