"""Karpenter cannot make the nodes that it runs on; a node that can be asked for its credentials by any pod has no Pod
Identity at all."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from blueprints.schema import NodePool
from components.base import ComponentSpecError
from components.node_pools import NodePools, PlacedPool, check_pools
from manifests.userdata import node_config, user_data
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
def test_each_system_pool_is_a_node_group_with_a_launch_template_of_its_own(name: str) -> None:
    systems, recording = pools_of(platform(name), "system"), build(name)
    assert recording.types() == {
        "falaj:compute:NodePools": 1,
        "aws:iam/role:Role": 1,
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment": 2,
        TEMPLATE: len(systems),
        GROUP: len(systems),
    }
    for pool in systems:
        template = recording.named(f"pools-{pool.name}-template", TEMPLATE)
        assert group(recording, pool.name).inputs["launchTemplate"] == {"id": template.id, "version": "1"}


@pytest.mark.parametrize("name", NAMES)
def test_sizes_and_zones_are_the_blueprints(name: str) -> None:
    recording = build(name)
    for pool in pools_of(platform(name), "system"):
        inputs = group(recording, pool.name).inputs
        assert inputs["scalingConfig"] == {
            "minSize": pool.min_nodes,
            "desiredSize": pool.desired_nodes,
            "maxSize": pool.max_nodes,
        }
        assert inputs["instanceTypes"] == list(pool.instance_types)
        assert inputs["version"] == "1.35"
        assert sorted(inputs["subnetIds"]) == ["subnet-1", "subnet-3"]


@pytest.mark.parametrize("name", NAMES)
def test_system_nodes_boot_the_image_of_their_processor(name: str) -> None:
    recording = build(name)
    for pool in pools_of(platform(name), "system"):
        assert group(recording, pool.name).inputs["amiType"] == "AL2023_ARM_64_STANDARD"


@pytest.mark.parametrize("name", NAMES)
def test_system_nodes_carry_the_labels_that_pods_ask_for(name: str) -> None:
    labels = group(build(name), "system").inputs["labels"]
    assert labels == {"falaj.dev/capacity": "on-demand", "falaj.dev/pool": "system", "falaj.dev/purpose": "system"}


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


def test_a_deployment_does_not_scale_back_what_an_operator_scaled() -> None:
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
    (system,) = pools_of(platform("smb"), "system")
    striped = {
        types: "RAID0" in decoded(build("smb", [placed(system, types)]).of(TEMPLATE)[0].inputs["userData"])
        for types in (("m7gd.xlarge",), ("m7gd.xlarge", "m7g.xlarge"), ("m7g.xlarge",))
    }
    assert striped == {("m7gd.xlarge",): True, ("m7gd.xlarge", "m7g.xlarge"): False, ("m7g.xlarge",): False}


def placed(pool: NodePool, types: tuple[str, ...]) -> PlacedPool:
    return PlacedPool(pool.model_copy(update={"instance_types": types}), tuple(SUBNETS), "arm64")


def test_refuses_a_pool_that_is_karpenters() -> None:
    (spot,) = (pool for pool in platform("smb").blueprint.node_pools if pool.name == "cpu-spot")
    with pytest.raises(ComponentSpecError, match="purpose=cpu is Karpenter's"):
        check_pools([PlacedPool(spot, tuple(SUBNETS), "arm64")], tuple(SUBNETS))


@pytest.mark.parametrize(
    ("zones", "says"),
    [((), "node_pools.system: placed in no zone"), (("mec1-az2",), "placed in mec1-az2, which has no subnet")],
)
def test_refuses_a_pool_that_stands_nowhere(zones: tuple[str, ...], says: str) -> None:
    (system,) = pools_of(platform("smb"), "system")
    with pytest.raises(ComponentSpecError) as caught:
        check_pools([PlacedPool(system, zones, "arm64")], tuple(SUBNETS))
    assert says in str(caught.value)
