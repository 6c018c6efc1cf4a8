"""The recorder must see what a provider would see and must fail loudly: a lenient one hides wrong wiring."""

from __future__ import annotations

import asyncio

import pulumi
import pulumi_aws as aws
import pytest
from pulumi_aws import ec2, kms, s3

from components.base import ComponentSpecError, PlatformComponent
from tests.support.recorder import UNKNOWN, UnmockedCallError, attempt, record


class Pair(PlatformComponent):
    bucket_name: pulumi.Output[str]

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("falaj:test:Pair", name, opts, protect=True)
        key = kms.Key(f"{name}-key", enable_key_rotation=True, opts=self.child_opts())
        bucket = s3.Bucket(
            f"{name}-bucket", tags={"key": key.arn}, opts=self.child_opts(protect=self.protect_data, depends_on=[key])
        )
        self.bucket_name = bucket.bucket
        self.register_declared_outputs()


class Forgetful(PlatformComponent):
    never_assigned: pulumi.Output[str]

    def __init__(self, name: str) -> None:
        super().__init__("falaj:test:Forgetful", name)
        self.register_declared_outputs()


def test_inputs_arrive_in_the_providers_spelling_with_resolved_outputs() -> None:
    recording = record(lambda: Pair("pair"))
    assert recording.types() == {
        "falaj:test:Pair": 1,
        "aws:kms/key:Key": 1,
        "aws:s3/bucket:Bucket": 1,
    }
    key = recording.one("aws:kms/key:Key")
    assert key.inputs["enableKeyRotation"] is True
    assert recording.named("pair-bucket").inputs["tags"] == {
        "key": f"arn:aws:kms:me-central-1:123456789012:key/{key.id}"
    }


def test_children_belong_to_their_component_and_get_none_of_its_options() -> None:
    def program() -> None:
        outer = Pair("outer")
        Pair("inner", opts=pulumi.ResourceOptions(parent=outer, aliases=[pulumi.Alias(name="older")]))

    recording = record(program)
    inner = recording.named("inner")
    assert inner.parent == recording.named("outer").urn
    assert inner.aliases == ("older",)
    assert [child.name for child in recording.children_of(inner)] == ["inner-key", "inner-bucket"]
    bucket = recording.named("inner-bucket")
    assert "older-bucket" not in bucket.aliases
    assert (bucket.protect, recording.named("inner-key").protect) == (True, False)
    assert bucket.dependencies == (recording.named("inner-key").urn,)


def test_outputs_of_a_component_are_recorded() -> None:
    assert record(lambda: Pair("pair")).outputs_of("falaj:test:Pair") == {"bucket_name": "pair-bucket"}


def test_a_declared_output_that_was_never_assigned_is_an_error() -> None:
    with pytest.raises(AttributeError, match=r"Forgetful\.never_assigned: declared output was never assigned"):
        record(lambda: Forgetful("forgetful"))


def test_a_malformed_type_token_is_an_error() -> None:
    with pytest.raises(ComponentSpecError, match="must look like falaj:<area>:<Name>"):
        record(lambda: PlatformComponent("network", "n"))


def test_a_preview_leaves_ids_and_computed_outputs_unknown() -> None:
    recording = record(lambda: Pair("pair"), preview=True)
    assert recording.named("pair-bucket").inputs["tags"] == {"key": UNKNOWN}


def test_an_unanswered_function_call_fails_the_program() -> None:
    def program() -> None:
        ec2.get_ami(owners=["amazon"])

    with pytest.raises(UnmockedCallError, match="aws:ec2/getAmi:getAmi"):
        record(program)


def test_the_account_answers_who_it_is() -> None:
    accounts: list[str] = []
    recording = record(lambda: accounts.append(aws.get_caller_identity().account_id))
    assert accounts == ["123456789012"]
    assert [token for token, _ in recording.invokes] == ["aws:index/getCallerIdentity:getCallerIdentity"]


def test_two_resources_with_one_urn_fail_the_program() -> None:
    def program() -> None:
        s3.Bucket("same")
        s3.Bucket("same")

    with pytest.raises(AssertionError, match="two resources have the URN"):
        record(program)


def test_a_failing_program_shows_what_was_registered_before() -> None:
    def program() -> None:
        s3.Bucket("first")
        raise LookupError("stop here")

    recording = attempt(program)
    assert isinstance(recording.error, LookupError)
    assert [resource.name for resource in recording.resources] == ["first"]


def test_secrets_are_unwrapped_and_named() -> None:
    recording = record(lambda: s3.Bucket("bucket", bucket=pulumi.Output.secret("hidden")))
    bucket = recording.one("aws:s3/bucket:Bucket")
    assert bucket.inputs["bucket"] == "hidden"
    assert bucket.secret_inputs == {"bucket"}


def test_config_and_stack_outputs_pass_through() -> None:
    def program() -> None:
        pulumi.export("blueprint", pulumi.Config("falaj").require("blueprint"))

    assert record(program, config={"falaj:blueprint": "smb"}).stack_outputs == {"blueprint": "smb"}


def test_a_recording_leaves_no_event_loop_and_no_stack_behind() -> None:
    record(lambda: Pair("pair"))
    assert pulumi.runtime.get_root_resource() is None
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_recordings_are_the_same_every_time() -> None:
    once, again = record(lambda: Pair("pair")), record(lambda: Pair("pair"))
    assert {one.urn: one for one in once.resources} == {one.urn: one for one in again.resources}
