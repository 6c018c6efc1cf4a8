"""Where the platform's pods land, on the real scheduler and the real Karpenter with the blueprints' own node pools.

Guards: a GPU node that CPU pods fill, a gang whose gradients cross zones, a model with all replicas in the zone that
goes, an online store's reader on a node that is taken back in two minutes.
"""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blueprints import load
from blueprints.placement import place
from blueprints.schema import Blueprint
from falaj.cluster.api import ApiClient
from falaj.cluster.control_plane import ControlPlane
from falaj.cluster.kwok import fake_node
from manifests.node_pools import node_pool_objects
from manifests.objects import PLATFORM_NAMESPACE, Manifest, labels, manifest, selector
from manifests.pods import Container, Resources, pod_template
from manifests.priorities import priority_classes
from manifests.releases.model_server import (
    STABLE,
    model_replicas,
    model_server_pod,
    predictor_selector,
    serving_pool,
    serving_scheduling,
)
from manifests.releases.platform import releases
from manifests.releases.sizes import service_sizes
from manifests.releases.training import train_job
from manifests.releases.training_job import GANG_LABEL, JobShape, job_file, job_shape, training_job
from manifests.scheduling import CAPACITY_LABEL, GPU_RESOURCE, PURPOSE_LABEL, ZONE_LABEL, pool_labels
from manifests.tenancy import platform_namespace
from tests.support.applied import Applier
from tests.support.control_plane import running
from tests.support.releases import images

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(300)]

PLACEMENT_SECONDS = 150
POLL_SECONDS = 0.5
PODS = f"/api/v1/namespaces/{PLATFORM_NAMESPACE}/pods"
NAME_LABEL = "app.kubernetes.io/name"
ON_DEMAND_ONLY = ("drift-monitor", "feature-server", "lineage", "mlflow", "retraining", "router", "stream-processor")
FIRST = "first-in-zones"
GANG_OF_CPUS, GANG_OF_GPUS, BATCH = "gang-cpu", "gang-gpu", "batch-now"


@dataclass(frozen=True)
class Placed:
    """What stands once nothing is pending any more."""

    blueprint: Blueprint
    pods: tuple[Mapping[str, Any], ...]
    nodes: Mapping[str, Mapping[str, str]]
    """Node -> its labels."""

    def where(self, label: str, **wanted: str) -> Counter[str]:
        """How many pods with the labels ``wanted`` run on nodes with which value of ``label``."""
        return Counter(self.nodes[pod["spec"]["nodeName"]][label] for pod in self.of(wanted))

    def of(self, wanted: Mapping[str, str]) -> list[Mapping[str, Any]]:
        found = [pod for pod in self.pods if wanted.items() <= pod["metadata"]["labels"].items()]
        assert found, f"no pod has the labels {wanted}"
        return found


@pytest.fixture(scope="module", params=["smb", "enterprise"])
def placed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Placed]:
    """Every release and one of each kind of job, on a cluster without system nodes: all room has to be bought."""
    blueprint = load(request.param)
    with running(tmp_path_factory.mktemp(request.param)) as (plane, _), plane.client() as client:
        applier = Applier(client)
        applier.apply_all(foundations(blueprint))
        settled(plane, blueprint, len(place(blueprint).zones))
        applier.apply_all(platform(blueprint))
        settled(plane, blueprint, platform_pods(blueprint))
        # Jobs come to a platform that stands: services that came later could take their nodes from them.
        applier.apply_all(jobs(blueprint))
        yield settled(plane, blueprint, platform_pods(blueprint) + job_pods(blueprint))


def foundations(blueprint: Blueprint) -> list[Manifest]:
    """What the releases stand on, and a first node for models in each zone: the scheduler spreads over those it has."""
    return [
        *priority_classes(),
        platform_namespace(PLATFORM_NAMESPACE, blueprint.cluster.kubernetes_version),
        *node_pool_objects(blueprint, place(blueprint)),
        first_in_zones(blueprint),
    ]


def first_in_zones(blueprint: Blueprint) -> Manifest:
    """A pod in each zone, where CPU model servers may stand."""
    match = {NAME_LABEL: FIRST}
    term = {"topologyKey": ZONE_LABEL, "labelSelector": {"matchLabels": match}}
    scheduling = serving_scheduling(blueprint, "cpu")
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    template = pod_template(
        Container("first", images().reference("platform"), ("sleep", "infinity"), Resources(10, 16)),
        pod_labels=match,
        service_account="default",
        scheduling={**scheduling, "affinity": {**scheduling["affinity"], **apart}},
    )
    return manifest(
        "apps/v1",
        "Deployment",
        FIRST,
        namespace=PLATFORM_NAMESPACE,
        spec={"replicas": len(place(blueprint).zones), "selector": {"matchLabels": match}, "template": template},
    )


def platform(blueprint: Blueprint) -> list[Manifest]:
    return [
        *releases(blueprint, images(), trainer=True).all(),
        *(model_deployment(blueprint, name) for name in sorted(model.name for model in blueprint.models)),
    ]


def jobs(blueprint: Blueprint) -> list[Manifest]:
    released = releases(blueprint, images()).all()
    (cron_job,) = (made for made in released if made["metadata"]["name"] == "batch-ingestion")
    return [
        spot_job(cron_job),
        *(job_file(name, "{}") for name in gangs(blueprint)),
        *(training_job(name, shape, images()) for name, shape in gangs(blueprint).items()),
        train_job("kubeflow", job_shape(blueprint)),
    ]


def spot_job(cron_job: Manifest) -> Manifest:
    """A run of a scheduled job that takes nothing but spot, though there may be room elsewhere."""
    spec = copy.deepcopy(cron_job["spec"]["jobTemplate"]["spec"])
    spec["template"]["spec"]["nodeSelector"] = {CAPACITY_LABEL: "spot"}
    return manifest("batch/v1", "Job", BATCH, namespace=PLATFORM_NAMESPACE, spec=spec)


def model_deployment(blueprint: Blueprint, name: str) -> Manifest:
    """What Seldon's operator makes of a model's stable predictor."""
    model = next(model for model in blueprint.models if model.name == name)
    return manifest(
        "apps/v1",
        "Deployment",
        name,
        namespace=PLATFORM_NAMESPACE,
        labels=labels(name, "serving"),
        spec={
            "replicas": model_replicas(blueprint, model).count,
            "selector": {"matchLabels": predictor_selector(name, STABLE)},
            "template": model_server_pod(blueprint, model, images(), config=()),
        },
    )


def gangs(blueprint: Blueprint) -> dict[str, JobShape]:
    """Gangs of four that could stand in either of two zones: on CPUs, and on GPUs where two zones have them."""
    made = {GANG_OF_CPUS: JobShape(4, 0, cpu_millicores=1_000, memory_mib=1_024, spot=True)}
    if blueprint.name == "enterprise":
        made[GANG_OF_GPUS] = JobShape(4, 8, cpu_millicores=100_000, memory_mib=500_000, gang=True, workload="gang")
    else:
        made[GANG_OF_GPUS] = JobShape(2, 1, cpu_millicores=1_000, memory_mib=2_048, spot=True)
    return made


def platform_pods(blueprint: Blueprint) -> int:
    services = sum(size.replicas for name, size in service_sizes(blueprint).items() if name not in SCHEDULED)
    models = sum(model_replicas(blueprint, model).count for model in blueprint.models)
    prepared = sum(made["kind"] == "Job" for made in platform(blueprint))
    return len(place(blueprint).zones) + services + models + prepared


def job_pods(blueprint: Blueprint) -> int:
    return 1 + sum(shape.workers for shape in gangs(blueprint).values())


SCHEDULED = ("feature-materialiser", "batch-ingestion")


def settled(plane: ControlPlane, blueprint: Blueprint, expected: int) -> Placed:
    """Waits until every pod runs; says of the first that does not why."""
    deadline = time.monotonic() + PLACEMENT_SECONDS
    with plane.client() as client:
        while True:
            pods = [pod for pod in client.get(PODS)["items"] if scheduled_by_test(pod)]
            waiting = [pod for pod in pods if not pod["spec"].get("nodeName")]
            if not waiting and len(pods) == expected:
                break
            if time.monotonic() > deadline:
                pytest.fail(f"{len(pods)} of {expected} pods; pending: {reasons(client, waiting)}")
            time.sleep(POLL_SECONDS)
        nodes = client.get("/api/v1/nodes")["items"]
    return Placed(blueprint, tuple(pods), {node["metadata"]["name"]: node["metadata"]["labels"] for node in nodes})


def scheduled_by_test(pod: Mapping[str, Any]) -> bool:
    """Not those that a clock happened to start while the test ran."""
    return not any(
        owner["name"].startswith(f"{name}-")
        for owner in pod["metadata"].get("ownerReferences", ())
        for name in SCHEDULED
    )


def reasons(client: ApiClient, waiting: list[Mapping[str, Any]]) -> str:
    names = {pod["metadata"]["name"] for pod in waiting[:3]}
    events = client.get(f"/api/v1/namespaces/{PLATFORM_NAMESPACE}/events")["items"]
    told = {event["involvedObject"]["name"]: event["message"] for event in events}
    return "; ".join(f"{name}: {told.get(name, 'no event')}" for name in sorted(names)) or "none"


def gpus(pod: Mapping[str, Any]) -> int:
    return sum(int(each["resources"].get("limits", {}).get(GPU_RESOURCE, 0)) for each in pod["spec"]["containers"])


def test_gpu_pods_land_only_on_gpu_nodes_and_no_other_pod_does(placed: Placed) -> None:
    on_gpu_nodes = {True: Counter[bool](), False: Counter[bool]()}
    for pod in placed.pods:
        on_gpu_nodes[gpus(pod) > 0][placed.nodes[pod["spec"]["nodeName"]][PURPOSE_LABEL] == "gpu"] += 1
    assert set(on_gpu_nodes[True]) == {True}, "a pod with GPUs stands elsewhere"
    assert set(on_gpu_nodes[False]) == {False}, "a pod without GPUs holds a GPU node"


@pytest.mark.parametrize("gang", [GANG_OF_CPUS, GANG_OF_GPUS])
def test_training_gang_lands_in_one_zone(placed: Placed, gang: str) -> None:
    zones = placed.where(ZONE_LABEL, **{GANG_LABEL: gang})
    assert len(zones) == 1
    assert sum(zones.values()) == gangs(placed.blueprint)[gang].workers


def test_a_gang_could_have_been_torn_apart(placed: Placed) -> None:
    """Else the claim above would be empty: there were nodes for its pods in two zones."""
    assert len(placed.where(ZONE_LABEL, **{"app.kubernetes.io/component": "serving"})) == 2


def test_replicas_of_every_model_are_spread_over_the_zones_that_can_serve_it(placed: Placed) -> None:
    zones_of = place(placed.blueprint).pools
    for model in placed.blueprint.models:
        pool = serving_pool(placed.blueprint, model.accelerator)
        assert pool is not None
        found = placed.where(ZONE_LABEL, **predictor_selector(model.name, STABLE))
        assert set(found) == set(zones_of[pool.name].zones), model.name
        assert max(found.values()) - min(found.values()) <= 1, model.name


def test_replicas_of_the_feature_server_are_spread_over_zones(placed: Placed) -> None:
    if placed.blueprint.postgres.instances == 1:
        pytest.skip("a blueprint whose database stands in one zone asks for no more of its services")
    assert len(placed.where(ZONE_LABEL, **selector("feature-server"))) == 2


def test_models_keep_off_system_nodes_though_they_have_room(tmp_path: Path) -> None:
    """As a small company starts: its system node holds the services, and a spot node in each zone the model."""
    blueprint = load("smb")
    (pool,) = (pool for pool in blueprint.node_pools if pool.purpose == "system")
    marks = {**pool_labels(pool), ZONE_LABEL: place(blueprint).zones[0], "karpenter.sh/capacity-type": "on-demand"}
    with running(tmp_path) as (plane, _), plane.client() as client:
        client.create("/api/v1/nodes", fake_node("system", cpu=16, memory_gib=64, labels=marks))
        Applier(client).apply_all([*foundations(blueprint), *platform(blueprint)])
        stands = settled(plane, blueprint, platform_pods(blueprint))
    for service in ON_DEMAND_ONLY:
        assert set(stands.where(PURPOSE_LABEL, **selector(service))) == {"system"}
    assert stands.where(CAPACITY_LABEL, **predictor_selector("default", STABLE)) == {"spot": 2}
    assert len(stands.nodes) == 3


@pytest.mark.parametrize("service", ON_DEMAND_ONLY)
def test_platform_services_never_stand_on_spot_though_it_is_cheaper(placed: Placed, service: str) -> None:
    assert set(placed.where(CAPACITY_LABEL, **selector(service))) == {"on-demand"}
    assert set(placed.where("karpenter.sh/capacity-type", **selector(service))) == {"on-demand"}


def test_spot_nodes_were_there_to_be_had(placed: Placed) -> None:
    """Else the claim above would be empty: on the same cluster, what stands an interruption got spot."""
    assert placed.where("karpenter.sh/capacity-type", **{NAME_LABEL: "batch-ingestion"}) == {"spot": 1}


def test_autoscalers_bring_a_service_to_its_least_replicas(placed: Placed) -> None:
    for name, size in service_sizes(placed.blueprint).items():
        if name not in SCHEDULED:
            assert len(placed.of(selector(name))) == size.replicas, name
