"""The platform's dashboards: overview, serving, features, training with GPUs, and cost in dirhams and dollars."""

from __future__ import annotations

import json
from typing import Final

from blueprints.region import catalogue
from blueprints.schema import Blueprint
from manifests.objects import OBSERVABILITY_NAMESPACE, PLATFORM_NAMESPACE, Manifest, labels, manifest
from manifests.observability.panels import Dashboard, Panel
from manifests.observability.platform_rules import HOURS_PER_MONTH, NODE_COST
from manifests.observability.serving_rules import AVAILABILITY, ERRORS, OVER_TARGET, REQUESTS, WITHIN_TARGET

DASHBOARD_LABEL: Final = "grafana_dashboard"
"""What the sidecar of Grafana's chart looks for, and Perses' importer too."""

_GOOD_BAD: Final = ((None, "green"), (1.0, "red"))


def all_dashboards(blueprint: Blueprint) -> tuple[Dashboard, ...]:
    """Every dashboard of a blueprint."""
    return (overview(), serving(), features(), training(), cost(blueprint))


def dashboards(blueprint: Blueprint) -> Manifest:
    """One ConfigMap with a file for each dashboard."""
    return manifest(
        "v1",
        "ConfigMap",
        "falaj-dashboards",
        namespace=OBSERVABILITY_NAMESPACE,
        labels={**labels("falaj-dashboards", "observability"), DASHBOARD_LABEL: "1"},
        data={
            f"{dashboard.uid}.json": json.dumps(dashboard.model(), sort_keys=True)
            for dashboard in all_dashboards(blueprint)
        },
    )


def overview() -> Dashboard:
    """What fires, what runs, and how full the platform is."""
    return Dashboard(
        "falaj-overview",
        "Falaj / Overview",
        (
            Panel(
                "Critical alerts",
                {"": 'count(ALERTS{alertstate="firing",severity="critical"}) or vector(0)'},
                kind="stat",
                width=4,
                thresholds=_GOOD_BAD,
            ),
            Panel(
                "Warnings",
                {"": 'count(ALERTS{alertstate="firing",severity="warning"}) or vector(0)'},
                kind="stat",
                width=4,
                thresholds=((None, "green"), (1.0, "orange")),
            ),
            Panel(
                "Deployments without a ready replica",
                {
                    "": f'count(kube_deployment_status_replicas_available{{namespace="{PLATFORM_NAMESPACE}"}} == 0) '
                    "or vector(0)"
                },
                kind="stat",
                width=4,
                thresholds=_GOOD_BAD,
            ),
            Panel(
                "Alerts that fire",
                {"": 'sum by (alertname, severity, tenant, model, area) (ALERTS{alertstate="firing"})'},
                kind="table",
                width=12,
            ),
            Panel("Nodes by pool", {"{{label_falaj_dev_pool}}": "count by (label_falaj_dev_pool) (kube_node_labels)"}),
            Panel(
                "Processor in use",
                {"{{instance}}": '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))'},
                unit="percentunit",
            ),
            Panel(
                "Memory in use",
                {"{{instance}}": "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes"},
                unit="percentunit",
            ),
            Panel(
                "Pods that wait",
                {"{{namespace}}": 'sum by (namespace) (kube_pod_status_phase{phase="Pending"})'},
            ),
            Panel(
                "Quota used by tenants",
                {
                    "{{namespace}} {{resource}}": 'sum by (namespace, resource) (kube_resourcequota{type="used"}) / '
                    '(sum by (namespace, resource) (kube_resourcequota{type="hard"}) > 0)'
                },
                unit="percentunit",
            ),
            Panel(
                "Nodes made and taken away",
                {
                    "made {{nodepool}}": "sum by (nodepool) (increase(karpenter_nodeclaims_created_total[15m]))",
                    "ended {{reason}}": "sum by (reason) (increase(karpenter_nodeclaims_disrupted_total[15m]))",
                },
            ),
            Panel("Series in Prometheus", {"": "sum(prometheus_tsdb_head_series)"}),
        ),
    )


def serving() -> Dashboard:
    """Traffic, errors and latency by model, against their service levels."""
    chosen = 'model=~"$model"'
    quantiles = {
        f"p{quantile * 100:g} {{{{model}}}}": f"histogram_quantile({quantile:g}, sum by (model, le) "
        f"(rate(falaj_serving_request_seconds_bucket{{{chosen}}}[5m])))"
        for quantile in (0.5, 0.95, 0.99)
    }
    spent = {
        "{{model}}": f"1 - sum_over_time({ERRORS}{{{chosen}}}[3d]) / "
        f"(sum_over_time({REQUESTS}{{{chosen}}}[3d]) * {1 - AVAILABILITY:.6g})"
    }
    return Dashboard(
        "falaj-serving",
        "Falaj / Serving",
        (
            Panel("Requests a second", {"{{model}}": f"{REQUESTS}{{{chosen}}}"}, unit="reqps"),
            Panel(
                "Failed",
                {"{{model}}": f"{ERRORS}{{{chosen}}} / {REQUESTS}{{{chosen}}}"},
                unit="percentunit",
                description=f"Promised: {AVAILABILITY:.1%} answered.",
            ),
            Panel(
                "Over the latency target",
                {"{{model}}": f"{OVER_TARGET}{{{chosen}}} / {REQUESTS}{{{chosen}}}"},
                unit="percentunit",
                description=f"Promised: {WITHIN_TARGET:.0%} within the target of the blueprint.",
            ),
            Panel("Latency", quantiles, unit="s", width=12),
            Panel(
                "Error budget left of three days",
                spent,
                unit="percentunit",
                kind="gauge",
                width=12,
                thresholds=((None, "red"), (0.1, "orange"), (0.5, "green")),
            ),
            Panel(
                "Replicas",
                {
                    "{{horizontalpodautoscaler}}": "kube_horizontalpodautoscaler_status_current_replicas"
                    f'{{namespace="{PLATFORM_NAMESPACE}"}}'
                },
            ),
            Panel("Drift", {"{{model}} {{feature}}": f"falaj_drift_score{{{chosen}}}"}),
            Panel(
                "Retraining",
                {
                    "{{model}} {{outcome}}": "sum by (model, outcome) "
                    f"(increase(falaj_retraining_runs_total{{{chosen}}}[1d]))"
                },
            ),
        ),
        variables={"model": "label_values(falaj_serving_requests_total, model)"},
    )


def features() -> Dashboard:
    """Ingestion on the left of a feature, online reads on the right of it."""
    chosen = 'view=~"$view"'
    return Dashboard(
        "falaj-features",
        "Falaj / Ingestion and features",
        (
            Panel(
                "Records",
                {
                    "{{table}} {{outcome}}": "sum by (table, outcome) (rate(falaj_ingestion_records_total[5m]))",
                },
                unit="rowsps",
            ),
            Panel("Behind the stream", {"{{table}}": "max by (table) (falaj_ingestion_lag_seconds)"}, unit="s"),
            Panel(
                "Tried again, and held back",
                {
                    "again: {{service}}": "sum by (service) (increase(falaj_ingestion_retries_total[15m]))",
                    "held back: {{table}}": "sum by (table) "
                    "(increase(falaj_ingestion_back_pressure_seconds_total[15m]))",
                },
            ),
            Panel(
                "From the stream to the online store, 99th percentile",
                {
                    "{{table}}": "histogram_quantile(0.99, sum by (table, le) "
                    "(rate(falaj_ingestion_online_latency_seconds_bucket[5m])))",
                    "push {{view}}": "histogram_quantile(0.99, sum by (view, le) "
                    f"(rate(falaj_features_push_seconds_bucket{{{chosen}}}[5m])))",
                },
                unit="s",
            ),
            Panel(
                "Age of the newest row read",
                {"{{view}}": f"max by (view) (falaj_features_online_age_seconds{{{chosen}}})"},
                unit="s",
            ),
            Panel(
                "Older than the view allows, or not there",
                {
                    "old: {{view}}": f"sum by (view) (rate(falaj_features_online_stale_rows_total{{{chosen}}}[5m]))",
                    "absent: {{view}}": "sum by (view) "
                    f"(rate(falaj_features_online_missing_rows_total{{{chosen}}}[5m]))",
                },
                unit="rowsps",
            ),
            Panel(
                "Nulls",
                {"{{view}}": f"max by (view) (falaj_features_online_null_ratio{{{chosen}}})"},
                unit="percentunit",
            ),
            Panel(
                "Online reads, 99th percentile",
                {"": "histogram_quantile(0.99, sum by (le) (rate(falaj_features_request_seconds_bucket[5m])))"},
                unit="s",
            ),
        ),
        variables={"view": "label_values(falaj_features_online_rows_total, view)"},
    )


def training() -> Dashboard:
    """How fast jobs learn, and what their GPUs do meanwhile."""
    chosen = 'namespace=~"$namespace"'
    return Dashboard(
        "falaj-training",
        "Falaj / Training and GPUs",
        (
            Panel("Samples a second", {"{{pod}}": f"falaj_training_samples_per_second{{{chosen}}}"}),
            Panel("Model FLOPs utilisation", {"{{pod}}": f"falaj_training_mfu_ratio{{{chosen}}}"}, unit="percentunit"),
            Panel("Loss", {"{{pod}}": f"falaj_training_loss{{{chosen}}}"}),
            Panel(
                "Checkpoints",
                {
                    "saved {{pod}}": f"increase(falaj_training_checkpoints_total{{{chosen}}}[1h])",
                    "failed {{pod}}": f"increase(falaj_training_checkpoint_failures_total{{{chosen}}}[1h])",
                },
            ),
            Panel(
                "GPU busy",
                {"{{namespace}}/{{pod}} {{gpu}}": f"DCGM_FI_DEV_GPU_UTIL{{{chosen}}}"},
                unit="percent",
            ),
            Panel(
                "GPU memory",
                {
                    "{{namespace}}/{{pod}} {{gpu}}": f"DCGM_FI_DEV_FB_USED{{{chosen}}} / "
                    f"(DCGM_FI_DEV_FB_USED{{{chosen}}} + DCGM_FI_DEV_FB_FREE{{{chosen}}})"
                },
                unit="percentunit",
            ),
            Panel(
                "GPUs asked for and there",
                {
                    "asked for": 'sum(kube_pod_container_resource_requests{resource="nvidia_com_gpu"})',
                    "there": 'sum(kube_node_status_allocatable{resource="nvidia_com_gpu"})',
                },
            ),
            Panel(
                "Spot nodes taken back",
                {
                    "": "sum(increase(karpenter_interruption_received_messages_total"
                    '{message_type="spot_interrupted"}[1h]))'
                },
            ),
            Panel("GPU faults (XID)", {"{{Hostname}} {{gpu}}": "DCGM_FI_DEV_XID_ERRORS"}),
        ),
        variables={"namespace": "label_values(kube_pod_info, namespace)"},
    )


def cost(blueprint: Blueprint) -> Dashboard:
    """What Karpenter's nodes cost, by pool and against the budget; AED from the region catalogue's fixed rate."""
    dirhams = catalogue(blueprint.region).figure("aed_per_usd").value
    budget = blueprint.budget.usd_per_month
    nodes = f"sum({NODE_COST})"
    month = f"{nodes} * {HOURS_PER_MONTH}"
    levels = ((None, "green"), (0.8 * budget, "orange"), (budget, "red"))
    in_aed = tuple((None if value is None else value * dirhams, colour) for value, colour in levels)
    return Dashboard(
        "falaj-cost",
        "Falaj / Cost",
        (
            Panel("Nodes, USD an hour", {"": nodes}, unit="currencyUSD", kind="stat", width=6),
            Panel("Nodes, AED an hour", {"": f"{nodes} * {dirhams:g}"}, unit="currency:AED", kind="stat", width=6),
            Panel(
                "USD a month at this rate",
                {"": month},
                unit="currencyUSD",
                kind="stat",
                width=6,
                thresholds=levels,
                description=f"Budget of the blueprint: USD {budget:,.0f}.",
            ),
            Panel(
                "AED a month at this rate",
                {"": f"{month} * {dirhams:g}"},
                unit="currency:AED",
                kind="stat",
                width=6,
                thresholds=in_aed,
                description=f"Budget of the blueprint: AED {budget * dirhams:,.0f}.",
            ),
            Panel("By pool, USD an hour", {"{{nodepool}}": NODE_COST}, unit="currencyUSD", width=12),
            Panel(
                "By pool, AED an hour", {"{{nodepool}}": f"{NODE_COST} * {dirhams:g}"}, unit="currency:AED", width=12
            ),
            Panel(
                "USD for an hour of a GPU in use",
                {"": f'sum({NODE_COST}{{nodepool=~".*gpu.*|.*gang.*"}}) / (sum(DCGM_FI_DEV_GPU_UTIL) / 100 > 0)'},
                unit="currencyUSD",
                width=12,
            ),
            Panel(
                "Memory in use by namespace",
                {"{{namespace}}": 'sum by (namespace) (container_memory_working_set_bytes{container!=""})'},
                unit="bytes",
                width=12,
            ),
        ),
        refresh="5m",
    )
