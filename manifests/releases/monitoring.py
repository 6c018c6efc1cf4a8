"""One PodMonitor for every release: Prometheus scrapes the port ``metrics`` of the pods of the platform's namespace."""

from __future__ import annotations

from typing import Final

from manifests.objects import PART_OF, PLATFORM_NAMESPACE, Manifest, labels, manifest

NAME: Final = "falaj-services"
INTERVAL: Final = "30s"


def pod_monitor() -> Manifest:
    """Services, model servers and scheduled jobs.

    Training jobs have a monitor of their own, wherever they run; the job that prepares the database counts nothing.
    """
    return manifest(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        NAME,
        namespace=PLATFORM_NAMESPACE,
        labels=labels(NAME, "monitoring"),
        spec={
            "selector": {
                "matchLabels": {"app.kubernetes.io/part-of": PART_OF},
                "matchExpressions": [
                    {"key": "app.kubernetes.io/component", "operator": "NotIn", "values": ["database", "training"]}
                ],
            },
            "namespaceSelector": {"matchNames": [PLATFORM_NAMESPACE]},
            "podTargetLabels": ["app.kubernetes.io/name", "app.kubernetes.io/component", "falaj.dev/predictor"],
            "podMetricsEndpoints": [{"port": "metrics", "interval": INTERVAL, "scrapeTimeout": "10s"}],
        },
    )
