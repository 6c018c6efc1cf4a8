"""The simulated nodes of managed node groups look like those that EKS would run."""

from __future__ import annotations

import pytest

import blueprints
from blueprints.placement import place
from falaj.cluster.karpenter import allocatable
from falaj.cluster.managed_nodes import managed_nodes
from manifests.scheduling import CAPACITY_LABEL, PURPOSE_LABEL, ZONE_LABEL


@pytest.mark.parametrize("name", ["smb", "enterprise"])
def test_there_are_as_many_as_the_system_pools_ask_for(name: str) -> None:
    blueprint = blueprints.load(name)
    asked = sum(pool.desired_nodes for pool in blueprint.node_pools if pool.purpose == "system")
    nodes = managed_nodes(blueprint)
    assert len({node["metadata"]["name"] for node in nodes}) == len(nodes) == asked


def test_they_are_spread_over_the_zones_in_use_and_never_in_a_lost_one() -> None:
    blueprint = blueprints.load("enterprise")
    zones = [node["metadata"]["labels"][ZONE_LABEL] for node in managed_nodes(blueprint)]
    assert set(zones) == set(place(blueprint).pools["system"].zones)
    counts = [zones.count(zone) for zone in set(zones)]
    assert max(counts) - min(counts) <= 1


def test_they_are_on_demand_system_nodes() -> None:
    for node in managed_nodes(blueprints.load("smb")):
        assert node["metadata"]["labels"][PURPOSE_LABEL] == "system"
        assert node["metadata"]["labels"][CAPACITY_LABEL] == "on-demand"
        assert node["metadata"]["annotations"] == {"kwok.x-k8s.io/node": "fake"}


def test_pods_find_less_than_the_machine_has() -> None:
    from blueprints.region import catalogue

    kind = catalogue("me-central-1").instance("m7g.xlarge")
    found = allocatable(kind)
    assert int(found["cpu"].removesuffix("m")) == 3920
    assert int(found["memory"].removesuffix("Mi")) < kind.memory_gib * 1024 * 0.925
