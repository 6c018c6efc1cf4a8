"""What a namespace must have around it; pairs of resources, like a bucket and its satellites."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from policies.rules.pods import NAMESPACE, POD_SECURITY
from policies.verdict import (
    COMPLIANT,
    NOT_APPLICABLE,
    UNKNOWN,
    Reference,
    Resource,
    Severity,
    Unverified,
    Verdict,
    guarded,
    read,
    rule,
    unverified,
    violation,
    with_stack_check,
)

SEGREGATION: Final = Reference("UAE IA", "T4.5.3")
SHARED_SYSTEMS: Final = Reference("UAE IA", "T5.6.2")

NETWORK_POLICY: Final = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
DIRECTIONS: Final = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}
"""Policy type -> the field of its rules, and the field of a rule's peers."""


@rule(
    "K8S-003",
    severity=Severity.HIGH,
    types=[NETWORK_POLICY],
    references=(SEGREGATION, Reference("CIS EKS 1.8", "4.3.2")),
)
def _policy_names_its_peers(resource: Resource) -> Iterator[Verdict]:
    """Every namespace denies all traffic by default, both ways, and policies name whom they let through.

    Why: without one, any pod of any tenant may open a connection to any other, and to every address outside.
    Fix: add a NetworkPolicy with an empty podSelector and the policyTypes Ingress and Egress, then one with the
    connections that are needed; give every rule its `from` or `to`.
    """

    def check(direction: str) -> Verdict | None:
        field, peers = DIRECTIONS[direction]
        rules = read(resource.props, "spec", field, default=[])
        for i in range(len(rules)):
            if not read(rules, i, peers):
                path = f"spec.{field}[{i}]"
                return violation(f"{path} names no peers in `{peers}`, which stands for everybody", path)
        return None

    for direction in DIRECTIONS:
        yield from guarded(lambda direction=direction: check(direction))  # type: ignore[misc]


@with_stack_check(_policy_names_its_peers)
def namespaces_deny_by_default(resources: Sequence[Resource]) -> Iterator[Verdict]:
    policies = [resource for resource in resources if resource.type == NETWORK_POLICY]
    for namespace in resources:
        if namespace.type != NAMESPACE:
            continue

        def check(namespace: Resource = namespace) -> Verdict | None:
            missing = sorted(set(DIRECTIONS) - _isolated(namespace, policies))
            if not missing:
                return None
            return violation(f"no NetworkPolicy selects all pods of the namespace for {' and '.join(missing)}")

        yield from _about(namespace, check)


def _isolated(namespace: Resource, policies: Sequence[Resource]) -> set[str]:
    """The directions in which every pod of a namespace is closed until a rule opens it."""
    found: set[str] = set()
    for policy in policies:
        if not lies_in(policy, namespace):
            continue
        selector = read(policy.props, "spec", "podSelector", default={})
        if not read(selector, "matchLabels") and not read(selector, "matchExpressions"):
            types = read(policy.props, "spec", "policyTypes", default=["Ingress"])
            found.update(str(read(types, i)) for i in range(len(types)))
    return found


TENANT_LABEL: Final = "falaj.dev/tenant"
DATA_CLASS_LABEL: Final = "falaj.dev/data-class"
OWNER_ANNOTATION: Final = "falaj.dev/owner"

_QUOTA: Final = "kubernetes:core/v1:ResourceQuota"
_ASSOCIATION: Final = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
_KEY: Final = "aws:kms/key:Key"
_QUOTA_KEYS: Final = ("requests.cpu", "requests.memory", "requests.nvidia.com/gpu")
_INSIDE: Final = {
    "LimitRange": "kubernetes:core/v1:LimitRange",
    "ServiceAccount": "kubernetes:core/v1:ServiceAccount",
}


@rule(
    "TEN-001", severity=Severity.HIGH, types=[NAMESPACE], references=(SHARED_SYSTEMS, Reference("CIS EKS 1.8", "4.5.1"))
)
def _tenant_is_described(resource: Resource) -> Iterator[Verdict]:
    """A tenant's namespace is restricted and has an owner, a data class, quotas, limits, a role and a key of its own.

    Why: teams that share nodes keep out of each other's way only by what their namespaces are not allowed.
    Fix: declare tenants in the blueprint, which makes all of it; by hand, add a ResourceQuota, a LimitRange, a
    ServiceAccount with a Pod Identity association, a KMS key tagged tenant, and the labels and annotation of falaj.dev.
    """

    def check() -> Verdict | None:
        metadata = read(resource.props, "metadata", default={})
        if not read(metadata, "labels", TENANT_LABEL):
            return NOT_APPLICABLE
        level = read(metadata, "labels", f"{POD_SECURITY}/enforce")
        if level != "restricted":
            return violation(f"a tenant's namespace enforces {level or 'nothing'}, must enforce restricted", "metadata")
        missing = [
            *([] if read(metadata, "labels", DATA_CLASS_LABEL) else [f"the label {DATA_CLASS_LABEL}"]),
            *([] if read(metadata, "annotations", OWNER_ANNOTATION) else [f"the annotation {OWNER_ANNOTATION}"]),
        ]
        return violation(f"a tenant's namespace without {' and '.join(missing)}", "metadata") if missing else None

    yield from guarded(check)


@with_stack_check(_tenant_is_described)
def tenants_have_all_that_keeps_them_apart(resources: Sequence[Resource]) -> Iterator[Verdict]:
    by_type: dict[str, list[Resource]] = {}
    for resource in resources:
        by_type.setdefault(resource.type, []).append(resource)
    for namespace in by_type.get(NAMESPACE, ()):

        def check(namespace: Resource = namespace) -> Verdict | None:
            tenant = read(namespace.props, "metadata", "labels", TENANT_LABEL)
            if not tenant:
                return NOT_APPLICABLE
            missing = list(_missing(namespace, str(tenant), by_type))
            return violation(f"tenant {tenant} has no {', no '.join(missing)}") if missing else None

        yield from _about(namespace, check)


def _missing(namespace: Resource, tenant: str, by_type: Mapping[str, Sequence[Resource]]) -> Iterator[str]:
    held: set[str] = set()
    for quota in by_type.get(_QUOTA, ()):
        if lies_in(quota, namespace):
            held |= set(read(quota.props, "spec", "hard", default={}))
    for key in _QUOTA_KEYS:
        if key not in held:
            yield f"quota of {key}"
    for kind, token in _INSIDE.items():
        if not any(lies_in(resource, namespace) for resource in by_type.get(token, ())):
            yield kind
    name = read(namespace.props, "metadata", "name", default="")
    if not any(resource.props.get("namespace") == name for resource in by_type.get(_ASSOCIATION, ())):
        yield "role of its own (Pod Identity association)"
    if not any(_tenant_of(key) == tenant for key in by_type.get(_KEY, ())):
        yield "KMS key of its own (tag tenant)"


def _tenant_of(key: Resource) -> Any:
    tags = key.props.get("tags")
    return tags.get("tenant") if isinstance(tags, Mapping) else None


def lies_in(resource: Resource, namespace: Resource) -> bool:
    """Whether a resource is in a namespace: by name, or by dependency where a preview does not know the name yet."""
    metadata = resource.props.get("metadata")
    if metadata is UNKNOWN or not isinstance(metadata, Mapping):
        return namespace.urn in resource.property_dependencies.get("metadata", ())
    name = metadata.get("namespace", "")
    if name is UNKNOWN:
        return namespace.urn in resource.property_dependencies.get("metadata", ())
    return bool(name) and name == read(namespace.props, "metadata", "name", default="")


def _about(resource: Resource, check: Callable[[], Verdict | None]) -> Iterator[Verdict]:
    """The verdict of a stack check on one of its resources."""
    try:
        verdict = check() or COMPLIANT
    except Unverified as unknown:
        yield unverified(unknown.path, resource.urn)
        return
    yield Verdict(verdict.status, verdict.message, verdict.path, resource.urn)
