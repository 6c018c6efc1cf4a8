"""Freshness and null rates of online features, as Prometheus metrics.

Counting happens in plain numbers on the read path and is turned into samples when somebody scrapes: a counter with
labels costs more than the read of a value.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.errors import FalajError
from runtime.features.encoding import decode_timestamp

if TYPE_CHECKING:
    from runtime.features.online import CompiledPlan
    from runtime.features.snapshots import Snapshot


@dataclass
class _ViewCounts:
    rows: int = 0
    missing_rows: int = 0
    stale_rows: int = 0
    values: int = 0
    null_values: int = 0
    newest_event_seconds: int = 0


class ReadMonitor:
    """What one reader has seen, by view.  ``clock``: seconds since 1970."""

    def __init__(self, project: str, clock: Callable[[], float]) -> None:
        self.project = project
        self._clock = clock
        self._lock = threading.Lock()
        self._views: dict[str, _ViewCounts] = {}

    def observe(
        self, plan: CompiledPlan, found: Sequence[Sequence[bytes | None]], replies_of_groups: Sequence[Sequence[int]]
    ) -> None:
        """Counts one answered request: a row without event time is missing, an old one stale."""
        now = self._clock()
        with self._lock:
            for view, (group, first, time_field, freshness_seconds) in plan.view_columns.items():
                counts = self._views.get(view)
                if counts is None:
                    counts = self._views[view] = _ViewCounts()
                for position in replies_of_groups[group]:
                    row = found[position]
                    counts.rows += 1
                    counts.values += time_field - first
                    # An absent field and an empty message are both null.
                    counts.null_values += sum(1 for value in row[first:time_field] if not value)
                    stored = row[time_field]
                    if stored is None:
                        counts.missing_rows += 1
                        continue
                    seconds = decode_timestamp(stored)[0]
                    counts.newest_event_seconds = max(counts.newest_event_seconds, seconds)
                    counts.stale_rows += now - seconds > freshness_seconds

    def counts(self) -> dict[str, _ViewCounts]:
        """A copy of the counts by view."""
        with self._lock:
            return {view: _ViewCounts(**vars(counts)) for view, counts in self._views.items()}

    def collect(self) -> Iterator[Any]:
        """Samples for Prometheus; this object is a collector of ``prometheus_client``."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        labels = ("project", "view")
        rows = CounterMetricFamily("falaj_features_online_rows", "Feature rows read online", labels=labels)
        missing = CounterMetricFamily(
            "falaj_features_online_missing_rows", "Feature rows asked for that the store does not have", labels=labels
        )
        stale = CounterMetricFamily(
            "falaj_features_online_stale_rows",
            "Feature rows read that were older than their view allows",
            labels=labels,
        )
        nulls = GaugeMetricFamily(
            "falaj_features_online_null_ratio", "Share of null values among the values read", labels=labels
        )
        age = GaugeMetricFamily(
            "falaj_features_online_age_seconds", "Age of the newest row read since the start", labels=labels
        )
        now = self._clock()
        for view, counts in self.counts().items():
            key = (self.project, view)
            rows.add_metric(key, counts.rows)
            missing.add_metric(key, counts.missing_rows)
            stale.add_metric(key, counts.stale_rows)
            nulls.add_metric(key, counts.null_values / counts.values if counts.values else 0.0)
            if counts.newest_event_seconds:
                age.add_metric(key, now - counts.newest_event_seconds)
        yield from (rows, missing, stale, nulls, age)


def export(monitor: ReadMonitor) -> None:
    """Adds a reader's samples to the process's registry.  Once per project: Raises FalajError for a second one."""
    from runtime.metrics import registry

    try:
        registry().register(monitor)
    except ValueError as error:
        raise FalajError(f"the feature metrics of this process are exported already: {error}") from error


def export_snapshot(snapshot: Snapshot, *, now_seconds: float) -> None:
    """Sets the offline gauges from a snapshot: rows, age of the newest row, null ratio of every feature."""
    from datetime import datetime

    from runtime.metrics import gauge

    rows = gauge("falaj_features_snapshot_rows", "Rows of a view in the latest snapshot", ("project", "view"))
    age = gauge(
        "falaj_features_snapshot_age_seconds", "Age of the newest row in the latest snapshot", ("project", "view")
    )
    nulls = gauge(
        "falaj_features_snapshot_null_ratio",
        "Share of nulls of a feature in the latest snapshot",
        ("project", "view", "feature"),
    )
    for file in snapshot.views:
        rows.labels(snapshot.project, file.view).set(file.rows)
        if file.last_known_at:
            newest = datetime.fromisoformat(file.last_known_at).timestamp()
            age.labels(snapshot.project, file.view).set(now_seconds - newest)
        for feature, share in file.null_rates.items():
            nulls.labels(snapshot.project, file.view, feature).set(share)
