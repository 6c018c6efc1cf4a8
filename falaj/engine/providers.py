"""The providers of a deployment: which instance stands behind a reference, and which provider serves a resource."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

from falaj.engine.calls import Calls
from falaj.engine.goal import Goal
from falaj.engine.instances import INTERNAL, Instance, cancel_all
from falaj.engine.properties import unwrap_secrets
from falaj.engine.provider import Provider, ProviderError, ProviderHost
from falaj.engine.resource_state import ResourceState
from falaj.engine.urn import (
    UNKNOWN_ID,
    ProviderReference,
    default_provider_name,
    default_provider_urn,
    is_provider_type,
    package_of,
    parse_reference,
    provider_package,
    provider_type,
)
from falaj.engine.values import Properties, Value

BUILTIN_PACKAGE: Final = "pulumi"
DISABLE_KEY: Final = "pulumi:disable-default-providers"


class ProviderRegistry:
    """Instances by reference (URN and id).  To be used from one event loop."""

    def __init__(self, host: ProviderHost, builtin: Callable[[], Provider], calls: Calls, preview: bool) -> None:
        self._host, self._builtin, self._calls, self._preview = host, builtin, calls, preview
        self._instances: dict[str, Instance] = {}
        self._fresh: dict[str, Instance] = {}
        self._loading: dict[str, asyncio.Lock] = {}

    def get(self, reference: str) -> Instance | None:
        return self._instances.get(reference)

    async def fresh(self, state_type: str, urn: str, inputs: Properties) -> Instance:
        """The instance that a provider resource being registered will get; loaded at its first Check."""
        instance = self._fresh.get(urn)
        if instance is None:
            instance = self._fresh[urn] = await self._load(state_type, inputs)
        return instance

    async def _load(self, type: str, inputs: Properties) -> Instance:
        package = provider_package(type)
        if package == BUILTIN_PACKAGE:
            return Instance(self._builtin(), self._calls)
        version = unwrap_secrets(inputs.get("version"))
        provider = await self._calls.run(self._host.load, package, version if isinstance(version, str) else "")
        return Instance(provider, self._calls)

    async def configure(self, state: ResourceState, inputs: Properties) -> None:
        """Makes the registered instance of a provider resource the one behind its reference."""
        instance = self._fresh.pop(state.urn, None) or await self._load(state.type, inputs)
        reference = str(ProviderReference(state.urn, state.id))
        self._instances[reference] = instance
        try:
            await instance.configure(state.urn, state.id, inputs)
        except ProviderError as error:
            # The provider resource itself is fine; whoever uses it gets the error, as with the CLI.
            self._instances[reference] = _Broken(instance, error)

    async def ensure(self, reference: str, states: Iterable[ResourceState]) -> Instance:
        """The instance behind a reference; one that is only in the state is configured from there.

        Raises ProviderError when there is none or when it cannot be configured.
        """
        lock = self._loading.setdefault(reference, asyncio.Lock())
        async with lock:
            if reference not in self._instances:
                state = next((state for state in states if is_provider(state, reference)), None)
                if state is None:
                    raise ProviderError(f"unknown provider {reference!r}")
                instance = await self._load(state.type, state.inputs)
                await instance.configure(state.urn, state.id, state.inputs)
                self._instances[reference] = instance
        return self.usable(reference)

    def usable(self, reference: str) -> Instance:
        """Raises ProviderError for an unknown reference, or one whose provider could not be configured."""
        instance = self._instances.get(reference)
        if instance is None:
            raise ProviderError(f"unknown provider {reference!r}")
        if isinstance(instance, _Broken):
            raise instance.error
        return instance

    def new_id(self) -> str:
        return UNKNOWN_ID if self._preview else str(uuid.uuid4())

    def cancel(self) -> None:
        cancel_all([*self._instances.values(), *self._fresh.values()])


class _Broken(Instance):
    """A provider whose configuration failed."""

    def __init__(self, instance: Instance, error: ProviderError) -> None:
        self.__dict__.update(instance.__dict__)
        self.error = error


class DefaultProvidersDisabled(Exception):
    """The configuration forbids the default provider of a package."""


class ProviderSelection:
    """Which provider reference a registration gets.

    Order: its own provider option, its ``providers`` map, what its parents were given, the default provider.
    """

    def __init__(
        self,
        stack: str,
        project: str,
        config: Mapping[str, Value],
        register: Callable[[Goal], Awaitable[ResourceState]],
    ) -> None:
        """``config``: all configuration, secrets marked; ``register`` makes a default provider."""
        self._stack, self._project, self._config, self._register = stack, project, config, register
        self._of_components: dict[str, Mapping[str, str]] = {}
        self._defaults: dict[str, asyncio.Future[str]] = {}
        disabled = unwrap_secrets(config.get(DISABLE_KEY))
        try:
            self._disabled: Sequence[str] = json.loads(disabled) if disabled else ()
        except ValueError:
            self._disabled = (str(disabled),)

    def remember(self, urn: str, custom: bool, parent: str, provider: str, providers: Mapping[str, str]) -> None:
        """Records what the children of a resource inherit."""
        known = dict(self._of_components.get(parent, {}))
        known |= providers
        if provider:
            known[provider_package(parse_type(provider))] = provider
        if known:
            self._of_components[urn] = known

    def inherited(self, type: str, parent: str) -> str:
        """The reference that the parents give to a type, or empty."""
        return self._of_components.get(parent, {}).get(package_of(type), "")

    async def default(self, package: str, version: str, url: str) -> str:
        """The reference of the default provider; registers it before its first use.

        Raises DefaultProvidersDisabled.
        """
        if package != BUILTIN_PACKAGE and ("*" in self._disabled or package in self._disabled):
            raise DefaultProvidersDisabled(
                f"Default provider for '{package}' disabled. '{{what}}' must use an explicit provider."
            )
        if package == BUILTIN_PACKAGE:
            version = url = ""
        urn = default_provider_urn(self._stack, self._project, package, version, url)
        known = self._defaults.get(urn)
        if known is None:
            known = self._defaults[urn] = asyncio.ensure_future(self._make_default(urn, package, version, url))
        return await asyncio.shield(known)

    async def _make_default(self, urn: str, package: str, version: str, url: str) -> str:
        inputs: dict[str, Value] = {}
        for key, value in self._config.items():
            namespace, _, name = key.partition(":")
            if namespace == package:
                inputs[name] = value
        if package != BUILTIN_PACKAGE:
            if version:
                inputs["version"] = version
            inputs[INTERNAL] = {"pluginDownloadURL": url} if url else {}
        goal = Goal(urn, provider_type(package), default_provider_name(version, url), True, inputs)
        state = await self._register(goal)
        return str(ProviderReference(urn, state.id))


def explicit_provider_inputs(inputs: Properties, version: str, url: str) -> dict[str, Value]:
    """The inputs of a provider that the program declares, with what the engine adds to them."""
    added: dict[str, Value] = {**inputs, INTERNAL: {"pluginDownloadURL": url} if url else {}}
    if version and "version" not in inputs:
        added["version"] = version
    return added


def parse_type(reference: str) -> str:
    """The type of the provider behind a reference."""
    return parse_reference(reference).urn.split("::", 3)[2].rpartition("$")[2]


def is_provider(state: ResourceState, reference: str = "") -> bool:
    """Whether the resource is a provider, and the one that the reference names if there is one."""
    if not is_provider_type(state.type):
        return False
    return not reference or str(ProviderReference(state.urn, state.id)) == reference
