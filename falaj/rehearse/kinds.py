"""Where the API server keeps the kinds of object that a rehearsal makes.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_PATHS: Final = {
    "Namespace": "/api/v1/namespaces",
    "Node": "/api/v1/nodes",
    "Pod": "/api/v1/namespaces/{namespace}/pods",
    "Event": "/api/v1/namespaces/{namespace}/events",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "Job": "/apis/batch/v1/namespaces/{namespace}/jobs",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets",
    "NodePool": "/apis/karpenter.sh/v1/nodepools",
    "NodeClaim": "/apis/karpenter.sh/v1/nodeclaims",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "KWOKNodeClass": "/apis/karpenter.kwok.sh/v1alpha1/kwoknodeclasses",
}


def folder_of(kind: str, namespace: str = "") -> str:
    """The path of all objects of ``kind``."""
    return _PATHS[kind].format(namespace=namespace)


def folder_for(made: Mapping[str, Any]) -> str:
    """The path under which ``made`` is created."""
    return folder_of(made["kind"], made["metadata"].get("namespace", ""))
