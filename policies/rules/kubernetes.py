"""Rights on the Kubernetes API, and what the cluster shows to the outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from policies.verdict import Reference, Resource, Severity, Verdict, guarded, read, rule, violation

PRIVILEGES: Final = Reference("UAE IA", "T5.2.2")
NETWORK_CONTROLS: Final = Reference("UAE IA", "T4.5.1")

_RBAC: Final = "kubernetes:rbac.authorization.k8s.io/v1"
_ROLES: Final = (f"{_RBAC}:Role", f"{_RBAC}:ClusterRole")
_BINDINGS: Final = (f"{_RBAC}:RoleBinding", f"{_RBAC}:ClusterRoleBinding")
_ACCOUNT: Final = "kubernetes:core/v1:ServiceAccount"

WAYS_UP: Final = frozenset({"bind", "escalate", "impersonate"})
"""Verbs with which a user gives itself what it does not have (Kubernetes, RBAC good practices)."""
READS_ALL: Final = frozenset({"get", "list", "watch"})
EVERYBODY: Final = frozenset({"system:anonymous", "system:unauthenticated", "system:authenticated", "system:masters"})


@rule(
    "K8S-002",
    severity=Severity.HIGH,
    types=[*_ROLES, *_BINDINGS, _ACCOUNT],
    references=(PRIVILEGES, Reference("CIS EKS 1.8", "4.1.1-12")),
)
def rights_are_named_one_by_one(resource: Resource) -> Iterator[Verdict]:
    """Roles name their rights, read no secrets at large, give no way up, and service accounts mount no token.

    Why: whoever takes over a pod has its account's rights; a wildcard, the secrets or a way up make that the cluster.
    Fix: list API groups, resources and verbs; name secrets by resourceNames; bind neither cluster-admin nor everybody;
    set automountServiceAccountToken=false and let the few pods that call the API mount a token themselves.
    """
    if resource.type == _ACCOUNT:
        yield from guarded(lambda: _no_token(resource))
    elif resource.type in _BINDINGS:
        yield from guarded(lambda: _bound_narrowly(resource))
    else:
        yield from guarded(lambda: _narrow(resource))


def _no_token(resource: Resource) -> Verdict | None:
    if read(resource.props, "automountServiceAccountToken") is False:
        return None
    return violation("automountServiceAccountToken must be false", "automountServiceAccountToken")


def _bound_narrowly(resource: Resource) -> Verdict | None:
    if read(resource.props, "roleRef", "name") == "cluster-admin":
        return violation("roleRef names cluster-admin; bind a role that names its rights", "roleRef.name")
    subjects = read(resource.props, "subjects", default=[])
    for i in range(len(subjects)):
        name = read(subjects, i, "name")
        if name in EVERYBODY:
            return violation(f'subjects[{i}] is "{name}"; name the people or accounts', f"subjects[{i}].name")
    return None


def _narrow(resource: Resource) -> Verdict | None:
    rules = read(resource.props, "rules", default=[])
    for i in range(len(rules)):
        one = read(rules, i)
        verbs, resources = (_texts(one, key) for key in ("verbs", "resources"))
        for key in ("apiGroups", "resources", "verbs"):
            if "*" in _texts(one, key):
                return violation(f'rules[{i}].{key} contains "*"; name them', f"rules[{i}].{key}")
        if ways := sorted(WAYS_UP & verbs):
            return violation(f"rules[{i}].verbs contains {', '.join(ways)}: a way to more rights", f"rules[{i}].verbs")
        if "secrets" in resources and verbs & READS_ALL and not read(one, "resourceNames"):
            return violation(f"rules[{i}] reads every secret; name them by resourceNames", f"rules[{i}].resources")
        if "serviceaccounts/token" in resources and "create" in verbs and not read(one, "resourceNames"):
            return violation(f"rules[{i}] makes tokens of any service account", f"rules[{i}].resources")
    return None


def _texts(one: Any, key: str) -> set[str]:
    values = read(one, key, default=[])
    return {str(read(values, i)) for i in range(len(values))}


_SERVICE: Final = "kubernetes:core/v1:Service"
_INGRESS: Final = "kubernetes:networking.k8s.io/v1:Ingress"
_BALANCER: Final = "service.beta.kubernetes.io/aws-load-balancer"
_INTERNAL: Final[Mapping[str, Sequence[str]]] = {
    f"{_BALANCER}-scheme": ("internal",),
    f"{_BALANCER}-internal": ("true", "0.0.0.0/0"),
}
"""Annotations that keep a load balancer inside: the AWS Load Balancer Controller's, and the older in-tree one's."""
_INGRESS_SCHEME: Final = "alb.ingress.kubernetes.io/scheme"


@rule(
    "NET-006",
    severity=Severity.CRITICAL,
    types=[_SERVICE, _INGRESS],
    references=(NETWORK_CONTROLS, Reference("UAE IA", "T5.4.5")),
)
def services_stay_inside(resource: Resource) -> Iterator[Verdict]:
    """No Kubernetes service is open to the internet or on every node.

    Why: a load balancer without an annotation gets a public address, and a NodePort answers on every node whatever the
    network policies of the namespace say.
    Fix: use ClusterIP; where callers come from outside the cluster, an internal load balancer
    (service.beta.kubernetes.io/aws-load-balancer-scheme: internal).  Never set externalIPs.
    """
    if resource.type == _INGRESS:
        yield from guarded(lambda: _internal_ingress(resource))
    else:
        yield from guarded(lambda: _internal_service(resource))


def _internal_ingress(resource: Resource) -> Verdict | None:
    # The controller's own default is internal.
    if read(resource.props, "metadata", "annotations", _INGRESS_SCHEME, default="internal") == "internal":
        return None
    return violation(f"{_INGRESS_SCHEME} must be internal", "metadata.annotations")


def _internal_service(resource: Resource) -> Verdict | None:
    if read(resource.props, "spec", "externalIPs"):
        return violation("spec.externalIPs takes traffic that is meant for others", "spec.externalIPs")
    kind = read(resource.props, "spec", "type", default="ClusterIP")
    if kind == "NodePort":
        return violation("spec.type is NodePort, which opens a port of every node; use ClusterIP", "spec.type")
    if kind != "LoadBalancer":
        return None
    annotations = read(resource.props, "metadata", "annotations", default={})
    if any(str(read(annotations, key)).lower() in allowed for key, allowed in _INTERNAL.items()):
        return None
    return violation(f"a load balancer without {_BALANCER}-scheme: internal has a public address", "spec.type")
