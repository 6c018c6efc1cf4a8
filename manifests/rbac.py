"""Who may do what in a tenant's namespace: three roles, defined once for the cluster and bound in each namespace.

A role names resources and verbs one by one.  None of them lists secrets, which come from the secrets store through the
pod's own AWS role; none writes what keeps tenants apart (quotas, limits, network policies, roles, service accounts);
none may ``escalate``, ``bind`` or ``impersonate``, or make tokens of a service account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from blueprints.schema import DataClass, Tenant
from manifests.objects import Manifest, labels, manifest, tenant_namespace

ENGINEER_ROLE: Final = "falaj-ml-engineer"
VIEWER_ROLE: Final = "falaj-viewer"
AUTOMATION_ROLE: Final = "falaj-automation"
SHELL_ROLE: Final = "falaj-pod-shell"
"""A shell in a running pod; bound to engineers only where the data is not personal."""
AUTOMATION_ACCOUNT: Final = "automation"
"""Service account of what starts a tenant's jobs: a pipeline, a scheduler."""

SHELL_DATA_CLASSES: Final = (DataClass.PUBLIC, DataClass.INTERNAL)
"""Whoever has a shell in a pod reads what the pod reads, and the audit log shows one line for it."""

_API: Final = "rbac.authorization.k8s.io"
_READ: Final = ("get", "list", "watch")
_WRITE: Final = ("create", "delete", "patch", "update")

Resources = Mapping[str, tuple[str, ...]]
"""API group -> resources."""

_SEEN: Final[Resources] = {
    "": (
        "configmaps",
        "events",
        "limitranges",
        "persistentvolumeclaims",
        "pods",
        "resourcequotas",
        "serviceaccounts",
        "services",
    ),
    "apps": ("deployments", "replicasets", "statefulsets"),
    "autoscaling": ("horizontalpodautoscalers",),
    "batch": ("cronjobs", "jobs"),
    "machinelearning.seldon.io": ("seldondeployments",),
    "metrics.k8s.io": ("pods",),
    "networking.k8s.io": ("networkpolicies",),
    "policy": ("poddisruptionbudgets",),
    "trainer.kubeflow.org": ("trainingruntimes", "trainjobs"),
}
"""What a viewer sees.  Logs are not among it: they may hold what the data holds."""
_MADE: Final[Resources] = {
    "": ("configmaps", "persistentvolumeclaims", "pods", "services"),
    "apps": ("deployments", "deployments/scale", "statefulsets", "statefulsets/scale"),
    "autoscaling": ("horizontalpodautoscalers",),
    "batch": ("cronjobs", "jobs"),
    "machinelearning.seldon.io": ("seldondeployments",),
    "policy": ("poddisruptionbudgets",),
    "trainer.kubeflow.org": ("trainjobs",),
}
"""What an engineer makes and removes."""
_STARTED: Final[Resources] = {
    "": ("configmaps",),
    "batch": ("jobs",),
    "trainer.kubeflow.org": ("trainjobs",),
}
"""What automation makes and removes; all of it is an engineer's as well, since an engineer can start a pod as it."""


def engineers_group(tenant: str) -> str:
    """The group of a tenant's engineers; access entries map IAM roles to it."""
    return f"falaj:{tenant}:engineers"


def viewers_group(tenant: str) -> str:
    """The group of those who may look."""
    return f"falaj:{tenant}:viewers"


def cluster_roles(tenants: Iterable[Tenant]) -> list[Manifest]:
    """The roles that the tenants' bindings name: cluster roles bound in one namespace grant rights in that one only."""
    logs = _rule("", ("pods/log",), ("get",))
    # Kubernetes asks for `get` on these as well, since clients switched from SPDY to WebSocket.
    forward = _rule("", ("pods/portforward",), ("create", "get"))
    roles = {
        ENGINEER_ROLE: [*_rules(_SEEN, _READ), *_rules(_MADE, _WRITE), logs, forward],
        VIEWER_ROLE: _rules(_SEEN, _READ),
        AUTOMATION_ROLE: [*_rules(_SEEN, _READ), *_rules(_STARTED, _WRITE), logs],
    }
    if any(tenant.data_class in SHELL_DATA_CLASSES for tenant in tenants):
        roles[SHELL_ROLE] = [_rule("", ("pods/attach", "pods/exec"), ("create", "get"))]
    return [
        manifest(f"{_API}/v1", "ClusterRole", name, labels=labels(name, "tenancy"), rules=rules)
        for name, rules in roles.items()
    ]


def tenant_bindings(tenant: Tenant) -> list[Manifest]:
    """Who has which role in a tenant's namespace."""
    namespace = tenant_namespace(tenant.name)
    engineers = _group(engineers_group(tenant.name))
    shell = [role_binding(namespace, "shell", SHELL_ROLE, engineers)]
    return [
        role_binding(namespace, "engineers", ENGINEER_ROLE, engineers),
        role_binding(namespace, "viewers", VIEWER_ROLE, _group(viewers_group(tenant.name))),
        role_binding(namespace, "automation", AUTOMATION_ROLE, service_account(namespace, AUTOMATION_ACCOUNT)),
        *(shell if tenant.data_class in SHELL_DATA_CLASSES else []),
    ]


def role_binding(namespace: str, name: str, role: str, subject: Mapping[str, str]) -> Manifest:
    """Gives one subject a cluster role in one namespace."""
    return manifest(
        f"{_API}/v1",
        "RoleBinding",
        name,
        namespace=namespace,
        labels=labels(name, "tenancy"),
        roleRef={"apiGroup": _API, "kind": "ClusterRole", "name": role},
        subjects=[dict(subject)],
    )


def service_account(namespace: str, name: str) -> dict[str, str]:
    """A service account as the subject of a binding."""
    return {"kind": "ServiceAccount", "namespace": namespace, "name": name}


def _group(name: str) -> dict[str, str]:
    return {"apiGroup": _API, "kind": "Group", "name": name}


def _rules(resources: Resources, verbs: tuple[str, ...]) -> list[dict[str, Any]]:
    return [_rule(group, names, verbs) for group, names in resources.items()]


def _rule(group: str, resources: tuple[str, ...], verbs: tuple[str, ...]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
