"""IAM handlers on a real server.  Guards: roles without boundary, policies that do not follow, leftovers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.aws_lifecycle import DEFAULT_TAGS, Account, Resource, assert_full_life, assert_settled
from tests.support.moto_server import client

ROLE = "aws:iam/role:Role"
POLICY = "aws:iam/policy:Policy"


def trust(service: str = "pods.eks.amazonaws.com") -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def document(action: str = "s3:GetObject") -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def role(account: Account) -> Resource:
    return account.created(ROLE, "worker", {"assumeRolePolicy": trust(), "name": f"worker-{next(_numbers)}"})


_numbers = iter(range(1000))


def test_role_lives_through_create_update_and_delete(account: Account) -> None:
    boundary = account.created(POLICY, "boundary", {"policy": document("*")}).id
    first: dict[str, Any] = {"assumeRolePolicy": trust(), "permissionsBoundary": boundary, "description": "trainer"}
    second = {
        "assumeRolePolicy": trust("ec2.amazonaws.com"),
        "maxSessionDuration": 7200,
        "tags": {"tenant": "blue"},
        "managedPolicyArns": ["arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy"],
        "inlinePolicies": [{"name": "read", "policy": document()}],
    }
    assert_full_life(account, ROLE, "trainer", first, second)


def test_independent_client_sees_boundary_and_tags(account: Account) -> None:
    boundary = account.created(POLICY, "limit", {"policy": document("*")}).id
    made = account.created(ROLE, "bounded", {"assumeRolePolicy": trust(), "permissionsBoundary": boundary})
    seen = client(account.endpoint_url, "iam").get_role(RoleName=made.id)["Role"]
    assert seen["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary
    assert {tag["Key"]: tag["Value"] for tag in seen["Tags"]} == DEFAULT_TAGS


def test_trust_in_another_spelling_is_no_change(role: Resource) -> None:
    parsed = json.loads(role.inputs["assumeRolePolicy"])
    parsed["Statement"][0]["Action"].reverse()
    again = {"assumeRolePolicy": json.dumps(parsed, indent=2), "name": role.id}
    assert role.diff(again).changes.name == "NONE"


def test_role_name_is_cut_to_64_characters(account: Account) -> None:
    name = account.resource(ROLE, "r" * 100).check({"assumeRolePolicy": trust()})["name"]
    assert len(name) == 64
    assert name[:56] == "r" * 56


def test_fixed_role_name_is_freed_before_a_replacement(role: Resource) -> None:
    difference = role.diff({"assumeRolePolicy": trust(), "name": role.id, "path": "/platform/"})
    assert (difference.replaces, difference.delete_before_replace) == (("path",), True)


def test_policy_keeps_its_arn_through_many_versions(account: Account) -> None:
    policy = account.created(POLICY, "versions", {"policy": document("s3:Get0")})
    for number in range(1, 8):
        inputs = {"policy": document(f"s3:Get{number}")}
        policy.update(inputs)
        assert_settled(policy, inputs)
    policy.delete()
    assert not policy.refresh()


def test_inline_policy_lives_through_create_update_and_delete(account: Account, role: Resource) -> None:
    first = {"role": role.id, "policy": document()}
    assert_full_life(account, "aws:iam/rolePolicy:RolePolicy", "read", first, {**first, "policy": document("s3:*")})


def test_attachment_of_an_aws_managed_policy(account: Account, role: Resource) -> None:
    inputs = {"role": role.id, "policyArn": "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"}
    attachment = account.created("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "cluster", inputs)
    assert_settled(attachment, inputs)
    attached = client(account.endpoint_url, "iam").list_attached_role_policies(RoleName=role.id)["AttachedPolicies"]
    assert [policy["PolicyName"] for policy in attached] == ["AmazonEKSClusterPolicy"]
    attachment.delete()
    assert not attachment.refresh()


def test_instance_profile_changes_its_role(account: Account, role: Resource) -> None:
    other = account.created(ROLE, "other", {"assumeRolePolicy": trust()})
    type = "aws:iam/instanceProfile:InstanceProfile"
    assert_full_life(account, type, "nodes", {"role": role.id}, {"role": other.id, "tags": {"pool": "cpu"}})


def test_identity_provider_lives_through_create_update_and_delete(account: Account) -> None:
    first = {
        "url": "https://token.actions.githubusercontent.com",
        "clientIdLists": ["sts.amazonaws.com"],
        "thumbprintLists": ["6938fd4d98bab03faadb97b34396831e3780aea1"],
    }
    second = {**first, "clientIdLists": ["sts.amazonaws.com", "falaj"], "tags": {"use": "ci"}}
    assert_full_life(account, "aws:iam/openIdConnectProvider:OpenIdConnectProvider", "ci", first, second)


def test_role_with_policies_of_others_refuses_to_go(account: Account, role: Resource) -> None:
    account.created("aws:iam/rolePolicy:RolePolicy", "read", {"role": role.id, "policy": document()})
    with pytest.raises(Exception, match="DeleteConflict"):
        role.delete()


def test_role_of_a_service_is_named_by_the_service(account: Account) -> None:
    first = {"awsServiceName": "config.amazonaws.com"}
    type = "aws:iam/serviceLinkedRole:ServiceLinkedRole"
    assert_full_life(account, type, "config", first, {**first, "description": "recorder", "tags": {"use": "audit"}})
    made = account.created(type, "config", first)
    assert made.outputs["name"] == "AWSServiceRoleForconfig"
    made.delete()
