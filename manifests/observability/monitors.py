"""What Prometheus reads besides the services that bring a ServiceMonitor of their own: pods that no Service names."""

from __future__ import annotations

from manifests.objects import (
    LABEL_PREFIX,
    OBSERVABILITY_NAMESPACE,
    PART_OF,
    SYSTEM_NAMESPACE,
    Manifest,
    labels,
    manifest,
)


def monitors() -> list[Manifest]:
    """Training jobs wherever they run, and the exporter on every GPU node."""
    return [
        _pod_monitor(
            "training",
            {
                "namespaceSelector": {"any": True},
                "selector": {
                    "matchLabels": {"app.kubernetes.io/part-of": PART_OF, "app.kubernetes.io/component": "training"}
                },
                "podTargetLabels": [f"{LABEL_PREFIX}/tenant"],
                "podMetricsEndpoints": [{"port": "metrics", "interval": "60s"}],
            },
        ),
        _pod_monitor(
            "gpu",
            {
                "namespaceSelector": {"matchNames": [SYSTEM_NAMESPACE]},
                "selector": {"matchLabels": {"app.kubernetes.io/name": "dcgm-exporter"}},
                # Namespace and pod are those of the pod that holds the GPU, not the exporter's.
                "podMetricsEndpoints": [{"port": "metrics", "interval": "60s", "honorLabels": True}],
            },
        ),
    ]


def _pod_monitor(name: str, spec: dict[str, object]) -> Manifest:
    return manifest(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        name,
        namespace=OBSERVABILITY_NAMESPACE,
        labels=labels(name, "observability"),
        spec=spec,
    )
