"""Whole programs with the official SDK and the embedded engine on a real API server.

Guards: a second run that changes something, drift that nobody finds, a server that dies in the middle.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from falaj.cluster.api import ApiClient
from falaj.cluster.control_plane import ControlPlane, Options
from falaj.cluster.errors import ApiError
from falaj.engine.errors import DeploymentError
from tests.support.control_plane import built
from tests.support.kubernetes_lifecycle import APPS, path
from tests.support.kubernetes_program import KubernetesProgram

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(240)]

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
    before = admin.get(path("configmaps", namespace="tenant"))["items"]
    program.config["threshold"] = "0.9"
    assert program.run("up") == {"replace": 1, "update": 1}
    after = admin.get(path("configmaps", namespace="tenant"))["items"]
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
