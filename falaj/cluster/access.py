"""Who of the programs may do what: roles that are bound to the users in their certificates, one role for each."""

from __future__ import annotations

from typing import Any, Final

from falaj.cluster.configuration import KARPENTER_USER, KWOK_USER

_GROUP: Final = "rbac.authorization.k8s.io"
_READ: Final = ("get", "list", "watch")


def kwok_access() -> list[dict[str, Any]]:
    """What kwok may do.  Source: kustomize/rbac/role.yaml of the pinned module, without its own custom resources."""
    rules = [
        _rule("", ("events",), ("create", "patch", "update")),
        _rule("", ("nodes",), _READ),
        _rule("", ("nodes/status", "pods/status"), ("patch", "update")),
        _rule("", ("pods",), (*_READ, "patch", "update", "delete")),
        _rule("coordination.k8s.io", ("leases",), (*_READ, "create", "patch", "update")),
    ]
    return _bound("falaj:kwok", rules, KWOK_USER)


def karpenter_access() -> list[dict[str, Any]]:
    """What Karpenter may do.  Source: kwok/charts/templates of the pinned module, its roles taken together."""
    rules = [
        _rule("karpenter.kwok.sh", ("kwoknodeclasses", "kwoknodeclasses/status"), (*_READ, "patch", "update")),
        _rule(
            "karpenter.sh",
            ("nodepools", "nodepools/status", "nodeclaims", "nodeclaims/status", "nodeoverlays", "nodeoverlays/status"),
            _READ,
        ),
        _rule(
            "karpenter.sh",
            ("nodeclaims", "nodeclaims/status", "nodeclaims/finalizers"),
            ("create", "delete", "patch", "update"),
        ),
        _rule(
            "karpenter.sh",
            ("nodepools", "nodepools/status", "nodepools/finalizers", "nodeoverlays/status"),
            ("patch", "update"),
        ),
        _rule(
            "",
            ("pods", "nodes", "persistentvolumes", "persistentvolumeclaims", "replicationcontrollers", "namespaces"),
            _READ,
        ),
        _rule("", ("nodes",), ("create", "delete", "patch", "update")),
        _rule("", ("pods",), ("delete",)),
        _rule("", ("pods/eviction",), ("create",)),
        _rule("", ("events",), ("create", "patch")),
        _rule("", ("services",), ("get",)),
        _rule("storage.k8s.io", ("storageclasses", "csinodes", "volumeattachments"), _READ),
        _rule("apps", ("daemonsets", "deployments", "replicasets", "statefulsets"), ("list", "watch")),
        _rule("apiextensions.k8s.io", ("customresourcedefinitions",), ("list", "watch")),
        _rule("policy", ("poddisruptionbudgets",), _READ),
        _rule("coordination.k8s.io", ("leases",), (*_READ, "delete")),
    ]
    return _bound("falaj:karpenter", rules, KARPENTER_USER)


def path_of(manifest: dict[str, Any]) -> str:
    """Where the API server keeps an object of this module."""
    plural = {"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings"}[manifest["kind"]]
    return f"/apis/{_GROUP}/v1/{plural}/{manifest['metadata']['name']}"


def _bound(name: str, rules: list[dict[str, Any]], user: str) -> list[dict[str, Any]]:
    return [
        {"apiVersion": f"{_GROUP}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": _GROUP, "kind": "User", "name": user}],
        },
    ]


def _rule(group: str, resources: tuple[str, ...], verbs: tuple[str, ...]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
