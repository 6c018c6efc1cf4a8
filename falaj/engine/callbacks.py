"""Functions of the program that the engine calls back: transforms and hooks."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from pulumi.runtime.proto import callback_pb2, callback_pb2_grpc, resource_pb2

MESSAGE_BYTES: Final = 400 * 1024 * 1024
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
)


class Callbacks:
    """The program's functions, where it serves them.  Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channels: dict[str, grpc.Channel] = {}

    def call(self, callback: Any, request: Message) -> bytes:
        """Asks the program.  Raises ValueError with its answer when the function failed.  Blocks."""
        stub = callback_pb2_grpc.CallbacksStub(self._channel(callback.target))
        try:
            invocation = callback_pb2.CallbackInvokeRequest(token=callback.token, request=request.SerializeToString())
            return bytes(stub.Invoke(invocation).response)
        except grpc.RpcError as error:
            raise ValueError(error.details() if isinstance(error, grpc.Call) else str(error)) from error

    def _channel(self, target: str) -> grpc.Channel:
        with self._lock:
            if target not in self._channels:
                if not target.startswith(("127.0.0.1:", "localhost:")):
                    raise ValueError(f"a callback at {target!r} is not on this machine")
                self._channels[target] = grpc.insecure_channel(target, options=_OPTIONS)
            return self._channels[target]

    def close(self) -> None:
        with self._lock:
            for channel in self._channels.values():
                channel.close()
            self._channels.clear()


class Transforms:
    """The transforms of a deployment.  Thread-safe."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._call = callbacks.call
        self._lock = threading.Lock()
        self._of_resource: dict[str, Sequence[Any]] = {}
        self._parents: dict[str, str] = {}
        self._of_stack: list[Any] = []
        self._of_invokes: list[Any] = []

    def add_for_stack(self, callback: Any) -> None:
        with self._lock:
            self._of_stack.append(callback)

    def add_for_invokes(self, callback: Any) -> None:
        with self._lock:
            self._of_invokes.append(callback)

    def inherited(self, urn: str, parent: str, own: Sequence[Any]) -> None:
        """Records what applies to the children of a resource."""
        if own or parent in self._of_resource:
            with self._lock:
                self._of_resource[urn] = [*own, *self._of_resource.get(parent, ())]

    def apply(self, request: Any) -> None:
        """Changes a RegisterResourceRequest: its own first, then its parents' outwards, then the stack's.

        Raises ValueError when a transform fails.
        """
        with self._lock:
            chain = [*request.transforms, *self._of_resource.get(request.parent, ()), *self._of_stack]
        for callback in chain:
            asked = resource_pb2.TransformRequest(
                type=request.type,
                name=request.name,
                custom=request.custom,
                parent=request.parent,
                properties=request.object,
                options=_options_of(request),
            )
            answer = resource_pb2.TransformResponse()
            answer.ParseFromString(self._call(callback, asked))
            if answer.HasField("properties"):
                request.object.CopyFrom(answer.properties)
                for key in request.object.fields:
                    request.propertyDependencies[key].SetInParent()  # a new property depends on nothing
            if answer.HasField("options"):
                _set_options(request, answer.options)

    def apply_to_invoke(self, request: Any) -> None:
        """Changes a ResourceInvokeRequest.  Raises ValueError when a transform fails."""
        with self._lock:
            chain = list(self._of_invokes)
        for callback in chain:
            asked = resource_pb2.TransformInvokeRequest(
                token=request.tok,
                args=request.args,
                options=resource_pb2.TransformInvokeOptions(
                    provider=request.provider, plugin_download_url=request.pluginDownloadURL, version=request.version
                ),
            )
            answer = resource_pb2.TransformInvokeResponse()
            answer.ParseFromString(self._call(callback, asked))
            if answer.HasField("args"):
                request.args.CopyFrom(answer.args)
            if answer.HasField("options"):
                request.provider = answer.options.provider
                request.pluginDownloadURL = answer.options.plugin_download_url
                request.version = answer.options.version


_PLAIN: Final[Mapping[str, str]] = {
    "version": "version",
    "provider": "provider",
    "plugin_download_url": "pluginDownloadURL",
    "deleted_with": "deletedWith",
    "import": "importId",
}
_REPEATED: Final[Mapping[str, str]] = {
    "depends_on": "dependencies",
    "ignore_changes": "ignoreChanges",
    "replace_on_changes": "replaceOnChanges",
    "additional_secret_outputs": "additionalSecretOutputs",
    "hide_diff": "hideDiffs",
    "replace_with": "replace_with",
    "aliases": "aliases",
}
_MESSAGES: Final[Mapping[str, str]] = {
    "custom_timeouts": "customTimeouts",
    "hooks": "hooks",
    "replacement_trigger": "replacement_trigger",
}


def _options_of(request: Any) -> Any:
    options = resource_pb2.TransformResourceOptions()
    for theirs, ours in _PLAIN.items():
        setattr(options, theirs, getattr(request, ours))
    for theirs, ours in _REPEATED.items():
        getattr(options, theirs).extend(getattr(request, ours))
    for theirs, ours in _MESSAGES.items():
        if request.HasField(ours):
            getattr(options, theirs).CopyFrom(getattr(request, ours))
    options.providers.update(request.providers)
    if request.HasField("protect"):
        options.protect = request.protect
    if request.HasField("retainOnDelete"):
        options.retain_on_delete = request.retainOnDelete
    if request.deleteBeforeReplaceDefined:
        options.delete_before_replace = request.deleteBeforeReplace
    return options


def _set_options(request: Any, options: Any) -> None:
    for theirs, ours in _PLAIN.items():
        setattr(request, ours, getattr(options, theirs))
    for theirs, ours in _REPEATED.items():
        request.ClearField(ours)
        getattr(request, ours).extend(getattr(options, theirs))
    for theirs, ours in _MESSAGES.items():
        request.ClearField(ours)
        if options.HasField(theirs):
            getattr(request, ours).CopyFrom(getattr(options, theirs))
    request.ClearField("providers")
    request.providers.update(options.providers)
    for theirs, ours in {"protect": "protect", "retain_on_delete": "retainOnDelete"}.items():
        request.ClearField(ours)
        if options.HasField(theirs):
            setattr(request, ours, getattr(options, theirs))
    request.deleteBeforeReplaceDefined = options.HasField("delete_before_replace")
    request.deleteBeforeReplace = options.delete_before_replace
