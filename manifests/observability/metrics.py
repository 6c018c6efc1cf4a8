"""The series that rules and dashboards read: the platform's own, and those of the projects that it installs.

A rule over a series that nobody shows never fires and says nothing; so every name stands here once, and a test holds
the expressions to it.  The services export exactly the names under ``OWN``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

OWN: Final[Mapping[str, str]] = {
    # model server and router; labels: model, code (HTTP status)
    "falaj_serving_requests_total": "requests by model and status code",
    "falaj_serving_request_seconds_bucket": "time of a request by model; bounds: LATENCY_BOUNDS_SECONDS",
    "falaj_serving_request_seconds_count": "requests in that histogram",
    # feature server and stream processor; labels: project, view
    "falaj_features_online_rows_total": "feature rows read online",
    "falaj_features_online_missing_rows_total": "rows asked for that the store does not have",
    "falaj_features_online_stale_rows_total": "rows read that were older than their view allows",
    "falaj_features_online_null_ratio": "share of nulls among the values read",
    "falaj_features_online_age_seconds": "age of the newest row read",
    "falaj_features_requests_total": "requests to the feature server by outcome",
    "falaj_features_request_seconds_bucket": "time of a request to the feature server",
    "falaj_features_push_seconds_bucket": "time to bring a batch of stream rows to the store",
    # ingestion; labels: table, outcome (accepted, duplicate, late; refused: DEAD_OUTCOMES, REFUSED_OUTCOMES), service
    "falaj_ingestion_records_total": "records by table and what became of them",
    "falaj_ingestion_lag_seconds": "how far the reading of a table's stream is behind",
    "falaj_ingestion_online_latency_seconds_bucket": "from a record's arrival in the stream to the online store",
    "falaj_ingestion_back_pressure_seconds_total": "time in which a stream was not read for want of room",
    "falaj_ingestion_retries_total": "calls tried again because a service was away",
    # training jobs; labels of their pod: namespace, pod
    "falaj_training_samples_per_second": "rows trained a second, all workers",
    "falaj_training_gpu_seconds": "time of GPUs spent in steps",
    "falaj_training_mfu_ratio": "model FLOPs utilisation, 0 to 1",
    "falaj_training_loss": "mean loss of the last step",
    "falaj_training_checkpoints_total": "checkpoints committed",
    "falaj_training_checkpoint_failures_total": "checkpoints that could not be written",
    "falaj_training_checkpoints_refused_total": "checkpoints found damaged",
    # drift monitor and retraining controller; labels: model, feature, outcome
    "falaj_drift_score": "distance of live data from training data, by feature",
    "falaj_drift_significant": "1 while the test of a model's data or predictions rejects",
    "falaj_drift_last_run_timestamp_seconds": "when a model was last compared",
    "falaj_retraining_runs_total": "retraining runs by model and outcome (promoted, kept, failed)",
}
"""Series of the platform's services -> what it is."""

DEAD_OUTCOMES: Final = ("future", "invalid", "poisoned", "too_late")
"""Of a stream's records: what sends one to the dead-letter queue."""
REFUSED_OUTCOMES: Final = ("gated", "refused", *DEAD_OUTCOMES)
"""What became of a record that is in no table: of files, whole ones too (gated)."""

LATENCY_BOUNDS_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0
)  # fmt: skip
"""Upper bounds of the latency histogram of every server: a target can only be judged where a bound lies."""

OTHERS: Final[Mapping[str, tuple[str, ...]]] = {
    "prometheus": ("ALERTS", "up"),
    "prometheus itself": (
        "prometheus_notifications_dropped_total",
        "prometheus_rule_evaluation_failures_total",
        "prometheus_tsdb_head_series",
    ),
    "alertmanager": ("alertmanager_notifications_failed_total",),
    "kube-state-metrics": (
        "kube_deployment_spec_replicas",
        "kube_deployment_status_replicas_available",
        "kube_horizontalpodautoscaler_spec_max_replicas",
        "kube_horizontalpodautoscaler_status_current_replicas",
        "kube_job_status_failed",
        "kube_node_labels",
        "kube_node_status_allocatable",
        "kube_node_status_condition",
        "kube_pod_container_resource_requests",
        "kube_pod_container_status_restarts_total",
        "kube_pod_info",
        "kube_pod_status_phase",
        "kube_pod_status_unschedulable",
        "kube_resourcequota",
    ),
    "kubelet": (
        "container_memory_working_set_bytes",
        "kubelet_volume_stats_available_bytes",
        "kubelet_volume_stats_capacity_bytes",
    ),
    "node exporter": ("node_cpu_seconds_total", "node_memory_MemAvailable_bytes", "node_memory_MemTotal_bytes"),
    "karpenter": (
        "karpenter_cloudprovider_errors_total",
        "karpenter_interruption_received_messages_total",
        "karpenter_nodeclaims_created_total",
        "karpenter_nodeclaims_disrupted_total",
        "karpenter_nodepools_cost_total",
        "karpenter_nodepools_limit",
        "karpenter_nodepools_usage",
        "karpenter_scheduler_unschedulable_pods_count",
    ),
    "cert-manager": ("certmanager_certificate_expiration_timestamp_seconds", "certmanager_certificate_ready_status"),
    "NVIDIA DCGM exporter": (
        "DCGM_FI_DEV_FB_FREE",
        "DCGM_FI_DEV_FB_USED",
        "DCGM_FI_DEV_GPU_UTIL",
        "DCGM_FI_DEV_XID_ERRORS",
    ),
}
"""Project -> series of it that are read, under the names of the pinned version."""


def latency_bound(target_ms: float) -> str:
    """Return the histogram bound at or above a latency target, in seconds, as Prometheus writes it in ``le``.

    The next bound up, so that a model within its target never raises an alert.  Raises ValueError beyond the last.
    """
    at = bisect_left(LATENCY_BOUNDS_SECONDS, target_ms / 1_000 - 1e-12)
    if at == len(LATENCY_BOUNDS_SECONDS):
        raise ValueError(
            f"p99_target_ms={target_ms:g}: the latency histogram ends at {LATENCY_BOUNDS_SECONDS[-1]:g} s; "
            "give a target below that"
        )
    return str(float(LATENCY_BOUNDS_SECONDS[at]))
