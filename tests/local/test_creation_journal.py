"""The failure guarded here is a second VPC after a deployment was killed between the API's answer and its own save."""

from __future__ import annotations

import pytest

from falaj.local.aws.creation_journal import calls_of_last_create
from falaj.local.aws.provider import AwsProvider
from tests.support.aws_lifecycle import provider
from tests.support.moto_server import client

VPC = "aws:ec2/vpc:Vpc"
KEY = "aws:kms/key:Key"


def urn(type_token: str, name: str) -> str:
    return f"urn:pulumi:local::falaj::{type_token}::{name}"


@pytest.fixture
def aws(endpoint_url: str) -> AwsProvider:
    return provider(endpoint_url)


def vpcs(endpoint_url: str, cidr: str) -> list[str]:
    found = client(endpoint_url, "ec2").describe_vpcs(Filters=[{"Name": "cidr", "Values": [cidr]}])["Vpcs"]
    return [vpc["VpcId"] for vpc in found]


def test_what_a_killed_create_left_is_taken_back(aws: AwsProvider, endpoint_url: str) -> None:
    where, inputs = urn(VPC, "killed"), {"cidrBlock": "10.77.0.0/16", "enableDnsHostnames": True}
    aws.create(where, VPC, "killed", inputs, 0, preview=False)  # the engine dies before it saves the answer
    assert len(vpcs(endpoint_url, "10.77.0.0/16")) == 1
    assert aws.take_back(where, VPC, "killed", inputs)
    assert vpcs(endpoint_url, "10.77.0.0/16") == []


def test_a_create_that_never_reached_the_account_leaves_nothing_to_take_back(
    aws: AwsProvider, endpoint_url: str
) -> None:
    inputs = {"cidrBlock": "10.78.0.0/16"}
    assert not aws.take_back(urn(VPC, "never"), VPC, "never", inputs)
    assert vpcs(endpoint_url, "10.78.0.0/16") == []


def test_a_replacement_is_a_create_of_its_own(aws: AwsProvider, endpoint_url: str) -> None:
    where = urn(VPC, "twice")
    first = aws.create(where, VPC, "twice", {"cidrBlock": "10.79.0.0/16"}, 0, preview=False)
    aws.create(where, VPC, "twice", {"cidrBlock": "10.80.0.0/16"}, 0, preview=False)
    assert aws.take_back(where, VPC, "twice", {"cidrBlock": "10.80.0.0/16"})
    assert vpcs(endpoint_url, "10.79.0.0/16") == [first.id]
    assert vpcs(endpoint_url, "10.80.0.0/16") == []


def test_the_journal_counts_the_calls_of_a_create(aws: AwsProvider, endpoint_url: str) -> None:
    where = urn(KEY, "counted")
    assert calls_of_last_create(endpoint_url, where) == 0
    aws.create(where, KEY, "counted", {"enableKeyRotation": True}, 0, preview=False)
    assert calls_of_last_create(endpoint_url, where) > 0
