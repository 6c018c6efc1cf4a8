"""Guards: a namespace, a Deployment or a tenant that lacks what only another resource can give it."""

from __future__ import annotations

from typing import Any

import pytest

from policies.rules import RULES
from policies.verdict import UNKNOWN, Resource, Status, Verdict, worst
from tests.policies.kubernetes_cases import NAMESPACE, POLICY, pod, tenant

QUOTA, LIMITS = "kubernetes:core/v1:ResourceQuota", "kubernetes:core/v1:LimitRange"
ACCOUNT, BUDGET = "kubernetes:core/v1:ServiceAccount", "kubernetes:policy/v1:PodDisruptionBudget"
DEPLOYMENT, AUTOSCALER = "kubernetes:apps/v1:Deployment", "kubernetes:autoscaling/v2:HorizontalPodAutoscaler"
ASSOCIATION, KEY = "aws:eks/podIdentityAssociation:PodIdentityAssociation", "aws:kms/key:Key"


def made(token: str, name: str, namespace: Any = "", linked_to: str = "", **props: Any) -> Resource:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return Resource(
        token,
        name,
        f"urn:{name}",
        {"metadata": metadata, **props},
        None,
        {"metadata": (linked_to,)} if linked_to else {},
    )


def statuses(rule_id: str, *resources: Resource) -> dict[str, Status]:
    return {verdict.urn: verdict.status for verdict in RULES[rule_id].evaluate_stack(resources)}


def messages(rule_id: str, *resources: Resource) -> str:
    return " ".join(verdict.message for verdict in RULES[rule_id].evaluate_stack(resources))


# -- a namespace and its policies


def closing(namespace: Any, *types: str, linked_to: str = "", name: str = "deny", **spec: Any) -> Resource:
    return made(POLICY, name, namespace, linked_to, spec={"podSelector": {}, "policyTypes": list(types), **spec})


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        pytest.param([], Status.VIOLATION, id="none"),
        pytest.param([closing("ml", "Ingress", "Egress")], Status.COMPLIANT, id="both-ways"),
        pytest.param([closing("ml", "Ingress")], Status.VIOLATION, id="one-way"),
        pytest.param(
            [closing("ml", "Ingress"), closing("ml", "Egress", name="deny-out")], Status.COMPLIANT, id="one-way-each"
        ),
        pytest.param([closing("other", "Ingress", "Egress")], Status.VIOLATION, id="of-another-namespace"),
        pytest.param(
            [closing("ml", "Ingress", "Egress", podSelector={"matchLabels": {"app": "a"}})],
            Status.VIOLATION,
            id="of-some-pods",
        ),
        pytest.param(
            [closing(UNKNOWN, "Ingress", "Egress", linked_to="urn:ml")], Status.COMPLIANT, id="linked-in-a-preview"
        ),
        pytest.param(
            [closing(UNKNOWN, "Ingress", "Egress", linked_to="urn:other")], Status.VIOLATION, id="linked-elsewhere"
        ),
        pytest.param([made(POLICY, "deny", "ml", spec={"podSelector": UNKNOWN})], Status.UNVERIFIED, id="unknown"),
    ],
)
def test_a_namespace_denies_by_default(policies: list[Resource], expected: Status) -> None:
    assert statuses("K8S-003", made(NAMESPACE, "ml"), *policies) == {"urn:ml": expected}


def test_the_missing_direction_is_named() -> None:
    assert "for Egress" in messages("K8S-003", made(NAMESPACE, "ml"), closing("ml", "Ingress"))


# -- a Deployment and its disruption budget


def deployment(replicas: Any = None, namespace: str = "ml", app: Any = "api") -> Resource:
    spec = {"template": {"metadata": {"labels": {"app": app, "tier": "web"}}, "spec": pod()}}
    return made(DEPLOYMENT, "api", namespace, spec=spec if replicas is None else {**spec, "replicas": replicas})


def budget(namespace: str = "ml", **match_labels: str) -> Resource:
    return made(BUDGET, "budget", namespace, spec={"selector": {"matchLabels": match_labels}})


def autoscaler(floor: int, target: str = "api") -> Resource:
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": target}, "minReplicas": floor}
    return made(AUTOSCALER, "scaler", "ml", spec=spec)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        pytest.param([deployment()], {}, id="single-by-default"),
        pytest.param([deployment(1)], {}, id="single"),
        pytest.param([deployment(2)], {"urn:api": Status.VIOLATION}, id="none"),
        pytest.param([deployment(2), budget(app="api")], {"urn:api": Status.COMPLIANT}, id="selected"),
        pytest.param([deployment(2), budget(app="other")], {"urn:api": Status.VIOLATION}, id="other-pods"),
        pytest.param([deployment(2), budget()], {"urn:api": Status.VIOLATION}, id="selects-nothing"),
        pytest.param([deployment(2), budget("elsewhere", app="api")], {"urn:api": Status.VIOLATION}, id="elsewhere"),
        pytest.param([deployment(), autoscaler(2)], {"urn:api": Status.VIOLATION}, id="scaled-to-two"),
        pytest.param([deployment(), autoscaler(1)], {}, id="scaled-from-one"),
        pytest.param([deployment(), autoscaler(2, "other")], {}, id="another-is-scaled"),
        pytest.param([deployment(UNKNOWN)], {"urn:api": Status.UNVERIFIED}, id="replicas-unknown"),
        pytest.param(
            [deployment(2, app=UNKNOWN), budget(app="api")], {"urn:api": Status.UNVERIFIED}, id="labels-unknown"
        ),
    ],
)
def test_several_replicas_have_a_budget(resources: list[Resource], expected: dict[str, Status]) -> None:
    found = statuses("K8S-005", *resources)
    found.pop("", None)
    assert found == expected


# -- a tenant and all that keeps it apart

HARD = {"requests.cpu": "1", "requests.memory": "1Gi", "requests.nvidia.com/gpu": "0"}


def around() -> dict[str, Resource]:
    """What the tenant ``risk`` needs, by what TEN-001 calls it."""
    return {
        "quota of requests.cpu": made(QUOTA, "quota", "tenant-risk", spec={"hard": HARD}),
        "LimitRange": made(LIMITS, "limits", "tenant-risk"),
        "ServiceAccount": made(ACCOUNT, "workbench", "tenant-risk"),
        "role of its own": Resource(ASSOCIATION, "a", "urn:a", {"namespace": "tenant-risk"}),
        "KMS key of its own": Resource(KEY, "k", "urn:k", {"tags": {"tenant": "risk"}}),
    }


HOME = Resource(NAMESPACE, "home", "urn:home", tenant())


def test_a_whole_tenant_is_compliant() -> None:
    assert statuses("TEN-001", HOME, *around().values()) == {"urn:home": Status.COMPLIANT}


@pytest.mark.parametrize("part", sorted(around()))
def test_a_tenant_without_a_part_is_told_which(part: str) -> None:
    rest = [resource for name, resource in around().items() if name != part]
    assert statuses("TEN-001", HOME, *rest) == {"urn:home": Status.VIOLATION}
    assert f"no {part}" in messages("TEN-001", HOME, *rest)


def test_a_quota_that_forgets_gpus_is_told() -> None:
    parts = around()
    hard = {key: value for key, value in HARD.items() if "gpu" not in key}
    parts["quota of requests.cpu"] = made(QUOTA, "quota", "tenant-risk", spec={"hard": hard})
    assert messages("TEN-001", HOME, *parts.values()) == "tenant risk has no quota of requests.nvidia.com/gpu"


def test_what_belongs_to_another_tenant_does_not_count() -> None:
    others = [made(r.type, r.name, "tenant-retail", spec={"hard": HARD}) for r in around().values()]
    assert "no LimitRange" in messages("TEN-001", HOME, *others)


def test_a_namespace_of_nobody_needs_none_of_it() -> None:
    verdicts: list[Verdict] = RULES["TEN-001"].evaluate_stack([made(NAMESPACE, "cert-manager")])
    assert worst(verdicts) is Status.NOT_APPLICABLE


def test_a_tenant_whose_label_is_not_known_is_not_judged() -> None:
    unknown = Resource(NAMESPACE, "home", "urn:home", {"metadata": UNKNOWN})
    assert statuses("TEN-001", unknown) == {"urn:home": Status.UNVERIFIED}
