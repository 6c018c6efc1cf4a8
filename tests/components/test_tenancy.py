"""Guards: people who come in by a door that nobody listed, a key that another team can use, objects without a home."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from blueprints.schema import Blueprint
from components.base import ComponentSpecError
from components.naming import NamingError
from components.tenancy import Tenancy, access_entries, surroundings
from components.tenant_keys import TenantKeys
from tests.support.answers import ACCOUNT_ID
from tests.support.platforms import NAMES, Platform, platform
from tests.support.recorder import Recording, Registered, record

ENTRY = "aws:eks/accessEntry:AccessEntry"
KEY = "aws:kms/key:Key"
NAMESPACE = "kubernetes:core/v1:Namespace"
RBAC = "kubernetes:rbac.authorization.k8s.io/v1"
ADMISSION = "kubernetes:admissionregistration.k8s.io/v1"
ENGINEERS = f"arn:aws:iam::{ACCOUNT_ID}:role/team/RiskEngineers"
VISITORS = "arn:aws:iam::210987654321:role/RiskEngineers"


def build(subject: Platform) -> Recording:
    def program() -> None:
        from pulumi_aws import eks

        cluster = eks.Cluster("cluster", role_arn="arn:role", vpc_config={"subnet_ids": ["subnet-1"]})
        Tenancy(
            "tenancy",
            subject.blueprint,
            registry=f"{ACCOUNT_ID}.dkr.ecr.me-central-1.amazonaws.com/falaj-dev",
            region_zones=subject.region_zones,
            cluster_name="falaj-dev-cluster",
            cluster_ready=cluster,
            bucket_names=subject.bucket_names,
            key_arns={tenant.name: f"arn:aws:kms:::key/{tenant.name}" for tenant in subject.blueprint.tenants},
        )

    return record(program)


@cache
def recorded(name: str) -> Recording:
    return build(platform(name))


def with_people(name: str = "enterprise", **people: Any) -> Platform:
    """A blueprint whose first tenants name IAM roles: ``risk={"engineer_role_arns": [...]}``."""
    tenants = [
        tenant.model_dump(mode="json") | people.get(tenant.name, {}) for tenant in platform(name).blueprint.tenants
    ]
    return platform(name, tenants=tenants, **{"cluster.admin_role_arns": people.get("admins", [])})


@pytest.mark.parametrize("name", NAMES)
def test_what_is_declared_is_exactly_the_tenancy(name: str) -> None:
    tenants = platform(name).blueprint.tenants
    shells = len([tenant for tenant in tenants if tenant.data_class.value in ("public", "internal")])
    assert recorded(name).types() == {
        "falaj:kubernetes:Tenancy": 1,
        "aws:eks/cluster:Cluster": 1,
        f"{ADMISSION}:ValidatingAdmissionPolicy": 1,
        f"{ADMISSION}:ValidatingAdmissionPolicyBinding": 1,
        "kubernetes:core/v1:ConfigMap": len(tenants),
        NAMESPACE: len(tenants) + 2,
        "kubernetes:core/v1:LimitRange": len(tenants),
        "kubernetes:core/v1:ResourceQuota": 2 * len(tenants),
        "kubernetes:core/v1:ServiceAccount": 2 * len(tenants),
        "kubernetes:networking.k8s.io/v1:NetworkPolicy": 3 * len(tenants) + 7,
        f"{RBAC}:ClusterRole": 4 if shells else 3,
        f"{RBAC}:RoleBinding": 3 * len(tenants) + shells,
        "kubernetes:scheduling.k8s.io/v1:PriorityClass": 4,
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_in_a_namespace_waits_for_it(name: str) -> None:
    recording = recorded(name)
    namespaces = {made.inputs["metadata"]["name"]: made.urn for made in recording.of(NAMESPACE)}
    for made in recording.resources:
        home = made.inputs.get("metadata", {}).get("namespace")
        if home:
            assert namespaces[home] in made.dependencies, made.urn


def test_a_binding_waits_for_what_it_binds() -> None:
    recording = recorded("enterprise")
    roles = {made.inputs["metadata"]["name"]: made.urn for made in recording.of(f"{RBAC}:ClusterRole")}
    for binding in recording.of(f"{RBAC}:RoleBinding"):
        assert roles[binding.inputs["roleRef"]["name"]] in binding.dependencies, binding.urn
    policy = recording.one(f"{ADMISSION}:ValidatingAdmissionPolicy")
    assert policy.urn in recording.one(f"{ADMISSION}:ValidatingAdmissionPolicyBinding").dependencies


def test_namespaces_are_put_out_by_tenant() -> None:
    assert recorded("smb").outputs_of("falaj:kubernetes:Tenancy") == {"namespaces": {"core": "tenant-core"}}


def test_a_tenant_is_told_where_its_data_is_and_under_which_key() -> None:
    told = recorded("enterprise").named("tenant-risk-tenant-settings").inputs["data"]
    assert told == {
        "AWS_REGION": "me-central-1",
        "FALAJ_AWS_REGION": "me-central-1",
        "FALAJ_FEATURE_BUCKET": f"falaj-dev-feature-{ACCOUNT_ID}",
        "FALAJ_KMS_KEY_ARN": "arn:aws:kms:::key/risk",
        "FALAJ_LAKE_BUCKET": f"falaj-dev-lake-{ACCOUNT_ID}",
        "FALAJ_MODEL_BUCKET": f"falaj-dev-model-{ACCOUNT_ID}",
        "FALAJ_TENANT_PREFIX": "tenants/risk/",
    }


# -- people


def entries(recording: Recording) -> dict[str, Registered]:
    return {entry.inputs["principalArn"]: entry for entry in recording.of(ENTRY)}


def test_a_tenants_people_come_in_through_the_groups_of_its_bindings() -> None:
    subject = with_people(risk={"engineer_role_arns": [ENGINEERS], "viewer_role_arns": [VISITORS]})
    recording = build(subject)
    found = entries(recording)
    assert {arn: entry.inputs["kubernetesGroups"] for arn, entry in found.items()} == {
        ENGINEERS: ["falaj:risk:engineers"],
        VISITORS: ["falaj:risk:viewers"],
    }
    for entry in found.values():
        assert entry.inputs["clusterName"] == "falaj-dev-cluster"
        assert recording.one("aws:eks/cluster:Cluster").urn in entry.dependencies
    bindings = recording.of(f"{RBAC}:RoleBinding")
    groups = {subject["name"] for binding in bindings for subject in binding.inputs["subjects"]}
    assert {"falaj:risk:engineers", "falaj:risk:viewers"} <= groups


def test_a_role_that_works_for_two_tenants_has_one_entry_with_both_groups() -> None:
    subject = with_people(risk={"engineer_role_arns": [ENGINEERS]}, retail={"viewer_role_arns": [ENGINEERS]})
    assert access_entries(subject.blueprint) == {ENGINEERS: ("falaj:retail:viewers", "falaj:risk:engineers")}


def test_no_group_of_an_entry_is_one_that_eks_keeps_for_itself() -> None:
    subject = with_people(risk={"engineer_role_arns": [ENGINEERS]})
    for groups in access_entries(subject.blueprint).values():
        assert not [g for g in groups if g.startswith(("system:", "eks:", "aws:", "amazon:", "iam:"))]


def test_an_administrator_is_no_tenants_person_as_well() -> None:
    with pytest.raises(ComponentSpecError, match=r'tenants\["risk"\]: .* administers the cluster already'):
        build(with_people(risk={"engineer_role_arns": [ENGINEERS]}, admins=[ENGINEERS]))


def test_shipped_blueprints_let_nobody_in() -> None:
    assert not recorded("enterprise").of(ENTRY)


# -- what lies around


@pytest.mark.parametrize(
    ("name", "ports", "metrics"), [("smb", (5432,), ()), ("enterprise", (5432, 6379, 9098), (11_001, 11_002))]
)
def test_ports_are_those_of_the_engines(name: str, ports: tuple[int, ...], metrics: tuple[int, ...]) -> None:
    around = surroundings(platform(name).blueprint, platform(name).region_zones)
    assert (around.data_ports, around.data_metrics_ports) == (ports, metrics)


@pytest.mark.parametrize("name", NAMES)
def test_subnets_of_every_zone_are_named_lost_ones_included(name: str) -> None:
    subject = platform(name)
    around = surroundings(subject.blueprint, subject.region_zones)
    for blocks in (around.node_cidrs, around.data_cidrs, around.endpoint_cidrs):
        assert len(set(blocks)) == len(subject.region_zones)


# -- keys


@cache
def keys(name: str) -> Recording:
    subject = platform(name)
    return record(lambda: TenantKeys("keys", subject.blueprint.tenants, environment=subject.environment))


@pytest.mark.parametrize("name", NAMES)
def test_every_tenant_has_a_key_that_rotates_waits_and_stays(name: str) -> None:
    recording = keys(name)
    tenants = platform(name).blueprint.tenants
    assert recording.types() == {
        "falaj:encryption:TenantKeys": 1,
        KEY: len(tenants),
        "aws:kms/alias:Alias": len(tenants),
    }
    for tenant in tenants:
        key = recording.named(f"keys-{tenant.name}", KEY)
        assert key.inputs["enableKeyRotation"] is True
        assert key.inputs["rotationPeriodInDays"] == 365
        assert key.inputs["deletionWindowInDays"] == 30
        assert key.inputs["multiRegion"] is False
        assert key.protect
        assert key.inputs["tags"]["tenant"] == tenant.name
        assert key.inputs["tags"]["data-class"] == tenant.data_class.value
    outputs = recording.outputs_of("falaj:encryption:TenantKeys")
    assert sorted(outputs["key_arns"]) == sorted(tenant.name for tenant in tenants)
    assert outputs["alias_names"][tenants[0].name] == f"alias/falaj/dev/tenants/{tenants[0].name}"


def test_a_key_encrypts_for_its_tenants_role_and_for_no_other() -> None:
    key = keys("enterprise").named("keys-risk", KEY)
    uses = {
        statement["Sid"]: (statement["Condition"]["ArnEquals"]["aws:PrincipalArn"], statement["Action"])
        for statement in key.document()["Statement"]
        if statement["Sid"] != "AccountAdministersKey"
    }
    role = f"arn:aws:iam::{ACCOUNT_ID}:role/falaj-dev"
    assert uses == {
        "TenantUsesKey": (f"{role}-tenant-risk", ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]),
        "BackupReads": (f"{role}-backup", ["kms:Decrypt", "kms:DescribeKey"]),
        "RestoreWrites": (f"{role}-restore", ["kms:DescribeKey", "kms:GenerateDataKey"]),
    }
    administration = key.statement("AccountAdministersKey")["Action"]
    assert not {"kms:Decrypt", "kms:Encrypt", "kms:CreateGrant"} & set(administration)


def test_an_owner_that_cannot_be_a_tag_is_refused_before_anything_is_made() -> None:
    subject = platform("smb")
    tenant = subject.blueprint.tenants[0].model_copy(update={"owner_email": "team!x@example.com"})
    with pytest.raises(NamingError, match="owner"):
        record(lambda: TenantKeys("keys", [tenant], environment=subject.environment))


def test_people_of_a_tenant_are_iam_roles() -> None:
    tenant = platform("smb").blueprint.tenants[0].model_dump(mode="json")
    with pytest.raises(ValueError, match="engineer_role_arns"):
        Blueprint.model_validate(
            platform("smb").blueprint.model_dump(mode="json")
            | {"tenants": [tenant | {"engineer_role_arns": ["arn:aws:iam::123456789012:user/amal"]}]}
        )
