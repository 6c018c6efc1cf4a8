"""The kubernetes provider behind gRPC, beside the aws one, as the official CLI reaches it.

Guards: secrets that lose their mark on the wire, a difference or replacement that arrives as another.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from falaj.engine.codec import from_struct, to_struct
from falaj.engine.values import Secret
from falaj.local.serve import serving

URN = "urn:pulumi:local::falaj::kubernetes:core/v1:ConfigMap::served"


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Any]:
    with serving(tmp_path) as providers:
        ports = dict(entry.split(":") for entry in providers.split(","))
        assert list(ports) == ["aws", "kubernetes"]
        with grpc.insecure_channel(f"127.0.0.1:{ports['kubernetes']}") as channel:
            yield provider_pb2_grpc.ResourceProviderStub(channel)


def test_cli_learns_the_version_of_the_sdk(stub: Any) -> None:
    assert stub.GetPluginInfo(struct_pb2.Struct()).version == version("pulumi-kubernetes") == "4.34.2"


def test_a_config_map_lives_its_whole_life_over_the_wire(stub: Any, tmp_path: Path) -> None:
    assert stub.Configure(provider_pb2.ConfigureRequest(args=to_struct({}))).acceptSecrets
    news = to_struct({"metadata": {"name": "c"}, "data": {"url": Secret("correct-horse")}})
    checked = stub.Check(provider_pb2.CheckRequest(urn=URN, news=news, randomSeed=b"seed"))
    assert from_struct(checked.inputs)["data"] == {"url": Secret("correct-horse")}
    created = stub.Create(provider_pb2.CreateRequest(urn=URN, properties=checked.inputs))
    assert created.id == "default/c"
    outputs = from_struct(created.properties)
    assert outputs["__inputs"]["data"] == outputs["data"] == {"url": Secret("correct-horse")}
    [file] = (tmp_path / "local" / "manifests" / "local").iterdir()

    same = provider_pb2.DiffRequest(
        urn=URN, id=created.id, olds=created.properties, old_inputs=checked.inputs, news=checked.inputs
    )
    assert stub.Diff(same).changes == provider_pb2.DiffResponse.DIFF_NONE
    other = to_struct({**from_struct(checked.inputs), "data": {"url": "plain"}})
    changed = provider_pb2.DiffRequest(
        urn=URN, id=created.id, olds=created.properties, old_inputs=checked.inputs, news=other
    )
    found = stub.Diff(changed)
    assert (list(found.replaces), found.deleteBeforeReplace) == (["data"], True)
    assert found.detailedDiff["data.url"].kind == provider_pb2.PropertyDiff.UPDATE_REPLACE

    read = stub.Read(
        provider_pb2.ReadRequest(urn=URN, id=created.id, properties=created.properties, inputs=checked.inputs)
    )
    assert from_struct(read.inputs) == from_struct(checked.inputs)
    stub.Delete(
        provider_pb2.DeleteRequest(urn=URN, id=created.id, properties=created.properties, old_inputs=checked.inputs)
    )
    assert not file.exists()


def test_a_kubeconfig_off_loopback_is_refused_over_the_wire(stub: Any) -> None:
    text = (
        "current-context: x\nclusters: [{name: x, cluster: {server: 'https://10.0.0.1'}}]\n"
        "contexts: [{name: x, context: {cluster: x}}]\n"
    )
    urn = "urn:pulumi:local::falaj::pulumi:providers:kubernetes::cluster"
    checked = stub.CheckConfig(provider_pb2.CheckRequest(urn=urn, news=to_struct({"kubeconfig": text})))
    assert [failure.property for failure in checked.failures] == ["kubeconfig"]


def test_functions_are_refused_with_what_to_do(stub: Any) -> None:
    with pytest.raises(grpc.RpcError, match="expanded by the official plugin only"):
        stub.Invoke(provider_pb2.InvokeRequest(tok="kubernetes:yaml:decode"))
