"""Whether data arrives, whether features are fresh, and whether models still know the world they predict."""

from __future__ import annotations

from typing import Final

from blueprints.schema import Blueprint
from manifests.observability.metrics import DEAD_OUTCOMES, REFUSED_OUTCOMES
from manifests.observability.rule import Alert, Record

BAD_ROWS_RATIO: Final = 0.05
"""How fresh a row has to be is a matter of its view; that one in twenty is not, is everybody's."""
READ_TARGET_SECONDS: Final = 0.05
LAG_SECONDS: Final = 300
REFUSED_RATIO: Final = 0.05
UNWATCHED_SECONDS: Final = 2 * 86_400


def feature_rules() -> tuple[Alert | Record, ...]:
    """Freshness, gaps, latency and failures of what is read from the online store."""
    read = "sum by (view) (rate(falaj_features_online_rows_total[15m]))"
    return (
        Alert(
            "FeaturesStale",
            f"sum by (view) (rate(falaj_features_online_stale_rows_total[15m])) / {read} > {BAD_ROWS_RATIO}",
            "warning",
            "{{ $value | humanizePercentage }} of the rows read from {{ $labels.view }} are older than it allows",
            "Models are served values of another time than those that they were trained on.",
            hold_minutes=15,
        ),
        Alert(
            "FeaturesMissing",
            f"max by (view) (falaj_features_online_null_ratio) > {BAD_ROWS_RATIO} or "
            f"sum by (view) (rate(falaj_features_online_missing_rows_total[15m])) / {read} > {BAD_ROWS_RATIO}",
            "warning",
            "{{ $value | humanizePercentage }} of what was read from {{ $labels.view }} had no value",
            "A source or a join key has gone, or entities arrive before their features.",
            hold_minutes=15,
        ),
        Alert(
            "FeatureReadsSlow",
            "histogram_quantile(0.99, sum by (le) (rate(falaj_features_request_seconds_bucket[10m]))) "
            f"> {READ_TARGET_SECONDS}",
            "warning",
            "Online reads take {{ $value | humanizeDuration }} at the 99th percentile",
            "Every prediction that needs features waits as long.",
            hold_minutes=10,
        ),
        Alert(
            "FeatureReadsFailing",
            'sum(rate(falaj_features_requests_total{outcome="error"}[10m])) / '
            "sum(rate(falaj_features_requests_total[10m])) > 0.01",
            "critical",
            "{{ $value | humanizePercentage }} of the online reads fail",
            "Predictions that need features fail with them.",
            hold_minutes=5,
        ),
    )


def ingestion_rules(blueprint: Blueprint) -> tuple[Alert | Record, ...]:
    """Lag against the stream's retention, what is given up, what is refused, and silence."""
    lost_after = blueprint.streaming.retention_hours * 3_600 // 2
    return (
        Alert(
            "IngestionLagging",
            f"max by (table) (falaj_ingestion_lag_seconds) > {LAG_SECONDS}",
            "warning",
            "Ingestion is {{ $value | humanizeDuration }} behind on {{ $labels.table }}",
            "The consumer reads more slowly than events arrive, or not at all.",
            hold_minutes=10,
        ),
        Alert(
            "IngestionLosesData",
            f"max by (table) (falaj_ingestion_lag_seconds) > {lost_after}",
            "critical",
            "Ingestion is {{ $value | humanizeDuration }} behind on {{ $labels.table }}, whose stream forgets soon",
            f"The stream keeps {blueprint.streaming.retention_hours} hours: half of them are gone.",
            hold_minutes=5,
        ),
        Alert(
            "IngestionDeadLetters",
            "sum by (table, outcome) (increase(falaj_ingestion_records_total"
            f'{{outcome=~"{"|".join(DEAD_OUTCOMES)}"}}[15m])) > 0',
            "warning",
            "{{ $value | humanize }} events for {{ $labels.table }} were given up as {{ $labels.outcome }}",
            "They lie in the dead-letter queue for 14 days.",
        ),
        Alert(
            "IngestionRefusing",
            "sum by (table) (increase(falaj_ingestion_records_total"
            f'{{outcome=~"{"|".join(REFUSED_OUTCOMES)}"}}[30m])) / '
            f"sum by (table) (increase(falaj_ingestion_records_total[30m])) > {REFUSED_RATIO}",
            "warning",
            "{{ $value | humanizePercentage }} of the records for {{ $labels.table }} break its contract",
            "They are kept in quarantine with their reasons.",
            hold_minutes=10,
        ),
        Alert(
            "IngestionSilent",
            'sum by (table) (increase(falaj_ingestion_records_total{outcome="accepted"}[6h])) == 0 and '
            'sum by (table) (increase(falaj_ingestion_records_total{outcome="accepted"}[6h] offset 1d)) > 0',
            "warning",
            "{{ $labels.table }} has had no new record for six hours",
            "At the same time yesterday it had.",
        ),
    )


def drift_rules() -> tuple[Alert | Record, ...]:
    """Drift that the monitor's test found, a monitor that does not run, and retraining that does not help."""
    return (
        Alert(
            "DriftSignificant",
            "max by (model) (falaj_drift_significant) == 1",
            "warning",
            "Live data of {{ $labels.model }} has moved away from its training data",
            "The test has rejected for an hour; retraining starts by itself where it is allowed to.",
            hold_minutes=60,
        ),
        Alert(
            "DriftUnwatched",
            f"time() - max by (model) (falaj_drift_last_run_timestamp_seconds) > {UNWATCHED_SECONDS}",
            "warning",
            "{{ $labels.model }} has not been compared with its training data for two days",
            "Drift goes unseen while the monitor stands still.",
        ),
        Alert(
            "RetrainingFailing",
            'sum by (model) (increase(falaj_retraining_runs_total{outcome="failed"}[6h])) > 0',
            "warning",
            "Retraining of {{ $labels.model }} failed",
            "The model that is served stays as it is.",
        ),
    )
