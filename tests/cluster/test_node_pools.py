"""The blueprints' node pools on the real API server and the real Karpenter.

Guards: a pool that the definitions refuse at the first deployment, CPU pods on GPU nodes, spot that is never tried or
has nothing to fall back to, a pool that grows past its limit.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from blueprints import load
from blueprints.placement import place, region_of
from blueprints.region import Catalogue
from falaj.cluster.api import ApiClient
from falaj.cluster.control_plane import ControlPlane, Options
from manifests.gpu import gpu_objects
from manifests.node_pools import Machines, node_pool_objects
from manifests.scheduling import CAPACITY_LABEL, GPU_CONFIG_LABEL, POOL_LABEL, PURPOSE_LABEL, interruptible, on_gpu
from tests.support.applied import Applier
from tests.support.control_plane import built, namespace, pod, running

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(300)]

PLACEMENT_SECONDS = 90
PENDING_SECONDS = 20
"""How long Karpenter gets to make a node that it should not make: a batch of pods closes within 10 s."""
IMAGE = "registry.example.org/nvidia/k8s-device-plugin@sha256:" + "0" * 64
SHARED = {"node_pools.gpu.gpu_sharing": {"strategy": "mps", "replicas": 3}}
MACHINES = Machines(
    instance_profile="falaj-dev-karpenter-node",
    subnet_ids={"mec1-az1": "subnet-1", "mec1-az3": "subnet-3"},
    security_group_id="sg-nodes",
    key_arn="arn:aws:kms:me-central-1:123456789012:key/platform",
    image="al2023@v20260903",
    tags={"Name": "falaj-dev"},
)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster without a single node, with the simulated pools of smb and the device plugin."""
    blueprint = load("smb", SHARED)
    with running(tmp_path_factory.mktemp("pools")) as (made, _):
        with made.client() as client:
            Applier(client).apply_all(node_pool_objects(blueprint, place(blueprint)))
            Applier(client).apply_all(gpu_objects(blueprint, image=IMAGE))
        yield made


@pytest.fixture(scope="module")
def admin(plane: ControlPlane) -> Iterator[ApiClient]:
    with plane.client() as client:
        yield client


@pytest.mark.parametrize("name", ["smb", "enterprise"])
def test_the_definitions_take_every_object_of_the_cloud(admin: ApiClient, name: str) -> None:
    blueprint = load(name)
    for made in node_pool_objects(blueprint, place(blueprint), MACHINES):
        # Under another name: what a pool's class is may not change, and the simulated pools stand already.
        made["metadata"]["name"] = f"cloud-{made['metadata']['name']}"
        path = f"{Applier(admin).path(made)}?dryRun=All&fieldManager=test"
        answered = admin.request("PATCH", path, made, content_type="application/apply-patch+yaml")
        assert answered["spec"] == {**answered["spec"], **made["spec"]}, "nothing was dropped or defaulted over"


def test_cpu_pods_never_stand_on_gpu_nodes_and_gpu_pods_on_no_other(admin: ApiClient) -> None:
    home = namespace(admin, "mixed")
    for index in range(3):
        admin.create(f"{home}/pods", cpu_pod(f"cpu-{index}", interruptible()))
        admin.create(f"{home}/pods", cpu_pod(f"plain-{index}", {}))
        admin.create(f"{home}/pods", gpu_pod(f"gpu-{index}"))
    where = placed(admin, home, 9, PURPOSE_LABEL)
    assert {name: purpose for name, purpose in where.items() if name.startswith("gpu")} == dict.fromkeys(
        ("gpu-0", "gpu-1", "gpu-2"), "gpu"
    )
    assert {purpose for name, purpose in where.items() if not name.startswith("gpu")} == {"cpu"}
    capacity = placed(admin, home, 9, CAPACITY_LABEL)
    assert {capacity[f"plain-{index}"] for index in range(3)} == {"on-demand"}, "nobody asked them about interruptions"


def test_the_device_plugin_follows_the_profile_of_each_pool(admin: ApiClient) -> None:
    home = namespace(admin, "profiles")
    admin.create(f"{home}/pods", gpu_pod("on-demand", spot=False))
    admin.create(f"{home}/pods", gpu_pod("spot"))
    assert set(placed(admin, home, 2, GPU_CONFIG_LABEL).values()) == {"mps-3", "whole"}

    def plugins() -> dict[str, set[str]]:
        pods = admin.get("/api/v1/namespaces/kube-system/pods")["items"]
        nodes = {n["metadata"]["name"]: n["metadata"]["labels"] for n in admin.get("/api/v1/nodes")["items"]}
        found: dict[str, set[str]] = {}
        for each in pods:
            if each["spec"].get("nodeName") in nodes:
                owner = each["metadata"]["ownerReferences"][0]["name"]
                found.setdefault(owner, set()).add(nodes[each["spec"]["nodeName"]].get(GPU_CONFIG_LABEL, "none"))
        return found

    eventually(
        lambda: (
            plugins()
            == {
                "nvidia-device-plugin-mps-3": {"mps-3"},
                "nvidia-device-plugin-whole": {"whole"},
                "nvidia-mps-server-mps-3": {"mps-3"},
            }
        ),
        lambda: f"the daemons stand on {plugins()}",
    )


def test_pools_grow_to_their_limits_and_no_further(admin: ApiClient) -> None:
    home = namespace(admin, "greedy")
    pools = {pool.name: pool.max_nodes for pool in load("smb").node_pools if pool.purpose == "gpu"}
    for index in range(sum(pools.values()) + 2):
        admin.create(f"{home}/pods", gpu_pod(f"greedy-{index}"))
    nodes = Counter[str]()

    def gpu_nodes() -> Counter[str]:
        labels = [node["metadata"]["labels"] for node in admin.get("/api/v1/nodes")["items"]]
        return Counter(each[POOL_LABEL] for each in labels if each.get(PURPOSE_LABEL) == "gpu")

    eventually(lambda: gpu_nodes() == pools, lambda: f"{gpu_nodes()} nodes where {pools} were allowed")
    deadline = time.monotonic() + PENDING_SECONDS
    while time.monotonic() < deadline:
        nodes |= gpu_nodes()
        time.sleep(0.5)
    assert nodes == pools


def test_spot_is_taken_first_and_on_demand_where_there_is_none(plane: ControlPlane, admin: ApiClient) -> None:
    home = namespace(admin, "falling-back")
    keep_off(admin, "spot", "on-demand")
    admin.create(f"{home}/pods", cpu_pod("with-spot", interruptible(), cpu="3"))
    assert placed(admin, home, 1, CAPACITY_LABEL) == {"with-spot": "spot"}
    plane.up(built(), Options(region=without_spot(region_of(load("smb")))))
    keep_off(admin, "spot")  # room left on demand may be taken: it counts towards the limit of its pool
    admin.create(f"{home}/pods", cpu_pod("without-spot", interruptible(), cpu="3"))
    assert placed(admin, home, 2, CAPACITY_LABEL) == {"with-spot": "spot", "without-spot": "on-demand"}


def keep_off(admin: ApiClient, *capacities: str) -> None:
    """Cordons the nodes of these capacities, and no others: the scheduler would take room that an earlier test left."""
    for node in admin.get("/api/v1/nodes")["items"]:
        cordoned = node["metadata"]["labels"].get(CAPACITY_LABEL) in capacities
        path, body = f"/api/v1/nodes/{node['metadata']['name']}", {"spec": {"unschedulable": cordoned}}
        admin.request("PATCH", path, body, content_type="application/merge-patch+json")


def without_spot(region: Catalogue) -> Catalogue:
    kinds = {name: dataclasses.replace(kind, spot={}) for name, kind in region.instance_types.items()}
    return dataclasses.replace(region, instance_types=kinds)


def cpu_pod(name: str, scheduling: dict[str, Any], cpu: str = "1") -> dict[str, Any]:
    return pod(name, resources={"requests": {"cpu": cpu, "memory": "1Gi"}}, **scheduling)


def gpu_pod(name: str, *, spot: bool = True) -> dict[str, Any]:
    asks = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"nvidia.com/gpu": "1"}}
    return pod(name, resources=asks, **on_gpu(spot=spot))


def placed(admin: ApiClient, home: str, count: int, label: str) -> dict[str, str]:
    """Waits until ``count`` pods of a namespace stand, and answers pod -> label of its node."""

    def nodes_of_pods() -> dict[str, str]:
        pods = admin.get(f"{home}/pods")["items"]
        return {each["metadata"]["name"]: each["spec"].get("nodeName", "") for each in pods}

    def all_stand() -> bool:
        found = nodes_of_pods()
        return len(found) == count and all(found.values())

    eventually(all_stand, lambda: f"pods on nodes: {nodes_of_pods()}")
    labels = {node["metadata"]["name"]: node["metadata"]["labels"] for node in admin.get("/api/v1/nodes")["items"]}
    return {name: labels[node][label] for name, node in nodes_of_pods().items()}


def eventually(test: Callable[[], bool], told: Callable[[], str]) -> None:
    deadline = time.monotonic() + PLACEMENT_SECONDS
    while not test():
        if time.monotonic() > deadline:
            pytest.fail(told())
        time.sleep(0.2)
