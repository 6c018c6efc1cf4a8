"""What every manifest has in common: names of namespaces, labels, and the form of an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Manifest: TypeAlias = dict[str, Any]
"""One Kubernetes object as ``kubectl apply`` would take it."""

PLATFORM_NAMESPACE: Final = "falaj-platform"
"""The platform's own services."""
OBSERVABILITY_NAMESPACE: Final = "falaj-observability"
SYSTEM_NAMESPACE: Final = "kube-system"

PART_OF: Final = "falaj"
LABEL_PREFIX: Final = "falaj.dev"
TENANT_LABEL: Final = f"{LABEL_PREFIX}/tenant"


def tenant_namespace(tenant: str) -> str:
    """The namespace of a tenant's jobs and notebooks."""
    return f"tenant-{tenant}"


def labels(name: str, component: str, **more: str) -> dict[str, str]:
    """The recommended labels of Kubernetes (``app.kubernetes.io/...``) and ``more`` of ``falaj.dev/...``.

    ``component``: what part it plays: ``serving``, ``ingestion``, ``tenancy``...
    """
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": PART_OF,
        "app.kubernetes.io/managed-by": "pulumi",
        **{f"{LABEL_PREFIX}/{key.replace('_', '-')}": value for key, value in sorted(more.items())},
    }


def selector(name: str) -> dict[str, str]:
    """The labels by which a workload finds its pods.  They can never change: what is selected on is kept small."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": PART_OF}


def manifest(
    api_version: str,
    kind: str,
    name: str,
    *,
    namespace: str = "",
    labels: Mapping[str, Any] | None = None,
    annotations: Mapping[str, Any] | None = None,
    **body: Any,
) -> Manifest:
    """An object.  ``body``: its other top-level fields (``spec``, ``data``, ``rules``...)."""
    metadata: dict[str, Any] = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = dict(labels)
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def title(made: Manifest) -> str:
    """``Deployment falaj-platform/mlflow``: how messages name an object."""
    metadata = made["metadata"]
    place = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{made['kind']} {place}{metadata['name']}"
