"""The local ``aws`` provider: Pulumi's provider interface on the emulated account.

``check`` and ``diff`` are pure and need no server; the other calls go to the handler of the type.  A type without a
handler, or one that the emulator cannot hold, is kept in the state and marked in its outputs:
``{"__falaj": {"emulated": "state"}}``, with ``"handler": "none"`` when nobody wrote one.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from falaj.engine.provider import (
    GONE,
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    InitializationError,
    InvokeResult,
    ProviderError,
    ReadResult,
)
from falaj.engine.values import UNKNOWN, Properties, Value
from falaj.local import diffing
from falaj.local.aws import functions, provider_config, schema
from falaj.local.aws.clients import Aws
from falaj.local.aws.creation_journal import calls_of_last_create, recording, replaying
from falaj.local.aws.handler import Handler, Outputs, StateOnly, Update, error_text, handler_for, is_gone
from falaj.local.servers import addresses

MARK: Final = "__falaj"
"""Output that tells how a resource is emulated."""

_DEFAULTS: Final = "__defaults"
"""Input that lists the names of top-level inputs filled in by ``check``, as the real provider writes it."""


class AwsProvider:
    """A ``falaj.engine.provider.Provider`` for the package ``aws``.  One instance per provider resource."""

    package = "aws"
    accepts_secrets = False

    def __init__(self, servers_directory: Path | None = None) -> None:
        """``servers_directory`` holds the record of the local servers whose addresses stand in for the cloud's."""
        self._servers_directory = servers_directory
        self.version = schema.package_version()
        self._configuration: provider_config.Configuration | None = None
        self._aws: Aws | None = None
        self._cancelled = threading.Event()

    # -- the provider itself -------------------------------------------------------------------------------------------

    def check_config(self, urn: str, old_inputs: Properties, new_inputs: Properties) -> CheckResult:
        return CheckResult(new_inputs, provider_config.failures(new_inputs))

    def diff_config(
        self,
        urn: str,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        ignore_changes: Sequence[str],
    ) -> DiffResult:
        """Another region is another set of resources, hence a replacement; other settings only reconfigure."""
        old, new = (
            {key: value for key, value in inputs.items() if key != "version"} for inputs in (old_inputs, new_inputs)
        )
        return diffing.compare(old, new, diffing.Rules(frozenset({"region"}), frozenset({"endpoints"})), ignore_changes)

    def configure(self, urn: str, id: str, inputs: Properties) -> None:
        try:
            self._configuration = provider_config.parse(inputs)
        except ValueError as error:
            raise ProviderError(str(error)) from None
        if self._configuration is not None:
            settings = self._configuration
            self._aws = Aws(settings.endpoint_url, settings.region, endpoints=settings.endpoints)

    # -- pure calls ----------------------------------------------------------------------------------------------------

    def check(
        self, urn: str, type: str, name: str, old_inputs: Properties, new_inputs: Properties, random_seed: bytes
    ) -> CheckResult:
        described = _described(type)
        handler = _handler(type)
        inputs = _plain(new_inputs)
        inputs.pop("tagsAll", None)  # computed below
        failures = [CheckFailure(path, reason) for path, reason in schema.problems(type, inputs)]
        defaulted = []
        naming = handler.auto_name
        if naming is not None and naming.property not in inputs:
            # A name that the program gave once and dropped is no auto-name: it is not kept.
            kept = (
                old_inputs.get(naming.property)
                if naming.property in old_inputs.get(_DEFAULTS, [naming.property])
                else None
            )
            inputs[naming.property] = kept or naming.make(name, inputs, random_seed or urn.encode())
            # A required name that is made up here is not missing.
            failures = [failure for failure in failures if failure.property != naming.property]
            defaulted.append(naming.property)
        for key, value in handler.defaults.items():
            if key not in inputs:
                inputs[key] = value
                defaulted.append(key)
        if not failures:
            failures = [CheckFailure(path, reason) for path, reason in handler.validate(inputs)]
        if described.taggable:
            tags = self._all_tags(inputs.get("tags"))
            if tags:
                inputs["tagsAll"] = tags
        inputs[_DEFAULTS] = sorted(defaulted)
        return CheckResult(inputs, failures)

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
        handler = _handler(type)
        result = diffing.compare(old_inputs, new_inputs, _rules(handler), ignore_changes)
        if not result.replaces:
            return result
        return DiffResult(
            result.changes,
            replaces=result.replaces,
            diffs=result.diffs,
            detailed=result.detailed,
            delete_before_replace=handler.delete_before_replace or _name_clashes(handler, old_inputs, new_inputs),
        )

    # -- calls on the account ------------------------------------------------------------------------------------------

    def create(
        self, urn: str, type: str, name: str, inputs: Properties, timeout_seconds: float, preview: bool
    ) -> CreateResult:
        handler, given = _handler(type), _plain(inputs)
        if preview:
            unknown: Outputs = dict.fromkeys(_described(type).computed - {"tagsAll"}, UNKNOWN)
            return CreateResult("", self._outputs(type, "", given, {**unknown, **handler.planned(given)}))
        with recording(urn):
            return self._create(handler, type, name, given)

    def take_back(self, urn: str, type: str, name: str, inputs: Properties) -> bool:
        """Deletes what a killed create of ``urn`` left in the account; ``inputs`` are those of the pending operation.

        Returns whether there was something.  Raises ProviderError when it can be neither finished nor deleted.
        """
        handler, given = _handler(type), _plain(inputs)
        if not calls_of_last_create(self._account(given).endpoint_url, urn):
            return False
        with replaying(urn):
            try:
                created = self._create(handler, type, name, given)
                id, outputs = created.id, created.outputs
            except InitializationError as error:
                id, outputs = error.id, error.outputs
        self.delete(urn, type, id, inputs, outputs, 0)
        return True

    def _create(self, handler: Handler, type: str, name: str, given: dict[str, Any]) -> CreateResult:
        aws = self._account(given)
        with self._reported(f'{type} "{name}": create'):
            id, computed = handler.create(aws, given)
        outputs = self._outputs(type, id, given, computed)
        try:
            with self._reported(f'{type} "{name}": create (id {id}, settings after creation)'):
                handler.configure(aws, id, given)
        except ProviderError as error:
            raise InitializationError(id, outputs, given, [str(error)]) from error
        return CreateResult(id, outputs)

    def read(
        self, urn: str, type: str, name: str, id: str, old_inputs: Properties, old_outputs: Properties
    ) -> ReadResult:
        handler, given = _handler(type), _plain(old_inputs)
        observed: Outputs | None = None
        with self._reported(f'{type} "{name}": read {id}', gone_is_fine=True):
            observed = handler.read(self._account(given), id, given, old_outputs)
        if observed is None:
            return GONE
        if "tagsAll" in observed and "tags" not in observed:
            observed["tags"] = self._own_tags(observed["tagsAll"], given.get("tags") or {})
        outputs = self._outputs(type, id, {**given, **_plain(old_outputs)}, observed)
        outputs = {key: value for key, value in outputs.items() if value is not None}
        return ReadResult(id, outputs, self._observed_inputs(type, handler, old_inputs, observed))

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
        handler, old, new = _handler(type), _plain(old_inputs), _plain(new_inputs)
        kept = {key: value for key, value in _plain(old_outputs).items() if key not in old or key in new}
        if preview:
            return self._outputs(type, id, {**kept, **new}, dict.fromkeys(handler.changes_with_update, UNKNOWN))
        changed = diffing.compare(old, new, _rules(handler), ignore_changes).diffs
        with self._reported(f"{urn.rsplit('::', 1)[-1]} ({type}): update {id}"):
            computed = handler.update(self._account(new), id, Update(old, new, old_outputs, frozenset(changed)))
        return self._outputs(type, id, {**kept, **new}, computed)

    def delete(
        self, urn: str, type: str, id: str, old_inputs: Properties, old_outputs: Properties, timeout_seconds: float
    ) -> None:
        given = _plain(old_inputs)
        with self._reported(f"{urn.rsplit('::', 1)[-1]} ({type}): delete {id}", gone_is_fine=True):
            _handler(type).delete(self._account(given), id, given, old_outputs)

    def invoke(self, token: str, args: Properties) -> InvokeResult:
        if self._configuration is None:
            return InvokeResult({"id": UNKNOWN})
        return functions.invoke(token, args, self._account({}))

    def cancel(self) -> None:
        self._cancelled.set()

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _account(self, inputs: Properties) -> Aws:
        if self._aws is None:
            raise ProviderError("provider aws: not configured; its region or endpoints are not known yet")
        if self._cancelled.is_set():
            raise ProviderError("provider aws: cancelled by the user")
        return self._aws.in_region(inputs.get("region"))

    def _all_tags(self, tags: Value) -> Value:
        defaults = self._configuration.default_tags if self._configuration else {}
        if tags is UNKNOWN:
            return UNKNOWN
        return {**defaults, **(tags if isinstance(tags, Mapping) else {})}  # another kind was rejected before

    def _own_tags(self, all_tags: Mapping[str, str], declared: Mapping[str, str]) -> dict[str, str]:
        """The tags beside the provider's defaults; a default that the resource spells out itself stays."""
        defaults = self._configuration.default_tags if self._configuration else {}
        return {key: text for key, text in all_tags.items() if key in declared or defaults.get(key) != text}

    def _outputs(self, type: str, id: str, inputs: Properties, computed: Properties) -> Outputs:
        described, handler = _described(type), _handler(type)
        outputs: Outputs = {**inputs, **computed}
        if "region" in described.outputs and self._configuration is not None:
            outputs.setdefault("region", self._configuration.region)
        if described.taggable:
            outputs.setdefault("tagsAll", {})
        if id:
            outputs["id"] = id
        if self._servers_directory is not None and type in addresses.TYPES:
            outputs.update(addresses.localised(type, outputs, addresses.read(self._servers_directory)))
        if handler.emulated:
            outputs[MARK] = {"emulated": "state", **({"handler": "none"} if isinstance(handler, _NoHandler) else {})}
        return outputs

    def _observed_inputs(self, type: str, handler: Handler, old: Properties, observed: Properties) -> Properties:
        """Inputs that describe what was observed, spelled as the program did where that still means the same."""
        rules, names = _rules(handler), _described(type).inputs
        if not old:  # an import: everything that can be set and is
            return {key: value for key, value in observed.items() if key in names and value not in (None, "", [], {})}
        inputs: Outputs = {}
        for key, value in old.items():
            if key not in observed:
                inputs[key] = value
                continue
            is_map = key not in names or names[key].type.kind == "map"  # tags: an added key is a difference
            seen = observed[key] if is_map else _shaped_like(value, observed[key])
            if diffing.equal(key, value, seen, rules):
                inputs[key] = value
            elif observed[key] is not None:
                inputs[key] = seen
        if "tagsAll" in observed and "tagsAll" not in old and observed["tagsAll"]:
            inputs.update(tags=observed["tags"], tagsAll=observed["tagsAll"])
        return inputs

    @contextlib.contextmanager
    def _reported(self, action: str, *, gone_is_fine: bool = False) -> Iterator[None]:
        """Turns what a handler raises into a ProviderError that names the resource and the action."""
        try:
            yield
        except ProviderError:
            raise
        except Exception as error:
            if gone_is_fine and is_gone(error):
                return
            if error.__class__.__name__ in ("EndpointConnectionError", "ConnectionClosedError", "ConnectTimeoutError"):
                where = self._aws.endpoint_url if self._aws else "its endpoint"
                reason = f"the emulated account at {where} does not answer; start it with `falaj local start`"
            elif hasattr(error, "response") or error.__class__.__module__.startswith("botocore"):
                reason = error_text(error)
            else:
                reason = f"{error.__class__.__name__} in the local provider: {error_text(error)}"
            raise ProviderError(f"{action}: {reason}") from error


class _NoHandler(StateOnly):
    """Stands in for a type that nobody wrote a handler for: a plausible id and ARN."""

    def __init__(self, token: str) -> None:
        self._token = token

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        service, _, member = self._token.split(":")[1].partition("/")
        name = inputs.get("name")
        id = name if isinstance(name, str) else unique
        if "arn" not in schema.resource_type(self._token).computed:
            return id, {}
        return id, {"arn": aws.arn(service, f"{member.lower()}/{id}")}


def _handler(type: str) -> Handler:
    return handler_for(type) or _NoHandler(type)


def _described(type: str) -> schema.ResourceType:
    try:
        return schema.resource_type(type)
    except schema.UnknownTypeError as error:
        raise ProviderError(str(error)) from None


def _rules(handler: Handler) -> diffing.Rules:
    return diffing.Rules(handler.force_new, handler.json_inputs, handler.unordered)


def _plain(properties: Properties) -> dict[str, Any]:
    """Without bookkeeping keys and without None."""
    return {key: value for key, value in properties.items() if not key.startswith("__") and value is not None}


def _name_clashes(handler: Handler, old: Properties, new: Properties) -> bool:
    """A fixed name cannot be held by the old and the new resource at once."""
    if handler.auto_name is None:
        return False
    name = handler.auto_name.property
    return name not in (new.get(_DEFAULTS) or ()) and old.get(name) == new.get(name)


def _shaped_like(wanted: Value, seen: Value) -> Value:
    """``seen`` without the nested keys that ``wanted`` does not have: services answer defaults that nobody set."""
    if isinstance(wanted, Mapping) and isinstance(seen, Mapping):
        return {key: _shaped_like(item, seen[key]) for key, item in wanted.items() if key in seen}
    if isinstance(wanted, list) and isinstance(seen, list) and len(wanted) == len(seen):
        return [_shaped_like(left, right) for left, right in zip(wanted, seen, strict=True)]
    return seen
