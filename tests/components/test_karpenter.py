"""A controller that may end any instance of the account ends others' too; one that does not hear of an interruption
loses the pods of the node; a node pool that comes before its kind is a failed deployment."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest
from pulumi_aws import eks

from components.boundary import boundary_statements
from components.chart_parts import ChartRelease
from components.chart_values import chart_releases
from components.gpu_sharing import GpuDevicePlugin
from components.iam_documents import Statement
from components.karpenter import KarpenterAccess, KarpenterPools
from components.karpenter_rights import controller_statements
from components.versions import NODE_IMAGE, pin
from tests.support.platforms import BOUNDARY_ARN, NAMES, platform
from tests.support.recorder import Recording, record

ROLE = "aws:iam/role:Role"
RULE = "aws:cloudwatch/eventRule:EventRule"
POOL = "kubernetes:karpenter.sh/v1:NodePool"
EC2_CLASS = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
KWOK_CLASS = "kubernetes:karpenter.kwok.sh/v1alpha1:KWOKNodeClass"
CLUSTER = "falaj-dev-cluster"
NODE_ROLE = "arn:aws:iam::123456789012:role/falaj-dev-node"
OWNED = f"aws:ResourceTag/kubernetes.io/cluster/{CLUSTER}"


def access(name: str = "smb") -> Recording:
    subject = platform(name)
    return record(
        lambda: KarpenterAccess(
            "karpenter",
            environment=subject.environment,
            cluster_name=CLUSTER,
            cluster_ready=eks.Cluster(
                "cluster", role_arn="role", vpc_config=eks.ClusterVpcConfigArgs(subnet_ids=["s"])
            ),
            node_role_arn=NODE_ROLE,
            node_role_name="falaj-dev-node",
            key_arn=subject.key_arns["platform"],
            boundary_arn=BOUNDARY_ARN,
        )
    )


def pools(name: str, **options: Any) -> Recording:
    subject = platform(name)
    return record(
        lambda: KarpenterPools(
            "pools",
            subject.blueprint,
            subject.placement,
            environment=subject.environment,
            instance_profile_name=pulumi.Output.from_input("falaj-dev-karpenter-node"),
            subnet_ids={zone: pulumi.Output.from_input(f"subnet-{zone[-1]}") for zone in subject.placement.zones},
            security_group_id=pulumi.Output.from_input("sg-nodes"),
            key_arn=subject.key_arns["platform"],
            **options,
        )
    )


def statements() -> dict[str, Statement]:
    environment = platform("smb").environment
    made = controller_statements(environment, CLUSTER, NODE_ROLE, "arn:queue", "arn:key")
    return {statement.sid: statement for statement in made}


def actions_of(statement: Statement) -> set[str]:
    return set(statement.actions)


def test_the_controller_has_a_role_a_profile_for_nodes_and_an_ear() -> None:
    assert access().types() == {
        "aws:cloudwatch/eventRule:EventRule": 1,
        "aws:cloudwatch/eventTarget:EventTarget": 1,
        "aws:eks/cluster:Cluster": 1,
        "aws:eks/podIdentityAssociation:PodIdentityAssociation": 1,
        "aws:iam/instanceProfile:InstanceProfile": 1,
        "aws:iam/rolePolicy:RolePolicy": 1,
        "aws:sqs/queue:Queue": 1,
        "aws:sqs/queuePolicy:QueuePolicy": 1,
        "falaj:compute:KarpenterAccess": 1,
        ROLE: 1,
    }


def test_only_the_charts_service_account_gets_the_role() -> None:
    recording = access()
    (role,), (association,) = recording.of(ROLE), recording.of("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    assert (association.inputs["namespace"], association.inputs["serviceAccount"]) == ("kube-system", "karpenter")
    condition = role.statement("PodIdentity", "assumeRolePolicy")["Condition"]["StringEquals"]
    assert condition["aws:RequestTag/kubernetes-namespace"] == "kube-system"
    assert condition["aws:RequestTag/kubernetes-service-account"] == "karpenter"
    assert role.inputs["permissionsBoundary"] == BOUNDARY_ARN


def test_the_controller_ends_and_tags_only_what_is_the_clusters() -> None:
    for sid in ("EndOwn", "TagOwn", "LaunchFromOwnTemplate"):
        assert statements()[sid].conditions["StringEquals"][OWNED] == "owned", sid
    holders = {sid for sid, each in statements().items() if "ec2:TerminateInstances" in actions_of(each)}
    assert holders == {"EndOwn"}


def test_whatever_the_controller_makes_carries_the_clusters_tag() -> None:
    for sid in ("LaunchTagged", "TagAtLaunch"):
        required = statements()[sid].conditions
        assert required["StringEquals"][f"aws:RequestTag/kubernetes.io/cluster/{CLUSTER}"] == "owned"
        assert required["StringLike"] == {"aws:RequestTag/karpenter.sh/nodepool": "*"}
    for resource in statements()["LaunchFrom"].resources:
        kind = resource.split(":")[5].split("/")[0]
        assert kind in {"capacity-reservation", "image", "security-group", "snapshot", "subnet"}, "exists already"


def test_the_controller_hands_on_one_role_and_makes_no_profiles() -> None:
    assert statements()["HandNodesTheirRole"].resources == (NODE_ROLE,)
    identity = {action for each in statements().values() for action in each.actions if action.startswith("iam:")}
    assert identity == {"iam:CreateServiceLinkedRole", "iam:PassRole"}


def test_only_looking_has_no_resource_and_it_keeps_to_the_region() -> None:
    anything = {sid for sid, each in statements().items() if "*" in each.resources}
    assert anything == {"Look"}
    assert statements()["Look"].conditions["StringEquals"] == {"aws:RequestedRegion": "me-central-1"}
    assert all(action.startswith("ec2:Describe") for action in statements()["Look"].actions)


def test_the_boundary_leaves_the_controller_what_it_needs() -> None:
    allowed = [
        each for each in boundary_statements(platform("smb").environment, boundary_arn="x") if each.effect == "Allow"
    ]
    ceiling = {pattern for each in allowed for pattern in each.actions}
    for statement in statements().values():
        for action in statement.actions:
            service = action.split(":")[0]
            covered = {action, f"{service}:*"} & ceiling or (service == "ec2" and "ec2:Describe*" in ceiling)
            assert covered, f"{action} is above the ceiling"


def test_interruptions_of_every_kind_reach_the_queue() -> None:
    recording = access()
    (rule,) = recording.of(RULE)
    either = json.loads(rule.inputs["eventPattern"])["$or"]
    kinds = {kind for each in either for kind in each["detail-type"]}
    assert kinds == {
        "AWS Health Event",
        "EC2 Instance Rebalance Recommendation",
        "EC2 Instance State-change Notification",
        "EC2 Spot Instance Interruption Warning",
    }
    (target,), (queue,) = recording.of("aws:cloudwatch/eventTarget:EventTarget"), recording.of("aws:sqs/queue:Queue")
    assert target.property_dependencies["arn"] == (queue.urn,)
    assert queue.inputs["messageRetentionSeconds"] == 300
    assert queue.inputs["kmsMasterKeyId"] == platform("smb").key_arns["platform"]


def test_only_that_rule_writes_to_the_queue() -> None:
    recording = access()
    (rule,), (policy,) = recording.of(RULE), recording.of("aws:sqs/queuePolicy:QueuePolicy")
    assert rule.urn in policy.property_dependencies["policy"]
    (source,) = policy.statement("RuleDelivers")["Condition"].values()
    assert set(source) == {"aws:SourceArn"}
    assert source["aws:SourceArn"].endswith(rule.inputs["name"])
    assert policy.statement("DenyPlainConnections")["Effect"] == "Deny"


@pytest.mark.parametrize("name", NAMES)
def test_every_pool_is_declared_after_its_class(name: str) -> None:
    wanted = [pool.name for pool in platform(name).blueprint.node_pools if pool.purpose != "system"]
    recording = pools(name)
    assert recording.types() == {"falaj:kubernetes:NodePools": 1, EC2_CLASS: len(wanted), POOL: len(wanted)}
    for pool in wanted:
        made, its_class = recording.named(f"pools-{pool}", POOL), recording.named(f"pools-{pool}-class", EC2_CLASS)
        assert its_class.urn in made.dependencies
        assert made.inputs["metadata"]["name"] == its_class.inputs["metadata"]["name"] == pool


def test_classes_get_what_the_deployment_made() -> None:
    spec = pools("enterprise").named("pools-training-gang-class", EC2_CLASS).inputs["spec"]
    assert spec["instanceProfile"] == "falaj-dev-karpenter-node"
    assert spec["subnetSelectorTerms"] == [{"id": "subnet-1"}, {"id": "subnet-3"}]
    assert spec["amiSelectorTerms"] == [{"alias": NODE_IMAGE}]
    assert spec["tags"]["Name"] == "falaj-dev-training-gang"
    assert spec["tags"]["cost-centre"] == "ml-platform"


def test_simulated_pools_stand_on_simulated_machines() -> None:
    recording = pools("smb", simulated=True)
    assert recording.types() == {"falaj:kubernetes:NodePools": 1, KWOK_CLASS: 4, POOL: 4}


def test_fabric_adapters_are_offered_where_gpu_nodes_have_them() -> None:
    def charts(name: str) -> dict[str, ChartRelease]:
        made = chart_releases(platform(name).blueprint, registry="registry.example.org/falaj-dev", cluster_name=CLUSTER)
        return {release.chart: release for release in made}

    assert "aws-efa-k8s-device-plugin" not in charts("smb")
    image = charts("enterprise")["aws-efa-k8s-device-plugin"].values["image"]
    assert image["repository"].startswith("759879836304.dkr.ecr.me-central-1.amazonaws.com/eks/")


def test_the_device_plugin_comes_from_the_accounts_registry() -> None:
    subject = platform("smb")
    registry = "123456789012.dkr.ecr.me-central-1.amazonaws.com/falaj-dev"
    recording = record(lambda: GpuDevicePlugin("gpu", subject.blueprint, registry=registry))
    assert recording.types() == {
        "falaj:kubernetes:GpuDevicePlugin": 1,
        "kubernetes:core/v1:ConfigMap": 1,
        "kubernetes:apps/v1:DaemonSet": 1,
    }
    (found,) = recording.of("kubernetes:apps/v1:DaemonSet")
    (container,) = found.inputs["spec"]["template"]["spec"]["containers"]
    assert (
        container["image"]
        == f"{registry}/mirror/nvidia/k8s-device-plugin@{pin('image', 'nvidia-device-plugin').digest}"
    )
