"""The aws provider behind gRPC, as the official CLI reaches it.

Guards: a call that means another thing over the wire.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from falaj.local.aws.schema import package_version
from falaj.local.serve import serving
from tests.support.moto_server import client

URN = "urn:pulumi:local::falaj::aws:kms/key:Key::served"


def struct(values: dict[str, Any]) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    message.update(values)
    return message


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Any]:
    with serving(tmp_path) as providers:
        port = dict(entry.split(":") for entry in providers.split(","))["aws"]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield provider_pb2_grpc.ResourceProviderStub(channel)


@pytest.fixture
def configured(stub: Any, endpoint_url: str) -> Any:
    settings = {"region": "me-central-1", "endpoints": json.dumps([{"kms": endpoint_url}])}
    checked = stub.CheckConfig(provider_pb2.CheckRequest(urn="urn::p", news=struct(settings)))
    assert not checked.failures
    stub.Configure(provider_pb2.ConfigureRequest(args=checked.inputs))
    return stub


def test_cli_learns_the_version_of_the_sdk(stub: Any) -> None:
    stub.Attach(plugin_pb2.PluginAttach(address="127.0.0.1:1"))
    assert stub.GetPluginInfo(struct_pb2.Struct()).version == package_version()


def test_provider_without_endpoints_is_refused_over_the_wire(stub: Any) -> None:
    settings = struct({"region": "me-central-1"})
    checked = stub.CheckConfig(provider_pb2.CheckRequest(urn="urn::p", news=settings))
    assert [failure.property for failure in checked.failures] == ["endpoints"]


def test_key_lives_its_whole_life_over_the_wire(configured: Any, endpoint_url: str) -> None:
    news = struct({"description": "served", "enableKeyRotation": True, "deletionWindowInDays": 7})
    checked = configured.Check(provider_pb2.CheckRequest(urn=URN, news=news, randomSeed=b"seed"))
    assert not checked.failures
    created = configured.Create(provider_pb2.CreateRequest(urn=URN, properties=checked.inputs))
    kms = client(endpoint_url, "kms")
    assert kms.get_key_rotation_status(KeyId=created.id)["KeyRotationEnabled"] is True
    same = provider_pb2.DiffRequest(
        urn=URN, id=created.id, olds=created.properties, old_inputs=checked.inputs, news=checked.inputs
    )
    assert configured.Diff(same).changes == provider_pb2.DiffResponse.DIFF_NONE
    read = configured.Read(
        provider_pb2.ReadRequest(urn=URN, id=created.id, properties=created.properties, inputs=checked.inputs)
    )
    assert read.id == created.id
    assert dict(read.inputs) == dict(checked.inputs)
    configured.Delete(
        provider_pb2.DeleteRequest(urn=URN, id=created.id, properties=created.properties, old_inputs=checked.inputs)
    )
    assert kms.describe_key(KeyId=created.id)["KeyMetadata"]["KeyState"] == "PendingDeletion"


def test_rejected_input_comes_back_as_a_failure(configured: Any) -> None:
    checked = configured.Check(provider_pb2.CheckRequest(urn=URN, news=struct({"enabled": True})))
    assert [failure.property for failure in checked.failures] == ["enabled"]


def test_caller_identity_is_that_of_the_emulated_account(configured: Any, endpoint_url: str) -> None:
    token = "aws:index/getCallerIdentity:getCallerIdentity"
    answer = getattr(configured.Invoke(provider_pb2.InvokeRequest(tok=token)), "return")
    told = client(endpoint_url, "sts").get_caller_identity()
    assert (answer["accountId"], answer["arn"], answer["userId"]) == (told["Account"], told["Arn"], told["UserId"])
