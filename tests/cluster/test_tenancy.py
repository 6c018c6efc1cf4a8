"""Tenants on a real API server, made from the manifests that the platform deploys.

Guards: a team that reaches another's pods, secrets or GPUs, or the rights to give itself either.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blueprints import load
from blueprints.schema import Blueprint
from components.tenancy import surroundings
from falaj.cluster.api import ApiClient
from falaj.cluster.control_plane import ControlPlane, Options
from falaj.cluster.errors import ApiError
from falaj.engine.provider import InitializationError
from manifests.network_policies import DENY_ALL
from manifests.objects import PART_OF, Manifest
from manifests.priorities import BATCH, SERVING, TRAINING
from manifests.rbac import engineers_group, viewers_group
from manifests.tenancy import DEFAULT_LIMITS, DEFAULT_REQUESTS, tenancy
from tests.support.applied import WAIT_SECONDS, Applier
from tests.support.control_plane import pod as restricted_pod
from tests.support.control_plane import running
from tests.support.kubernetes_lifecycle import Resource, provider
from tests.support.people import may, person, rights, status_with_token

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(240)]

REGISTRY = "123456789012.dkr.ecr.me-central-1.amazonaws.com/falaj-dev"
DIGEST = f"@sha256:{'0' * 64}"
IMAGE = f"{REGISTRY}/training{DIGEST}"
ZONES = ("mec1-az1", "mec1-az2", "mec1-az3")
RISK, RETAIL, OPERATIONS = "tenant-risk", "tenant-retail", "tenant-operations"
RBAC = "rbac.authorization.k8s.io"
READ = {"get", "list", "watch"}


@pytest.fixture(scope="module")
def blueprint() -> Blueprint:
    return load("enterprise")


def everything(blueprint: Blueprint) -> list[Manifest]:
    return tenancy(blueprint, surroundings(blueprint, ZONES), registry=REGISTRY)


def pod(name: str, *, image: str = IMAGE, **more: Any) -> dict[str, Any]:
    """A pod that is welcome in a tenant's namespace."""
    made = restricted_pod(name, **more)
    made["spec"]["containers"][0]["image"] = image
    return made


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with running(tmp_path_factory.mktemp("cluster"), Options(autoscaler=False)) as (made, _):
        yield made


@pytest.fixture(scope="module")
def admin(plane: ControlPlane) -> Iterator[ApiClient]:
    with plane.client() as client:
        yield client


@pytest.fixture(scope="module")
def applied(admin: ApiClient, blueprint: Blueprint) -> dict[str, dict[str, Any]]:
    """Path -> object, for everything that the tenancy of the blueprint consists of."""
    return Applier(admin).apply_all(everything(blueprint))


@pytest.fixture(scope="module")
def enforced(admin: ApiClient, applied: dict[str, dict[str, Any]]) -> None:
    """Once the server enforces the admission policy, which it compiles a moment after it was made."""
    probe = restricted_pod("probe")
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            admin.create(f"/api/v1/namespaces/{RISK}/pods?dryRun=All", probe)
        except ApiError as error:
            assert "ValidatingAdmissionPolicy" in str(error)
            return
        time.sleep(0.05)
    pytest.fail("the admission policy is not enforced")


@pytest.fixture
def engineer(plane: ControlPlane, applied: dict[str, dict[str, Any]], tmp_path: Path) -> Iterator[ApiClient]:
    """An engineer of the tenant ``risk``, whose data is restricted."""
    with person(plane, tmp_path, "amal", engineers_group("risk")) as client:
        yield client


@pytest.fixture
def viewer(plane: ControlPlane, applied: dict[str, dict[str, Any]], tmp_path: Path) -> Iterator[ApiClient]:
    with person(plane, tmp_path, "salim", viewers_group("risk")) as client:
        yield client


def refused(client: ApiClient, method: str, path: str, body: dict[str, Any] | None = None) -> str:
    """The message with which the server refuses a request that must be refused for want of a right."""
    with pytest.raises(ApiError) as caught:
        client.request(method, path, body)
    assert caught.value.status == 403, str(caught.value)
    return str(caught.value)


# -- what a namespace admits


def test_applying_again_changes_nothing(
    admin: ApiClient, blueprint: Blueprint, applied: dict[str, dict[str, Any]]
) -> None:
    applier = Applier(admin)
    for manifest in everything(blueprint):
        path = applier.path(manifest)
        before = declared_part(admin.get(path))
        assert declared_part(applier.apply(manifest)) == before, path


def declared_part(thing: dict[str, Any]) -> dict[str, Any]:
    """An object without what controllers write into it."""
    metadata = {
        key: value for key, value in thing["metadata"].items() if key not in ("managedFields", "resourceVersion")
    }
    return {key: value for key, value in thing.items() if key not in ("metadata", "status")} | {"metadata": metadata}


def test_the_server_understands_every_expression(admin: ApiClient, applied: dict[str, dict[str, Any]]) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/falaj-tenants"
    found = admin.wait_for(
        path,
        lambda live: bool((live.get("status") or {}).get("observedGeneration")),
        timeout_seconds=WAIT_SECONDS,
        what="the expressions are not checked",
    )
    assert found["status"].get("typeChecking", {}).get("expressionWarnings", []) == []


@pytest.mark.parametrize("namespace", [RISK, "falaj-platform", "falaj-observability"])
@pytest.mark.parametrize(
    ("container", "spec", "named"),
    [
        ({"privileged": True, "allowPrivilegeEscalation": True}, {}, "privileged"),
        ({"runAsNonRoot": False}, {}, "runAsNonRoot"),
        ({"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}, {}, "NET_ADMIN"),
        ({}, {"hostNetwork": True}, "host namespaces"),
        ({}, {"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}, "hostPath"),
    ],
    ids=["privileged", "root", "capability", "host-network", "host-path"],
)
def test_pod_security_refuses(
    admin: ApiClient,
    applied: dict[str, dict[str, Any]],
    namespace: str,
    container: dict[str, Any],
    spec: dict[str, Any],
    named: str,
) -> None:
    bad = pod("bad", **spec)
    bad["spec"]["containers"][0]["securityContext"] |= container
    message = refused(admin, "POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", bad)
    assert 'violates PodSecurity "restricted:v1.35"' in message
    assert named in message


def test_a_pod_over_the_gpu_quota_is_refused_and_the_quota_named(
    admin: ApiClient, blueprint: Blueprint, applied: dict[str, dict[str, Any]]
) -> None:
    allowed = next(tenant.gpu_quota for tenant in blueprint.tenants if tenant.name == "risk")
    pods = f"/api/v1/namespaces/{RISK}/pods?dryRun=All"
    admin.create(pods, pod("fits", resources={"limits": {"nvidia.com/gpu": str(allowed)}}))
    message = refused(admin, "POST", pods, pod("greedy", resources={"limits": {"nvidia.com/gpu": str(allowed + 1)}}))
    assert f"exceeded quota: tenant-quota, requested: requests.nvidia.com/gpu={allowed + 1}" in message


def test_a_pod_that_says_nothing_gets_the_defaults(admin: ApiClient, applied: dict[str, dict[str, Any]]) -> None:
    made = admin.create(f"/api/v1/namespaces/{RISK}/pods?dryRun=All", pod("silent"))
    assert made["spec"]["containers"][0]["resources"] == {"limits": DEFAULT_LIMITS, "requests": DEFAULT_REQUESTS}
    assert made["spec"]["priorityClassName"] == BATCH
    assert made["spec"]["preemptionPolicy"] == "Never"


@pytest.mark.parametrize("name", [SERVING, "falaj-platform-critical", "system-cluster-critical"])
def test_a_tenant_cannot_push_aside_what_is_more_urgent(
    admin: ApiClient, applied: dict[str, dict[str, Any]], name: str
) -> None:
    message = refused(
        admin, "POST", f"/api/v1/namespaces/{RISK}/pods?dryRun=All", pod("urgent", priorityClassName=name)
    )
    assert "exceeded quota: reserved-priorities" in message


def test_a_tenant_may_train(admin: ApiClient, applied: dict[str, dict[str, Any]]) -> None:
    made = admin.create(f"/api/v1/namespaces/{RISK}/pods?dryRun=All", pod("train", priorityClassName=TRAINING))
    assert made["spec"]["priority"] == 10_000


@pytest.mark.parametrize("kind", ["LoadBalancer", "NodePort"])
def test_a_tenant_opens_no_port_of_the_network(admin: ApiClient, applied: dict[str, dict[str, Any]], kind: str) -> None:
    service = {"metadata": {"name": "open"}, "spec": {"type": kind, "ports": [{"port": 80}]}}
    assert "exceeded quota: tenant-quota" in refused(
        admin, "POST", f"/api/v1/namespaces/{RISK}/services?dryRun=All", service
    )


def test_every_namespace_of_the_platform_denies_by_default(
    admin: ApiClient, blueprint: Blueprint, applied: dict[str, dict[str, Any]]
) -> None:
    found = admin.get(f"/api/v1/namespaces?labelSelector=app.kubernetes.io/part-of={PART_OF}")["items"]
    names = {item["metadata"]["name"] for item in found}
    assert names == {"falaj-platform", "falaj-observability", *(f"tenant-{t.name}" for t in blueprint.tenants)}
    for name in names:
        spec = admin.get(f"/apis/networking.k8s.io/v1/namespaces/{name}/networkpolicies/{DENY_ALL}")["spec"]
        assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}, name


@pytest.mark.parametrize("kind", ["apps/v1:Deployment", "apps/v1:StatefulSet", "batch/v1:Job"])
def test_a_workload_refused_by_the_quota_is_reported_with_its_component(
    plane: ControlPlane, applied: dict[str, dict[str, Any]], tmp_path: Path, kind: str
) -> None:
    template = pod("unused", resources={"limits": {"nvidia.com/gpu": "65"}})
    name = kind.rpartition(":")[2].lower()
    template["metadata"] = {"labels": {"app": name}}
    spec: dict[str, Any] = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    if name == "job":
        template["spec"]["restartPolicy"] = "Never"
        spec = {"template": template}
    if name == "statefulset":
        spec["serviceName"] = name
    made = provider(tmp_path, kubeconfig=str(plane.layout.kubeconfig))
    greedy = Resource(made, f"kubernetes:{kind}", "model-trainer")
    inputs = {"metadata": {"name": name, "namespace": OPERATIONS}, "spec": spec}
    with pytest.raises(InitializationError) as caught:
        greedy.create(inputs, timeout_seconds=10)
    told = " ".join(caught.value.reasons)
    assert "exceeded quota: tenant-quota" in told
    assert "requests.nvidia.com/gpu=65" in told
    assert "model-trainer" in told


@pytest.mark.parametrize(
    "image",
    [
        "docker.io/library/python:3.13",
        f"{REGISTRY}/training:latest",
        f"{REGISTRY}/training@sha256:0",
        f"{REGISTRY}-evil/training{DIGEST}",
        f"210987654321.dkr.ecr.me-central-1.amazonaws.com/falaj-dev/training{DIGEST}",
    ],
)
def test_a_tenants_image_comes_from_the_own_registry_by_digest(admin: ApiClient, enforced: None, image: str) -> None:
    pods = f"/api/v1/namespaces/{RISK}/pods?dryRun=All"
    message = refused(admin, "POST", pods, pod("foreign", image=image))
    assert f"image {image} is not one of {REGISTRY}/ by digest" in message
    hidden = pod("hidden")
    hidden["spec"]["initContainers"] = [hidden["spec"]["containers"][0] | {"name": "first", "image": image}]
    assert f"image {image} " in refused(admin, "POST", pods, hidden)
    admin.create(pods, pod("mirrored", image=f"{REGISTRY}/mirror/library/python{DIGEST}"))
    admin.create("/api/v1/namespaces/kube-system/pods?dryRun=All", pod("agent", image=image))


def test_a_tenants_service_takes_nobodys_traffic(admin: ApiClient, enforced: None) -> None:
    services = f"/api/v1/namespaces/{RISK}/services?dryRun=All"
    service: dict[str, Any] = {"metadata": {"name": "tap"}, "spec": {"ports": [{"port": 80}]}}
    admin.create(services, service)
    service["spec"]["externalIPs"] = ["203.0.113.7"]
    assert "takes traffic that is meant for others" in refused(admin, "POST", services, service)


# -- what people may do


def test_an_engineer_works_in_the_own_namespace(engineer: ApiClient) -> None:
    job = {
        "metadata": {"name": "train"},
        "spec": {"template": {"spec": pod("unused")["spec"] | {"restartPolicy": "Never"}}},
    }
    engineer.create(f"/apis/batch/v1/namespaces/{RISK}/jobs?dryRun=All", job)
    engineer.create(f"/api/v1/namespaces/{RISK}/pods?dryRun=All", pod("notebook", serviceAccountName="workbench"))
    assert engineer.get(f"/api/v1/namespaces/{RISK}/resourcequotas")["items"]
    assert may(engineer, "create", "trainjobs", RISK, group="trainer.kubeflow.org")
    assert may(engineer, "get", "pods/log", RISK)
    assert may(engineer, "create", "pods/portforward", RISK)


@pytest.mark.parametrize("namespace", [RISK, RETAIL, "falaj-platform", "kube-system"])
def test_an_engineer_reads_no_secrets(admin: ApiClient, engineer: ApiClient, namespace: str) -> None:
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    kept = {"metadata": {"name": "kept"}, "stringData": {"password": "not-for-you"}}
    admin.apply(f"{secrets}/kept", {"apiVersion": "v1", "kind": "Secret", **kept})
    for verb in ("get", "list", "watch", "create", "update", "patch", "delete"):
        assert not may(engineer, verb, "secrets", namespace), verb
    assert 'User "amal" cannot list resource "secrets"' in refused(engineer, "GET", secrets)
    assert "not-for-you" not in refused(engineer, "GET", f"{secrets}/kept")


@pytest.mark.parametrize("namespace", [RETAIL, "falaj-platform", "falaj-observability", "kube-system", "default"])
def test_an_engineer_has_no_rights_elsewhere(engineer: ApiClient, namespace: str) -> None:
    refused(engineer, "POST", f"/api/v1/namespaces/{namespace}/pods", pod("guest"))
    refused(engineer, "GET", f"/api/v1/namespaces/{namespace}/pods")
    refused(engineer, "DELETE", f"/apis/batch/v1/namespaces/{namespace}/jobs/theirs")
    assert rights(engineer, namespace) == {}


def test_an_engineer_has_no_rights_on_the_cluster(engineer: ApiClient) -> None:
    for path in ("/api/v1/secrets", "/api/v1/pods", "/api/v1/nodes", "/api/v1/namespaces"):
        refused(engineer, "GET", path)
    assert not may(engineer, "create", "namespaces")
    assert not may(engineer, "create", "tokenreviews", group="authentication.k8s.io")


def test_an_engineer_cannot_rise(engineer: ApiClient) -> None:
    binding = {
        "metadata": {"name": "rise"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "amal"}],
    }
    role = {"metadata": {"name": "rise"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]}
    refused(engineer, "POST", f"/apis/{RBAC}/v1/clusterrolebindings", binding)
    refused(engineer, "POST", f"/apis/{RBAC}/v1/namespaces/{RISK}/rolebindings", binding)
    refused(engineer, "POST", f"/apis/{RBAC}/v1/namespaces/{RISK}/roles", role)
    refused(engineer, "POST", f"/api/v1/namespaces/{RISK}/serviceaccounts", {"metadata": {"name": "rise"}})
    refused(engineer, "POST", f"/api/v1/namespaces/{RISK}/serviceaccounts/automation/token", {"spec": {}})
    for verb in ("bind", "escalate"):
        assert not may(engineer, verb, "clusterroles", group=RBAC)
        assert not may(engineer, verb, "roles", RISK, group=RBAC)
    for kind in ("users", "groups", "serviceaccounts"):
        assert not may(engineer, "impersonate", kind)


@pytest.mark.parametrize(
    "path",
    [
        f"/api/v1/namespaces/{RISK}/resourcequotas/tenant-quota",
        f"/api/v1/namespaces/{RISK}/limitranges/tenant-limits",
        f"/apis/networking.k8s.io/v1/namespaces/{RISK}/networkpolicies/{DENY_ALL}",
        f"/api/v1/namespaces/{RISK}",
    ],
    ids=["quota", "limits", "network-policy", "namespace"],
)
def test_an_engineer_cannot_lift_what_holds_the_namespace(admin: ApiClient, engineer: ApiClient, path: str) -> None:
    before = admin.get(path)
    assert 'User "amal" cannot delete resource' in refused(engineer, "DELETE", path)
    assert 'User "amal" cannot update resource' in refused(engineer, "PUT", path, {})
    after = admin.get(path)
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
    assert "deletionTimestamp" not in after["metadata"]


def test_a_shell_is_for_pods_whose_data_is_not_personal(
    plane: ControlPlane, engineer: ApiClient, tmp_path: Path
) -> None:
    command = "exec?command=sh&stdin=true"
    refused(engineer, "POST", f"/api/v1/namespaces/{RISK}/pods/notebook/{command}")
    refused(engineer, "GET", f"/api/v1/namespaces/{RISK}/pods/notebook/{command}")
    with person(plane, tmp_path, "huda", engineers_group("operations")) as other:
        # There is no such pod: the question got past the rights, which is what is asked here.
        with pytest.raises(ApiError) as caught:
            other.request("POST", f"/api/v1/namespaces/{OPERATIONS}/pods/notebook/{command}")
        assert caught.value.status == 404
        refused(other, "POST", f"/api/v1/namespaces/{RISK}/pods/notebook/{command}")


def test_one_person_can_work_for_two_tenants(
    plane: ControlPlane, applied: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    with person(plane, tmp_path, "noor", engineers_group("risk"), viewers_group("retail")) as both:
        assert may(both, "create", "jobs", RISK, group="batch")
        assert may(both, "list", "jobs", RETAIL, group="batch")
        assert not may(both, "create", "jobs", RETAIL, group="batch")


def test_a_viewer_only_reads(viewer: ApiClient) -> None:
    granted = rights(viewer, RISK)
    assert granted["pods"] == READ
    assert {verb for verbs in granted.values() for verb in verbs} == READ
    assert "secrets" not in granted
    assert not [resource for resource in granted if "/" in resource]
    viewer.get(f"/api/v1/namespaces/{RISK}/pods")
    refused(viewer, "POST", f"/api/v1/namespaces/{RISK}/pods", pod("mine"))
    refused(viewer, "GET", f"/api/v1/namespaces/{RISK}/pods/any/log")
    refused(viewer, "GET", f"/api/v1/namespaces/{RETAIL}/pods")


# -- what automation may do


def test_automation_starts_jobs_with_the_token_of_its_account(
    plane: ControlPlane, admin: ApiClient, applied: dict[str, dict[str, Any]]
) -> None:
    token = admin.create(f"/api/v1/namespaces/{RISK}/serviceaccounts/automation/token", {"spec": {}})
    bearer = str(token["status"]["token"])
    job = {
        "metadata": {"name": "nightly"},
        "spec": {"template": {"spec": pod("unused")["spec"] | {"restartPolicy": "Never"}}},
    }

    def asked(method: str, path: str, body: dict[str, Any] | None = None) -> int:
        return status_with_token(plane, bearer, method, path, body)

    assert asked("POST", f"/apis/batch/v1/namespaces/{RISK}/jobs?dryRun=All", job) == 201
    assert asked("GET", f"/api/v1/namespaces/{RISK}/pods") == 200
    assert asked("POST", f"/apis/batch/v1/namespaces/{RETAIL}/jobs?dryRun=All", job) == 403
    assert asked("POST", f"/api/v1/namespaces/{RISK}/pods?dryRun=All", pod("direct")) == 403
    assert asked("GET", f"/api/v1/namespaces/{RISK}/secrets") == 403


def test_a_pod_gets_no_token_that_it_did_not_ask_for(admin: ApiClient, applied: dict[str, dict[str, Any]]) -> None:
    for account in ("workbench", "automation"):
        made = admin.create(f"/api/v1/namespaces/{RISK}/pods?dryRun=All", pod("p", serviceAccountName=account))
        assert "volumes" not in made["spec"], account
