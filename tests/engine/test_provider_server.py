import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from falaj.engine.codec import from_struct, to_struct
from falaj.engine.provider import (
    GONE,
    Changes,
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffKind,
    DiffResult,
    InitializationError,
    InvokeResult,
    PropertyDiff,
    ProviderError,
    ReadResult,
)
from falaj.engine.provider_server import ProviderServer
from falaj.engine.values import UNKNOWN, Properties, Secret

URN = "urn:pulumi:dev::falaj::shelf:index:Book::novel"


class Shelf:
    """A provider package that keeps what it is told, for both the tests and the answers."""

    package = "shelf"
    version = "1.2.3"

    def __init__(self, accepts_secrets: bool = True) -> None:
        self.accepts_secrets = accepts_secrets
        self.calls: list[tuple[Any, ...]] = []
        self.room = "none"

    def check_config(self, urn: str, old_inputs: Properties, new_inputs: Properties) -> CheckResult:
        self.calls.append(("check_config", urn, old_inputs, new_inputs))
        return CheckResult(new_inputs)

    def diff_config(
        self,
        urn: str,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        ignore_changes: Sequence[str],
    ) -> DiffResult:
        self.calls.append(("diff_config", urn, id, old_inputs, old_outputs, new_inputs, ignore_changes))
        return DiffResult(Changes.SOME, replaces=["room"])

    def configure(self, urn: str, id: str, inputs: Properties) -> None:
        self.calls.append(("configure", urn, id, inputs))
        self.room = inputs["room"]

    def check(
        self, urn: str, type: str, name: str, old_inputs: Properties, new_inputs: Properties, random_seed: bytes
    ) -> CheckResult:
        self.calls.append(("check", urn, type, name, old_inputs, new_inputs, random_seed))
        return CheckResult(dict(new_inputs) | {"name": name}, [CheckFailure("pages", "too few")])

    def diff(
        self,
        urn: str,
        type: str,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        ignore_changes: Sequence[str],
    ) -> DiffResult:
        self.calls.append(("diff", urn, type, id, old_inputs, old_outputs, new_inputs, ignore_changes))
        detailed = {"pages[0]": PropertyDiff(DiffKind.UPDATE_REPLACE, input_diff=False)}
        return DiffResult(Changes.SOME, ["pages"], ["pages"], True, detailed, ["isbn"])

    def create(
        self, urn: str, type: str, name: str, inputs: Properties, timeout_seconds: float, preview: bool
    ) -> CreateResult:
        self.calls.append(("create", urn, type, name, inputs, timeout_seconds, preview))
        if inputs.get("torn"):
            raise InitializationError("b-1", {"torn": True}, inputs, ["a page is missing"])
        return CreateResult("" if preview else "b-1", dict(inputs) | {"room": self.room})

    def read(
        self, urn: str, type: str, name: str, id: str, old_inputs: Properties, old_outputs: Properties
    ) -> ReadResult:
        self.calls.append(("read", urn, type, name, id, old_inputs, old_outputs))
        return ReadResult(id, {"pages": 3}, {"pages": 2}) if id == "b-1" else GONE

    def update(
        self,
        urn: str,
        type: str,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        timeout_seconds: float,
        ignore_changes: Sequence[str],
        preview: bool,
    ) -> Properties:
        self.calls.append(
            ("update", urn, type, id, old_inputs, old_outputs, new_inputs, timeout_seconds, ignore_changes, preview)
        )
        return new_inputs

    def delete(
        self, urn: str, type: str, id: str, old_inputs: Properties, old_outputs: Properties, timeout_seconds: float
    ) -> None:
        self.calls.append(("delete", urn, type, id, old_inputs, old_outputs, timeout_seconds))
        raise ProviderError("the book is on loan: wait until 1 May")

    def invoke(self, token: str, args: Properties) -> InvokeResult:
        self.calls.append(("invoke", token, args))
        if token == "shelf:index:slow":
            threading.Event().wait(0.05)
        return InvokeResult({"found": args.get("key")}, [CheckFailure("key", "unknown")])

    def cancel(self) -> None:
        self.calls.append(("cancel",))


@pytest.fixture
def shelves() -> list[Shelf]:
    return []


@pytest.fixture
def server(shelves: list[Shelf]) -> Iterator[ProviderServer]:
    def factory() -> Shelf:
        shelves.append(Shelf())
        return shelves[-1]

    with ProviderServer(factory) as running:
        yield running


def connected(server: ProviderServer) -> grpc.Channel:
    """A connection of its own, as every provider resource of the CLI has one."""
    return grpc.insecure_channel(f"127.0.0.1:{server.port}", options=[("grpc.use_local_subchannel_pool", 1)])


@pytest.fixture
def stub(server: ProviderServer) -> Iterator[Any]:
    with connected(server) as channel:
        yield provider_pb2_grpc.ResourceProviderStub(channel)


def struct(**members: Any) -> struct_pb2.Struct:
    return to_struct(members)


def test_the_cli_can_attach_and_learns_package_and_version(stub: Any) -> None:
    stub.Attach(plugin_pb2.PluginAttach(address="127.0.0.1:1"))
    assert stub.GetPluginInfo(empty_pb2.Empty()).version == "1.2.3"
    schema = json.loads(stub.GetSchema(provider_pb2.GetSchemaRequest()).schema)
    assert schema == {"name": "shelf", "version": "1.2.3"}


def test_rpcs_that_ordinary_packages_lack_are_unimplemented(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Handshake(provider_pb2.ProviderHandshakeRequest())
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_each_connection_has_an_instance_of_its_own(server: ProviderServer) -> None:
    rooms = {}
    with connected(server) as first, connected(server) as second:
        stubs = {room: provider_pb2_grpc.ResourceProviderStub(c) for room, c in (("east", first), ("west", second))}
        for room, stub in stubs.items():
            stub.Configure(provider_pb2.ConfigureRequest(args=struct(room=room)))
        for room, stub in stubs.items():
            answer = stub.Create(provider_pb2.CreateRequest(urn=URN, properties=struct()))
            rooms[room] = from_struct(answer.properties)["room"]
    assert rooms == {"east": "east", "west": "west"}


def test_configure_tells_what_the_provider_understands(stub: Any, shelves: list[Shelf]) -> None:
    answer = stub.Configure(provider_pb2.ConfigureRequest(urn="u", id="i", args=struct(room=Secret("east"))))
    assert (answer.acceptSecrets, answer.acceptResources, answer.supportsPreview) == (True, True, True)
    assert shelves[-1].calls == [("configure", "u", "i", {"room": Secret("east")})]


def test_provider_inputs_keep_their_secrets_when_the_provider_takes_none() -> None:
    shelf = Shelf(accepts_secrets=False)
    with ProviderServer(lambda: shelf) as server, connected(server) as channel:
        stub = provider_pb2_grpc.ResourceProviderStub(channel)
        answer = stub.CheckConfig(provider_pb2.CheckRequest(urn="u", news=struct(token=Secret("t"))))
        assert not stub.Configure(provider_pb2.ConfigureRequest(args=struct(room="east"))).acceptSecrets
    assert shelf.calls[0] == ("check_config", "u", {}, {"token": "t"})
    assert from_struct(answer.inputs) == {"token": Secret("t")}


def test_check_answers_inputs_and_failures(stub: Any, shelves: list[Shelf]) -> None:
    request = provider_pb2.CheckRequest(urn=URN, olds=struct(a=1), news=struct(a=UNKNOWN), randomSeed=b"seed")
    answer = stub.Check(request)
    assert shelves[-1].calls == [("check", URN, "shelf:index:Book", "novel", {"a": 1}, {"a": UNKNOWN}, b"seed")]
    assert from_struct(answer.inputs) == {"a": UNKNOWN, "name": "novel"}
    assert [(failure.property, failure.reason) for failure in answer.failures] == [("pages", "too few")]


OLD_INPUTS, OLD_OUTPUTS, NEW_INPUTS = {"a": 1}, {"a": 1, "b": 2}, {"a": 3}


def test_old_inputs_and_old_outputs_are_not_mixed_up(stub: Any, shelves: list[Shelf]) -> None:
    olds = {"old_inputs": to_struct(OLD_INPUTS), "olds": to_struct(OLD_OUTPUTS), "news": to_struct(NEW_INPUTS)}
    common = {"urn": URN, "id": "b-1", "ignoreChanges": ["x"]}
    stub.Diff(provider_pb2.DiffRequest(**common, **olds))
    stub.Update(provider_pb2.UpdateRequest(**common, **olds, timeout=5, preview=True))
    stub.DiffConfig(provider_pb2.DiffRequest(**common, **olds))
    stub.Read(
        provider_pb2.ReadRequest(urn=URN, id="b-1", inputs=to_struct(OLD_INPUTS), properties=to_struct(OLD_OUTPUTS))
    )
    type = "shelf:index:Book"
    assert shelves[-1].calls == [
        ("diff", URN, type, "b-1", OLD_INPUTS, OLD_OUTPUTS, NEW_INPUTS, ["x"]),
        ("update", URN, type, "b-1", OLD_INPUTS, OLD_OUTPUTS, NEW_INPUTS, 5.0, ["x"], True),
        ("diff_config", URN, "b-1", OLD_INPUTS, OLD_OUTPUTS, NEW_INPUTS, ["x"]),
        ("read", URN, type, "novel", "b-1", OLD_INPUTS, OLD_OUTPUTS),
    ]


def test_a_difference_arrives_in_all_its_detail(stub: Any) -> None:
    answer = stub.Diff(provider_pb2.DiffRequest(urn=URN))
    assert answer.changes == provider_pb2.DiffResponse.DIFF_SOME
    assert (list(answer.replaces), list(answer.diffs), list(answer.stables)) == (["pages"], ["pages"], ["isbn"])
    assert answer.deleteBeforeReplace
    assert answer.hasDetailedDiff
    detail = answer.detailedDiff["pages[0]"]
    assert (detail.kind, detail.inputDiff) == (provider_pb2.PropertyDiff.UPDATE_REPLACE, False)


def test_a_difference_without_detail_says_so(stub: Any) -> None:
    answer = stub.DiffConfig(provider_pb2.DiffRequest(urn=URN))
    assert not answer.hasDetailedDiff


def test_previews_and_time_limits_are_passed_on(stub: Any, shelves: list[Shelf]) -> None:
    answer = stub.Create(provider_pb2.CreateRequest(urn=URN, properties=struct(a=1), timeout=60, preview=True))
    assert answer.id == ""
    assert shelves[-1].calls == [("create", URN, "shelf:index:Book", "novel", {"a": 1}, 60.0, True)]


def test_a_resource_that_did_not_become_ready_is_reported_with_its_state(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Create(provider_pb2.CreateRequest(urn=URN, properties=struct(torn=True)))
    trailers = dict(caught.value.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    detail = provider_pb2.ErrorResourceInitFailed()
    assert status.details[0].Unpack(detail)
    assert (detail.id, list(detail.reasons)) == ("b-1", ["a page is missing"])
    assert (from_struct(detail.properties), from_struct(detail.inputs)) == ({"torn": True}, {"torn": True})


def test_a_resource_that_is_gone_has_no_properties_at_all(stub: Any) -> None:
    gone = stub.Read(provider_pb2.ReadRequest(urn=URN, id="b-2"))
    assert (gone.id, gone.HasField("properties")) == ("", False)
    there = stub.Read(provider_pb2.ReadRequest(urn=URN, id="b-1"))
    assert (from_struct(there.properties), from_struct(there.inputs)) == ({"pages": 3}, {"pages": 2})


def test_the_text_of_an_error_reaches_the_user(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Delete(provider_pb2.DeleteRequest(urn=URN, id="b-1"))
    assert caught.value.code() == grpc.StatusCode.UNKNOWN
    assert caught.value.details() == "the book is on loan: wait until 1 May"


def test_malformed_properties_are_refused(stub: Any, shelves: list[Shelf]) -> None:
    broken = struct_pb2.Struct()
    broken.fields["a"].struct_value.fields["4dabf18193072939515e22adb298388d"].string_value = "nonsense"
    with pytest.raises(grpc.RpcError) as caught:
        stub.Create(provider_pb2.CreateRequest(urn=URN, properties=broken))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert shelves[-1].calls == []


def test_functions_answer_value_and_failures(stub: Any) -> None:
    answer = stub.Invoke(provider_pb2.InvokeRequest(tok="shelf:index:find", args=struct(key=5)))
    assert from_struct(getattr(answer, "return")) == {"found": 5}
    assert [failure.reason for failure in answer.failures] == ["unknown"]


def test_many_calls_run_at_once(stub: Any) -> None:
    request = provider_pb2.InvokeRequest(tok="shelf:index:slow", args=struct(key=1))
    calls = [stub.Invoke.future(request) for _ in range(40)]
    assert all(from_struct(getattr(call.result(), "return")) == {"found": 1} for call in calls)


def test_cancel_reaches_the_instance(stub: Any, shelves: list[Shelf]) -> None:
    stub.Cancel(empty_pb2.Empty())
    assert shelves[-1].calls == [("cancel",)]


def test_only_this_machine_can_connect(server: ProviderServer) -> None:
    with pytest.raises(grpc.FutureTimeoutError), grpc.insecure_channel(f"127.0.0.2:{server.port}") as channel:
        grpc.channel_ready_future(channel).result(0.5)
