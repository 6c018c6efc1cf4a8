"""One PodMonitor for every release: Prometheus scrapes the port ``metrics`` of all pods of the platform's namespace."""

from __future__ import annotations

from typing import Final

from manifests.objects import PART_OF, PLATFORM_NAMESPACE, Manifest, labels, manifest

NAME: Final = "falaj-services"
INTERVAL: Final = "30s"


def pod_monitor() -> Manifest:
    """Services, model servers and jobs alike: what has no port of that name is passed over."""
    return manifest(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        NAME,
        namespace=PLATFORM_NAMESPACE,
        labels=labels(NAME, "monitoring"),
        spec={
            "selector": {"matchLabels": {"app.kubernetes.io/part-of": PART_OF}},
            "namespaceSelector": {"matchNames": [PLATFORM_NAMESPACE]},
            "podTargetLabels": ["app.kubernetes.io/name", "app.kubernetes.io/component", "falaj.dev/predictor"],
            "podMetricsEndpoints": [{"port": "metrics", "interval": INTERVAL, "scrapeTimeout": "10s"}],
        },
    )
