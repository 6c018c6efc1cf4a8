"""Guards: a namespace that lacks one of the things that hold it, a quota that nothing fits into, names that collide."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blueprints.schema import DataClass, Tenant
from falaj.local.kubernetes.kinds import Kind
from falaj.local.kubernetes.schemas import problems
from manifests.network_policies import DENY_ALL, Surroundings, controller_policies, platform_policies
from manifests.objects import Manifest, title
from manifests.priorities import QUEUE_CLASSES, classes_above, priority_classes, queue_class
from manifests.rbac import (
    AUTOMATION_ROLE,
    ENGINEER_ROLE,
    SHELL_DATA_CLASSES,
    SHELL_ROLE,
    VIEWER_ROLE,
    cluster_roles,
)
from manifests.tenancy import DEFAULT_LIMITS, DEFAULT_REQUESTS, tenancy, tenant_objects
from tests.support.platforms import NAMES, platform

AROUND = Surroundings(
    node_cidrs=("10.0.0.0/18",),
    data_cidrs=("10.0.64.0/19",),
    data_ports=(5432,),
    endpoint_cidrs=("10.0.96.0/20",),
    data_metrics_ports=(11001,),
)
REGISTRY = "123456789012.dkr.ecr.me-central-1.amazonaws.com/falaj-dev"
LONGEST_NAME = 63
"""Of a namespace and of a label's value: a DNS label (Kubernetes, object names)."""

tenants = st.builds(
    Tenant,
    name=st.from_regex(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True),
    owner_email=st.just("team@example.com"),
    data_class=st.sampled_from(DataClass),
    gpu_quota=st.integers(0, 5_000),
    cpu_quota_vcpu=st.integers(1, 20_000),
    memory_quota_gib=st.integers(1, 100_000),
    storage_quota_gib=st.integers(1, 1_000_000),
    queue_priority=st.sampled_from(["serving", "training", "batch"]),
)


def objects(tenant: Tenant) -> list[Manifest]:
    return tenant_objects(tenant, AROUND, kubernetes_version="1.35")


def one(made: list[Manifest], kind: str, name: str = "") -> Manifest:
    found = [m for m in made if m["kind"] == kind and name in ("", m["metadata"]["name"])]
    assert len(found) == 1, [title(m) for m in found]
    return found[0]


def quantity(text: str) -> Fraction:
    """A quantity of Kubernetes as a number."""
    for suffix, factor in (("Gi", 2**30), ("Mi", 2**20), ("m", Fraction(1, 1_000))):
        if text.endswith(suffix):
            return Fraction(text.removesuffix(suffix)) * factor
    return Fraction(text)


@given(tenants)
def test_any_tenant_gets_the_same_kinds_in_its_own_namespace(tenant: Tenant) -> None:
    made = objects(tenant)
    namespace = one(made, "Namespace")["metadata"]["name"]
    assert {m["metadata"].get("namespace", namespace) for m in made} == {namespace}
    kinds = sorted(m["kind"] for m in made if m["metadata"]["name"] != "shell")
    assert kinds == sorted(
        ["Namespace", "LimitRange"]
        + ["NetworkPolicy"] * 3
        + ["ResourceQuota"] * 2
        + ["ServiceAccount"] * 2
        + ["RoleBinding"] * 3
    )


@given(tenants)
def test_names_and_label_values_are_such_as_kubernetes_takes(tenant: Tenant) -> None:
    for made in objects(tenant):
        texts = [made["metadata"]["name"], *made["metadata"]["labels"].values()]
        assert [text for text in texts if not 0 < len(text) <= LONGEST_NAME] == []
    assert len({title(made) for made in objects(tenant)}) == len(objects(tenant))


@given(tenants)
def test_a_pod_that_says_nothing_fits_into_any_quota(tenant: Tenant) -> None:
    hard = one(objects(tenant), "ResourceQuota", "tenant-quota")["spec"]["hard"]
    for resource in ("cpu", "memory"):
        assert quantity(DEFAULT_REQUESTS[resource]) <= quantity(hard[f"requests.{resource}"])
        assert quantity(DEFAULT_LIMITS[resource]) <= quantity(hard[f"limits.{resource}"])


@given(tenants)
def test_the_quota_is_what_the_blueprint_says(tenant: Tenant) -> None:
    hard = one(objects(tenant), "ResourceQuota", "tenant-quota")["spec"]["hard"]
    assert quantity(hard["requests.cpu"]) == tenant.cpu_quota_vcpu
    assert quantity(hard["requests.memory"]) == quantity(hard["limits.memory"]) == tenant.memory_quota_gib * 2**30
    assert quantity(hard["requests.nvidia.com/gpu"]) == tenant.gpu_quota
    assert quantity(hard["requests.storage"]) == tenant.storage_quota_gib * 2**30
    assert hard["services.loadbalancers"] == hard["services.nodeports"] == "0"


@given(tenants)
def test_pods_and_cpu_run_out_together(tenant: Tenant) -> None:
    """A quota of pods that ends first would leave paid cores idle; one that ends last would stop nothing."""
    hard = one(objects(tenant), "ResourceQuota", "tenant-quota")["spec"]["hard"]
    assert quantity(hard["pods"]) * quantity(DEFAULT_REQUESTS["cpu"]) == quantity(hard["requests.cpu"])
    assert quantity(hard["pods"]) * quantity(DEFAULT_LIMITS["cpu"]) == quantity(hard["limits.cpu"])


@given(tenants, tenants)
def test_two_tenants_never_share_an_object_or_a_group(first: Tenant, second: Tenant) -> None:
    if first.name == second.name:
        return
    assert not {title(m) for m in objects(first)} & {title(m) for m in objects(second)}
    assert not bound(first) & bound(second)


def bound(tenant: Tenant) -> set[tuple[str, str]]:
    bindings = [m for m in objects(tenant) if m["kind"] == "RoleBinding"]
    return {(s.get("namespace", ""), s["name"]) for binding in bindings for s in binding["subjects"]}


@given(tenants)
def test_a_shell_goes_only_with_data_that_is_not_personal(tenant: Tenant) -> None:
    roles = [m["roleRef"]["name"] for m in objects(tenant) if m["kind"] == "RoleBinding"]
    assert (SHELL_ROLE in roles) == (tenant.data_class in SHELL_DATA_CLASSES)


# -- priorities


def test_classes_are_ordered_and_one_is_the_default() -> None:
    values = [made["value"] for made in priority_classes()]
    assert all(higher > lower for higher, lower in pairwise(values))
    assert [made["metadata"]["name"] for made in priority_classes() if made["globalDefault"]] == ["falaj-batch"]


@pytest.mark.parametrize("queue", ["batch", "training", "serving"])
def test_a_tenant_is_kept_from_the_classes_above_its_own_and_from_no_other(queue: str) -> None:
    own = QUEUE_CLASSES.index(queue_class(queue))
    assert set(QUEUE_CLASSES) - set(classes_above(queue)) == set(QUEUE_CLASSES[: own + 1])
    assert {"falaj-platform-critical", "system-cluster-critical", "system-node-critical"} <= set(classes_above(queue))


# -- roles


def granted(role: str) -> set[tuple[str, str, str]]:
    """(API group, resource, verb) of a role."""
    made = one(cluster_roles(platform("enterprise").blueprint.tenants), "ClusterRole", role)
    return {
        (group, resource, verb)
        for rule in made["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("role", [ENGINEER_ROLE, VIEWER_ROLE, AUTOMATION_ROLE, SHELL_ROLE])
def test_no_role_has_a_wildcard_secrets_or_a_way_up(role: str) -> None:
    rights = granted(role)
    assert not [right for right in rights if "*" in "".join(right)]
    assert not [right for right in rights if right[1].startswith("secrets")]
    assert not [right for right in rights if right[2] in ("bind", "escalate", "impersonate", "deletecollection")]
    assert not [right for right in rights if right[0] == "rbac.authorization.k8s.io"]
    writes = {resource for _, resource, verb in rights if verb not in ("get", "list", "watch")}
    assert not writes & {"limitranges", "namespaces", "networkpolicies", "resourcequotas", "serviceaccounts"}
    assert "serviceaccounts/token" not in writes


def test_an_engineer_can_do_all_that_a_pod_of_its_namespace_can() -> None:
    """Who starts pods can start one as automation: a right that only automation has would be a way up."""
    assert granted(AUTOMATION_ROLE) <= granted(ENGINEER_ROLE)
    assert granted(VIEWER_ROLE) <= granted(AUTOMATION_ROLE)


def test_a_viewer_has_no_subresource() -> None:
    assert {verb for _, _, verb in granted(VIEWER_ROLE)} == {"get", "list", "watch"}
    assert not [resource for _, resource, _ in granted(VIEWER_ROLE) if "/" in resource]


# -- connections


def rules(made: list[Manifest], direction: str) -> list[dict[str, Any]]:
    return [rule for m in made if m["kind"] == "NetworkPolicy" for rule in m["spec"].get(direction, [])]


@pytest.mark.parametrize("name", NAMES)
def test_no_rule_allows_everybody(name: str) -> None:
    """A rule without peers allows every peer, which is never meant."""
    made = tenancy(platform(name).blueprint, AROUND, registry=REGISTRY)
    assert [rule for rule in rules(made, "ingress") if not rule.get("from")] == []
    assert [rule for rule in rules(made, "egress") if not rule.get("to")] == []
    blocks = [peer["ipBlock"] for rule in rules(made, "egress") for peer in rule["to"] if "ipBlock" in peer]
    for block in blocks:
        assert block["cidr"] != "0.0.0.0/0" or "10.0.0.0/8" in block["except"]
    callers = {peer["ipBlock"]["cidr"] for r in rules(made, "ingress") for peer in r["from"] if "ipBlock" in peer}
    assert callers == set(AROUND.endpoint_cidrs), "only the Kubernetes API calls in from outside the pod network"


def test_a_tenant_is_called_by_its_own_pods_and_by_prometheus_only() -> None:
    made = tenant_objects(platform("smb").blueprint.tenants[0], AROUND, kubernetes_version="1.35")
    (rule,) = rules(made, "ingress")
    assert rule["from"] == [
        {"podSelector": {}},
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "falaj-observability"}},
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
        },
    ]


def test_a_controller_is_called_by_the_api_server_and_calls_nothing_else() -> None:
    made = controller_policies("cert-manager", AROUND)
    assert made[0]["metadata"]["name"] == DENY_ALL
    outside = {peer["ipBlock"]["cidr"] for r in rules(made, "egress") for peer in r["to"] if "ipBlock" in peer}
    assert outside == {*AROUND.endpoint_cidrs, "10.100.0.1/32", "172.20.0.1/32"}


def test_a_rule_without_addresses_is_refused() -> None:
    nowhere = Surroundings(node_cidrs=(), data_cidrs=(), data_ports=(5432,), endpoint_cidrs=())
    with pytest.raises(ValueError, match="allows every address"):
        platform_policies(nowhere)


@given(tenants)
def test_a_tenant_reaches_no_database_and_no_metadata_service(tenant: Tenant) -> None:
    cidrs = {
        peer["ipBlock"]["cidr"] for rule in rules(objects(tenant), "egress") for peer in rule["to"] if "ipBlock" in peer
    }
    assert not cidrs & set(AROUND.data_cidrs)
    assert not [cidr for cidr in cidrs if cidr.startswith("169.254.") and cidr != "169.254.170.23/32"]


def test_given_addresses_of_services_replace_any_public_address() -> None:
    known = Surroundings(
        node_cidrs=("10.0.0.0/18",),
        data_cidrs=("10.0.64.0/19",),
        data_ports=(),
        endpoint_cidrs=("10.0.96.0/20",),
        service_cidrs=("192.0.2.0/24",),
    )
    made = tenancy(platform("smb").blueprint, known, registry=REGISTRY)
    cidrs = {peer["ipBlock"]["cidr"] for rule in rules(made, "egress") for peer in rule["to"] if "ipBlock" in peer}
    assert "192.0.2.0/24" in cidrs
    assert "0.0.0.0/0" not in cidrs


# -- the whole


@pytest.mark.parametrize("name", NAMES)
def test_every_namespace_denies_by_default_and_is_restricted(name: str) -> None:
    made = tenancy(platform(name).blueprint, AROUND, registry=REGISTRY)
    namespaces = {m["metadata"]["name"]: m["metadata"]["labels"] for m in made if m["kind"] == "Namespace"}
    denying = {m["metadata"]["namespace"] for m in made if m["metadata"]["name"] == DENY_ALL}
    assert denying == set(namespaces)
    for labels in namespaces.values():
        for mode in ("enforce", "audit", "warn"):
            assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
            assert labels[f"pod-security.kubernetes.io/{mode}-version"] == "v1.35"


@pytest.mark.parametrize("name", NAMES)
def test_the_official_schemas_accept_every_object(name: str) -> None:
    made = tenancy(platform(name).blueprint, AROUND, registry=REGISTRY)
    found = {title(m): problems(kind_of(m), m) for m in made}
    assert {where: what for where, what in found.items() if what} == {}
    assert len(found) == len(made), "no object is there twice"


def kind_of(made: Manifest) -> Kind:
    group, _, version = made["apiVersion"].rpartition("/")
    return Kind(group, version, made["kind"])


def test_the_small_blueprint_stays_small() -> None:
    assert len(tenancy(platform("smb").blueprint, AROUND, registry=REGISTRY)) <= 32
