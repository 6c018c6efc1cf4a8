"""The platform layer of the stack `local` on a real control plane: applied, shown, repaired, taken down."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from falaj.cluster.api import ApiClient
from falaj.cluster.control_plane import ControlPlane
from tests.support.product import Product

pytestmark = pytest.mark.cluster

MLFLOW = "/apis/apps/v1/namespaces/falaj-platform/deployments/mlflow"


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A checkout whose control plane runs and whose stack was deployed once."""
    made = Product(tmp_path_factory.mktemp("cluster"))
    try:
        started = made.falaj("cluster", "up")
        assert started.returncode == 0, started.stderr
        made.deploy("up")
        yield made
    finally:
        made.falaj("cluster", "down", "--purge")
        made.falaj("local", "stop")


@pytest.fixture(scope="module")
def client(product: Product) -> Iterator[ApiClient]:
    with control_plane_of(product).client() as made:
        yield made


def control_plane_of(product: Product) -> ControlPlane:
    return ControlPlane(product.root / ".falaj" / "cluster")


def pods(client: ApiClient, namespace: str) -> list[dict[str, Any]]:
    found = client.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    assert isinstance(found, list)
    return found


def test_a_second_up_changes_nothing(product: Product, client: ApiClient) -> None:
    before = client.get(MLFLOW)["metadata"]
    again = product.deploy("up", "--expect-no-changes")
    assert set(again["changes"]) == {"same"}
    after = client.get(MLFLOW)["metadata"]
    assert (after["uid"], after["generation"]) == (before["uid"], before["generation"])


def test_the_platform_s_services_run_on_the_system_nodes(product: Product, client: ApiClient) -> None:
    running = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]: pod["spec"]["nodeName"]
        for pod in pods(client, "falaj-platform")
        if pod["status"]["phase"] == "Running"
    }
    assert {"mlflow", "router", "feature-server", "stream-processor", "lineage"} <= set(running)
    purposes = {
        node["metadata"]["name"]: node["metadata"]["labels"]["falaj.dev/purpose"]
        for node in client.get("/api/v1/nodes")["items"]
    }
    assert {purposes[node] for node in running.values()} == {"system"}


def test_karpenter_takes_the_blueprint_s_node_pools(product: Product, client: ApiClient) -> None:
    found = client.get("/apis/karpenter.sh/v1/nodepools")["items"]
    assert {pool["metadata"]["name"] for pool in found} == {"cpu", "cpu-spot", "gpu", "gpu-spot"}
    for pool in found:
        states = {each["type"]: each["status"] for each in pool["status"]["conditions"]}
        assert states["Ready"] == "True", pool["status"]


def test_what_was_deleted_by_hand_is_found_by_refresh_and_repaired(product: Product, client: ApiClient) -> None:
    client.delete(MLFLOW)
    refreshed = product.deploy("refresh")
    assert refreshed["changes"].get("delete") == 1
    assert client.find(MLFLOW) is None
    repaired = product.deploy("up")
    assert {op: n for op, n in repaired["changes"].items() if op != "same"} == {"create": 1}
    assert client.find(MLFLOW) is not None


def test_what_somebody_else_set_is_a_conflict_that_names_them(product: Product, client: ApiClient) -> None:
    body = {"spec": {"replicas": 0}}
    merge = "application/merge-patch+json"
    client.request("PATCH", f"{MLFLOW}?fieldManager=amal", body, content_type=merge)
    product.deploy("refresh")
    refused = product.deploy("up", expect=1)
    [conflict] = [line for line in refused["lines"] if "owned by" in str(line.get("message"))]
    assert 'spec.replicas is owned by "amal"' in conflict["message"]
    assert client.get(MLFLOW)["spec"]["replicas"] == 0
    client.delete(MLFLOW)
    product.deploy("refresh")
    product.deploy("up")
    assert client.get(MLFLOW)["spec"]["replicas"] == 1


def test_an_api_server_killed_in_the_middle_of_an_up_leaves_a_stack_that_the_next_one_finishes(
    product: Product, client: ApiClient
) -> None:
    for name in ("mlflow", "lineage", "router", "retraining"):
        client.delete(MLFLOW.replace("mlflow", name))
    settings = client.get("/api/v1/namespaces/falaj-platform/configmaps")["items"]
    [name] = [found["metadata"]["name"] for found in settings if found["metadata"]["name"].startswith("mlflow")]
    client.delete(f"/api/v1/namespaces/falaj-platform/configmaps/{name}")
    product.deploy("refresh")
    control_plane = control_plane_of(product)
    status = control_plane.status()
    assert status is not None
    pids = {process.name: process.pid for process in status.processes}
    # No deployment becomes ready while the scheduler is held: however fast the up is, it cannot end before the kill.
    # What it tells first is the ConfigMap, which waits for nothing.
    os.kill(pids["kube-scheduler"], signal.SIGSTOP)
    try:
        running = product.start("up", "--engine", "embedded", "--yes", "--json")
        assert running.stdout is not None
        for line in running.stdout:
            if '"op": "create"' in line:
                break
        os.kill(pids["kube-apiserver"], signal.SIGKILL)
        output, errors = running.communicate(timeout=240)
    finally:
        os.kill(pids["kube-scheduler"], signal.SIGCONT)
    assert running.returncode != 0, "the deployment ended well without an API server"
    assert "127.0.0.1" in output + errors

    refused = product.falaj("up", "--engine", "embedded", "--yes")
    assert refused.returncode == 1
    assert "kube-apiserver" in refused.stderr
    assert "falaj cluster up" in refused.stderr

    assert product.falaj("cluster", "up").returncode == 0
    product.deploy("up")
    product.deploy("up", "--expect-no-changes")
    assert client.find(MLFLOW) is not None


def test_without_the_control_plane_the_layer_is_rendered_and_comes_back(product: Product) -> None:
    assert product.falaj("cluster", "down").returncode == 0
    rendered = product.deploy("up")
    assert rendered["result"] == "succeeded"
    folder = product.root / ".falaj" / "local" / "manifests" / "local"
    assert any("mlflow" in file.name for file in folder.iterdir())
    assert product.falaj("cluster", "up").returncode == 0
    product.deploy("up")
    product.deploy("up", "--expect-no-changes")
    assert not list(folder.glob("*.yaml"))


def test_destroy_takes_everything_off_the_cluster(product: Product, client: ApiClient) -> None:
    product.deploy("destroy")
    assert product.resources() == []
    names = {found["metadata"]["name"] for found in client.get("/api/v1/namespaces")["items"]}
    assert not {name for name in names if name.startswith(("falaj-", "tenant-"))}
    assert client.get("/apis/karpenter.sh/v1/nodepools")["items"] == []
