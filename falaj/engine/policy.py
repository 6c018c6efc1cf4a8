"""Runs a policy pack in a process of its own and asks it about resources.

The pack is started as the official engine does (``python -u -m pulumi.policy <engine> <folder>``), prints the port of
its Analyzer service on the first line, and is told the stack and the settings of its policies.  A pack that dies or
throws is an error: it never counts as one without violations.
Sources: sdk/go/common/resource/plugin/analyzer_plugin.go of Pulumi; proto analyzer.proto; runs of the CLI.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from falaj.engine.codec import from_struct, to_struct
from falaj.engine.events import PolicyLoaded, PolicyRemediation, PolicyViolation
from falaj.engine.options import PolicyPack
from falaj.engine.policy_config import LEVELS, PolicyDescription, PolicySettings, load_settings, reconciled
from falaj.engine.policy_process import PackProcess, PolicyPackError
from falaj.engine.project import Configuration
from falaj.engine.properties import propagate_secrets
from falaj.engine.resource_state import CustomTimeouts
from falaj.engine.urn import stack_urn, urn_name, urn_type
from falaj.engine.values import Properties, Value

_CALL_SECONDS: Final = 300.0
_MESSAGE_BYTES: Final = 400 * 1024 * 1024
_SEVERITIES: Final = ("", "low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class PolicyContext:
    """What packs are told about the deployment."""

    project: str
    stack: str
    preview: bool
    configuration: Configuration
    engine_address: str = ""


@dataclass(frozen=True, slots=True)
class AnalyzedResource:
    """A resource as a policy sees it.  ``properties``: checked inputs for ``analyze``, outputs for ``analyze_stack``.

    ``provider``: (URN, inputs) of the provider resource, or None.  ``delete_before_replace`` None: not said.
    """

    urn: str
    properties: Properties
    parent: str = ""
    protect: bool = False
    ignore_changes: Sequence[str] = ()
    delete_before_replace: bool | None = None
    additional_secret_outputs: Sequence[str] = ()
    aliases: Sequence[str] = ()
    custom_timeouts: CustomTimeouts = field(default_factory=CustomTimeouts)
    provider: tuple[str, Properties] | None = None
    dependencies: Sequence[str] = ()
    property_dependencies: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Remediated:
    """The inputs after all remediations, what was changed, and which remediations could not run."""

    inputs: Properties
    remediations: Sequence[PolicyRemediation] = ()
    violations: Sequence[PolicyViolation] = ()


class PolicyClient:
    """One pack.  The constructor starts its process and returns at once; ``connect`` waits until it is ready.

    ``on_output`` gets each line the pack prints, and whether it was an error line.  Thread-safe once connected.
    Raises ConfigError or UnsupportedError for a folder that holds no Python pack, or an unusable settings file.
    """

    def __init__(
        self,
        pack: PolicyPack,
        context: PolicyContext,
        on_output: Callable[[str, bool], None] = lambda line, error: None,
        process: PackProcess | None = None,
    ) -> None:
        """``process``: that of the pack, where it has been started already; it is this object's from here on."""
        self._folder = pack.path.resolve()
        self._context = context
        self._settings_file = pack.config_path
        self._given = load_settings(pack.config_path) if pack.config_path else {}
        self._process = process or PackProcess(self._folder)
        self._version, self._name = self._process.version, self._folder.name
        self._policies: Sequence[PolicyDescription] = ()
        self._settings: Mapping[str, PolicySettings] = {}
        self._channel: grpc.Channel | None = None
        self._stub: Any = None
        self._process.begin(context.engine_address, _environment(context), on_output)

    @property
    def policies(self) -> Sequence[str]:
        """The names of the policies that are switched on; empty before ``connect``."""
        return [policy.name for policy in self._policies if self._settings[policy.name].level != "disabled"]

    def connect(self) -> PolicyLoaded:
        """Waits for the pack and configures it.

        Raises PolicyPackError when it does not come up, ConfigError when the user's settings do not fit its schemas.
        """
        port = self._process.port()
        options = [
            ("grpc.max_receive_message_length", _MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MESSAGE_BYTES),
        ]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        self._stub = analyzer_pb2_grpc.AnalyzerStub(self._channel)
        context = self._context
        handshake = analyzer_pb2.AnalyzerHandshakeRequest(
            engine_address=context.engine_address, root_directory=str(self._folder), program_directory=str(self._folder)
        )
        self._call("Handshake", handshake, optional=True)
        stack = analyzer_pb2.AnalyzerStackConfigureRequest(
            stack=context.stack,
            project=context.project,
            organization="organization",
            dry_run=context.preview,
            config=dict(context.configuration.values),
            config_secret_keys=sorted(context.configuration.secret_keys),
        )
        self._call("ConfigureStack", stack, optional=True)
        info = self._call("GetAnalyzerInfo", empty_pb2.Empty())
        self._name = self._process.name = info.name or self._name
        self._version = self._version or info.version
        self._policies = [_described(policy) for policy in info.policies]
        where = (
            f"{self._settings_file} (policy pack {self._name})" if self._settings_file else f"policy pack {self._name}"
        )
        initial = {name: _initial(settings) for name, settings in info.initialConfig.items()}
        self._settings = reconciled(self._policies, initial, self._given, where=where)
        self._call("Configure", _configure_request(self._settings))
        return PolicyLoaded(self._name, self._version, self.policies)

    @property
    def remediates(self) -> bool:
        """Whether a policy of the pack may change inputs; without one there is no need to ask for each resource."""
        return any(settings.level == "remediate" for settings in self._settings.values())

    def remediate(self, resource: AnalyzedResource) -> Remediated:
        """Raises PolicyPackError."""
        response = self._call("Remediate", self._request(resource, internal=True))
        inputs = resource.properties
        remediations, violations = [], []
        for item in response.remediations:
            if item.diagnostic:
                violations.append(
                    PolicyViolation(
                        resource.urn, item.policyName, self._name, self._version, "advisory", item.diagnostic
                    )
                )
            elif item.HasField("properties"):
                # Packs hand back plain values in place of secrets, so the marks are put on again by name.
                before, inputs = inputs, propagate_secrets(from_struct(item.properties), inputs)
                remediations.append(
                    PolicyRemediation(resource.urn, item.policyName, self._name, self._version, before, inputs)
                )
        return Remediated(inputs, remediations, violations)

    def analyze(self, resource: AnalyzedResource) -> list[PolicyViolation]:
        """Raises PolicyPackError."""
        response = self._call("Analyze", self._request(resource, internal=False))
        return [self._violation(item, resource.urn) for item in response.diagnostics]

    def analyze_stack(self, resources: Sequence[AnalyzedResource]) -> list[PolicyViolation]:
        """``resources``: all of the stack, with their outputs.  Raises PolicyPackError."""
        messages = []
        for resource in resources:
            request = self._request(resource, internal=False)
            message = analyzer_pb2.AnalyzerResource(
                type=request.type,
                urn=request.urn,
                name=request.name,
                properties=request.properties,
                options=request.options,
                parent=resource.parent,
                dependencies=resource.dependencies,
                propertyDependencies={
                    key: analyzer_pb2.AnalyzerPropertyDependencies(urns=urns)
                    for key, urns in resource.property_dependencies.items()
                },
            )
            if request.HasField("provider"):
                message.provider.CopyFrom(request.provider)
            messages.append(message)
        response = self._call("AnalyzeStack", analyzer_pb2.AnalyzeStackRequest(resources=messages))
        whole = stack_urn(self._context.stack, self._context.project)
        return [self._violation(item, whole) for item in response.diagnostics]

    def close(self) -> None:
        """Ends the pack's process; harmless when it has ended."""
        if self._channel is not None:
            self._channel.close()
        self._process.close()

    def _call(self, method: str, request: Any, *, optional: bool = False) -> Any:
        try:
            return getattr(self._stub, method)(request, timeout=_CALL_SECONDS)
        except grpc.RpcError as error:
            code = error.code()
            if optional and code == grpc.StatusCode.UNIMPLEMENTED:
                return None
            last_words = self._process.last_words() if code == grpc.StatusCode.UNAVAILABLE else None
            if last_words:
                raise PolicyPackError(last_words) from error
            raise PolicyPackError(f"the policy pack {self._name} failed in {method}: {error.details()}") from error

    def _request(self, resource: AnalyzedResource, *, internal: bool) -> Any:
        properties = resource.properties if internal else _without_internal(resource.properties)
        timeouts = resource.custom_timeouts
        options = analyzer_pb2.AnalyzerResourceOptions(
            protect=resource.protect,
            ignoreChanges=resource.ignore_changes,
            deleteBeforeReplace=bool(resource.delete_before_replace),
            deleteBeforeReplaceDefined=resource.delete_before_replace is not None,
            additionalSecretOutputs=resource.additional_secret_outputs,
            aliases=resource.aliases,
            customTimeouts=analyzer_pb2.AnalyzerResourceOptions.CustomTimeouts(
                create=timeouts.create, update=timeouts.update, delete=timeouts.delete
            ),
            parent=resource.parent,
        )
        request = analyzer_pb2.AnalyzeRequest(
            type=urn_type(resource.urn),
            urn=resource.urn,
            name=urn_name(resource.urn),
            properties=to_struct(properties, keep_references=False),
            options=options,
        )
        if resource.provider is not None:
            urn, inputs = resource.provider
            plain = to_struct(_without_internal(inputs), keep_references=False)
            request.provider.type, request.provider.urn, request.provider.name = urn_type(urn), urn, urn_name(urn)
            request.provider.properties.CopyFrom(plain)
        return request

    def _violation(self, item: Any, default_urn: str) -> PolicyViolation:
        return PolicyViolation(
            urn=item.urn or default_urn,
            policy=item.policyName,
            pack=item.policyPackName or self._name,
            pack_version=self._version or item.policyPackVersion,
            level=LEVELS[item.enforcementLevel],
            message=item.message,
            severity=_SEVERITIES[item.severity],
        )


def _environment(context: PolicyContext) -> dict[str, str]:
    return {
        "PULUMI_ORGANIZATION": "organization",
        "PULUMI_PROJECT": context.project,
        "PULUMI_STACK": context.stack,
        "PULUMI_DRY_RUN": "true" if context.preview else "false",
        "PULUMI_CONFIG": json.dumps(dict(context.configuration.values)),
    }


def _described(policy: Any) -> PolicyDescription:
    schema = from_struct(policy.configSchema.properties)
    return PolicyDescription(policy.name, LEVELS[policy.enforcementLevel], schema, tuple(policy.configSchema.required))


def _initial(settings: Any) -> PolicySettings:
    return PolicySettings(LEVELS[settings.enforcementLevel], from_struct(settings.properties))


def _configure_request(settings: Mapping[str, PolicySettings]) -> Any:
    return analyzer_pb2.ConfigureAnalyzerRequest(
        policyConfig={
            name: analyzer_pb2.PolicyConfig(
                enforcementLevel=analyzer_pb2.EnforcementLevel.Value(item.level.upper()),
                properties=to_struct(item.parameters),
            )
            for name, item in settings.items()
        }
    )


def _without_internal(value: Value) -> Any:
    """Keys that begin with two underscores are between the engine and providers."""
    if isinstance(value, Mapping):
        return {key: _without_internal(item) for key, item in value.items() if not key.startswith("__")}
    return [_without_internal(item) for item in value] if isinstance(value, list) else value
