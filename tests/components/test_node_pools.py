"""A GPU pool in a zone without GPUs never starts; a stateful pod on spot loses its state; a node that can be asked for
its credentials by any pod has no Pod Identity at all."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from blueprints.schema import NodePool
from components.base import ComponentSpecError
from components.node_pools import NodePools, PlacedPool, check_pools
from components.userdata import node_config, user_data
from stacks.compute import placed_pools
from tests.support.platforms import BOUNDARY_ARN, NAMES, Platform, platform
from tests.support.recorder import Recording, Registered, record

GROUP = "aws:eks/nodeGroup:NodeGroup"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
SUBNETS = {"mec1-az1": "subnet-1", "mec1-az3": "subnet-3"}


def build(name: str, pools: list[PlacedPool] | None = None, **options: Any) -> Recording:
    subject = platform(name)
    return record(
        lambda: NodePools(
            "pools",
            pools if pools is not None else placed_pools(subject.blueprint, subject.placement),
            environment=subject.environment,
            cluster_name="falaj-dev-cluster",
            kubernetes_version="1.35",
            subnet_ids=SUBNETS,
            security_group_id="sg-nodes",
            key_arn=subject.key_arns["platform"],
            boundary_arn=BOUNDARY_ARN,
            **options,
        )
    )


def pools_of(subject: Platform, purpose: str) -> list[NodePool]:
    return [pool for pool in subject.blueprint.node_pools if pool.purpose == purpose]


def group(recording: Recording, pool: str) -> Registered:
    return recording.named(f"pools-{pool}", GROUP)


@pytest.mark.parametrize("name", NAMES)
def test_each_pool_is_a_node_group_with_a_launch_template_of_its_own(name: str) -> None:
    subject, recording = platform(name), build(name)
    count = len(subject.blueprint.node_pools)
    assert recording.types() == {
        "falaj:compute:NodePools": 1,
        "aws:iam/role:Role": 1,
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment": 2,
        TEMPLATE: count,
        GROUP: count,
    }
    for pool in subject.blueprint.node_pools:
        template = recording.named(f"pools-{pool.name}-template", TEMPLATE)
        assert group(recording, pool.name).inputs["launchTemplate"] == {"id": template.id, "version": "1"}


@pytest.mark.parametrize("name", NAMES)
def test_sizes_and_capacity_are_the_blueprints(name: str) -> None:
    recording = build(name)
    for pool in platform(name).blueprint.node_pools:
        inputs = group(recording, pool.name).inputs
        assert inputs["scalingConfig"] == {
            "minSize": pool.min_nodes,
            "desiredSize": pool.desired_nodes,
            "maxSize": pool.max_nodes,
        }
        assert inputs["capacityType"] == {"spot": "SPOT", "on_demand": "ON_DEMAND"}[pool.capacity]
        assert inputs["instanceTypes"] == list(pool.instance_types)
        assert inputs["version"] == "1.35"


@pytest.mark.parametrize("name", NAMES)
def test_gpu_pools_stand_only_where_the_region_offers_their_gpus(name: str) -> None:
    recording = build(name)
    for pool in pools_of(platform(name), "gpu"):
        everywhere = pool.instance_types[0].startswith("p5en")
        expected = ["subnet-1", "subnet-3"] if everywhere else ["subnet-1"]
        assert sorted(group(recording, pool.name).inputs["subnetIds"]) == expected


@pytest.mark.parametrize("name", NAMES)
def test_gpu_nodes_boot_the_gpu_image_and_keep_other_pods_off(name: str) -> None:
    recording = build(name)
    for pool in pools_of(platform(name), "gpu"):
        inputs = group(recording, pool.name).inputs
        assert inputs["amiType"] == "AL2023_x86_64_NVIDIA"
        assert {"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"} in inputs["taints"]
        assert inputs["labels"]["nvidia.com/gpu.present"] == "true"


@pytest.mark.parametrize("name", NAMES)
def test_cpu_nodes_boot_the_image_of_their_processor(name: str) -> None:
    recording = build(name)
    for pool in (*pools_of(platform(name), "cpu"), *pools_of(platform(name), "system")):
        assert group(recording, pool.name).inputs["amiType"] == "AL2023_ARM_64_STANDARD"


@pytest.mark.parametrize("name", NAMES)
def test_spot_nodes_admit_only_pods_that_survive_an_interruption(name: str) -> None:
    recording = build(name)
    taint = {"key": "falaj.dev/interruptible", "value": "true", "effect": "NO_SCHEDULE"}
    for pool in platform(name).blueprint.node_pools:
        inputs = group(recording, pool.name).inputs
        assert (taint in inputs["taints"]) is (pool.capacity == "spot")
        assert inputs["labels"]["falaj.dev/capacity"] == pool.capacity.replace("_", "-")


@pytest.mark.parametrize("name", NAMES)
def test_the_system_pool_is_on_demand_and_untainted(name: str) -> None:
    recording = build(name)
    for pool in pools_of(platform(name), "system"):
        inputs = group(recording, pool.name).inputs
        assert inputs["capacityType"] == "ON_DEMAND"
        assert inputs["taints"] == []


@pytest.mark.parametrize("name", NAMES)
def test_nodes_require_imdsv2_within_one_hop_and_encrypt_their_volumes(name: str) -> None:
    subject, recording = platform(name), build(name)
    sizes = {f"pools-{pool.name}-template": pool.volume_gib for pool in subject.blueprint.node_pools}
    for template in recording.of(TEMPLATE):
        assert template.inputs["metadataOptions"] == {
            "httpEndpoint": "enabled",
            "httpPutResponseHopLimit": 1,
            "httpTokens": "required",
            "instanceMetadataTags": "disabled",
        }
        (mapping,) = template.inputs["blockDeviceMappings"]
        assert mapping["ebs"] == {
            "deleteOnTermination": "true",
            "encrypted": "true",
            "kmsKeyId": subject.key_arns["platform"],
            "volumeSize": sizes[template.name],
            "volumeType": "gp3",
        }
        assert template.inputs["vpcSecurityGroupIds"] == ["sg-nodes"]


def test_what_a_template_launches_carries_the_platforms_tags() -> None:
    template = build("smb").named("pools-system-template", TEMPLATE)
    tagged = {entry["resourceType"]: entry["tags"] for entry in template.inputs["tagSpecifications"]}
    assert set(tagged) == {"instance", "network-interface", "volume"}
    assert tagged["volume"]["owner"] == "platform-team"
    assert tagged["instance"]["Name"] == "falaj-dev-system"


def test_the_autoscaler_owns_the_number_of_nodes() -> None:
    assert {found.ignore_changes for found in build("smb").of(GROUP)} == {("scalingConfig.desiredSize",)}


def test_nodes_wait_for_the_policies_of_their_role() -> None:
    recording = build("smb")
    policies = {policy.urn for policy in recording.of("aws:iam/rolePolicyAttachment:RolePolicyAttachment")}
    assert [found.name for found in recording.of(GROUP) if not policies <= set(found.dependencies)] == []


def test_the_node_role_pulls_images_and_mirrors_upstreams_of_this_platform_only() -> None:
    recording = build("smb", pull_through_prefixes=["falaj-dev/ecr-public"])
    statement = recording.named("pools-role-pull-through").statement("MirrorOnFirstPull")
    assert statement["Resource"] == ["arn:aws:ecr:me-central-1:123456789012:repository/falaj-dev/ecr-public/*"]
    attached = {a.inputs["policyArn"] for a in recording.of("aws:iam/rolePolicyAttachment:RolePolicyAttachment")}
    assert attached == {
        "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly",
        "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy",
    }


def decoded(text: str) -> str:
    return base64.b64decode(text).decode()


def test_user_data_is_a_node_config_in_mime() -> None:
    text = decoded(user_data(node_config(instance_store_raid=True)))
    assert text.startswith("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=")
    body = text.split("Content-Type: application/node.eks.aws\n\n")[1].splitlines()[0]
    config = json.loads(body)
    assert (config["apiVersion"], config["kind"]) == ("node.eks.aws/v1alpha1", "NodeConfig")
    assert config["spec"]["kubelet"]["config"]["maxPods"] == 110
    assert config["spec"]["instance"] == {"localStorage": {"strategy": "RAID0"}}


def test_pods_get_less_than_the_two_minutes_of_a_spot_notice_to_stop() -> None:
    spec = node_config(instance_store_raid=False)["spec"]
    assert isinstance(spec, dict)
    assert int(spec["kubelet"]["config"]["shutdownGracePeriod"].removesuffix("s")) < 120
    assert "instance" not in spec


def test_local_disks_are_striped_only_where_every_type_has_them() -> None:
    recording = build("smb")
    striped = {template.name for template in recording.of(TEMPLATE) if "RAID0" in decoded(template.inputs["userData"])}
    assert striped == {"pools-gpu-spot-template"}


@pytest.mark.parametrize(
    ("zones", "says"),
    [((), "node_pools.system: placed in no zone"), (("mec1-az2",), "placed in mec1-az2, which has no subnet")],
)
def test_refuses_a_pool_that_stands_nowhere(zones: tuple[str, ...], says: str) -> None:
    (system,) = pools_of(platform("smb"), "system")
    with pytest.raises(ComponentSpecError) as caught:
        check_pools([PlacedPool(system, zones, "arm64")], tuple(SUBNETS))
    assert says in str(caught.value)
