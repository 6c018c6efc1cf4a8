"""Instance types for Karpenter.  Guards: capacity in a lost zone, a price of its own, room that no node has."""

from __future__ import annotations

import json
from typing import Any

import pytest

from blueprints.region import Catalogue, Condition, Source, catalogue
from falaj.cluster.karpenter import GPU_RESOURCE, instance_types, reserved_mebibytes, reserved_millicores
from manifests.efa import EFA_RESOURCE

REGION = catalogue("me-central-1")
DRILL = Source("a drill", "2026-11-23")
ZONE, CAPACITY = "topology.kubernetes.io/zone", "karpenter.sh/capacity-type"


def offerings(region: Catalogue, name: str) -> list[dict[str, Any]]:
    return next((kind["offerings"] for kind in instance_types(region) if kind["name"] == name), [])


def value(offering: dict[str, Any], key: str) -> str:
    (only,) = next(each["values"] for each in offering["Requirements"] if each["key"] == key)
    return str(only)


def zones(region: Catalogue) -> set[str]:
    return {value(each, ZONE) for kind in instance_types(region) for each in kind["offerings"]}


def test_lost_zone_has_no_offerings() -> None:
    assert REGION.zone("mec1-az2").condition is Condition.LOST
    assert zones(REGION) == {"mec1-az1", "mec1-az3"}


def test_zone_lost_in_a_drill_has_no_offerings_and_a_recovered_one_has() -> None:
    drill = REGION.with_conditions({"mec1-az1": Condition.LOST, "mec1-az2": Condition.OK}, DRILL)
    assert zones(drill) == {"mec1-az2", "mec1-az3"}


def test_prices_are_those_of_the_catalogue() -> None:
    kind = REGION.instance("g5.xlarge")
    assert kind.on_demand is not None
    found = {(value(each, CAPACITY), value(each, ZONE)): each["Price"] for each in offerings(REGION, "g5.xlarge")}
    assert found == {
        ("on-demand", "mec1-az1"): kind.on_demand.value,
        ("spot", "mec1-az1"): kind.spot["mec1-az1"].value,
    }


def test_type_without_a_price_is_left_out() -> None:
    kind = REGION.instance("g6e.24xlarge")
    assert kind.on_demand is None and not kind.spot
    assert offerings(REGION, "g6e.24xlarge") == []


def test_bare_metal_is_left_out() -> None:
    assert any(kind.bare_metal for kind in REGION.instance_types.values())
    assert not any(REGION.instance(kind["name"]).bare_metal for kind in instance_types(REGION))


@pytest.mark.parametrize(
    ("name", "key", "wanted"),
    [
        ("g5.xlarge", "instance-family", "g5"),
        ("g5.xlarge", "instance-gpu-name", "a10g"),
        ("g6e.12xlarge", "instance-gpu-count", "4"),
        ("p5en.48xlarge", "instance-category", "p"),
        ("m7gd.2xlarge", "instance-family", "m7gd"),
        ("m7gd.2xlarge", "instance-generation", "7"),
        ("m7gd.2xlarge", "instance-size", "2xlarge"),
        ("c7i.large", "instance-category", "c"),
    ],
)
def test_node_pools_of_the_cloud_find_their_labels(name: str, key: str, wanted: str) -> None:
    assert value(offerings(REGION, name)[0], f"karpenter.k8s.aws/{key}") == wanted


def test_gpus_and_pods_are_those_of_the_type() -> None:
    kinds = {kind["name"]: kind["resources"] for kind in instance_types(REGION)}
    assert kinds["g5.48xlarge"][GPU_RESOURCE] == "8"
    assert GPU_RESOURCE not in kinds["m6i.large"]
    assert kinds["p5en.48xlarge"][EFA_RESOURCE] == "16"
    assert EFA_RESOURCE not in kinds["m6i.large"]
    assert kinds["m6i.large"]["pods"] == str(REGION.instance("m6i.large").max_pods)


@pytest.mark.parametrize(("vcpu", "millicores"), [(1, 60), (2, 70), (4, 80), (8, 90), (48, 190), (192, 550)])
def test_reserved_cores_follow_the_node_image(vcpu: int, millicores: int) -> None:
    assert reserved_millicores(vcpu) == millicores


def test_pod_sees_less_than_the_machine_has() -> None:
    """m6i.large: 8 GiB, 29 pods: 8192 x 0.925 - (255 + 11 x 29) - 100 MiB remain once the provider took its 10."""
    assert reserved_mebibytes(29) == 574
    kinds = {kind["name"]: kind["resources"] for kind in instance_types(REGION)}
    assert kinds["m6i.large"]["memory"] == f"{7577 - 574 - 100 + 10}Mi"
    assert kinds["m6i.large"]["cpu"] == f"{2000 - 70 + 100}m"


def test_list_is_the_same_every_time_and_json() -> None:
    assert json.dumps(instance_types(REGION)) == json.dumps(instance_types(REGION))
