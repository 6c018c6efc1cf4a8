"""Add-ons at the wrong moment or version leave nodes that never become ready."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from components.addons import AFTER_NODES, BEFORE_NODES, Addons, volume_key
from components.iam_documents import identity_document
from components.versions import ADDON_VERSIONS, UnsupportedVersionError, addon_versions, postgres_parameter_family
from tests.support.answers import ACCOUNT_ID, REGION
from tests.support.platforms import BOUNDARY_ARN, platform
from tests.support.recorder import Recording, attempt, record

ADDON = "aws:eks/addon:Addon"
ROLE = "aws:iam/role:Role"
Phase = Literal["before-nodes", "after-nodes"]


def declare(phase: Phase, version: str = "1.35") -> None:
    from pulumi_aws import eks

    subject = platform("smb")
    cluster = eks.Cluster("cluster", role_arn="arn:role", vpc_config={"subnet_ids": ["subnet-1"]})
    Addons(
        "addons",
        phase,
        kubernetes_version=version,
        environment=subject.environment,
        cluster_name="falaj-dev-cluster",
        key_arn=subject.key_arns["platform"],
        boundary_arn=BOUNDARY_ARN,
        depends_on=[cluster],
    )


def build(phase: Phase, version: str = "1.35") -> Recording:
    return record(lambda: declare(phase, version))


def test_what_a_node_needs_to_become_ready_comes_before_nodes() -> None:
    recording = build("before-nodes")
    assert {addon.inputs["addonName"] for addon in recording.of(ADDON)} == {
        "eks-pod-identity-agent",
        "kube-proxy",
        "vpc-cni",
    }
    assert recording.types()[ROLE] == 1


def test_what_needs_a_node_to_run_on_comes_after() -> None:
    recording = build("after-nodes")
    assert {addon.inputs["addonName"] for addon in recording.of(ADDON)} == {
        "aws-ebs-csi-driver",
        "coredns",
        "metrics-server",
        "snapshot-controller",
    }
    assert recording.types() == {
        "falaj:compute:Addons": 1,
        "aws:eks/cluster:Cluster": 1,
        ADDON: 4,
        ROLE: 1,
        "aws:iam/rolePolicy:RolePolicy": 1,
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment": 1,
    }


@pytest.mark.parametrize("version", sorted(ADDON_VERSIONS))
@pytest.mark.parametrize("phase", ["before-nodes", "after-nodes"])
def test_every_add_on_is_pinned_for_every_supported_version(phase: Phase, version: str) -> None:
    for addon in build(phase, version).of(ADDON):
        assert addon.inputs["addonVersion"] == ADDON_VERSIONS[version][addon.inputs["addonName"]]
        assert addon.inputs["resolveConflictsOnCreate"] == "OVERWRITE"


def test_every_pin_is_used() -> None:
    used = {addon.name for addon in (*BEFORE_NODES, *AFTER_NODES)}
    assert {version: set(pins) for version, pins in ADDON_VERSIONS.items()} == dict.fromkeys(ADDON_VERSIONS, used)


def test_kube_proxy_is_of_the_clusters_minor_version() -> None:
    assert [pins["kube-proxy"].startswith(f"v{version}.") for version, pins in ADDON_VERSIONS.items()] == [True, True]


@pytest.mark.parametrize(
    ("phase", "addon", "service_account"),
    [
        ("before-nodes", "vpc-cni", "aws-node"),
        ("after-nodes", "aws-ebs-csi-driver", "ebs-csi-controller-sa"),
    ],
)
def test_an_add_on_that_calls_aws_has_a_role_of_its_own(phase: Phase, addon: str, service_account: str) -> None:
    recording = build(phase)
    role = recording.named(f"addons-{addon}-role", ROLE)
    declared = recording.named(f"addons-{addon}", ADDON)
    assert declared.inputs["podIdentityAssociations"] == [
        {"roleArn": role_arn(role.id), "serviceAccount": service_account}
    ]
    condition = role.statement("PodIdentity", "assumeRolePolicy")["Condition"]["StringEquals"]
    assert condition["aws:RequestTag/kubernetes-namespace"] == "kube-system"
    assert condition["aws:RequestTag/kubernetes-service-account"] == service_account
    assert role.inputs["permissionsBoundary"] == BOUNDARY_ARN


def role_arn(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT_ID}:role/{name}"


def test_network_policies_are_enforced_by_the_cni() -> None:
    values = json.loads(build("before-nodes").named("addons-vpc-cni", ADDON).inputs["configurationValues"])
    assert values["enableNetworkPolicy"] == "true"
    assert values["env"]["ENABLE_PREFIX_DELEGATION"] == "true"


@pytest.mark.parametrize("phase", ["before-nodes", "after-nodes"])
def test_add_ons_wait_for_what_they_were_told_to_wait_for(phase: Phase) -> None:
    recording = build(phase)
    cluster = recording.one("aws:eks/cluster:Cluster").urn
    assert [addon.name for addon in recording.of(ADDON) if cluster not in addon.dependencies] == []


def test_the_volume_key_is_granted_to_aws_resources_only() -> None:
    key = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/platform"
    statements: dict[str, Any] = {
        statement["Sid"]: statement for statement in json.loads(identity_document(volume_key(key)))["Statement"]
    }
    assert statements["VolumeGrants"]["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    assert "kms:CreateGrant" not in statements["VolumeKey"]["Action"]


def test_an_unpinned_version_is_refused_before_anything_is_registered() -> None:
    result = attempt(lambda: declare("before-nodes", "1.20"))
    assert isinstance(result.error, UnsupportedVersionError)
    assert [resource.type for resource in result.resources if resource.type != "aws:eks/cluster:Cluster"] == []


def test_add_on_versions_are_read_only() -> None:
    with pytest.raises(TypeError):
        addon_versions("1.35")["coredns"] = "v0"  # type: ignore[index]


@pytest.mark.parametrize(
    ("engine", "version", "family"),
    [("rds", "17", "postgres17"), ("rds", "17.5", "postgres17"), ("aurora", "17.5", "aurora-postgresql17")],
)
def test_the_parameter_family_follows_engine_and_major_version(engine: str, version: str, family: str) -> None:
    assert postgres_parameter_family(engine, version) == family


@pytest.mark.parametrize("version", ["14", "9.6", "latest", ""])
def test_an_old_or_unreadable_postgres_version_is_refused(version: str) -> None:
    with pytest.raises(UnsupportedVersionError, match="give PostgreSQL 15 or newer"):
        postgres_parameter_family("rds", version)
