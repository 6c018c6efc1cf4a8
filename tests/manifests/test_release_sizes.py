"""Sizes over every load a blueprint may state.  Guards: a service too small for its load, a worker no node holds."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from blueprints import load
from blueprints.errors import SizingError
from blueprints.placement import region_of
from blueprints.schema import Blueprint, ServedModel
from blueprints.sizing import STREAM_HEADROOM, TARGET_UTILISATION, max_utilisation, service_ms
from manifests.efa import efa_interfaces
from manifests.releases.model_server import (
    CANARY,
    STABLE,
    Rollout,
    RolloutError,
    canary_replicas,
    model_replicas,
    read_rollouts,
    seldon_deployment,
    serving_pool,
)
from manifests.releases.sizes import (
    EVENTS_PER_CORE,
    FEATURE_READS_PER_CORE,
    FEATURE_SERVER,
    ROUTED_REQUESTS_PER_CORE,
    ROUTER,
    STREAM_PROCESSOR,
    ServiceSize,
    service_sizes,
    stream_partitions,
)
from manifests.releases.training_job import GRACE_SECONDS, JobShape, job_shape, training_job
from tests.support.releases import images, number

NAMES = ("smb", "enterprise")
names = st.sampled_from(NAMES)
loads = st.floats(1, 50_000)


def with_load(name: str, *, events: float = 100, reads: float = 100, requests: float = 50) -> Blueprint:
    blueprint = load(name)
    model = ServedModel(name="m", requests_per_second=requests, p99_target_ms=500, size_gib=0.1)
    data = blueprint.data.model_copy(update={"events_per_second": events, "online_feature_reads_per_second": reads})
    return blueprint.model_copy(update={"data": data, "models": (model,)})


def cores(size: ServiceSize) -> float:
    return size.replicas * size.resources.cpu_millicores / 1_000


@given(names, loads, loads, loads)
def test_replicas_at_rest_carry_the_stated_load(name: str, events: float, reads: float, requests: float) -> None:
    sizes = service_sizes(with_load(name, events=events, reads=reads, requests=requests))
    assert cores(sizes[ROUTER]) * ROUTED_REQUESTS_PER_CORE * TARGET_UTILISATION >= requests * 0.999
    assert cores(sizes[FEATURE_SERVER]) * FEATURE_READS_PER_CORE * TARGET_UTILISATION >= reads * 0.999
    assert cores(sizes[STREAM_PROCESSOR]) * EVENTS_PER_CORE * STREAM_HEADROOM >= events * 0.999


@given(names, loads)
def test_a_stream_never_has_more_consumers_than_partitions(name: str, events: float) -> None:
    blueprint = with_load(name, events=events)
    size = service_sizes(blueprint)[STREAM_PROCESSOR]
    assert 1 <= size.replicas <= size.most_replicas <= stream_partitions(blueprint)


@given(names, loads, loads, loads)
def test_what_a_request_waits_for_never_has_a_single_replica(
    name: str, events: float, reads: float, requests: float
) -> None:
    sizes = service_sizes(with_load(name, events=events, reads=reads, requests=requests))
    assert sizes[ROUTER].replicas >= 2 and sizes[FEATURE_SERVER].replicas >= 2
    assert all(size.replicas <= size.most_replicas for size in sizes.values())


@given(names, loads, st.floats(1, 4))
def test_more_load_never_takes_fewer_cores(name: str, reads: float, factor: float) -> None:
    less = service_sizes(with_load(name, reads=reads))[FEATURE_SERVER]
    more = service_sizes(with_load(name, reads=reads * factor))[FEATURE_SERVER]
    assert cores(more) >= cores(less)


# -- models ------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 100))
def test_a_canary_has_replicas_for_its_share(weight: int) -> None:
    stable = model_replicas(load("enterprise"), load("enterprise").models[0])
    count = canary_replicas(stable, weight)
    assert 1 <= count <= stable.count
    assert count >= stable.count * weight / 100 - 1e-6
    weights = Rollout("1", "2", weight).weights
    assert sum(weights.values()) == 100 and weights[CANARY] == weight


def test_without_weight_no_canary_runs_whatever_its_version() -> None:
    assert Rollout("1", "2", 0).weights == {STABLE: 100}


@pytest.mark.parametrize(
    ("rollout", "said"),
    [
        ({"version": ""}, "version: given ''"),
        ({"version": "../secrets"}, "version: given '../secrets'"),
        ({"version": "a..b"}, "version: given 'a..b'"),
        ({"version": "V1"}, "version: given 'V1'"),
        ({"canary_version": "2", "canary_weight_percent": 101}, "canaryWeightPercent: given 101; allowed: 0 to 100"),
        ({"canary_version": "2", "canary_weight_percent": -1}, "canaryWeightPercent: given -1"),
        ({"canary_weight_percent": 5}, "canaryWeightPercent: given 5 without canaryVersion"),
        ({"version": "2", "canary_version": "2"}, "canaryVersion: given '2', which is the stable version too"),
    ],
)
def test_rollout_that_cannot_be_is_refused_with_the_key(rollout: dict[str, object], said: str) -> None:
    with pytest.raises(RolloutError, match=f"^{re.escape(said)}"):
        Rollout(**rollout)  # type: ignore[arg-type]


def test_rollouts_are_read_from_what_a_stack_states() -> None:
    """A version that is a number in YAML is a name all the same."""
    stated = {"m": {"version": 12, "canaryVersion": "13-rc.1", "canaryWeightPercent": 5}, "n": {}}
    assert read_rollouts(stated) == {"m": Rollout("12", "13-rc.1", 5), "n": Rollout()}


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"m": "12"}, "m: given '12'; allowed: a mapping with version, canaryVersion, canaryWeightPercent"),
        ({"m": {"canary": 1}}, "m.canary: unknown key; allowed: version, canaryVersion, canaryWeightPercent"),
        ({"m": {"version": True}}, "m.version: given True; allowed: a name"),
        ({"m": {"canaryWeightPercent": "5"}}, "m.canaryWeightPercent: given '5'; allowed: 0 to 100"),
        ({"m": {"canaryWeightPercent": 5}}, "m.canaryWeightPercent: given 5 without canaryVersion"),
    ],
)
def test_what_is_no_rollout_is_refused_with_the_path_of_the_key(stated: dict[str, object], said: str) -> None:
    with pytest.raises(RolloutError, match=f"^{re.escape(said)}"):
        read_rollouts(stated)


def test_every_model_of_the_blueprints_can_be_served_in_time() -> None:
    for name in NAMES:
        for model in load(name).models:
            assert model_replicas(load(name), model).count >= 2


@given(st.floats(1, 20_000), st.floats(20, 2_000), st.floats(0.01, 2))
def test_autoscaler_adds_a_replica_before_workers_are_too_busy_for_the_latency_target(
    requests: float, p99_ms: float, size_gib: float
) -> None:
    """At the stated load replicas stay under their target; at the target no worker is busier than it may be."""
    model = ServedModel(name="m", requests_per_second=requests, p99_target_ms=p99_ms, size_gib=size_gib)
    assume(p99_ms > 5 * service_ms(size_gib, "cpu"))
    needs = model_replicas(load("smb"), model)
    (predictor,) = seldon_deployment(load("smb"), model, images())["spec"]["predictors"]
    (component,) = predictor["componentSpecs"]
    resources = component["spec"]["containers"][0]["resources"]
    target = component["hpaSpec"]["metricsv2"][0]["resource"]["target"]["averageUtilization"] / 100
    allowed = max_utilisation(needs.service_ms, p99_ms)
    assert 0 < target <= allowed
    assert needs.utilisation <= target + 0.01
    assert number(resources["requests"]["cpu"], "m") == needs.vcpu_each * 1_000


@given(st.floats(0.1, 20), st.floats(1, 200))
def test_weights_fit_the_gpus_of_the_pool_that_serves(size_gib: float, requests: float) -> None:
    blueprint = load("enterprise")
    model = ServedModel(
        name="m", requests_per_second=requests, p99_target_ms=2_000, size_gib=size_gib, accelerator="gpu"
    )
    pool = serving_pool(blueprint, "gpu")
    assert pool is not None and pool.name == "gpu"
    kinds = [region_of(blueprint).instance(name).gpu for name in pool.instance_types]
    gpus = model_replicas(blueprint, model).gpus_each
    for kind in kinds:
        assert kind is not None and gpus * kind.memory_gib >= size_gib * 1.3 - 1e-6
    (predictor,) = seldon_deployment(blueprint, model, images())["spec"]["predictors"]
    (container,) = predictor["componentSpecs"][0]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == str(gpus)
    assert "serving" in container["image"] and container["image"] != images().reference("serving")


# -- training ----------------------------------------------------------------------------------------------------------


@given(names, st.integers(1, 512), st.integers(1, 64) | st.none())
def test_every_worker_fits_a_node_of_a_pool_and_all_gpus_are_there(name: str, gpus: int, workers: int | None) -> None:
    blueprint = load(name)
    try:
        shape = job_shape(blueprint, gpus=gpus, workers=workers)
    except SizingError as error:
        assert f"training job of {gpus} GPUs" in str(error) and "raise max_nodes" in str(error)
        return
    region = region_of(blueprint)
    assert shape.gpus >= gpus and (workers is None or shape.workers == workers)
    assert shape.gpus - gpus < shape.workers, "a GPU more a worker than is needed"
    nodes = [
        kind
        for pool in blueprint.node_pools
        if pool.labels.get("falaj.dev/workload") == shape.workload and (pool.capacity == "spot") == shape.spot
        for kind in map(region.instance, pool.instance_types)
    ]
    holding = [
        kind
        for kind in nodes
        if kind.gpu is not None
        and kind.gpu.count >= shape.gpus_per_worker
        and kind.gpu.memory_gib >= blueprint.training.gpu_memory_gib_per_gpu
    ]
    assert holding, "no node has so many GPUs"
    for kind in holding:
        assert shape.cpu_millicores <= kind.vcpu * 1_000 * 0.85
        assert shape.memory_mib <= kind.memory_gib * 1_024 * 0.85
        assert shape.efa_interfaces <= efa_interfaces(kind)


def test_more_gpus_than_any_pool_has_are_refused_with_what_to_do() -> None:
    with pytest.raises(SizingError, match=r"training job of 100000 GPUs .* raise max_nodes of one, add instance types"):
        job_shape(load("enterprise"), gpus=100_000)


def test_a_job_without_gpus_runs_on_cpus() -> None:
    shape = job_shape(load("smb"), gpus=0, workers=3)
    assert (shape.workers, shape.gpus) == (3, 0)


@given(st.integers(1, 8), st.integers(0, 8), st.booleans())
def test_torchrun_knows_as_many_workers_and_processes_as_the_job_has(workers: int, gpus: int, spot: bool) -> None:
    shape = JobShape(workers, gpus, 1_000, 1_024, spot=spot, fewest_workers=math.ceil(workers / 2) if spot else 0)
    spec = training_job("job", shape, images())["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["completions"] == spec["parallelism"] == workers and spec["completionMode"] == "Indexed"
    assert f"--nnodes={math.ceil(workers / 2) if spot else workers}:{workers}" in container["command"]
    assert f"--nproc-per-node={max(1, gpus)}" in container["command"]


def test_workers_meet_at_pod_zero_by_the_name_that_the_headless_service_gives_it() -> None:
    job = training_job("job", JobShape(2, 0, 1_000, 1_024), images(), namespace="tenant-risk")
    pod = job["spec"]["template"]["spec"]
    endpoint = next(each for each in pod["containers"][0]["command"] if each.startswith("--rdzv-endpoint="))
    assert endpoint == f"--rdzv-endpoint=job-0.{pod['subdomain']}.tenant-risk.svc.cluster.local:29400"


def test_a_spot_node_taken_back_is_not_held_against_the_job() -> None:
    spec = training_job("job", JobShape(2, 0, 1_000, 1_024), images())["spec"]
    first = spec["podFailurePolicy"]["rules"][0]
    assert first == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert spec["template"]["spec"]["restartPolicy"] == "Never", "the policy needs it"
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == GRACE_SECONDS < 120


def test_a_single_worker_needs_no_company_in_its_zone() -> None:
    pod = training_job("job", JobShape(1, 1, 1_000, 1_024, workload="training"), images())["spec"]["template"]["spec"]
    assert "podAffinity" not in pod["affinity"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"workers": 0}, "workers=0"), ({"fewest_workers": 3}, "fewest_workers=3; allowed: 0 to 2")],
)
def test_shape_that_cannot_be_is_refused(changes: dict[str, int], said: str) -> None:
    with pytest.raises(SizingError, match=said):
        JobShape(**{"workers": 2, "gpus_per_worker": 0, "cpu_millicores": 1, "memory_mib": 1, **changes})  # type: ignore[arg-type]
