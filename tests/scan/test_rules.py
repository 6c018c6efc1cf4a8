"""Rules that Prometheus cannot read, that never fire, or that fire on a quiet day: judged by Prometheus itself."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import pytest

from blueprints import load
from manifests.observability.dashboards import all_dashboards
from manifests.observability.metrics import OTHERS, OWN, latency_bound
from manifests.observability.rules import rule_groups
from tests.support.scanners import promrules

pytestmark = [pytest.mark.scan, pytest.mark.xdist_group("scan")]

BLUEPRINTS = ("enterprise", "smb")
KNOWN = set(OWN) | {name for names in OTHERS.values() for name in names}
MINUTE, HOUR = 60, 3_600


@functools.cache
def answer(blueprint_name: str) -> dict[str, Any]:
    blueprint = load(blueprint_name)
    queries = {
        f"{dashboard.uid}: {panel.title}: {legend}": re.sub(r"\$[a-z]+", "x", expr)
        for dashboard in all_dashboards(blueprint)
        for panel in dashboard.panels
        for legend, expr in panel.queries.items()
    }
    return promrules({"rules": json.dumps({"groups": rule_groups(blueprint)}), "queries": queries})


@pytest.mark.parametrize("blueprint_name", BLUEPRINTS)
def test_prometheus_reads_every_rule_and_every_panel(blueprint_name: str) -> None:
    assert answer(blueprint_name)["errors"] == []
    assert len(answer(blueprint_name)["metrics"]) > 80


@pytest.mark.parametrize("blueprint_name", BLUEPRINTS)
def test_every_series_is_one_that_somebody_shows_or_records(blueprint_name: str) -> None:
    recorded = {
        rule["record"] for group in rule_groups(load(blueprint_name)) for rule in group["rules"] if "record" in rule
    }
    used = {name for names in answer(blueprint_name)["metrics"].values() for name in names}
    assert used - KNOWN - recorded == set()
    assert recorded <= used


def play(series: dict[str, str], at_seconds: int, *, interval_seconds: int = MINUTE) -> dict[str, list[dict[str, str]]]:
    """Alert -> labels with which it fires ``at_seconds`` into the series, in the blueprint ``enterprise``."""
    rules = json.dumps({"groups": rule_groups(load("enterprise"))})
    case = {"name": "case", "interval_seconds": interval_seconds, "series": series, "at_seconds": [at_seconds]}
    got = promrules({"rules": rules, "cases": [case]})
    assert got["errors"] == []
    fired: dict[str, list[dict[str, str]]] = {}
    for labels in got["cases"]["case"][str(at_seconds)]:
        fired.setdefault(labels["alertname"], []).append(labels)
    return fired


REQUESTS = 'falaj_serving_requests_total{{model="fraud-score",code="{code}"}}'


def traffic(*, good: int, bad: int, minutes: int = 120) -> dict[str, str]:
    """Requests a minute."""
    return {
        REQUESTS.format(code="200"): f"0+{good}x{minutes}",
        REQUESTS.format(code="500"): f"0+{bad}x{minutes}",
    }


def test_two_percent_of_errors_for_an_hour_calls_somebody() -> None:
    """Two percent is twenty times the budget of 0.1 %, and the limit for an hour is 14.4 times."""
    fired = play(traffic(good=588, bad=12), 90 * MINUTE)
    assert [labels["model"] for labels in fired["ServingErrorsBurnFast"]] == ["fraud-score"]
    assert fired["ServingErrorsBurnFast"][0]["severity"] == "critical"


def test_errors_within_the_budget_call_nobody() -> None:
    assert play(traffic(good=59_995, bad=5), 90 * MINUTE) == {}


def test_an_outage_that_is_over_stops_calling() -> None:
    """The short window ends the alert minutes after the last error, though the hour is still spoilt."""
    series = {
        REQUESTS.format(code="200"): "0+588x150",
        REQUESTS.format(code="500"): "0+12x60 720x90",
    }
    assert "ServingErrorsBurnFast" in play(series, 62 * MINUTE)
    assert "ServingErrorsBurnFast" not in play(series, 90 * MINUTE)


def test_a_single_failure_on_an_idle_model_calls_nobody() -> None:
    series = {REQUESTS.format(code="200"): "0x60 1x60", REQUESTS.format(code="500"): "0x60 1x60"}
    assert play(series, 62 * MINUTE) == {}


def test_requests_over_the_models_own_target_spend_its_latency_budget() -> None:
    (target_ms,) = (model.p99_target_ms for model in load("enterprise").models if model.name == "fraud-score")
    series = {
        **traffic(good=600, bad=0),
        'falaj_serving_request_seconds_count{model="fraud-score"}': "0+600x120",
        f'falaj_serving_request_seconds_bucket{{model="fraud-score",le="{latency_bound(target_ms)}"}}': "0+300x120",
    }
    fired = play(series, 90 * MINUTE)
    assert [labels["model"] for labels in fired["ServingLatencyBurnFast"]] == ["fraud-score"]
    assert "ServingErrorsBurnFast" not in fired


CASES: dict[str, tuple[dict[str, str], int, dict[str, str]]] = {
    "FeaturesStale": (
        {
            'falaj_features_online_stale_rows_total{view="airport"}': "0+10x60",
            'falaj_features_online_rows_total{view="airport"}': "0+100x60",
        },
        HOUR,
        {"view": "airport"},
    ),
    "FeaturesMissing": ({'falaj_features_online_null_ratio{view="airport"}': "0.2x60"}, HOUR, {"view": "airport"}),
    "IngestionLagging": ({'falaj_ingestion_lag_seconds{table="events"}': "400x60"}, HOUR, {"table": "events"}),
    "IngestionLosesData": ({'falaj_ingestion_lag_seconds{table="events"}': "900000x60"}, HOUR, {"table": "events"}),
    "IngestionDeadLetters": (
        {
            'falaj_ingestion_records_total{table="events",outcome="too_late"}': "0x10 3x50",
            'falaj_ingestion_records_total{table="events",outcome="late"}': "0x10 3x50",
        },
        15 * MINUTE,
        {"table": "events", "outcome": "too_late"},
    ),
    "DriftSignificant": (
        {'falaj_drift_significant{model="recommender"}': "1x90"},
        80 * MINUTE,
        {"model": "recommender"},
    ),
    "TrainingStalled": (
        {'falaj_training_checkpoints_total{namespace="tenant-risk",pod="train-0"}': "7x400"},
        6 * HOUR,
        {"tenant": "risk", "pod": "train-0"},
    ),
    "TrainingDiverged": (
        {'falaj_training_loss{namespace="tenant-risk",pod="train-0"}': " ".join(["NaN"] * 61)},
        HOUR,
        {"tenant": "risk"},
    ),
    "SpotInterruptionsFrequent": (
        {'karpenter_interruption_received_messages_total{message_type="spot_interrupted"}': "0+1x90"},
        80 * MINUTE,
        {},
    ),
    "GpuIdle": (
        {'DCGM_FI_DEV_GPU_UTIL{namespace="tenant-risk",pod="notebook",gpu="0",Hostname="n"}': "2x200"},
        3 * HOUR,
        {"tenant": "risk", "pod": "notebook"},
    ),
    "QuotaNearLimit": (
        {
            'kube_resourcequota{namespace="tenant-risk",resource="requests.nvidia.com/gpu",type="used"}': "95x60",
            'kube_resourcequota{namespace="tenant-risk",resource="requests.nvidia.com/gpu",type="hard"}': "100x60",
        },
        HOUR,
        {"tenant": "risk", "resource": "requests.nvidia.com/gpu"},
    ),
    "KarpenterCannotSchedule": ({'karpenter_scheduler_unschedulable_pods_count{controller="p"}': "3x60"}, HOUR, {}),
    "NodePoolNearLimit": (
        {
            'karpenter_nodepools_usage{nodepool="gpu-spot",resource_type="nvidia_com_gpu"}': "38x60",
            'karpenter_nodepools_limit{nodepool="gpu-spot",resource_type="nvidia_com_gpu"}': "40x60",
        },
        HOUR,
        {"nodepool": "gpu-spot"},
    ),
    "NodesCostAboveBudget": ({'karpenter_nodepools_cost_total{nodepool="gpu"}': "9999x200"}, 3 * HOUR, {}),
    "CertificateEnds": (
        {'certmanager_certificate_expiration_timestamp_seconds{namespace="tenant-risk",name="web"}': "90000x60"},
        HOUR,
        {"tenant": "risk", "name": "web"},
    ),
    "WorkloadUnavailable": (
        {
            'kube_deployment_status_replicas_available{namespace="falaj-platform",deployment="router"}': "0x60",
            'kube_deployment_spec_replicas{namespace="falaj-platform",deployment="router"}': "2x60",
        },
        HOUR,
        {"deployment": "router"},
    ),
}
"""Alert -> the trouble that it is for, when to look, and labels that it must carry."""


@pytest.mark.parametrize("alert", CASES)
def test_the_alert_fires_on_its_trouble(alert: str) -> None:
    series, at_seconds, expected = CASES[alert]
    (labels,) = play(series, at_seconds).get(alert, [{}])
    assert labels.get("alertname") == alert
    assert {key: labels.get(key) for key in expected} == expected


QUIET: dict[str, dict[str, str]] = {
    "a deployment that was scaled to zero": {
        'kube_deployment_status_replicas_available{namespace="falaj-platform",deployment="router"}': "0x60",
        'kube_deployment_spec_replicas{namespace="falaj-platform",deployment="router"}': "0x60",
    },
    "a job that has just started": {
        'falaj_training_checkpoints_total{namespace="tenant-risk",pod="train-0"}': "_x55 0x5",
    },
    "a job that saves": {'falaj_training_checkpoints_total{namespace="tenant-risk",pod="train-0"}': "0+1x60"},
    "a pool without a limit": {
        'karpenter_nodepools_usage{nodepool="cpu",resource_type="cpu"}': "38x60",
        'karpenter_nodepools_limit{nodepool="cpu",resource_type="cpu"}': "0x60",
    },
    "a fresh certificate": {
        'certmanager_certificate_expiration_timestamp_seconds{namespace="falaj-platform",name="web"}': "9000000x60",
        'certmanager_certificate_ready_status{namespace="falaj-platform",name="web",condition="False"}': "0x60",
    },
}


@pytest.mark.parametrize("situation", QUIET)
def test_nothing_fires_on(situation: str) -> None:
    assert play(QUIET[situation], HOUR) == {}
