"""Who hears of an alert: Alertmanager's routes to the platform's one SNS topic.

By severity: what is critical goes out at once and again every hour, a warning waits for its like and comes twice a day.
By tenant: alerts of one tenant travel in a message of their own, with the tenant's name as a message attribute, so that
a subscription to the topic can be limited to it.
"""

from __future__ import annotations

from typing import Any, Final

from blueprints.schema import Blueprint
from manifests.objects import OBSERVABILITY_NAMESPACE, Manifest, labels, manifest

ALERTMANAGER_CONFIGURATION: Final = "falaj"
PLATFORM_TENANT: Final = "platform"
"""What the attribute ``tenant`` says of an alert that is no tenant's."""

_SUBJECT: Final = "[{{ .Status | toUpper }}] {{ .CommonLabels.severity }}: {{ .CommonLabels.alertname }}"
_MESSAGE: Final = (
    "{{ range .Alerts }}{{ .Annotations.summary }}\n{{ .Annotations.description }}\n"
    "Since {{ .StartsAt }}. What to do: {{ .Annotations.runbook_url }}\n\n{{ end }}"
)
_TENANT: Final = f"{{{{ with .CommonLabels.tenant }}}}{{{{ . }}}}{{{{ else }}}}{PLATFORM_TENANT}{{{{ end }}}}"


def alertmanager_configuration(blueprint: Blueprint, *, alerts_topic_arn: Any) -> Manifest:
    """Routes, receivers and inhibitions; Alertmanager's whole configuration, since its chart names it as global."""
    return manifest(
        "monitoring.coreos.com/v1alpha1",
        "AlertmanagerConfig",
        ALERTMANAGER_CONFIGURATION,
        namespace=OBSERVABILITY_NAMESPACE,
        labels=labels(ALERTMANAGER_CONFIGURATION, "observability"),
        spec={
            "route": {
                "receiver": "warning",
                "groupBy": ["alertname", "tenant", "model"],
                "groupWait": "2m",
                "groupInterval": "10m",
                "repeatInterval": "12h",
                "routes": [
                    {
                        "receiver": "critical",
                        "matchers": [_equal("severity", "critical")],
                        "groupBy": ["alertname", "tenant", "model"],
                        "groupWait": "10s",
                        "groupInterval": "5m",
                        "repeatInterval": "1h",
                    },
                    # One message a tenant: it reads its own and cannot read another's.
                    {
                        "receiver": "warning",
                        "matchers": [{"name": "tenant", "matchType": "!=", "value": ""}],
                        "groupBy": ["tenant"],
                    },
                ],
            },
            "receivers": [_topic(severity, blueprint, alerts_topic_arn) for severity in ("critical", "warning")],
            "inhibitRules": [
                # The same trouble at two speeds is one trouble.
                *(
                    _inhibit(_equal("alertname", louder), _equal("alertname", quieter), equal)
                    for louder, quieter, equal in (
                        ("ServingErrorsBurnFast", "ServingErrorsBurnSlow", ["model"]),
                        ("ServingLatencyBurnFast", "ServingLatencyBurnSlow", ["model"]),
                        ("IngestionLosesData", "IngestionLagging", ["table"]),
                        ("CertificateEnds", "CertificateExpiring", ["namespace", "name"]),
                        # Failed requests are slow or fast for no reason of their own.
                        ("ServingErrorsBurnFast", "ServingLatencyBurnFast", ["model"]),
                        # One cause: what has no node restarts nothing and serves nothing.
                        ("PlatformUnschedulable", "WorkloadUnavailable", ["namespace"]),
                        ("CapacityUnavailable", "PodsUnschedulable", []),
                    )
                )
            ],
        },
    )


def _equal(name: str, value: str) -> dict[str, str]:
    return {"name": name, "matchType": "=", "value": value}


def _inhibit(source: dict[str, str], target: dict[str, str], equal: list[str]) -> dict[str, Any]:
    return {"sourceMatch": [source], "targetMatch": [target], **({"equal": equal} if equal else {})}


def _topic(severity: str, blueprint: Blueprint, alerts_topic_arn: Any) -> dict[str, Any]:
    """A receiver that publishes with the pod's own role: no key of AWS lies in the cluster."""
    return {
        "name": severity,
        "snsConfigs": [
            {
                "topicARN": alerts_topic_arn,
                "sigv4": {"region": blueprint.region},
                "subject": _SUBJECT,
                "message": _MESSAGE,
                "attributes": {"severity": severity, "tenant": _TENANT},
                "sendResolved": True,
            }
        ],
    }
