"""EKS handlers on a real server.  Guards: clusters without logs or encryption, lost security group, leaks on delete."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from falaj.engine.provider import Changes, ProviderError
from falaj.engine.values import UNKNOWN
from tests.support.aws_lifecycle import DEFAULT_TAGS, Account, Resource, assert_full_life, assert_settled
from tests.support.aws_network import default_subnets, default_vpc
from tests.support.moto_server import ACCOUNT_ID, REGION, client

CLUSTER = "aws:eks/cluster:Cluster"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
ADDON = "aws:eks/addon:Addon"
ACCESS_ENTRY = "aws:eks/accessEntry:AccessEntry"
ACCESS_POLICY = "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"
POD_IDENTITY = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/eks"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/0b8f6a5e-0000-4000-8000-000000000001"


def cluster_inputs(account: Account, **more: Any) -> dict[str, Any]:
    return {
        "roleArn": ROLE,
        "version": "1.34",
        "vpcConfig": {
            "subnetIds": default_subnets(account.endpoint_url)[:2],
            "endpointPrivateAccess": True,
            "endpointPublicAccess": False,
        },
        "enabledClusterLogTypes": ["api", "audit"],
        "encryptionConfig": {"provider": {"keyArn": KEY}, "resources": ["secrets"]},
        "accessConfig": {"authenticationMode": "API"},
        **more,
    }


_numbers = itertools.count(1)


@pytest.fixture
def cluster(account: Account) -> Resource:
    return account.created(CLUSTER, f"platform{next(_numbers)}", cluster_inputs(account))


def test_cluster_lives_through_create_update_and_delete(account: Account) -> None:
    first = cluster_inputs(account)
    second = {**first, "enabledClusterLogTypes": ["scheduler", "api", "audit"], "tags": {"tier": "core"}}
    assert_full_life(account, CLUSTER, "lived", first, second)


def test_independent_client_sees_the_private_encrypted_logging_cluster(account: Account, cluster: Resource) -> None:
    seen = client(account.endpoint_url, "eks").describe_cluster(name=cluster.id)["cluster"]
    assert seen["resourcesVpcConfig"]["endpointPublicAccess"] is False
    assert seen["encryptionConfig"] == [{"resources": ["secrets"], "provider": {"keyArn": KEY}}]
    assert seen["logging"]["clusterLogging"] == [{"types": ["api", "audit"], "enabled": True}]
    assert seen["tags"] == DEFAULT_TAGS


def test_cluster_answers_what_its_dependents_need(account: Account, cluster: Resource) -> None:
    out = cluster.outputs
    assert out["endpoint"].startswith("https://")
    assert out["certificateAuthority"]["data"]
    assert out["identities"][0]["oidcs"][0]["issuer"].startswith("https://oidc.eks.")
    assert out["vpcConfig"]["vpcId"] == default_vpc(account.endpoint_url)
    group_id = out["vpcConfig"]["clusterSecurityGroupId"]
    groups = client(account.endpoint_url, "ec2").describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    assert groups[0]["VpcId"] == out["vpcConfig"]["vpcId"]


def test_deleted_cluster_takes_its_security_group_along(account: Account, cluster: Resource) -> None:
    cluster.delete()
    group_id = cluster.outputs["vpcConfig"]["clusterSecurityGroupId"]
    groups = client(account.endpoint_url, "ec2").describe_security_groups()["SecurityGroups"]
    assert group_id not in {group["GroupId"] for group in groups}


def test_preview_does_not_know_the_cluster_security_group(account: Account) -> None:
    resource = account.resource(CLUSTER, "planned")
    checked = resource.check(cluster_inputs(account))
    preview = account.provider.create(resource.urn, CLUSTER, "planned", checked, 0, True)
    assert preview.outputs["vpcConfig"]["clusterSecurityGroupId"] is UNKNOWN
    assert preview.outputs["vpcConfig"]["endpointPublicAccess"] is False


def test_opened_endpoint_keeps_the_subnets(account: Account, cluster: Resource) -> None:
    vpc_config = {
        **cluster_inputs(account)["vpcConfig"],
        "endpointPublicAccess": True,
        "publicAccessCidrs": ["10.0.0.0/8"],
    }
    cluster.update(cluster_inputs(account, vpcConfig=vpc_config))
    seen = client(account.endpoint_url, "eks").describe_cluster(name=cluster.id)["cluster"]["resourcesVpcConfig"]
    assert seen["publicAccessCidrs"] == ["10.0.0.0/8"]
    assert seen["subnetIds"] == vpc_config["subnetIds"]
    assert cluster.outputs["vpcConfig"]["clusterSecurityGroupId"]


def test_new_kubernetes_version_is_an_update_and_not_drift(account: Account, cluster: Resource) -> None:
    newer = cluster_inputs(account, version="1.35")
    cluster.update(newer)
    assert_settled(cluster, newer)


@pytest.mark.parametrize("change", [{"roleArn": f"{ROLE}-2"}, {"name": "other"}, {"encryptionConfig": None}])
def test_what_eks_cannot_change_replaces_the_cluster(
    account: Account, cluster: Resource, change: dict[str, Any]
) -> None:
    assert cluster.diff(cluster_inputs(account, **change)).replaces == tuple(change)


def test_protected_cluster_refuses_to_go(account: Account) -> None:
    inputs = cluster_inputs(account, deletionProtection=True)
    protected = account.created(CLUSTER, "protected", inputs)
    with pytest.raises(ProviderError, match="deletion protection; set deletionProtection to false"):
        protected.delete()
    protected.update({**inputs, "deletionProtection": False})
    protected.delete()
    assert not protected.refresh()


def node_group_inputs(account: Account, cluster: Resource, **more: Any) -> dict[str, Any]:
    return {
        "clusterName": cluster.id,
        "nodeRoleArn": ROLE,
        "subnetIds": default_subnets(account.endpoint_url)[:2],
        "scalingConfig": {"minSize": 1, "maxSize": 2, "desiredSize": 1},
        "instanceTypes": ["m6i.large"],
        "amiType": "AL2023_x86_64_STANDARD",
        "labels": {"pool": "system", "old": "yes"},
        "taints": [{"key": "dedicated", "value": "system", "effect": "NO_SCHEDULE"}],
        "updateConfig": {"maxUnavailable": 1},
        **more,
    }


def test_node_group_lives_through_create_update_and_delete(account: Account, cluster: Resource) -> None:
    first = node_group_inputs(account, cluster)
    second = node_group_inputs(
        account,
        cluster,
        labels={"pool": "system", "new": "yes"},
        taints=[],
        scalingConfig={"minSize": 0, "maxSize": 3, "desiredSize": 2},
    )
    assert_full_life(account, NODE_GROUP, "system", first, second)


def test_node_group_update_reaches_the_account(account: Account, cluster: Resource) -> None:
    group = account.created(NODE_GROUP, "pool", node_group_inputs(account, cluster))
    group.update(node_group_inputs(account, cluster, labels={"pool": "system"}, taints=[]))
    cluster_name, name = group.id.split(":")
    eks = client(account.endpoint_url, "eks")
    seen = eks.describe_nodegroup(clusterName=cluster_name, nodegroupName=name)["nodegroup"]
    assert (seen["labels"], seen["taints"]) == ({"pool": "system"}, [])
    assert seen["updateConfig"] == {"maxUnavailable": 1}
    assert seen["version"] == "1.34"


def test_cluster_with_node_groups_refuses_to_go(account: Account, cluster: Resource) -> None:
    account.created(NODE_GROUP, "holding", node_group_inputs(account, cluster))
    with pytest.raises(ProviderError, match="ResourceInUseException"):
        cluster.delete()


PRINCIPAL = f"arn:aws:iam::{ACCOUNT_ID}:role/platform/admins"
STATE_ONLY: dict[str, dict[str, Any]] = {
    ADDON: {"addonName": "vpc-cni", "addonVersion": "v1.20.4-eksbuild.1", "configurationValues": '{"env": {}}'},
    ACCESS_ENTRY: {"principalArn": PRINCIPAL},
    ACCESS_POLICY: {
        "principalArn": PRINCIPAL,
        "policyArn": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
        "accessScope": {"type": "cluster"},
    },
    POD_IDENTITY: {"namespace": "mlops", "serviceAccount": "trainer", "roleArn": ROLE},
}


@pytest.mark.parametrize("type", STATE_ONLY)
def test_state_only_parts_of_a_cluster_are_marked_and_settle(account: Account, cluster: Resource, type: str) -> None:
    inputs = {"clusterName": cluster.id, **STATE_ONLY[type]}
    part = account.created(type, "part", inputs)
    assert part.outputs["__falaj"] == {"emulated": "state"}
    assert_settled(part, inputs)
    assert part.diff({**inputs, "clusterName": "other"}).replaces == ("clusterName",)
    part.delete()


@pytest.mark.parametrize("type", STATE_ONLY)
def test_parts_of_a_cluster_need_it_and_go_with_it(account: Account, cluster: Resource, type: str) -> None:
    with pytest.raises(ProviderError, match="No cluster found for name: missing"):
        account.created(type, "stray", {"clusterName": "missing", **STATE_ONLY[type]})
    part = account.created(type, "part", {"clusterName": cluster.id, **STATE_ONLY[type]})
    cluster.delete()
    assert not part.refresh()


def test_access_entry_names_the_session_of_a_role(account: Account, cluster: Resource) -> None:
    entry = account.created(ACCESS_ENTRY, "admins", {"clusterName": cluster.id, "principalArn": PRINCIPAL})
    assert entry.outputs["userName"] == f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/admins/{{{{SessionName}}}}"
    assert entry.outputs["type"] == "STANDARD"


def test_addon_update_stays_in_place(account: Account, cluster: Resource) -> None:
    inputs = {"clusterName": cluster.id, **STATE_ONLY[ADDON]}
    addon = account.created(ADDON, "vpc-cni", inputs)
    assert addon.diff({**inputs, "configurationValues": '{ "env":{} }'}).changes is Changes.NONE
    addon.update({**inputs, "addonVersion": "v1.21.0-eksbuild.1"})
    assert addon.outputs["addonVersion"] == "v1.21.0-eksbuild.1"
