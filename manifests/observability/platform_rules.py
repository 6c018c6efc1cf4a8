"""Capacity, money, and the platform's own soundness."""

from __future__ import annotations

from typing import Final

from blueprints.schema import Blueprint
from manifests.objects import PLATFORM_NAMESPACE
from manifests.observability.rule import Alert, Record, by_tenant

NEAR_LIMIT: Final = 0.9
HOURS_PER_MONTH: Final = 730
EXPIRES_SOON_DAYS: Final = 14
EXPIRES_NOW_DAYS: Final = 3
NODE_COST: Final = "falaj:node_pools_usd_per_hour"


def capacity_rules(blueprint: Blueprint) -> tuple[Alert | Record, ...]:
    """Pods that find no place and why, limits that come near, and what it costs against the blueprint's budget."""
    budget = blueprint.budget.usd_per_month
    return (
        # Karpenter's pools alone: nodes of the system pool are few, and the blueprint's cost names them.
        Record(NODE_COST, "sum by (nodepool) (karpenter_nodepools_cost_total)"),
        Alert(
            "PlatformUnschedulable",
            f'sum by (namespace) (kube_pod_status_unschedulable{{namespace="{PLATFORM_NAMESPACE}"}}) > 0',
            "critical",
            "{{ $value }} pods of the platform find no node",
            "They have waited for ten minutes.",
            hold_minutes=10,
        ),
        Alert(
            "PodsUnschedulable",
            by_tenant('sum by (namespace) (kube_pod_status_unschedulable{namespace=~"tenant-.+"}) > 0'),
            "warning",
            "{{ $value }} pods of {{ $labels.namespace }} find no node",
            "They have waited for half an hour: no pool offers what they ask for, or the market has none.",
            hold_minutes=30,
        ),
        Alert(
            "KarpenterCannotSchedule",
            "max(karpenter_scheduler_unschedulable_pods_count) > 0",
            "warning",
            "Karpenter finds no node type for {{ $value }} pods",
            "No pool allows a node on which they would fit; its log names the constraint of each pool.",
            hold_minutes=10,
        ),
        Alert(
            "CapacityUnavailable",
            'sum(increase(karpenter_cloudprovider_errors_total{error="InsufficientCapacityError"}[15m])) > 0',
            "warning",
            "AWS had no capacity for {{ $value | humanize }} nodes within 15 minutes",
            "Zone, instance type and capacity type stand in Karpenter's log; other pools are tried by weight.",
            hold_minutes=15,
        ),
        Alert(
            "NodePoolNearLimit",
            f"karpenter_nodepools_usage / (karpenter_nodepools_limit > 0) > {NEAR_LIMIT}",
            "warning",
            "Pool {{ $labels.nodepool }} uses {{ $value | humanizePercentage }} of its {{ $labels.resource_type }}",
            "At the limit its pods wait, or land on a pool that costs more.",
            hold_minutes=15,
        ),
        Alert(
            "QuotaNearLimit",
            by_tenant(
                'sum by (namespace, resource) (kube_resourcequota{type="used"}) / '
                f'(sum by (namespace, resource) (kube_resourcequota{{type="hard"}}) > 0) > {NEAR_LIMIT}'
            ),
            "warning",
            "{{ $labels.namespace }} uses {{ $value | humanizePercentage }} of its quota of {{ $labels.resource }}",
            "At the quota new pods are refused, not queued.",
            hold_minutes=15,
        ),
        Alert(
            "NodesCostAboveBudget",
            f"sum({NODE_COST}) * {HOURS_PER_MONTH} > {budget:g}",
            "warning",
            "Nodes cost USD {{ $value | humanize }} a month at the present rate",
            f"The blueprint's whole budget is USD {budget:g} a month.",
            hold_minutes=120,
        ),
        Alert(
            "NodeNotReady",
            'max by (node) (kube_node_status_condition{condition="Ready",status="true"}) == 0',
            "warning",
            "Node {{ $labels.node }} is not ready",
            "Its pods are replaced elsewhere after five minutes, except those with a volume in its zone.",
            hold_minutes=10,
        ),
    )


def platform_rules() -> tuple[Alert | Record, ...]:
    """Services that do not run, certificates and volumes that end, and a monitoring that is blind or mute."""
    left = "min by (namespace, name) (certmanager_certificate_expiration_timestamp_seconds) - time()"
    return (
        Alert(
            "WorkloadUnavailable",
            f'kube_deployment_status_replicas_available{{namespace="{PLATFORM_NAMESPACE}"}} == 0 and '
            "on (namespace, deployment) kube_deployment_spec_replicas > 0",
            "critical",
            "{{ $labels.deployment }} has no replica that is ready",
            "It has had none for five minutes.",
            hold_minutes=5,
        ),
        Alert(
            "ContainerRestarting",
            by_tenant(
                "sum by (namespace, pod, container) (increase(kube_pod_container_status_restarts_total"
                '{namespace=~"tenant-.+|falaj-.+|kube-system"}[1h])) > 5'
            ),
            "warning",
            "{{ $labels.container }} of {{ $labels.namespace }}/{{ $labels.pod }} restarts again and again",
            "{{ $value | humanize }} times within an hour.",
        ),
        Alert(
            "VolumeFillingUp",
            by_tenant(
                "min by (namespace, persistentvolumeclaim) (kubelet_volume_stats_available_bytes / "
                "kubelet_volume_stats_capacity_bytes) < 0.1"
            ),
            "warning",
            "{{ $labels.namespace }}/{{ $labels.persistentvolumeclaim }} has {{ $value | humanizePercentage }} left",
            "A full volume stops what writes to it.",
            hold_minutes=15,
        ),
        Alert(
            "CertificateExpiring",
            by_tenant(f"{left} < {EXPIRES_SOON_DAYS * 86_400}"),
            "warning",
            "Certificate {{ $labels.namespace }}/{{ $labels.name }} ends in {{ $value | humanizeDuration }}",
            "It should have been renewed with a third of its life left.",
            hold_minutes=60,
        ),
        Alert(
            "CertificateEnds",
            by_tenant(f"{left} < {EXPIRES_NOW_DAYS * 86_400}"),
            "critical",
            "Certificate {{ $labels.namespace }}/{{ $labels.name }} ends in {{ $value | humanizeDuration }}",
            "What shows it will be refused after that.",
        ),
        Alert(
            "CertificateNotReady",
            by_tenant('max by (namespace, name) (certmanager_certificate_ready_status{condition="False"}) == 1'),
            "warning",
            "Certificate {{ $labels.namespace }}/{{ $labels.name }} cannot be issued",
            "Its issuer refuses or does not answer.",
            hold_minutes=15,
        ),
        Alert(
            "TargetDown",
            "count by (job, namespace) (up == 0) / count by (job, namespace) (up) > 0.3",
            "warning",
            "{{ $value | humanizePercentage }} of the targets of {{ $labels.job }} do not answer",
            "Every rule over their series is blind for as long.",
            hold_minutes=15,
        ),
        Alert(
            "RulesFailing",
            "sum by (rule_group) (increase(prometheus_rule_evaluation_failures_total[15m])) > 0",
            "warning",
            "Rules of {{ $labels.rule_group }} cannot be evaluated",
            "An alert that should fire may not.",
        ),
        Alert(
            "AlertsNotDelivered",
            "sum(increase(prometheus_notifications_dropped_total[15m])) > 0 or "
            "sum(increase(alertmanager_notifications_failed_total[15m])) > 0",
            "critical",
            "{{ $value | humanize }} alerts were not delivered",
            "Alertmanager does not answer, or the topic refuses it.",
        ),
    )
