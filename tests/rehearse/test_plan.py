"""The ask of a rehearsal.  Guards: GPUs that nobody asked for, limits scaled without need, losing a zone in need."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints import Blueprint, load
from falaj.rehearse.errors import AskError
from falaj.rehearse.plan import MOST_GPUS, Plan, plan, survivable_zones, without_zone, zone_to_lose
from falaj.rehearse.pools import pool_objects, system_nodes, times
from falaj.rehearse.workload import PLATFORM, SERVING, TRAINING, workloads
from manifests.node_pools import UnschedulablePoolError
from manifests.scheduling import GPU_RESOURCE, ZONE_LABEL


@functools.cache
def blueprint(name: str) -> Blueprint:
    return load(name)


@functools.cache
def enterprise(gpus: int | None = None) -> Plan:
    return plan(blueprint("enterprise"), gpus=gpus)


def pools(planned: Plan) -> dict[str, dict[str, Any]]:
    return {made["metadata"]["name"]: made["spec"] for made in pool_objects(planned) if made["kind"] == "NodePool"}


@settings(max_examples=40, deadline=None)
@given(st.integers(min_value=4, max_value=MOST_GPUS))
def test_ask_is_for_exactly_the_gpus_given(gpus: int) -> None:
    planned = enterprise(gpus)
    assert planned.gpus == gpus
    assert planned.gangs * planned.gang_workers + planned.single_jobs + planned.serving_gpus == gpus
    assert planned.single_jobs >= 0


@settings(max_examples=10, deadline=None)
@given(st.integers(min_value=4, max_value=300))
def test_workloads_hold_the_gpus_of_the_plan(gpus: int) -> None:
    planned = enterprise(gpus)
    assert sum(each.pods * each.gpus_each for each in workloads(planned)) == gpus


@settings(max_examples=40, deadline=None)
@given(st.integers(min_value=4, max_value=MOST_GPUS))
def test_limits_hold_the_training_and_are_never_lowered(gpus: int) -> None:
    planned = enterprise(gpus)
    own = pools(enterprise())
    spot, training = (pools(planned)[name]["limits"] for name in ("gpu-spot", "gpu-training"))
    assert int(spot[GPU_RESOURCE]) + int(training[GPU_RESOURCE]) >= planned.training_gpus
    assert int(spot[GPU_RESOURCE]) >= int(own["gpu-spot"]["limits"][GPU_RESOURCE])


def test_limits_are_the_blueprints_own_while_they_hold_the_ask() -> None:
    assert enterprise(400).limit_factor == 1.0
    assert enterprise(MOST_GPUS).limit_factor > 1.0


def test_cpu_pools_keep_their_limits_however_many_gpus_are_asked() -> None:
    assert pools(enterprise(MOST_GPUS))["cpu"]["limits"] == pools(enterprise())["cpu"]["limits"]


def test_default_ask_follows_from_the_training_hours() -> None:
    """40,000 GPU-hours in half of 730 hours are 110 GPUs; four more serve."""
    planned = enterprise()
    assert (planned.training_gpus, planned.serving_gpus) == (110, 4)


@pytest.mark.parametrize(("gpus", "allowed"), [(3, "4 to 2,000"), (2001, "4 to 2,000"), (-1, "4 to 2,000")])
def test_refuses_an_ask_out_of_bounds(gpus: int, allowed: str) -> None:
    with pytest.raises(AskError, match=f"--gpus {gpus}: .*{allowed}"):
        plan(blueprint("enterprise"), gpus=gpus)


def test_burst_brings_more_replicas_of_every_model() -> None:
    assert all(each.burst_replicas >= 2 * each.replicas for each in enterprise().serving)


def test_zone_that_no_pool_depends_on_is_lost_by_default() -> None:
    assert zone_to_lose(enterprise(), None) == "mec1-az3"


def test_zone_that_a_pool_still_needs_is_refused_with_the_pools_name() -> None:
    with pytest.raises(AskError, match=r"--lose-zone mec1-az1: .*node_pools\.gpu-training: g6\.48xlarge is offered in"):
        zone_to_lose(enterprise(), "mec1-az1")


def test_zone_that_is_not_in_use_is_refused() -> None:
    with pytest.raises(AskError, match="--lose-zone mec1-az2: not in use by enterprise; allowed: mec1-az1, mec1-az3"):
        zone_to_lose(enterprise(), "mec1-az2")


def test_every_zone_can_be_lost_when_all_stand_and_pools_span_two() -> None:
    restored = load("smb", {"network.zone_conditions": {"mec1-az2": "ok"}, "network.zone_count": 3})
    assert set(survivable_zones(plan(restored)).values()) == {""}


def test_lost_zone_offers_nothing() -> None:
    left = without_zone(enterprise(), "mec1-az3")
    assert left.zone("mec1-az3").condition.value == "lost"
    assert enterprise().region.zone("mec1-az3").condition.value != "lost"


def test_pool_that_can_never_make_a_node_is_refused_with_the_constraint() -> None:
    cut = load("enterprise", {"node_pools.gpu-training.instance_types": ["g6e.24xlarge"]})
    with pytest.raises(UnschedulablePoolError, match=r"node_pools\.gpu-training: no node can come; .*g6e\.24xlarge"):
        pool_objects(plan(cut))


def test_gangs_keep_to_one_zone_and_serving_spreads() -> None:
    by_role = {each.role: each for each in workloads(enterprise(16)) if each.gang or each.role == SERVING}
    gang = by_role[TRAINING].manifests[0]["spec"]["template"]["spec"]
    (term,) = gang["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == ZONE_LABEL
    serving = by_role[SERVING].manifests[0]["spec"]["template"]["spec"]
    assert ZONE_LABEL in {each["topologyKey"] for each in serving["topologySpreadConstraints"]}


def test_platform_services_are_those_that_are_released() -> None:
    groups = {each.group for each in workloads(enterprise(16)) if each.role == PLATFORM}
    assert {"mlflow", "router", "feature-server", "drift-monitor"} <= groups


def test_pools_consolidate_nothing_before_their_drill() -> None:
    assert {spec["disruption"]["consolidateAfter"] for spec in pools(enterprise()).values()} == {"Never"}


def test_system_nodes_stand_in_the_zones_that_are_left() -> None:
    zones = [made["metadata"]["labels"][ZONE_LABEL] for made in system_nodes(enterprise(), ("mec1-az1",))]
    assert zones == ["mec1-az1"] * 3
    assert {made["metadata"]["labels"][ZONE_LABEL] for made in system_nodes(enterprise())} == {"mec1-az1", "mec1-az3"}


@given(st.integers(min_value=1, max_value=10**6), st.floats(min_value=1, max_value=100))
def test_scaled_quantity_is_never_short_and_keeps_its_unit(number: int, factor: float) -> None:
    scaled = times(f"{number}Gi", factor)
    assert scaled.endswith("Gi")
    assert number * factor - 1e-6 <= int(scaled.removesuffix("Gi")) < number * factor + 1 + 1e-6
