"""Check and diff, which need no server.  Guards: typos that reach an update, lost names, wrong replacements."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from falaj.engine.provider import Changes, DiffKind, ProviderError
from falaj.engine.values import UNKNOWN
from falaj.local.aws.provider import MARK, AwsProvider
from tests.support.aws_lifecycle import DEFAULT_TAGS, Resource, provider

NOWHERE = "http://127.0.0.1:9"
"""Nobody listens on the discard port: a call that leaves the process fails."""

KEY = "aws:kms/key:Key"
ROLE = "aws:iam/role:Role"
QUEUE = "aws:mq/broker:Broker"
SUBNET = "aws:ec2/subnet:Subnet"


@pytest.fixture(scope="module")
def aws() -> AwsProvider:
    return provider(NOWHERE)


def failures(aws: AwsProvider, type: str, inputs: dict[str, Any]) -> dict[str, str]:
    result = aws.check(f"urn::{type}::x", type, "x", {}, inputs, b"seed")
    return {failure.property: failure.reason for failure in result.failures}


def test_unknown_input_is_refused_with_a_near_match(aws: AwsProvider) -> None:
    assert failures(aws, KEY, {"enableKeyRotatoin": True}) == {
        "enableKeyRotatoin": 'unknown input "enableKeyRotatoin"; did you mean "enableKeyRotation"?'
    }


def test_unknown_nested_input_is_refused_by_path(aws: AwsProvider) -> None:
    inputs = {"roleArn": "a", "vpcConfig": {"subnetIds": ["s"], "endpointPrivate": True}}
    found = failures(aws, "aws:eks/cluster:Cluster", inputs)
    assert list(found) == ["vpcConfig.endpointPrivate"]
    assert 'did you mean "endpointPrivateAccess"?' in found["vpcConfig.endpointPrivate"]


def test_missing_required_inputs_are_named(aws: AwsProvider) -> None:
    found = failures(aws, "aws:eks/cluster:Cluster", {"vpcConfig": {}})
    assert found == {
        "roleArn": 'missing required input "roleArn"',
        "vpcConfig.subnetIds": 'missing required input "subnetIds"',
    }


@pytest.mark.parametrize(
    ("inputs", "path", "reason"),
    [
        ({"enableKeyRotation": "yes"}, "enableKeyRotation", "expected a boolean, got a string"),
        ({"deletionWindowInDays": True}, "deletionWindowInDays", "expected an integer, got a boolean"),
        ({"tags": ["a"]}, "tags", "expected a map, got a list"),
        ({"tags": {"a": 1}}, 'tags["a"]', "expected a string, got an integer"),
    ],
)
def test_wrong_types_are_refused_without_showing_values(
    aws: AwsProvider, inputs: dict[str, Any], path: str, reason: str
) -> None:
    assert failures(aws, KEY, inputs) == {path: reason}


def test_integral_floats_and_unknowns_pass(aws: AwsProvider) -> None:
    assert failures(aws, KEY, {"deletionWindowInDays": 7.0, "policy": UNKNOWN, "tags": {"a": UNKNOWN}}) == {}


def test_type_that_does_not_exist_is_refused_with_near_ones(aws: AwsProvider) -> None:
    with pytest.raises(ProviderError, match=r'no resource type "aws:kms/kye:Key"; near: .*aws:kms/key:Key'):
        aws.check("urn", "aws:kms/kye:Key", "x", {}, {}, b"seed")


def test_name_is_made_from_the_resource_name_and_kept(aws: AwsProvider) -> None:
    role = Resource(aws, ROLE, "worker")
    role.inputs = role.check({"assumeRolePolicy": "{}"})
    name = role.inputs["name"]
    assert name.startswith("worker-")
    assert len(name) == len("worker-") + 7
    assert role.inputs["__defaults"] == ["name"]
    role.name = "other-seed"
    assert role.check({"assumeRolePolicy": "{}"})["name"] == name


def test_replacement_without_old_inputs_gets_another_name(aws: AwsProvider) -> None:
    names = {
        aws.check("urn", ROLE, "worker", {}, {"assumeRolePolicy": "{}"}, seed).inputs["name"] for seed in (b"1", b"2")
    }
    assert len(names) == 2


def test_name_that_the_program_stopped_giving_is_not_kept(aws: AwsProvider) -> None:
    role = Resource(aws, ROLE, "worker")
    role.inputs = role.check({"assumeRolePolicy": "{}", "name": "fixed"})
    assert role.diff({"assumeRolePolicy": "{}"}).replaces == ("name",)


def test_default_tags_reach_taggable_types_only(aws: AwsProvider) -> None:
    key = Resource(aws, KEY, "k").check({"tags": {"owner": "team-blue"}})
    assert key["tagsAll"] == {**DEFAULT_TAGS, "owner": "team-blue"}
    assert "tagsAll" not in Resource(aws, "aws:kms/alias:Alias", "a").check({"targetKeyId": "x"})


def test_changed_default_tags_update_the_resource() -> None:
    key = Resource(provider(NOWHERE), KEY, "k")
    key.inputs = key.check({})
    key.provider = provider(NOWHERE, defaultTags=json.dumps({"tags": {"owner": "another-team"}}))
    difference = key.diff({})
    assert (difference.diffs, difference.replaces) == (("tagsAll",), ())


def test_unknown_in_a_replacing_input_counts_as_replacement(aws: AwsProvider) -> None:
    subnet = Resource(aws, SUBNET, "s")
    subnet.inputs = subnet.check({"vpcId": "vpc-1", "cidrBlock": "10.0.0.0/24"})
    difference = subnet.diff({"vpcId": UNKNOWN, "cidrBlock": "10.0.0.0/24"})
    assert difference.replaces == ("vpcId",)


def test_unknown_in_another_input_is_an_update(aws: AwsProvider) -> None:
    key = Resource(aws, KEY, "k")
    key.inputs = key.check({"policy": "{}"})
    difference = key.diff({"policy": UNKNOWN})
    assert (difference.changes, difference.replaces) == (Changes.SOME, ())


def test_ignored_changes_are_left_out(aws: AwsProvider) -> None:
    key = Resource(aws, KEY, "k")
    key.inputs = key.check({"tags": {"a": "1", "b": "1"}, "description": "old"})
    news = key.check({"tags": {"a": "2", "b": "2"}, "description": "old"})
    result = aws.diff("urn", KEY, "id", key.inputs, {}, news, ["tags.a", "tagsAll"])
    assert list(result.detailed or {}) == ["tags.b"]


def test_detailed_difference_names_nested_paths(aws: AwsProvider) -> None:
    group = Resource(aws, "aws:ec2/securityGroup:SecurityGroup", "g")
    rule = {"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": ["10.0.0.0/8"]}
    group.inputs = group.check({"vpcId": "vpc-1", "tags": {"odd key": "1"}, "ingress": [rule]})
    difference = group.diff({"vpcId": "vpc-1", "ingress": [rule, {**rule, "toPort": 444}]})
    detailed = difference.detailed or {}
    kinds = {path: found.kind for path, found in detailed.items() if not path.startswith("tagsAll")}
    assert detailed['tagsAll["odd key"]'].kind is DiffKind.DELETE
    assert kinds == {"tags": DiffKind.DELETE, "ingress[1]": DiffKind.ADD}


def test_preview_of_a_create_leaves_computed_outputs_open_and_calls_nobody(aws: AwsProvider) -> None:
    key = Resource(aws, KEY, "k")
    created = aws.create(key.urn, KEY, "k", key.check({"description": "d"}), 0, True)
    assert created.id == ""
    assert created.outputs["arn"] is UNKNOWN
    assert created.outputs["description"] == "d"
    assert created.outputs["region"] == "me-central-1"


def test_silent_account_is_named_with_what_to_do(aws: AwsProvider) -> None:
    key = Resource(aws, KEY, "k")
    says = r'aws:kms/key:Key "k": create: .*does not answer; start it with `falaj local start`'
    with pytest.raises(ProviderError, match=says):
        key.create({})


def test_type_without_handler_is_kept_in_the_state_and_marked(aws: AwsProvider) -> None:
    broker = Resource(aws, QUEUE, "jobs")
    inputs = {"engineType": "RabbitMQ", "engineVersion": "3.13", "hostInstanceType": "mq.m7g.medium"}
    found = failures(aws, QUEUE, inputs)
    assert found == {}
    broker.create(inputs)
    assert broker.outputs[MARK] == {"emulated": "state", "handler": "none"}
    assert broker.outputs["arn"].startswith("arn:aws:mq:me-central-1:123456789012:")
    assert broker.refresh()
    assert broker.diff(inputs).changes is Changes.NONE
    broker.delete()


def test_cancelled_provider_starts_nothing() -> None:
    cancelled = provider(NOWHERE)
    cancelled.cancel()
    with pytest.raises(ProviderError, match="cancelled"):
        Resource(cancelled, KEY, "k").create({})


def test_function_that_is_not_at_hand_is_refused_by_name(aws: AwsProvider) -> None:
    with pytest.raises(ProviderError, match='"aws:ec2/getAmi:getAmi" is not available in the local environment'):
        aws.invoke("aws:ec2/getAmi:getAmi", {})


def test_partition_and_region_functions_need_no_account(aws: AwsProvider) -> None:
    assert aws.invoke("aws:index/getPartition:getPartition", {}).value["partition"] == "aws"
    assert aws.invoke("aws:index/getRegion:getRegion", {}).value["region"] == "me-central-1"


def test_check_and_diff_import_neither_boto3_nor_pulumi_aws() -> None:
    script = f"""
import sys
from falaj.local.aws.provider import AwsProvider
aws = AwsProvider()
aws.configure("urn", "id", {{"region": "me-central-1", "endpoints": [{{"s3": {NOWHERE!r}}}]}})
for type, inputs in (({KEY!r}, {{}}), ({SUBNET!r}, {{"vpcId": "v"}}), ("aws:s3/bucket:Bucket", {{}})):
    checked = aws.check("urn", type, "x", {{}}, inputs, b"seed").inputs
    aws.diff("urn", type, "id", checked, checked, checked, ())
print([name for name in ("boto3", "botocore", "moto", "pulumi", "pulumi_aws") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
