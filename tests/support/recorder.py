"""A strict stand-in for Pulumi's engine that records what a program declares.

``record(program)`` runs a program (a function without arguments that constructs resources) in a fresh event loop and a
fresh Pulumi context, so that any number of recordings can be made in one process and nothing of one reaches another.
What comes back is what a provider and a policy would have seen: camelCase inputs as sent, parents, options.

Strict means: a function call without an answer raises, two resources with one URN raise, a program error is raised.
Nothing is invented quietly: a resource's outputs are its inputs plus an id, an ARN and what ``tests.support.answers``
says a type computes; a test can add answers of its own.

    recording = record(lambda: Storage("storage", ...))
    recording.types()["aws:s3/bucket:Bucket"]            how many of each type
    recording.of("aws:s3/bucket:Bucket")                 all of a type
    recording.named("storage-lake", "aws:s3/bucket:Bucket").inputs["objectLockEnabled"]
    attempt(program).error, attempt(program).resources   what was registered before it failed
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime import config as pulumi_config
from pulumi.runtime import settings as pulumi_settings
from pulumi.runtime.proto import engine_pb2, resource_pb2
from pulumi.runtime.stack import run_in_stack

from tests.support.answers import computed_outputs, default_invokes

STACK_TYPE = "pulumi:pulumi:Stack"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What the SDK sends for a value that a preview does not know (``pulumi.runtime.rpc.UNKNOWN``)."""
_SIGNATURE_KEY = "4dabf18193072939515e22adb298388d"
_SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"
_RESOURCE_SIGNATURE = "5cf8f73096256a8f31e491e813e4eb8e"

Properties = dict[str, Any]
Answer = Callable[["Registered"], Properties]


class UnmockedCallError(AssertionError):
    """The program called a function for which the test has no answer."""


@dataclass(frozen=True)
class Registered:
    """One resource as the program declared it."""

    type: str
    name: str
    urn: str
    parent: str
    custom: bool
    inputs: Properties
    """As sent: camelCase, secrets unwrapped, unknowns as ``UNKNOWN``."""
    secret_inputs: frozenset[str]
    """Top-level inputs that are or contain a secret."""
    protect: bool
    provider: str
    dependencies: tuple[str, ...]
    property_dependencies: Mapping[str, tuple[str, ...]]
    ignore_changes: tuple[str, ...]
    replace_on_changes: tuple[str, ...]
    delete_before_replace: bool
    retain_on_delete: bool
    deleted_with: str
    aliases: tuple[str, ...]
    import_id: str
    id: str = ""

    def document(self, input_name: str = "policy") -> Properties:
        """Return an input that holds JSON text (a policy document), parsed."""
        parsed = json.loads(self.inputs[input_name])
        assert isinstance(parsed, dict)
        return parsed

    def statement(self, sid: str, input_name: str = "policy") -> Properties:
        """Return the statement ``sid`` of a policy document.  Raises LookupError naming those that exist."""
        statements = self.document(input_name)["Statement"]
        for statement in statements:
            if statement["Sid"] == sid:
                assert isinstance(statement, dict)
                return statement
        raise LookupError(f"{self.name}: no statement {sid!r}; there are {[s['Sid'] for s in statements]}")


@dataclass
class Recording:
    """Everything one run of a program registered, without the stack itself.

    A resource comes after its parent and what it depends on; apart from that the order means nothing.
    """

    resources: list[Registered] = field(default_factory=list)
    component_outputs: dict[str, Properties] = field(default_factory=dict)
    """URN of a component -> what it registered as its outputs."""
    stack_outputs: Properties = field(default_factory=dict)
    invokes: list[tuple[str, Properties]] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    """(severity, message) of what the program logged above debug."""
    error: BaseException | None = None

    def types(self) -> Counter[str]:
        """Return how many resources of each type were registered, components included."""
        return Counter(resource.type for resource in self.resources)

    def of(self, type_token: str) -> list[Registered]:
        """Return the resources of a type."""
        return [resource for resource in self.resources if resource.type == type_token]

    def one(self, type_token: str) -> Registered:
        """Return the only resource of a type.  Raises LookupError if there are none or several."""
        found = self.of(type_token)
        if len(found) != 1:
            raise LookupError(f"{len(found)} resources of type {type_token}: {[resource.name for resource in found]}")
        return found[0]

    def named(self, name: str, type_token: str | None = None) -> Registered:
        """Return the only resource with a logical name (of a type).  Raises LookupError if it is not exactly one."""
        found = [r for r in self.resources if r.name == name and type_token in (None, r.type)]
        if len(found) != 1:
            known = sorted(r.name for r in self.resources if type_token in (None, r.type))
            raise LookupError(f"{len(found)} resources named {name!r} ({type_token or 'any type'}); there are {known}")
        return found[0]

    def children_of(self, parent: Registered) -> list[Registered]:
        """Return the resources whose parent is ``parent``."""
        return [resource for resource in self.resources if resource.parent == parent.urn]

    def outputs_of(self, type_token: str) -> Properties:
        """Return what the only component of a type registered as its outputs."""
        return self.component_outputs[self.one(type_token).urn]


def record(program: Callable[[], object], **settings: Any) -> Recording:
    """Run ``program`` and return what it registered; raise what it raises.  ``settings``: see ``attempt``."""
    recording = attempt(program, **settings)
    if recording.error is not None:
        raise recording.error
    return recording


def attempt(
    program: Callable[[], object],
    *,
    preview: bool = False,
    project: str = "falaj",
    stack: str = "local",
    config: Mapping[str, str] | None = None,
    answers: Mapping[str, Answer] | None = None,
    invokes: Mapping[str, Properties] | None = None,
) -> Recording:
    """Run ``program`` and return what it registered, with its error if it failed.

    ``preview``: ids and computed outputs stay unknown.  ``config``: full keys (``falaj:blueprint``).  ``answers``: type
    token -> function from the registration to extra outputs.  ``invokes``: function token -> result.
    """
    recording = Recording()
    monitor = _Monitor(recording, project, stack, preview, answers or {}, {**default_invokes(), **(invokes or {})})
    contextvars.Context().run(_run, program, monitor, config or {})
    return recording


def _run(program: Callable[[], object], monitor: _Monitor, config: Mapping[str, str]) -> None:
    pulumi_config.set_all_config(dict(config), [])
    loop = asyncio.new_event_loop()
    # One worker keeps what depends on another behind it; independent resources still arrive in any order, because the
    # SDK waits for sets of tasks.
    loop.set_default_executor(ThreadPoolExecutor(max_workers=1))
    asyncio.set_event_loop(loop)
    pulumi_settings.configure(
        pulumi_settings.Settings(
            project=monitor.project,
            stack=monitor.stack,
            monitor=monitor,
            engine=_Engine(monitor.recording),
            dry_run=monitor.preview,
            organization="organization",
            root_directory=".",
        )
    )

    def body() -> None:
        program()

    try:
        loop.run_until_complete(run_in_stack(body))
    except BaseException as error:
        monitor.recording.error = monitor.error or error
    finally:
        _drain(loop)
        pulumi_settings.set_root_resource(None)
        asyncio.set_event_loop(None)
        loop.close()


def _drain(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel and collect what a failed program left behind, so that no warning turns up in a later test."""
    pending = asyncio.all_tasks(loop)
    for task in pending:
        task.cancel()
    if pending:
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())


class _Monitor:
    """The resource monitor's calls, answered in the process, without a socket."""

    def __init__(
        self,
        recording: Recording,
        project: str,
        stack: str,
        preview: bool,
        answers: Mapping[str, Answer],
        invokes: Mapping[str, Properties],
    ) -> None:
        self.recording = recording
        self.project = project
        self.stack = stack
        self.preview = preview
        self.error: BaseException | None = None
        self._answers = answers
        self._invokes = invokes
        self._urns: set[str] = set()
        self._stack_urn = ""
        self._lock = threading.Lock()

    def GetDeploymentInfo(self, _request: empty_pb2.Empty) -> resource_pb2.DeploymentInfo:
        return resource_pb2.DeploymentInfo(
            supportedFeatures=[
                resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
                resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
                resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
                resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
            ]
        )

    def RegisterResource(self, request: resource_pb2.RegisterResourceRequest) -> resource_pb2.RegisterResourceResponse:
        urn = self._urn(request.parent, request.type, request.name)
        if request.type == STACK_TYPE:
            self._stack_urn = urn
            return resource_pb2.RegisterResourceResponse(urn=urn)
        inputs, secret_inputs = _plain_object(request.object)
        registered = Registered(
            type=request.type,
            name=request.name,
            urn=urn,
            parent="" if request.parent == self._stack_urn else request.parent,
            custom=request.custom,
            inputs=inputs,
            secret_inputs=secret_inputs,
            protect=request.protect,
            provider=request.provider,
            dependencies=tuple(sorted(request.dependencies)),
            property_dependencies={
                name: tuple(sorted(dependencies.urns))
                for name, dependencies in sorted(request.propertyDependencies.items())
            },
            ignore_changes=tuple(request.ignoreChanges),
            replace_on_changes=tuple(request.replaceOnChanges),
            delete_before_replace=request.deleteBeforeReplace,
            retain_on_delete=request.retainOnDelete,
            deleted_with=request.deletedWith,
            aliases=tuple(alias.urn or alias.spec.name for alias in request.aliases),
            import_id=request.importId,
        )
        with self._lock:
            if urn in self._urns:
                self.error = self.error or AssertionError(f"two resources have the URN {urn}; rename one")
                raise self.error
            self._urns.add(urn)
            outputs = {} if self.preview or not request.custom else computed_outputs(request.type, request.name, inputs)
            answer = self._answers.get(request.type)
            if answer is not None and not self.preview:
                outputs.update(answer(registered))
            identity = "" if not request.custom or self.preview else str(outputs.pop("id", f"{request.name}-id"))
            object.__setattr__(registered, "id", identity)
            self.recording.resources.append(registered)
        # In a preview the engine echoes the inputs and leaves the computed outputs out: they read as unknown.
        return resource_pb2.RegisterResourceResponse(urn=urn, id=identity, object=_struct({**inputs, **outputs}))

    def RegisterResourceOutputs(self, request: resource_pb2.RegisterResourceOutputsRequest) -> empty_pb2.Empty:
        outputs, _ = _plain_object(request.outputs)
        with self._lock:
            if request.urn == self._stack_urn:
                self.recording.stack_outputs = outputs
            else:
                self.recording.component_outputs[request.urn] = outputs
        return empty_pb2.Empty()

    def Invoke(self, request: resource_pb2.ResourceInvokeRequest) -> resource_pb2.ResourceInvokeResponse:
        arguments, _ = _plain_object(request.args)
        if request.tok not in self._invokes:
            self.error = self.error or UnmockedCallError(f"{request.tok} called with {arguments} and not answered")
            raise self.error
        with self._lock:
            self.recording.invokes.append((request.tok, arguments))
        return resource_pb2.ResourceInvokeResponse(**{"return": _struct(self._invokes[request.tok])})

    def Call(self, request: resource_pb2.ResourceCallRequest) -> None:
        self.error = self.error or UnmockedCallError(f"method {request.tok} called and not answered")
        raise self.error

    def ReadResource(self, request: resource_pb2.ReadResourceRequest) -> None:
        self.error = self.error or UnmockedCallError(f"{request.type} {request.name} read and not answered")
        raise self.error

    def SignalAndWaitForShutdown(self, _request: empty_pb2.Empty) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    def _urn(self, parent: str, type_token: str, name: str) -> str:
        chain = type_token
        if parent and parent != self._stack_urn:
            chain = f"{parent.split('::')[2]}${type_token}"
        return f"urn:pulumi:{self.stack}::{self.project}::{chain}::{name}"


class _Engine:
    """The engine's log, kept in the recording."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def Log(self, request: engine_pb2.LogRequest) -> empty_pb2.Empty:
        severity = engine_pb2.LogSeverity.Name(request.severity).lower()
        if severity != "debug":
            self._recording.log.append((severity, request.message))
        return empty_pb2.Empty()


def _struct(properties: Properties) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(properties)
    return struct


def _plain_object(struct: struct_pb2.Struct) -> tuple[Properties, frozenset[str]]:
    secrets: set[str] = set()
    plain: Properties = {}
    for key, value in struct.fields.items():
        plain[key], secret = _plain(value)
        if secret:
            secrets.add(key)
    return plain, frozenset(secrets)


def _plain(value: struct_pb2.Value) -> tuple[Any, bool]:
    """Return the value as Python data and whether a secret was in it.  Integral numbers become int, as in state."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        signature = value.struct_value.fields.get(_SIGNATURE_KEY)
        if signature is not None and signature.string_value == _SECRET_SIGNATURE:
            return _plain(value.struct_value.fields["value"])[0], True
        if signature is not None and signature.string_value == _RESOURCE_SIGNATURE:
            return value.struct_value.fields["urn"].string_value, False
        items = {key: _plain(item) for key, item in value.struct_value.fields.items()}
        return {key: item[0] for key, item in items.items()}, any(item[1] for item in items.values())
    if kind == "list_value":
        elements = [_plain(item) for item in value.list_value.values]
        return [element[0] for element in elements], any(element[1] for element in elements)
    if kind == "number_value":
        number = value.number_value
        return (int(number) if number.is_integer() else number), False
    if kind == "bool_value":
        return value.bool_value, False
    if kind == "string_value":
        return value.string_value, False
    return None, False
