"""A pool that can never make a node keeps its pods pending for ever; one that is not limited spends without end; a node
whose labels no pod asks for runs nothing."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

import blueprints
from blueprints.placement import Placement, PoolPlacement, place, region_of
from blueprints.schema import Blueprint, NodePool
from manifests.node_pools import (
    Machines,
    UnschedulablePoolError,
    check_schedulable,
    has_instance_store,
    karpenter_pools,
    node_pool_objects,
    on_kwok,
)
from manifests.objects import Manifest
from manifests.scheduling import pool_labels, pool_taints, taint

NAMES = ("smb", "enterprise")
MACHINES = Machines(
    instance_profile="falaj-dev-node",
    subnet_ids={"mec1-az1": "subnet-1", "mec1-az2": "subnet-2", "mec1-az3": "subnet-3"},
    security_group_id="sg-nodes",
    key_arn="arn:aws:kms:me-central-1:123456789012:key/platform",
    image="al2023@v20260903",
    tags={"owner": "platform-team", "Name": "falaj-dev"},
)


def objects(name: str, **overrides: Any) -> list[Manifest]:
    blueprint = blueprints.load(name, overrides)
    return node_pool_objects(blueprint, place(blueprint), MACHINES)


def of_kind(made: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in made if each["kind"] == kind}


def pools_of(name: str) -> tuple[Blueprint, Placement, dict[str, NodePool]]:
    blueprint = blueprints.load(name)
    return blueprint, place(blueprint), {pool.name: pool for pool in karpenter_pools(blueprint)}


def requirements(pool: Manifest) -> dict[str, list[str]]:
    return {each["key"]: each["values"] for each in pool["spec"]["template"]["spec"]["requirements"]}


@pytest.mark.parametrize("name", NAMES)
def test_every_pool_but_the_system_pools_has_a_class_and_a_pool_of_its_name(name: str) -> None:
    made = objects(name)
    wanted = set(pools_of(name)[2])
    assert set(of_kind(made, "EC2NodeClass")) == set(of_kind(made, "NodePool")) == wanted
    assert "system" not in wanted
    assert [each["kind"] for each in made] == ["EC2NodeClass"] * len(wanted) + ["NodePool"] * len(wanted)
    for pool_name, pool in of_kind(made, "NodePool").items():
        reference = pool["spec"]["template"]["spec"]["nodeClassRef"]
        assert reference == {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": pool_name}


@pytest.mark.parametrize("name", NAMES)
def test_requirements_say_what_the_blueprint_and_the_placement_say(name: str) -> None:
    _, placement, pools = pools_of(name)
    for pool_name, made in of_kind(objects(name), "NodePool").items():
        found, pool = requirements(made), pools[pool_name]
        assert found["node.kubernetes.io/instance-type"] == list(pool.instance_types)
        assert found["karpenter.sh/capacity-type"] == [pool.capacity.replace("_", "-")]
        assert found["topology.k8s.aws/zone-id"] == sorted(placement.pools[pool_name].zones)
        assert found["kubernetes.io/arch"] == ["amd64" if pool.purpose == "gpu" else "arm64"]


@pytest.mark.parametrize("name", NAMES)
def test_no_pool_names_a_lost_zone(name: str) -> None:
    lost = {zone.zone_id for zone in region_of(blueprints.load(name)).zones if zone.condition == "lost"}
    assert lost, "the claim says nothing where no zone is lost"
    for made in of_kind(objects(name), "NodePool").values():
        assert not lost & set(requirements(made)["topology.k8s.aws/zone-id"])


@pytest.mark.parametrize("name", NAMES)
def test_nodes_carry_the_labels_and_taints_that_scheduling_speaks_of(name: str) -> None:
    pools = pools_of(name)[2]
    for pool_name, made in of_kind(objects(name), "NodePool").items():
        template = made["spec"]["template"]
        assert template["metadata"]["labels"] == pool_labels(pools[pool_name])
        assert template["spec"]["taints"] == [taint(spec) for spec in pool_taints(pools[pool_name])]


@pytest.mark.parametrize("name", NAMES)
def test_gpu_and_spot_nodes_keep_other_pods_off(name: str) -> None:
    for pool_name, made in of_kind(objects(name), "NodePool").items():
        keys = {each["key"] for each in made["spec"]["template"]["spec"]["taints"]}
        pool = pools_of(name)[2][pool_name]
        assert ("nvidia.com/gpu" in keys) is (pool.purpose == "gpu")
        assert ("falaj.dev/interruptible" in keys) is (pool.capacity == "spot")


@pytest.mark.parametrize("name", NAMES)
def test_limits_hold_exactly_the_most_nodes_of_the_largest_type(name: str) -> None:
    blueprint, placement, pools = pools_of(name)
    region = region_of(blueprint)
    for pool_name, made in of_kind(objects(name), "NodePool").items():
        pool, limits = pools[pool_name], made["spec"]["limits"]
        largest = max(region.instance(kind).vcpu for kind in pool.instance_types)
        assert int(limits["cpu"]) == pool.max_nodes * largest
        gpus = placement.pools[pool_name].gpus_per_node
        assert limits.get("nvidia.com/gpu") == (str(pool.max_nodes * gpus) if gpus else None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("purpose", ["cpu", "gpu"])
def test_spot_is_tried_before_what_it_falls_back_to(name: str, purpose: str) -> None:
    pools = pools_of(name)[2]
    weights: dict[str, list[int]] = {"spot": [], "on_demand": []}
    for pool_name, made in of_kind(objects(name), "NodePool").items():
        if pools[pool_name].purpose == purpose:
            weights[pools[pool_name].capacity].append(made["spec"]["weight"])
    assert min(weights["spot"]) > max(weights["on_demand"])


def test_one_gpu_does_not_start_a_node_with_eight() -> None:
    weights = {name: made["spec"]["weight"] for name, made in of_kind(objects("enterprise"), "NodePool").items()}
    assert weights["gpu"] > weights["gpu-training"] > weights["training-gang"] >= 1


def test_training_nodes_go_only_when_they_are_empty() -> None:
    for name, made in of_kind(objects("enterprise"), "NodePool").items():
        disruption, template = made["spec"]["disruption"], made["spec"]["template"]["spec"]
        trains = name in ("gpu-training", "gpu-spot", "training-gang")
        assert (disruption["consolidationPolicy"] == "WhenEmpty") is trains
        assert (template["expireAfter"] == "Never") is trains
        kept = {reason for each in disruption["budgets"] if each["nodes"] == "0" for reason in each.get("reasons", [])}
        assert kept == ({"Drifted", "Underutilized"} if trains else set())


def test_serving_nodes_go_one_in_ten() -> None:
    made = of_kind(objects("enterprise"), "NodePool")
    assert made["cpu"]["spec"]["disruption"]["budgets"] == [{"nodes": "10%"}]
    assert made["gpu"]["spec"]["disruption"]["budgets"] == [{"nodes": "10%"}]


@pytest.mark.parametrize("name", NAMES)
def test_machines_require_imdsv2_within_one_hop_and_encrypt_their_volumes(name: str) -> None:
    pools = pools_of(name)[2]
    for class_name, made in of_kind(objects(name), "EC2NodeClass").items():
        spec = made["spec"]
        assert (spec["metadataOptions"]["httpTokens"], spec["metadataOptions"]["httpPutResponseHopLimit"]) == (
            "required",
            1,
        )
        (mapping,) = spec["blockDeviceMappings"]
        assert mapping["ebs"]["encrypted"] is True
        assert mapping["ebs"]["kmsKeyID"] == MACHINES.key_arn
        assert mapping["ebs"]["volumeSize"] == f"{pools[class_name].volume_gib}Gi"
        assert spec["associatePublicIPAddress"] is False
        assert spec["detailedMonitoring"] is True


def test_machines_boot_a_pinned_image_with_a_profile_that_exists() -> None:
    spec = of_kind(objects("smb"), "EC2NodeClass")["cpu"]["spec"]
    assert spec["amiSelectorTerms"] == [{"alias": "al2023@v20260903"}]
    assert spec["instanceProfile"] == "falaj-dev-node"
    assert "role" not in spec
    assert spec["subnetSelectorTerms"] == [{"id": "subnet-1"}, {"id": "subnet-3"}]
    assert spec["securityGroupSelectorTerms"] == [{"id": "sg-nodes"}]
    assert spec["tags"] == {"owner": "platform-team", "Name": "falaj-dev-cpu"}


def test_machines_leave_spot_pods_time_to_stop() -> None:
    spec = of_kind(objects("smb"), "EC2NodeClass")["gpu-spot"]["spec"]
    document = spec["userData"].split("Content-Type: application/node.eks.aws\n\n")[1].splitlines()[0]
    kubelet = json.loads(document)["spec"]["kubelet"]["config"]
    assert kubelet["shutdownGracePeriod"] == "90s"
    assert kubelet["maxPods"] == spec["kubelet"]["maxPods"]


def test_local_disks_are_striped_only_where_every_type_has_them() -> None:
    striped = {
        name: made["spec"].get("instanceStorePolicy") for name, made in of_kind(objects("smb"), "EC2NodeClass").items()
    }
    assert striped == {"cpu": None, "cpu-spot": None, "gpu": "RAID0", "gpu-spot": "RAID0"}


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (("g6.xlarge", "g5.xlarge"), True),
        (("p5en.48xlarge",), True),
        (("m7gd.xlarge",), True),
        (("m7gd.xlarge", "m7g.xlarge"), False),
        (("r7g.xlarge",), False),
    ],
)
def test_disks_follow_from_the_family(types: tuple[str, ...], expected: bool) -> None:
    pool = karpenter_pools(blueprints.load("smb"))[0].model_copy(update={"instance_types": types})
    assert has_instance_store(pool) is expected


# -- what a rehearsal changes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_rehearsal_changes_the_machines_and_nothing_else(name: str) -> None:
    made = objects(name)
    before = copy.deepcopy(made)
    simulated = on_kwok(made)
    assert made == before, "the objects given are left alone"
    assert {each["kind"] for each in simulated} == {"KWOKNodeClass", "NodePool"}
    for pool_name, pool in of_kind(simulated, "NodePool").items():
        reference = pool["spec"]["template"]["spec"]["nodeClassRef"]
        assert reference == {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": pool_name}
        reference |= {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass"}
        assert pool == of_kind(before, "NodePool")[pool_name]


def test_without_machines_the_pools_are_simulated() -> None:
    blueprint = blueprints.load("smb")
    assert node_pool_objects(blueprint, place(blueprint)) == on_kwok(objects("smb"))


# -- pools that can never make a node ----------------------------------------------------------------------------------


def refused(change: Any) -> str:
    made = objects("smb")
    change(of_kind(made, "NodePool")["gpu-spot"])
    with pytest.raises(UnschedulablePoolError) as caught:
        check_schedulable(made, region_of(blueprints.load("smb")))
    return str(caught.value)


def require(key: str, *values: str) -> Any:
    def change(pool: Manifest) -> None:
        for each in pool["spec"]["template"]["spec"]["requirements"]:
            if each["key"] == key:
                each["values"] = list(values)

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (require("topology.k8s.aws/zone-id", "mec1-az3"), "topology.k8s.aws/zone-id is kept to mec1-az3"),
        (require("node.kubernetes.io/instance-type", "p4d.24xlarge"), "instance-type is kept to p4d.24xlarge"),
        (require("kubernetes.io/arch", "arm64"), "kubernetes.io/arch is kept to arm64"),
    ],
)
def test_a_requirement_that_leaves_nothing_is_named(change: Any, says: str) -> None:
    message = refused(change)
    assert message.startswith("node_pools.gpu-spot: no node can come; ")
    assert says in message
    assert "\n" not in message


def test_zones_that_offer_a_type_are_told() -> None:
    assert "is offered with mec1-az1, mec1-az2" in refused(require("topology.k8s.aws/zone-id", "mec1-az3"))


@pytest.mark.parametrize(
    ("limit", "value", "says"),
    [
        ("cpu", "3", "limits.cpu=3 is below its smallest node"),
        ("memory", "8Gi", "limits.memory=8Gi is below its smallest node"),
        ("nvidia.com/gpu", "0", "limits.nvidia.com/gpu=0 is below its smallest node"),
    ],
)
def test_a_limit_below_one_node_is_named(limit: str, value: str, says: str) -> None:
    assert says in refused(lambda pool: pool["spec"]["limits"].update({limit: value}))


def test_a_pool_placed_where_its_types_are_not_is_refused_when_it_is_made() -> None:
    blueprint = blueprints.load("smb")
    placed = place(blueprint)
    astray = dict(placed.pools) | {"gpu": PoolPlacement(("mec1-az3",), "x86_64", 1)}
    wrong = Placement(placed.region, placed.zones, placed.unused_zones, astray, placed.stateful_zones, placed.warnings)
    with pytest.raises(UnschedulablePoolError, match=r"node_pools\.gpu: no node can come"):
        node_pool_objects(blueprint, wrong, MACHINES)


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_pool_can_make_a_node(name: str) -> None:
    check_schedulable(objects(name), region_of(blueprints.load(name)))
