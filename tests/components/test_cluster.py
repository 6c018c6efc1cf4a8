"""The control plane must be private, encrypted, logged and administered by named roles, or it must not exist."""

from __future__ import annotations

from typing import Any

import pytest

from components.base import ComponentSpecError
from components.cluster import Cluster
from components.versions import UnsupportedVersionError
from tests.support.answers import ACCOUNT_ID
from tests.support.platforms import BOUNDARY_ARN, NAMES, Platform, platform
from tests.support.recorder import Recording, attempt, record

CLUSTER = "aws:eks/cluster:Cluster"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
ADMIN = f"arn:aws:iam::{ACCOUNT_ID}:role/team/PlatformAdmins"


def declare(subject: Platform, **options: Any) -> None:
    Cluster(
        "cluster",
        subject.blueprint.cluster,
        environment=subject.environment,
        vpc_id="vpc-1",
        vpc_cidr="10.20.0.0/16",
        subnet_ids=options.get("subnet_ids", ["subnet-1", "subnet-3"]),
        key_arn=subject.key_arns["platform"],
        boundary_arn=BOUNDARY_ARN,
    )


def build(name: str, **overrides: Any) -> Recording:
    return record(lambda: declare(platform(name, **overrides)))


@pytest.mark.parametrize("name", NAMES)
def test_a_cluster_is_exactly_these_children(name: str) -> None:
    assert build(name).types() == {
        "falaj:compute:Cluster": 1,
        "aws:iam/role:Role": 1,
        "aws:iam/rolePolicy:RolePolicy": 1,
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment": 1,
        "aws:cloudwatch/logGroup:LogGroup": 1,
        "aws:ec2/securityGroup:SecurityGroup": 2,
        INGRESS: 3,
        EGRESS: 4,
        CLUSTER: 1,
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_control_plane_is_private_encrypted_and_fully_logged(name: str) -> None:
    subject = platform(name)
    inputs = build(name).one(CLUSTER).inputs
    assert inputs["name"] == "falaj-dev-cluster"
    assert inputs["vpcConfig"] == {
        "endpointPrivateAccess": True,
        "endpointPublicAccess": False,
        "securityGroupIds": inputs["vpcConfig"]["securityGroupIds"],
        "subnetIds": ["subnet-1", "subnet-3"],
    }
    assert len(inputs["vpcConfig"]["securityGroupIds"]) == 1
    assert inputs["encryptionConfig"] == {
        "provider": {"keyArn": subject.key_arns["platform"]},
        "resources": ["secrets"],
    }
    assert inputs["enabledClusterLogTypes"] == ["api", "audit", "authenticator", "controllerManager", "scheduler"]
    assert inputs["accessConfig"] == {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False}
    assert inputs["deletionProtection"] is True
    assert inputs["upgradePolicy"] == {"supportType": "STANDARD"}
    assert inputs["zonalShiftConfig"] == {"enabled": True}
    assert inputs["bootstrapSelfManagedAddons"] is False


@pytest.mark.parametrize("name", NAMES)
def test_the_log_group_exists_encrypted_before_the_control_plane_writes_to_it(name: str) -> None:
    subject, recording = platform(name), build(name)
    group = recording.one("aws:cloudwatch/logGroup:LogGroup")
    assert group.inputs["name"] == "/aws/eks/falaj-dev-cluster/cluster"
    assert group.inputs["kmsKeyId"] == subject.key_arns["platform"]
    assert group.inputs["retentionInDays"] >= subject.blueprint.cluster.log_retention_days
    assert group.urn in recording.one(CLUSTER).dependencies


def test_a_public_endpoint_admits_the_named_blocks_only() -> None:
    overrides = {"cluster.endpoint.public_cidrs": ["203.0.113.0/24"]}
    config = build("smb", **overrides).one(CLUSTER).inputs["vpcConfig"]
    assert config["endpointPublicAccess"] is True
    assert config["publicAccessCidrs"] == ["203.0.113.0/24"]
    assert config["endpointPrivateAccess"] is True


def test_each_administrator_is_an_access_entry_with_the_admin_policy() -> None:
    recording = build("smb", **{"cluster.admin_role_arns": [ADMIN]})
    entry = recording.named("cluster-admin-platformadmins", "aws:eks/accessEntry:AccessEntry")
    assert entry.inputs["principalArn"] == ADMIN
    association = recording.one("aws:eks/accessPolicyAssociation:AccessPolicyAssociation")
    assert association.inputs["policyArn"].endswith("cluster-access-policy/AmazonEKSClusterAdminPolicy")
    assert association.inputs["accessScope"] == {"type": "cluster"}
    assert association.inputs["principalArn"] == ADMIN


def test_security_groups_open_what_the_rules_name_and_nothing_else() -> None:
    recording = build("smb")
    groups = recording.of("aws:ec2/securityGroup:SecurityGroup")
    assert [sorted(set(group.inputs) & {"ingress", "egress"}) for group in groups] == [[], []]
    nodes = recording.named("cluster-node-group").id
    api = recording.named("cluster-control-plane-group").id
    rules = {
        rule.name: (
            rule.inputs["securityGroupId"],
            rule.inputs.get("referencedSecurityGroupId") or rule.inputs["cidrIpv4"],
            rule.inputs.get("fromPort"),
            rule.inputs.get("toPort"),
        )
        for rule in (*recording.of(INGRESS), *recording.of(EGRESS))
    }
    assert rules == {
        "cluster-api-from-nodes": (api, nodes, 443, 443),
        "cluster-api-to-nodes": (api, nodes, 1025, 65535),
        "cluster-nodes-from-api": (nodes, api, 1025, 65535),
        "cluster-nodes-from-nodes": (nodes, nodes, None, None),
        "cluster-nodes-to-nodes": (nodes, nodes, None, None),
        "cluster-nodes-to-https": (nodes, "0.0.0.0/0", 443, 443),
        "cluster-nodes-to-vpc": (nodes, "10.20.0.0/16", None, None),
    }


def test_nothing_from_the_internet_reaches_a_node_or_the_control_plane() -> None:
    assert [rule.name for rule in build("smb").of(INGRESS) if "cidrIpv4" in rule.inputs] == []


def test_the_role_may_use_the_secrets_key_and_no_other() -> None:
    subject, recording = platform("smb"), build("smb")
    statement = recording.named("cluster-role-envelope").statement("SecretsEnvelope")
    assert statement["Resource"] == [subject.key_arns["platform"]]
    assert recording.one("aws:iam/role:Role").inputs["permissionsBoundary"] == BOUNDARY_ARN


def test_outputs_name_the_cluster() -> None:
    outputs = build("smb").outputs_of("falaj:compute:Cluster")
    assert outputs["cluster_name"] == "falaj-dev-cluster"
    assert outputs["cluster_arn"].endswith(":cluster/falaj-dev-cluster")
    assert outputs["oidc_issuer_url"].startswith("https://oidc.eks.me-central-1.amazonaws.com/")


def test_a_preview_does_not_need_what_only_a_running_cluster_knows() -> None:
    assert attempt(lambda: declare(platform("smb")), preview=True).error is None


def test_refuses_a_single_subnet() -> None:
    result = attempt(lambda: declare(platform("smb"), subnet_ids=["subnet-1"]))
    assert isinstance(result.error, ComponentSpecError)
    assert "cluster.subnets: 1 given" in str(result.error)
    assert result.resources == []


def test_refuses_two_administrators_of_one_name() -> None:
    twin = f"arn:aws:iam::{ACCOUNT_ID}:role/platformadmins"
    result = attempt(lambda: declare(platform("smb", **{"cluster.admin_role_arns": [ADMIN, twin]})))
    assert isinstance(result.error, ComponentSpecError)
    assert 'two roles are named "platformadmins"' in str(result.error)


def test_refuses_a_kubernetes_version_without_pins() -> None:
    result = attempt(lambda: declare(platform("smb", **{"cluster.kubernetes_version": "1.29"})))
    assert isinstance(result.error, UnsupportedVersionError)
    assert "use one of 1.34, 1.35" in str(result.error)
