"""Serves a provider package to the official Pulumi CLI over gRPC.

    with ProviderServer(lambda: AwsProvider(...)) as server:
        run(["pulumi", "up"], env={"PULUMI_DEBUG_PROVIDERS": f"aws:{server.port}"})

With that variable the CLI starts no plugin but attaches to the port, once for each provider resource of the stack.  No
call says which provider resource it belongs to, but each of them has a connection of its own: there is one instance
per connection.  Source: proto provider.proto and sdk/go/common/resource/plugin/provider_plugin.go of Pulumi.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2, empty_pb2, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from falaj.engine.codec import from_struct, to_struct
from falaj.engine.properties import propagate_secrets, unwrap_secrets
from falaj.engine.provider import CheckFailure, CheckResult, DiffResult, InitializationError, Provider, ProviderError
from falaj.engine.urn import urn_name, urn_type
from falaj.engine.values import Value

_MESSAGE_BYTES: Final = 400 * 1024 * 1024
_WORKERS: Final = 64
_GRACE_SECONDS: Final = 5.0
_Answer = TypeVar("_Answer")


class ProviderServer:
    """A server on a free port of 127.0.0.1, from ``with`` to the end of the block.

    ``factory`` returns a fresh, unconfigured provider; all of them must be of one package and version.
    """

    def __init__(self, factory: Callable[[], Provider]) -> None:
        self._servicer = _Servicer(factory)
        self._server = grpc.server(
            ThreadPoolExecutor(_WORKERS, thread_name_prefix="provider"),
            options=[
                ("grpc.max_receive_message_length", _MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MESSAGE_BYTES),
            ],
        )
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(self._servicer, self._server)
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> ProviderServer:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(_GRACE_SECONDS).wait()

    def wait(self) -> None:
        """Serves until the process is told to end."""
        self._server.wait_for_termination()


class _Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """Methods that are not here (Handshake, Construct, Call, ...) answer UNIMPLEMENTED, which the CLI takes."""

    def __init__(self, factory: Callable[[], Provider]) -> None:
        self._factory = factory
        self._described = factory()
        self._instances: dict[str, Provider] = {}
        self._lock = threading.Lock()

    def Attach(self, request: Any, context: grpc.ServicerContext) -> Any:
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return plugin_pb2.PluginInfo(version=self._described.version)

    def GetSchema(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Just what the CLI needs to recognise the package; code generation is no use of this server."""
        schema = {"name": self._described.package, "version": self._described.version}
        return provider_pb2.GetSchemaResponse(schema=json.dumps(schema))

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._instance(context).cancel()
        return empty_pb2.Empty()

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        def call(provider: Provider) -> Any:
            olds, news = _read(provider, request.olds), _read(provider, request.news)
            return _checked(provider.check_config(request.urn, olds, news), request.news)

        return self._answer(context, call)

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        def call(provider: Provider) -> Any:
            old_inputs, olds = _read(provider, request.old_inputs), _read(provider, request.olds)
            news = _read(provider, request.news)
            ignored = list(request.ignoreChanges)
            return _differed(provider.diff_config(request.urn, request.id, old_inputs, olds, news, ignored))

        return self._answer(context, call)

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        def call(provider: Provider) -> Any:
            provider.configure(request.urn, request.id, _read(provider, request.args))
            return provider_pb2.ConfigureResponse(
                acceptSecrets=provider.accepts_secrets,
                acceptResources=True,
                acceptOutputs=False,
                supportsPreview=True,
                supports_autonaming_configuration=False,
            )

        return self._answer(context, call)

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        def call(provider: Provider) -> Any:
            olds, news = _read(provider, request.olds), _read(provider, request.news)
            result = provider.check(request.urn, *_type_and_name(request), olds, news, request.randomSeed)
            return _checked(result, request.news)

        return self._answer(context, call)

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        def call(provider: Provider) -> Any:
            type, _ = _type_and_name(request)
            old_inputs, olds = _read(provider, request.old_inputs), _read(provider, request.olds)
            news, ignored = _read(provider, request.news), list(request.ignoreChanges)
            return _differed(provider.diff(request.urn, type, request.id, old_inputs, olds, news, ignored))

        return self._answer(context, call)

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        def call(provider: Provider) -> Any:
            inputs = _read(provider, request.properties)
            names = _type_and_name(request)
            result = provider.create(request.urn, *names, inputs, request.timeout, request.preview)
            return provider_pb2.CreateResponse(id=result.id, properties=to_struct(result.outputs))

        return self._answer(context, call)

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        def call(provider: Provider) -> Any:
            inputs, outputs = _read(provider, request.inputs), _read(provider, request.properties)
            result = provider.read(request.urn, *_type_and_name(request), request.id, inputs, outputs)
            if not result.id:
                return provider_pb2.ReadResponse()  # gone: no properties at all; empty ones would pass as existing
            answer = provider_pb2.ReadResponse(id=result.id, properties=to_struct(result.outputs))
            if result.inputs is not None:
                answer.inputs.CopyFrom(to_struct(result.inputs))
            return answer

        return self._answer(context, call)

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        def call(provider: Provider) -> Any:
            type, _ = _type_and_name(request)
            outputs = provider.update(
                request.urn,
                type,
                request.id,
                _read(provider, request.old_inputs),
                _read(provider, request.olds),
                _read(provider, request.news),
                request.timeout,
                list(request.ignoreChanges),
                request.preview,
            )
            return provider_pb2.UpdateResponse(properties=to_struct(outputs))

        return self._answer(context, call)

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        def call(provider: Provider) -> Any:
            type, _ = _type_and_name(request)
            old_inputs, outputs = _read(provider, request.old_inputs), _read(provider, request.properties)
            provider.delete(request.urn, type, request.id, old_inputs, outputs, request.timeout)
            return empty_pb2.Empty()

        return self._answer(context, call)

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        def call(provider: Provider) -> Any:
            result = provider.invoke(request.tok, _read(provider, request.args))
            answer = provider_pb2.InvokeResponse(failures=_failures(result.failures))
            getattr(answer, "return").CopyFrom(to_struct(result.value))
            return answer

        return self._answer(context, call)

    def _instance(self, context: grpc.ServicerContext) -> Provider:
        with self._lock:
            provider = self._instances.get(context.peer())
            if provider is None:
                provider = self._instances[context.peer()] = self._factory()
            return provider

    def _answer(self, context: grpc.ServicerContext, call: Callable[[Provider], _Answer]) -> _Answer:
        try:
            return call(self._instance(context))
        except InitializationError as error:
            _abort_initialization(context, error)
        except ProviderError as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        except (ValueError, TypeError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"malformed properties: {error}")


def _read(provider: Provider, message: struct_pb2.Struct) -> dict[str, Value]:
    values = from_struct(message)
    if provider.accepts_secrets:
        return values
    return {key: unwrap_secrets(value) for key, value in values.items()}


def _type_and_name(request: Any) -> tuple[str, str]:
    """CLIs before 2024 leave both to the URN."""
    return request.type or urn_type(request.urn), request.name or urn_name(request.urn)


def _checked(result: CheckResult, news: struct_pb2.Struct) -> Any:
    """Secret marks are put on again: the CLI checks provider inputs before it knows whether marks come back."""
    inputs = propagate_secrets(result.inputs, from_struct(news))
    return provider_pb2.CheckResponse(inputs=to_struct(inputs), failures=_failures(result.failures))


def _failures(failures: Sequence[CheckFailure]) -> list[Any]:
    return [provider_pb2.CheckFailure(property=failure.property, reason=failure.reason) for failure in failures]


def _differed(result: DiffResult) -> Any:
    detailed: Mapping[str, Any] = result.detailed or {}
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DiffChanges.Value(f"DIFF_{result.changes.name}"),
        replaces=result.replaces,
        diffs=result.diffs,
        deleteBeforeReplace=result.delete_before_replace,
        stables=result.stables,
        hasDetailedDiff=result.detailed is not None,
        detailedDiff={
            path: provider_pb2.PropertyDiff(
                kind=provider_pb2.PropertyDiff.Kind.Value(diff.kind.name), inputDiff=diff.input_diff
            )
            for path, diff in detailed.items()
        },
    )


def _abort_initialization(context: grpc.ServicerContext, error: InitializationError) -> NoReturn:
    """The resource exists: the CLI reads its id and properties from the details of the status."""
    detail = provider_pb2.ErrorResourceInitFailed(
        id=error.id, properties=to_struct(error.outputs), reasons=list(error.reasons)
    )
    if error.inputs is not None:
        detail.inputs.CopyFrom(to_struct(error.inputs))
    packed = any_pb2.Any()
    packed.Pack(detail)
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error), details=[packed])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNKNOWN, str(error))
    raise AssertionError("abort raises")
