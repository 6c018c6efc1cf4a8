"""The engine's side of the protocol: the services that a program calls, on a loopback port."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, NoReturn, Protocol, TypeVar

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, resource_pb2, resource_pb2_grpc

from falaj.engine.callbacks import Callbacks, Transforms
from falaj.engine.decisions import Aborted
from falaj.engine.events import Severity
from falaj.engine.program import ProgramSettings
from falaj.engine.provider import ProviderError

T = TypeVar("T")
MESSAGE_BYTES: Final = 400 * 1024 * 1024
CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
)
_FEATURES: Final = (
    "SECRETS",
    "RESOURCE_REFERENCES",
    "OUTPUT_VALUES",
    "ALIAS_SPECS",
    "REPLACEMENT_TRIGGER",
    "DELETED_WITH",
    "REPLACE_WITH",
    "TRANSFORMS",
    "INVOKE_TRANSFORMS",
    "RESOURCE_HOOKS",
    "INVOKE_DEPENDS_ON",
)
_FEATURE_NAMES: Final = frozenset(
    {
        "secrets",
        "resourceReferences",
        "outputValues",
        "aliasSpecs",
        "deletedWith",
        "replaceWith",
        "transforms",
        "invokeTransforms",
        "resourceHooks",
        "invokeDependsOn",
    }
)
_SHUTTING_DOWN: Final = "Resource monitor has terminated"
"""What the SDK logs when the engine ends it; the reason has been told before."""
_SEVERITIES: Final = {0: Severity.DEBUG, 1: Severity.INFO, 2: Severity.WARNING, 3: Severity.ERROR}


class Deployment(Protocol):
    """What the services need of a deployment.  The coroutines run in its event loop and may raise Aborted."""

    def tell(self, severity: Severity, message: str, urn: str = "") -> None: ...

    async def register(self, request: Any) -> Any: ...

    async def register_outputs(self, request: Any) -> None: ...

    async def read(self, request: Any) -> Any: ...

    async def invoke(self, request: Any) -> Any: ...

    async def register_hook(self, request: Any) -> None: ...

    async def wait_for_shutdown(self) -> None: ...


class Monitor:
    """Use in a ``with`` statement; ``address`` is where the program finds the services."""

    def __init__(
        self,
        deployment: Deployment,
        settings: ProgramSettings,
        callbacks: Callbacks,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        # The SDK makes 4 calls at once per unit of parallelism, each of which waits for its resource; hooks, logs and
        # calls from transforms come on top.
        workers = settings.parallel * 4 + 64
        self._server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="falaj-monitor"), options=CHANNEL_OPTIONS
        )
        self.transforms = Transforms(callbacks)
        services = _Services(deployment, settings, loop, self.transforms)
        resource_pb2_grpc.add_ResourceMonitorServicer_to_server(services, self._server)
        engine_pb2_grpc.add_EngineServicer_to_server(_Engine(deployment), self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Monitor:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.stop(0)


class _Services(resource_pb2_grpc.ResourceMonitorServicer):
    """ResourceMonitor.  Each call blocks a worker thread until the deployment has an answer."""

    def __init__(
        self,
        deployment: Deployment,
        settings: ProgramSettings,
        loop: asyncio.AbstractEventLoop,
        transforms: Transforms,
    ) -> None:
        self._deployment, self._settings, self._loop, self._transforms = deployment, settings, loop, transforms

    def _answer(self, context: grpc.ServicerContext, work: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except (Aborted, concurrent.futures.CancelledError):
            # Of all statuses this one alone makes the SDK leave without a traceback.
            self._abort(context, grpc.StatusCode.UNAVAILABLE, "the deployment has ended")
        except RuntimeError as error:
            work.close()
            self._abort(context, grpc.StatusCode.UNAVAILABLE, str(error))
        except (ProviderError, ValueError) as error:
            self._abort(context, grpc.StatusCode.UNKNOWN, str(error))

    def _abort(self, context: grpc.ServicerContext, code: grpc.StatusCode, message: str) -> NoReturn:
        context.abort(code, message)
        raise AssertionError("abort does not return")

    def GetDeploymentInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        settings = self._settings
        number = resource_pb2.ResourceMonitorFeature.Value
        return resource_pb2.DeploymentInfo(
            project=settings.project.name,
            stack=settings.stack,
            organization="organization",
            config=dict(settings.configuration.values),
            configSecretKeys=sorted(settings.configuration.secret_keys),
            dryRun=settings.preview,
            parallel=settings.parallel,
            supportedFeatures=[number(f"RESOURCE_MONITOR_FEATURE_{name}") for name in _FEATURES],
        )

    def SupportsFeature(self, request: Any, context: grpc.ServicerContext) -> Any:
        return resource_pb2.SupportsFeatureResponse(hasSupport=request.id in _FEATURE_NAMES)

    def RegisterResource(self, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            self._transforms.apply(request)
        except ValueError as error:
            self._abort(context, grpc.StatusCode.UNKNOWN, str(error))
        return self._answer(context, self._deployment.register(request))

    def RegisterResourceOutputs(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._answer(context, self._deployment.register_outputs(request))
        return empty_pb2.Empty()

    def ReadResource(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._answer(context, self._deployment.read(request))

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            self._transforms.apply_to_invoke(request)
        except ValueError as error:
            self._abort(context, grpc.StatusCode.UNKNOWN, str(error))
        return self._answer(context, self._deployment.invoke(request))

    def RegisterStackTransform(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._transforms.add_for_stack(request)
        return empty_pb2.Empty()

    def RegisterStackInvokeTransform(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._transforms.add_for_invokes(request)
        return empty_pb2.Empty()

    def RegisterResourceHook(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._answer(context, self._deployment.register_hook(request))
        return empty_pb2.Empty()

    def Call(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._refuse(context, f"methods of resources ({request.tok})")

    def RegisterPackage(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._refuse(context, f"parameterized packages ({request.name})")

    def RegisterErrorHook(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._refuse(context, f"error hooks ({request.name})")

    def ExistsResource(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._refuse(context, "the check whether a resource exists")

    def _refuse(self, context: grpc.ServicerContext, what: str) -> NoReturn:
        message = f"the embedded engine does not support {what}: use the official CLI"
        self._abort(context, grpc.StatusCode.UNIMPLEMENTED, message)

    def SignalAndWaitForShutdown(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._answer(context, self._deployment.wait_for_shutdown())
        return empty_pb2.Empty()


class _Engine(engine_pb2_grpc.EngineServicer):
    """Engine.  Log is on the program's critical path: it answers at once."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def Log(self, request: Any, context: grpc.ServicerContext) -> Any:
        if not request.ephemeral and _SHUTTING_DOWN not in request.message:
            severity = _SEVERITIES.get(request.severity, Severity.INFO)
            if severity is not Severity.DEBUG:  # a program logs several of these for each resource
                self._deployment.tell(severity, request.message, request.urn)
        return empty_pb2.Empty()

    def RequirePulumiVersion(self, request: Any, context: grpc.ServicerContext) -> Any:
        return engine_pb2.RequirePulumiVersionResponse()
