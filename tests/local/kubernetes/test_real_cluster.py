"""The cluster back end and a whole program on a real API server, with real controllers and a real scheduler.

Guards what only they decide: ownership of fields, defaults, admission, rollouts, what a deletion waits for.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from falaj.cluster.api import ApiClient
from falaj.cluster.control_plane import ControlPlane, Options
from falaj.cluster.errors import ApiError
from falaj.cluster.kwok import fake_node
from falaj.engine.errors import DeploymentError
from falaj.engine.provider import Changes, InitializationError, ProviderError
from falaj.engine.values import UNKNOWN
from falaj.local.kubernetes.kinds import kind_of
from falaj.local.kubernetes.provider import KubernetesProvider
from tests.support.control_plane import built, running
from tests.support.kubernetes_lifecycle import Resource, config_map, crd, deployment, pod_template, provider
from tests.support.kubernetes_manifests import INVALID, VALID, broken, named
from tests.support.kubernetes_program import KubernetesProgram

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(240)]

CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
CRD = "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
NAMESPACE = "kubernetes:core/v1:Namespace"
WIDGET = "kubernetes:falaj.test/v1:Widget"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with running(tmp_path_factory.mktemp("cluster"), Options(autoscaler=False)) as (made, _):
        with made.client() as client:
            client.create("/api/v1/nodes", fake_node("node-1"))
        yield made


@pytest.fixture
def admin(plane: ControlPlane) -> Iterator[ApiClient]:
    with plane.client() as client:
        yield client


@pytest.fixture(scope="module")
def applying(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> KubernetesProvider:
    made = provider(tmp_path_factory.mktemp("falaj"), kubeconfig=str(plane.layout.kubeconfig))
    Resource(made, NAMESPACE, "ml").create({"metadata": {"name": "ml"}})
    return made


def path(plural: str, name: str, group: str = "api/v1", namespace: str = "ml") -> str:
    return f"/{group}/namespaces/{namespace}/{plural}/{name}"


APPS = "apis/apps/v1"


def test_a_deployment_rolls_out_settles_and_goes(applying: KubernetesProvider, admin: ApiClient) -> None:
    api = Resource(applying, DEPLOYMENT, "api").create(deployment(2, name="api"))
    assert api.id == "ml/api"
    assert api.outputs["status"]["availableReplicas"] == 2
    assert api.diff(deployment(2, name="api")).changes is Changes.NONE
    api.update(deployment(3, name="api", image="registry.local/api@sha256:1"))
    assert api.outputs["status"]["updatedReplicas"] == 3
    assert api.refresh()
    assert api.diff(deployment(3, name="api", image="registry.local/api@sha256:1")).changes is Changes.NONE
    api.delete()
    assert admin.find(path("deployments", "api", APPS)) is None
    owned = admin.get(f"{path('pods', '', 'api/v1').rstrip('/')}?labelSelector=app%3Dapi")
    assert owned["items"] == [], "a deletion waits for what it owns"
    assert not api.refresh()


def test_a_preview_shows_what_the_server_would_make_and_makes_nothing(
    applying: KubernetesProvider, admin: ApiClient
) -> None:
    seen = Resource(applying, DEPLOYMENT, "dry").preview(deployment(1, name="dry"))
    assert seen["spec"]["strategy"]["type"] == "RollingUpdate", "the server's own default"
    assert admin.find(path("deployments", "dry", APPS)) is None


def test_a_preview_finds_what_the_server_would_reject(applying: KubernetesProvider) -> None:
    wrong = deployment(1, name="wrong")
    wrong["spec"]["template"]["metadata"]["labels"] = {"app": "another"}
    with pytest.raises(ProviderError, match=r"Deployment ml/wrong .*preview: .*selector.* does not match"):
        Resource(applying, DEPLOYMENT, "wrong").preview(wrong)


def test_a_field_that_the_api_does_not_have_is_rejected(applying: KubernetesProvider) -> None:
    wrong = deployment(1, name="wrong")
    wrong["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Always"
    with pytest.raises(ProviderError, match=r"imagePulPolicy"):
        Resource(applying, DEPLOYMENT, "wrong").create(wrong)


def test_a_preview_in_a_namespace_of_the_same_run_echoes_its_inputs(applying: KubernetesProvider) -> None:
    inputs = {**config_map({"a": "1"}), "metadata": {"name": "c", "namespace": "not-there-yet"}}
    assert Resource(applying, CONFIG_MAP, "early").preview(inputs)["data"] == {"a": "1"}


def test_a_conflict_names_the_other_manager_until_it_is_forced(applying: KubernetesProvider, admin: ApiClient) -> None:
    settings = Resource(applying, CONFIG_MAP, "contested").create(config_map({"a": "1"}, "contested"))
    taken = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "contested"}, "data": {"a": "theirs"}}
    admin.apply(path("configmaps", "contested"), taken, manager="gitops")
    with pytest.raises(ProviderError, match=r'data\.a is owned by "gitops".*patchForce'):
        settings.update(config_map({"a": "2"}, "contested"))
    forced = config_map({"a": "2"}, "contested")
    forced["metadata"]["annotations"] = {"pulumi.com/patchForce": "true"}
    settings.update(forced)
    assert admin.get(path("configmaps", "contested"))["data"] == {"a": "2"}
    settings.delete()


def test_replicas_that_an_autoscaler_sets_are_left_to_it_where_changes_are_ignored(
    applying: KubernetesProvider, admin: ApiClient
) -> None:
    api = Resource(applying, DEPLOYMENT, "scaled").create(deployment(1, name="scaled"))
    scale = path("deployments", "scaled", APPS) + "/scale"
    admin.request("PATCH", scale, {"spec": {"replicas": 3}}, content_type="application/merge-patch+json")
    newer = api.check(deployment(1, name="scaled", image="registry.local/api@sha256:1"))
    with pytest.raises(ProviderError, match=r"spec\.replicas is owned by"):
        applying.update(api.urn, api.type, api.id, api.inputs, api.outputs, newer, 60, (), False)
    outputs = applying.update(api.urn, api.type, api.id, api.inputs, api.outputs, newer, 60, ("spec.replicas",), False)
    assert outputs["spec"]["replicas"] == 3
    live = admin.get(path("deployments", "scaled", APPS))["spec"]
    assert (live["replicas"], live["template"]["spec"]["containers"][0]["image"]) == (3, "registry.local/api@sha256:1")
    api.delete()


def test_a_field_that_is_no_longer_declared_goes(applying: KubernetesProvider, admin: ApiClient) -> None:
    settings = Resource(applying, CONFIG_MAP, "shrinking").create(config_map({"a": "1", "b": "2"}, "shrinking"))
    settings.update(config_map({"a": "1"}, "shrinking"))
    assert admin.get(path("configmaps", "shrinking"))["data"] == {"a": "1"}
    settings.delete()


def test_a_former_field_manager_owns_nothing_any_more(applying: KubernetesProvider, admin: ApiClient) -> None:
    settings = Resource(applying, CONFIG_MAP, "handed").create(config_map({"a": "1", "b": "2"}, "handed"))
    inputs = config_map({"a": "1"}, "handed")
    inputs["metadata"]["annotations"] = {"pulumi.com/patchFieldManager": "gitops"}
    settings.update(inputs)
    live = admin.get(path("configmaps", "handed"))
    assert [entry["manager"] for entry in live["metadata"]["managedFields"]] == ["gitops"]
    assert live["data"] == {"a": "1"}
    settings.delete()


def test_somebody_elses_object_is_not_taken_over(applying: KubernetesProvider, admin: ApiClient) -> None:
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}, "data": {"a": "1"}}
    admin.apply(path("configmaps", "theirs"), theirs, manager="gitops")
    with pytest.raises(ProviderError, match="exists already"):
        Resource(applying, CONFIG_MAP, "theirs").create(config_map({"a": "2"}, "theirs"))
    assert admin.get(path("configmaps", "theirs"))["data"] == {"a": "1"}


def test_a_quota_that_refuses_a_pod_is_the_reason_that_is_told(applying: KubernetesProvider, admin: ApiClient) -> None:
    Resource(applying, NAMESPACE, "tight").create({"metadata": {"name": "tight"}})
    quota = {"metadata": {"name": "none", "namespace": "tight"}, "spec": {"hard": {"pods": "0"}}}
    Resource(applying, "kubernetes:core/v1:ResourceQuota", "none").create(quota)
    refused = deployment(1, name="refused")
    refused["metadata"]["namespace"] = "tight"
    with pytest.raises(InitializationError) as caught:
        Resource(applying, DEPLOYMENT, "refused").create(refused, timeout_seconds=5)
    assert "exceeded quota: none" in " ".join(caught.value.reasons)
    assert caught.value.id == "tight/refused"


def test_a_pod_that_no_node_takes_is_the_reason_that_is_told(applying: KubernetesProvider) -> None:
    stuck = deployment(1, name="stuck")
    stuck["spec"]["template"]["spec"]["nodeSelector"] = {"gpu": "none"}
    resource = Resource(applying, DEPLOYMENT, "stuck")
    with pytest.raises(InitializationError) as caught:
        resource.create(stuck, timeout_seconds=3)
    assert "node affinity/selector" in " ".join(caught.value.reasons)
    resource.id, resource.inputs, resource.outputs = caught.value.id, resource.check(stuck), dict(caught.value.outputs)
    resource.delete()


def test_a_definition_and_an_object_of_its_kind_can_follow_each_other(applying: KubernetesProvider) -> None:
    inputs = {"metadata": {"name": "w", "namespace": "ml"}, "spec": {"size": 3, "anything": {"goes": True}}}
    assert Resource(applying, WIDGET, "w").preview(inputs)["spec"] == inputs["spec"], "its kind is not served yet"
    definition = Resource(applying, CRD, "widgets").create(crd())
    schema = definition.outputs["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema["properties"]["spec"]["x_kubernetes_preserve_unknown_fields"] is True
    assert definition.refresh()
    assert definition.diff(crd()).changes is Changes.NONE
    widget = Resource(applying, WIDGET, "w").create(inputs)
    assert widget.refresh()
    assert widget.diff(inputs).changes is Changes.NONE
    definition.delete()
    assert not widget.refresh(), "an object goes with its definition"
    widget.delete()


def test_a_job_is_ready_when_it_has_completed(applying: KubernetesProvider) -> None:
    template = pod_template()
    template["spec"]["restartPolicy"] = "Never"
    inputs = {
        "metadata": {"name": "train", "namespace": "ml"},
        "spec": {"template": template, "completions": 2, "parallelism": 2, "completionMode": "Indexed"},
    }
    job = Resource(applying, "kubernetes:batch/v1:Job", "train").create(inputs, timeout_seconds=60)
    assert job.outputs["status"]["succeeded"] == 2
    assert job.diff(inputs).changes is Changes.NONE
    job.delete()


def test_a_stateful_set_is_ready_when_every_replica_is(applying: KubernetesProvider) -> None:
    inputs = {
        "metadata": {"name": "db", "namespace": "ml"},
        "spec": {
            "serviceName": "db",
            "replicas": 2,
            "selector": {"matchLabels": {"app": "api"}},
            "template": pod_template(),
        },
    }
    database = Resource(applying, "kubernetes:apps/v1:StatefulSet", "db").create(inputs, timeout_seconds=60)
    assert database.outputs["status"]["readyReplicas"] == 2
    assert database.refresh()
    assert database.diff(inputs).changes is Changes.NONE
    database.delete()


def test_a_deleted_namespace_is_gone_with_all_that_was_in_it(applying: KubernetesProvider, admin: ApiClient) -> None:
    home = Resource(applying, NAMESPACE, "short").create({"metadata": {"name": "short"}})
    inside = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "inside"}}
    admin.apply(path("configmaps", "inside", namespace="short"), inside)
    home.delete()
    assert admin.find("/api/v1/namespaces/short") is None
    assert admin.find(path("configmaps", "inside", namespace="short")) is None


def test_what_the_api_server_defaults_or_normalises_is_no_drift(applying: KubernetesProvider) -> None:
    cases: dict[str, dict[str, Any]] = {
        "kubernetes:core/v1:ResourceQuota": {"spec": {"hard": {"requests.cpu": "4000m", "requests.memory": "1024Mi"}}},
        "kubernetes:core/v1:LimitRange": {
            "spec": {"limits": [{"type": "Container", "default": {"cpu": 1}, "defaultRequest": {"cpu": "0.1"}}]}
        },
        "kubernetes:core/v1:Service": {"spec": {"selector": {"app": "api"}, "ports": [{"port": 80}]}},
        "kubernetes:core/v1:Secret": {"stringData": {"password": "correct-horse"}},
        "kubernetes:networking.k8s.io/v1:NetworkPolicy": {
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": []}
        },
        "kubernetes:policy/v1:PodDisruptionBudget": {
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "api"}}}
        },
        "kubernetes:autoscaling/v2:HorizontalPodAutoscaler": {
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"},
                "maxReplicas": 3,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
                    }
                ],
            }
        },
        "kubernetes:core/v1:ServiceAccount": {"automountServiceAccountToken": False},
        "kubernetes:rbac.authorization.k8s.io/v1:Role": {
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
        },
        "kubernetes:core/v1:PersistentVolumeClaim": {
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}
        },
        "kubernetes:batch/v1:CronJob": {
            "spec": {
                "schedule": "0 0 1 1 *",
                "jobTemplate": {"spec": {"template": {"spec": {**pod_template()["spec"], "restartPolicy": "Never"}}}},
            }
        },
    }
    drifted = {}
    for type, given in cases.items():
        inputs = {"metadata": {"name": "settled", "namespace": "ml"}, **given}
        resource = Resource(applying, type, "settled").create(inputs)
        assert resource.refresh()
        result = resource.diff(inputs)
        if result.changes is not Changes.NONE:
            drifted[type] = list(result.detailed or ())
        resource.delete()
    assert drifted == {}


def test_data_that_the_server_makes_of_a_secret_is_secret(applying: KubernetesProvider) -> None:
    inputs = {"metadata": {"name": "token", "namespace": "ml"}, "stringData": {"password": "correct-horse"}}
    secret = Resource(applying, "kubernetes:core/v1:Secret", "token").create(inputs)
    assert secret.outputs["data"].value == {"password": "Y29ycmVjdC1ob3JzZQ=="}
    assert "Y29ycmVjdC1ob3JzZQ" not in repr(secret.outputs) + repr(secret.inputs)
    assert secret.refresh()
    assert "Y29ycmVjdC1ob3JzZQ" not in repr(secret.outputs) + repr(secret.inputs)
    secret.delete()


BUILT_IN = [type for type in VALID if kind_of(type).is_builtin]


@pytest.mark.parametrize("type", BUILT_IN)
def test_what_render_accepts_a_real_server_accepts(applying: KubernetesProvider, type: str) -> None:
    seen = Resource(applying, type, "accepted").preview(named(VALID[type], "accepted"))
    assert seen["metadata"]["uid"] is UNKNOWN, "the server was asked"


# The server takes a LimitRange without limits, though its own schema asks for them; it is not asked about another
# version; and a namespace that cannot be is one that is not there.
NOT_REFUSED = ("spec/limits", "apiVersion", "metadata/namespace")
REFUSED = [case[:3] for case in INVALID if kind_of(case[0]).is_builtin and case[1] not in NOT_REFUSED]


@pytest.mark.parametrize(("type", "path", "value"), REFUSED)
def test_what_render_refuses_a_real_server_refuses(
    applying: KubernetesProvider, type: str, path: str, value: Any
) -> None:
    with pytest.raises(ProviderError, match="preview"):
        Resource(applying, type, "refused").preview(broken(type, path, value))


PROGRAM = """
import json
cluster = k8s.Provider("cluster", kubeconfig=pulumi.Config().require("kubeconfig"))
mine = Opts(provider=cluster)
ns = k8s.core.v1.Namespace("tenant", metadata=ObjectMetaArgs(name="tenant"), opts=mine)
home = ns.metadata.name
settings = k8s.core.v1.ConfigMap(
    "settings", metadata=ObjectMetaArgs(namespace=home),
    data={"threshold": pulumi.Config().get("threshold") or "0.5"}, opts=mine,
)
api = k8s.apps.v1.Deployment(
    "api",
    metadata=ObjectMetaArgs(name="api", namespace=home),
    spec={
        "replicas": 1,
        "selector": {"match_labels": {"app": "api"}},
        "template": {
            "metadata": {"labels": {"app": "api"}},
            "spec": {
                "containers": [{
                    "name": "api",
                    "image": "registry.local/api@sha256:0",
                    "env_from": [{"config_map_ref": {"name": settings.metadata.name}}],
                }]
            },
        },
    },
    opts=mine,
)
crd = k8s.apiextensions.v1.CustomResourceDefinition(
    "gadgets",
    metadata={"name": "gadgets.falaj.test"},
    spec={
        "group": "falaj.test",
        "scope": "Namespaced",
        "names": {"plural": "gadgets", "kind": "Gadget"},
        "versions": [{
            "name": "v1", "served": True, "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object", "x_kubernetes_preserve_unknown_fields": True}},
        }],
    },
    opts=mine,
)
k8s.apiextensions.CustomResource(
    "gadget", api_version="falaj.test/v1", kind="Gadget", metadata={"name": "g", "namespace": home},
    spec={"size": 1}, opts=Opts(provider=cluster, depends_on=[crd]),
)
pulumi.export("uid", api.metadata.uid)
pulumi.export("available", api.status.available_replicas)
"""


def test_a_program_lives_its_whole_life_on_a_real_server(plane: ControlPlane, admin: ApiClient, tmp_path: Path) -> None:
    program = KubernetesProgram(tmp_path / "project", {"kubeconfig": str(plane.layout.kubeconfig)})
    program.write(PROGRAM)
    assert program.run("preview") == {"create": 7}
    assert admin.find("/api/v1/namespaces/tenant") is None

    assert program.run("up") == {"create": 7}
    outputs = program.stack.outputs()
    assert outputs["available"] == 1
    assert admin.get(path("deployments", "api", APPS, "tenant"))["metadata"]["uid"] == outputs["uid"]
    assert admin.get(path("gadgets", "g", "apis/falaj.test/v1", "tenant"))["spec"] == {"size": 1}
    assert program.run("up") == {}
    assert program.run("refresh") == {}
    assert program.run("up", refresh=True) == {}

    # Deleted by hand: found by refresh, and repaired.
    admin.delete(path("deployments", "api", APPS, "tenant"))
    assert program.run("up") == {}, "nobody looked"
    assert program.run("up", refresh=True) == {"create": 1}
    assert admin.get(path("deployments", "api", APPS, "tenant"))["spec"]["replicas"] == 1

    # A new ConfigMap takes the place of the old one after the Deployment has rolled over.
    before = admin.get(path("configmaps", "", namespace="tenant").rstrip("/"))["items"]
    program.config["threshold"] = "0.9"
    assert program.run("up") == {"replace": 1, "update": 1}
    after = admin.get(path("configmaps", "", namespace="tenant").rstrip("/"))["items"]
    data = [item["data"] for item in after if item["metadata"]["name"].startswith("settings-")]
    assert data == [{"threshold": "0.9"}]
    assert {item["metadata"]["name"] for item in before} != {item["metadata"]["name"] for item in after}

    program.run("destroy")
    assert admin.find("/api/v1/namespaces/tenant") is None
    assert admin.find("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.falaj.test") is None
    assert program.resources() == {}


def test_a_manifest_that_the_server_rejects_fails_the_run_in_the_servers_words(
    plane: ControlPlane, tmp_path: Path
) -> None:
    text = """
cluster = k8s.Provider("cluster", kubeconfig=pulumi.Config().require("kubeconfig"))
k8s.core.v1.Service(
    "api", metadata={"name": "api", "namespace": "default"},
    spec={"ports": [{"port": 99999}]}, opts=Opts(provider=cluster),
)
"""
    program = KubernetesProgram(tmp_path / "project", {"kubeconfig": str(plane.layout.kubeconfig)})
    with pytest.raises(DeploymentError):
        program.run("up", text)
    assert 'Service default/api (resource "api"' in program.errors()
    assert "must be between 1 and 65535" in program.errors()
    with pytest.raises(ApiError), plane.client() as client:
        client.get(path("services", "api", namespace="default"))


def test_a_server_that_another_authority_vouches_for_is_not_trusted(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = json.loads(plane.layout.kubeconfig.read_text())
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody else")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    other = (
        builder.not_valid_before(datetime(2020, 1, 1))
        .not_valid_after(datetime(2100, 1, 1))
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = other.public_bytes(serialization.Encoding.PEM)
    text["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(pem).decode()
    made = provider(tmp_path_factory.mktemp("falaj"), kubeconfig=json.dumps(text))
    with pytest.raises(ProviderError, match="cannot be trusted"):
        Resource(made, CONFIG_MAP, "spied").create(config_map({"a": "1"}, "spied"))


def test_state_of_a_real_cluster_holds_what_the_official_plugin_needs(
    applying: KubernetesProvider,
) -> None:
    settings = Resource(applying, CONFIG_MAP, "shape").create(config_map({"a": "1"}, "shape"))
    assert settings.outputs["__initialApiVersion"] == "v1"
    assert settings.outputs["__inputs"] == settings.inputs
    assert settings.outputs["metadata"]["uid"] and settings.outputs["metadata"]["resourceVersion"]
    assert "__falaj" not in settings.outputs, "nothing stands in for the cluster"
    json.dumps(settings.outputs)
    settings.delete()


KILLED = """
cluster = k8s.Provider("cluster", kubeconfig=pulumi.Config().require("kubeconfig"))
mine = Opts(provider=cluster)
k8s.core.v1.Namespace("doomed", metadata={"name": "doomed"}, opts=mine)
k8s.apps.v1.Deployment(
    "api",
    metadata={"name": "api", "namespace": "doomed"},
    spec={
        "selector": {"match_labels": {"app": "api"}},
        "template": {
            "metadata": {"labels": {"app": "api"}},
            "spec": {
                "node_selector": {"disk": pulumi.Config().get("disk") or "none"},
                "containers": [{"name": "api", "image": "registry.local/api@sha256:0"}],
            },
        },
    },
    opts=mine,
)
"""


def test_an_apiserver_killed_in_the_middle_of_an_up_costs_a_second_up_and_nothing_else(
    plane: ControlPlane, tmp_path: Path
) -> None:
    program = KubernetesProgram(tmp_path / "project", {"kubeconfig": str(plane.layout.kubeconfig)})
    program.write(KILLED)
    failures: list[DeploymentError] = []

    def up() -> None:
        try:
            program.run("up")
        except DeploymentError as error:
            failures.append(error)

    running_up = threading.Thread(target=up)
    running_up.start()
    with plane.client() as client:
        # The Deployment waits for a node that does not exist: the run is in its middle for sure.
        client.wait_for(
            path("deployments", "api", APPS, "doomed"), lambda _: True, timeout_seconds=60, what="no Deployment"
        )
    status = plane.status()
    assert status is not None
    [server] = [process for process in status.processes if process.name == "kube-apiserver"]
    os.kill(server.pid, signal.SIGKILL)
    running_up.join(60)
    assert failures
    assert "no API server answers at https://127.0.0.1:" in program.errors()
    assert program.resources()["api"].init_errors, "the object is known, and known not to be ready"

    plane.up(built(), Options(autoscaler=False))
    with plane.client() as client:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1", "labels": {"disk": "fast"}}}
        client.apply("/api/v1/nodes/node-1", node)
    program.config["disk"] = "fast"
    assert program.run("up") == {"update": 1}
    assert program.run("up") == {}
    assert not program.resources()["api"].init_errors
    program.run("destroy")
