"""The cluster back end on a real API server, with real controllers and a real scheduler.

Guards what only they decide: ownership of fields, defaults, admission, rollouts, what a deletion waits for.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from falaj.cluster.api import ApiClient
from falaj.cluster.control_plane import ControlPlane
from falaj.engine.provider import Changes, InitializationError, ProviderError
from falaj.local.kubernetes.provider import KubernetesProvider
from tests.support.kubernetes_lifecycle import APPS, Resource, config_map, crd, deployment, path, pod_template, provider

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(240)]

CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
CRD = "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
NAMESPACE = "kubernetes:core/v1:Namespace"
WIDGET = "kubernetes:falaj.test/v1:Widget"


def test_a_deployment_rolls_out_settles_and_goes(on_cluster: KubernetesProvider, admin: ApiClient) -> None:
    api = Resource(on_cluster, DEPLOYMENT, "api").create(deployment(2, name="api"))
    assert api.id == "ml/api"
    assert api.outputs["status"]["availableReplicas"] == 2
    assert api.diff(deployment(2, name="api")).changes is Changes.NONE
    api.update(deployment(3, name="api", image="registry.local/api@sha256:1"))
    assert api.outputs["status"]["updatedReplicas"] == 3
    assert api.refresh()
    assert api.diff(deployment(3, name="api", image="registry.local/api@sha256:1")).changes is Changes.NONE
    api.delete()
    assert admin.find(path("deployments", "api", APPS)) is None
    owned = admin.get(f"{path('pods')}?labelSelector=app%3Dapi")
    assert owned["items"] == [], "a deletion waits for what it owns"
    assert not api.refresh()


def test_a_preview_shows_what_the_server_would_make_and_makes_nothing(
    on_cluster: KubernetesProvider, admin: ApiClient
) -> None:
    seen = Resource(on_cluster, DEPLOYMENT, "dry").preview(deployment(1, name="dry"))
    assert seen["spec"]["strategy"]["type"] == "RollingUpdate", "the server's own default"
    assert admin.find(path("deployments", "dry", APPS)) is None


def test_a_preview_finds_what_the_server_would_reject(on_cluster: KubernetesProvider) -> None:
    wrong = deployment(1, name="wrong")
    wrong["spec"]["template"]["metadata"]["labels"] = {"app": "another"}
    with pytest.raises(ProviderError, match=r"Deployment ml/wrong .*preview: .*selector.* does not match"):
        Resource(on_cluster, DEPLOYMENT, "wrong").preview(wrong)


def test_a_field_that_the_api_does_not_have_is_rejected(on_cluster: KubernetesProvider) -> None:
    wrong = deployment(1, name="wrong")
    wrong["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Always"
    with pytest.raises(ProviderError, match=r"imagePulPolicy"):
        Resource(on_cluster, DEPLOYMENT, "wrong").create(wrong)


def test_a_preview_in_a_namespace_of_the_same_run_echoes_its_inputs(on_cluster: KubernetesProvider) -> None:
    inputs = {**config_map({"a": "1"}), "metadata": {"name": "c", "namespace": "not-there-yet"}}
    assert Resource(on_cluster, CONFIG_MAP, "early").preview(inputs)["data"] == {"a": "1"}


def test_a_conflict_names_the_other_manager_until_it_is_forced(
    on_cluster: KubernetesProvider, admin: ApiClient
) -> None:
    settings = Resource(on_cluster, CONFIG_MAP, "contested").create(config_map({"a": "1"}, "contested"))
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
    on_cluster: KubernetesProvider, admin: ApiClient
) -> None:
    api = Resource(on_cluster, DEPLOYMENT, "scaled").create(deployment(1, name="scaled"))
    scale = path("deployments", "scaled", APPS) + "/scale"
    admin.request("PATCH", scale, {"spec": {"replicas": 3}}, content_type="application/merge-patch+json")
    newer = api.check(deployment(1, name="scaled", image="registry.local/api@sha256:1"))
    with pytest.raises(ProviderError, match=r"spec\.replicas is owned by"):
        on_cluster.update(api.urn, api.type, api.id, api.inputs, api.outputs, newer, 60, (), False)
    outputs = on_cluster.update(
        api.urn, api.type, api.id, api.inputs, api.outputs, newer, 60, ("spec.replicas",), False
    )
    assert outputs["spec"]["replicas"] == 3
    live = admin.get(path("deployments", "scaled", APPS))["spec"]
    assert (live["replicas"], live["template"]["spec"]["containers"][0]["image"]) == (3, "registry.local/api@sha256:1")
    api.delete()


def test_a_field_that_is_no_longer_declared_goes(on_cluster: KubernetesProvider, admin: ApiClient) -> None:
    settings = Resource(on_cluster, CONFIG_MAP, "shrinking").create(config_map({"a": "1", "b": "2"}, "shrinking"))
    settings.update(config_map({"a": "1"}, "shrinking"))
    assert admin.get(path("configmaps", "shrinking"))["data"] == {"a": "1"}
    settings.delete()


def test_a_former_field_manager_owns_nothing_any_more(on_cluster: KubernetesProvider, admin: ApiClient) -> None:
    settings = Resource(on_cluster, CONFIG_MAP, "handed").create(config_map({"a": "1", "b": "2"}, "handed"))
    inputs = config_map({"a": "1"}, "handed")
    inputs["metadata"]["annotations"] = {"pulumi.com/patchFieldManager": "gitops"}
    settings.update(inputs)
    live = admin.get(path("configmaps", "handed"))
    assert [entry["manager"] for entry in live["metadata"]["managedFields"]] == ["gitops"]
    assert live["data"] == {"a": "1"}
    settings.delete()


def test_somebody_elses_object_is_not_taken_over(on_cluster: KubernetesProvider, admin: ApiClient) -> None:
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}, "data": {"a": "1"}}
    admin.apply(path("configmaps", "theirs"), theirs, manager="gitops")
    with pytest.raises(ProviderError, match="exists already"):
        Resource(on_cluster, CONFIG_MAP, "theirs").create(config_map({"a": "2"}, "theirs"))
    assert admin.get(path("configmaps", "theirs"))["data"] == {"a": "1"}


def test_a_quota_that_refuses_a_pod_is_the_reason_that_is_told(
    on_cluster: KubernetesProvider, admin: ApiClient
) -> None:
    Resource(on_cluster, NAMESPACE, "tight").create({"metadata": {"name": "tight"}})
    quota = {"metadata": {"name": "none", "namespace": "tight"}, "spec": {"hard": {"pods": "0"}}}
    Resource(on_cluster, "kubernetes:core/v1:ResourceQuota", "none").create(quota)
    refused = deployment(1, name="refused")
    refused["metadata"]["namespace"] = "tight"
    with pytest.raises(InitializationError) as caught:
        Resource(on_cluster, DEPLOYMENT, "refused").create(refused, timeout_seconds=5)
    assert "exceeded quota: none" in " ".join(caught.value.reasons)
    assert caught.value.id == "tight/refused"


def test_a_pod_that_no_node_takes_is_the_reason_that_is_told(on_cluster: KubernetesProvider) -> None:
    stuck = deployment(1, name="stuck")
    stuck["spec"]["template"]["spec"]["nodeSelector"] = {"gpu": "none"}
    resource = Resource(on_cluster, DEPLOYMENT, "stuck")
    with pytest.raises(InitializationError) as caught:
        resource.create(stuck, timeout_seconds=3)
    assert "node affinity/selector" in " ".join(caught.value.reasons)
    resource.id, resource.inputs, resource.outputs = caught.value.id, resource.check(stuck), dict(caught.value.outputs)
    resource.delete()


def test_a_definition_and_an_object_of_its_kind_can_follow_each_other(on_cluster: KubernetesProvider) -> None:
    inputs = {"metadata": {"name": "w", "namespace": "ml"}, "spec": {"size": 3, "anything": {"goes": True}}}
    assert Resource(on_cluster, WIDGET, "w").preview(inputs)["spec"] == inputs["spec"], "its kind is not served yet"
    definition = Resource(on_cluster, CRD, "widgets").create(crd())
    schema = definition.outputs["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema["properties"]["spec"]["x_kubernetes_preserve_unknown_fields"] is True
    assert definition.refresh()
    assert definition.diff(crd()).changes is Changes.NONE
    widget = Resource(on_cluster, WIDGET, "w").create(inputs)
    assert widget.refresh()
    assert widget.diff(inputs).changes is Changes.NONE
    definition.delete()
    assert not widget.refresh(), "an object goes with its definition"
    widget.delete()


def test_a_job_is_ready_when_it_has_completed(on_cluster: KubernetesProvider) -> None:
    template = pod_template()
    template["spec"]["restartPolicy"] = "Never"
    inputs = {
        "metadata": {"name": "train", "namespace": "ml"},
        "spec": {"template": template, "completions": 2, "parallelism": 2, "completionMode": "Indexed"},
    }
    job = Resource(on_cluster, "kubernetes:batch/v1:Job", "train").create(inputs, timeout_seconds=60)
    assert job.outputs["status"]["succeeded"] == 2
    assert job.diff(inputs).changes is Changes.NONE
    job.delete()


def test_a_stateful_set_is_ready_when_every_replica_is(on_cluster: KubernetesProvider) -> None:
    inputs = {
        "metadata": {"name": "db", "namespace": "ml"},
        "spec": {
            "serviceName": "db",
            "replicas": 2,
            "selector": {"matchLabels": {"app": "api"}},
            "template": pod_template(),
        },
    }
    database = Resource(on_cluster, "kubernetes:apps/v1:StatefulSet", "db").create(inputs, timeout_seconds=60)
    assert database.outputs["status"]["readyReplicas"] == 2
    assert database.refresh()
    assert database.diff(inputs).changes is Changes.NONE
    database.delete()


def test_a_deleted_namespace_is_gone_with_all_that_was_in_it(on_cluster: KubernetesProvider, admin: ApiClient) -> None:
    home = Resource(on_cluster, NAMESPACE, "short").create({"metadata": {"name": "short"}})
    inside = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "inside"}}
    admin.apply(path("configmaps", "inside", namespace="short"), inside)
    home.delete()
    assert admin.find("/api/v1/namespaces/short") is None
    assert admin.find(path("configmaps", "inside", namespace="short")) is None


def test_what_the_api_server_defaults_or_normalises_is_no_drift(on_cluster: KubernetesProvider) -> None:
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
        resource = Resource(on_cluster, type, "settled").create(inputs)
        assert resource.refresh()
        result = resource.diff(inputs)
        if result.changes is not Changes.NONE:
            drifted[type] = list(result.detailed or ())
        resource.delete()
    assert drifted == {}


def test_data_that_the_server_makes_of_a_secret_is_secret(on_cluster: KubernetesProvider) -> None:
    inputs = {"metadata": {"name": "token", "namespace": "ml"}, "stringData": {"password": "correct-horse"}}
    secret = Resource(on_cluster, "kubernetes:core/v1:Secret", "token").create(inputs)
    assert secret.outputs["data"].value == {"password": "Y29ycmVjdC1ob3JzZQ=="}
    assert "Y29ycmVjdC1ob3JzZQ" not in repr(secret.outputs) + repr(secret.inputs)
    assert secret.refresh()
    assert "Y29ycmVjdC1ob3JzZQ" not in repr(secret.outputs) + repr(secret.inputs)
    secret.delete()


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
    on_cluster: KubernetesProvider,
) -> None:
    settings = Resource(on_cluster, CONFIG_MAP, "shape").create(config_map({"a": "1"}, "shape"))
    assert settings.outputs["__initialApiVersion"] == "v1"
    assert settings.outputs["__inputs"] == settings.inputs
    assert settings.outputs["metadata"]["uid"] and settings.outputs["metadata"]["resourceVersion"]
    assert "__falaj" not in settings.outputs, "nothing stands in for the cluster"
    json.dumps(settings.outputs)
    settings.delete()
