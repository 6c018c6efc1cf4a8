"""Whether data arrives, whether features are fresh, and whether models still know the world they predict."""

from __future__ import annotations

from typing import Final

from blueprints.schema import Blueprint
from manifests.observability.rule import Alert, Record

STALE_SECONDS: Final = 6 * 3_600
"""A materialisation that runs every hour has then failed five times."""
NULL_RATIO: Final = 0.05
READ_TARGET_SECONDS: Final = 0.05
LAG_SECONDS: Final = 300
REFUSED_RATIO: Final = 0.05
UNWATCHED_SECONDS: Final = 2 * 86_400


def feature_rules() -> tuple[Alert | Record, ...]:
    """Freshness, nulls, latency and failures of what the feature server reads."""
    return (
        Alert(
            "FeaturesStale",
            f"max by (view) (falaj_features_freshness_seconds) > {STALE_SECONDS}",
            "warning",
            "Feature view {{ $labels.view }} is {{ $value | humanizeDuration }} old",
            "Models are served values of another time than those that they were trained on.",
            hold_minutes=15,
        ),
        Alert(
            "FeaturesMissing",
            f"max by (view, feature) (falaj_features_null_ratio) > {NULL_RATIO}",
            "warning",
            "{{ $value | humanizePercentage }} of {{ $labels.view }}:{{ $labels.feature }} is null",
            f"More than {NULL_RATIO:.0%} of what was served had no value: a source or a join key has gone.",
            hold_minutes=15,
        ),
        Alert(
            "FeatureReadsSlow",
            "histogram_quantile(0.99, sum by (view, le) (rate(falaj_features_request_seconds_bucket[10m]))) "
            f"> {READ_TARGET_SECONDS}",
            "warning",
            "Online reads of {{ $labels.view }} take {{ $value | humanizeDuration }} at the 99th percentile",
            "Every prediction that needs this view waits as long.",
            hold_minutes=10,
        ),
        Alert(
            "FeatureReadsFailing",
            'sum by (view) (rate(falaj_features_requests_total{outcome="error"}[10m])) / '
            "sum by (view) (rate(falaj_features_requests_total[10m])) > 0.01",
            "critical",
            "{{ $value | humanizePercentage }} of the online reads of {{ $labels.view }} fail",
            "Predictions that need this view fail with them.",
            hold_minutes=5,
        ),
    )


def ingestion_rules(blueprint: Blueprint) -> tuple[Alert | Record, ...]:
    """Lag against the stream's retention, what is given up, what is refused, and silence."""
    lost_after = blueprint.streaming.retention_hours * 3_600 // 2
    return (
        Alert(
            "IngestionLagging",
            f"max by (stream) (falaj_ingestion_lag_seconds) > {LAG_SECONDS}",
            "warning",
            "Ingestion is {{ $value | humanizeDuration }} behind on {{ $labels.stream }}",
            "The consumer reads more slowly than events arrive, or not at all.",
            hold_minutes=10,
        ),
        Alert(
            "IngestionLosesData",
            f"max by (stream) (falaj_ingestion_lag_seconds) > {lost_after}",
            "critical",
            "Ingestion is {{ $value | humanizeDuration }} behind on {{ $labels.stream }}, which forgets soon",
            f"The stream keeps {blueprint.streaming.retention_hours} hours: half of them are gone.",
            hold_minutes=5,
        ),
        Alert(
            "IngestionDeadLetters",
            "sum by (reason) (increase(falaj_ingestion_dead_letters_total[15m])) > 0",
            "warning",
            "{{ $value | humanize }} events were given up: {{ $labels.reason }}",
            "They lie in the dead-letter queue for 14 days.",
        ),
        Alert(
            "IngestionRefusing",
            'sum by (table) (increase(falaj_ingestion_records_total{outcome="refused"}[30m])) / '
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
