"""The local ``kubernetes`` provider: Pulumi's provider interface over manifests.

``check`` and ``diff`` are pure, but for the scope of custom kinds on a cluster.  The other calls go to the back end
that the configuration chooses, which is made at the first of them: a deployment that changes nothing loads neither
schemas nor an HTTP client.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from falaj.engine.properties import contains_unknowns, propagate_secrets, unwrap_secrets
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
from falaj.engine.urn import parse_urn, urn_name
from falaj.engine.values import UNKNOWN, Properties, Value
from falaj.local import diffing
from falaj.local.kubernetes import kinds, manifests, provider_config, releases
from falaj.local.kubernetes.backend import Apply, Backend, NotReadyError
from falaj.local.kubernetes.kinds import Kind, kind_of
from falaj.local.kubernetes.manifests import Identity, Manifest
from falaj.local.kubernetes.replacement import force_new_paths


class KubernetesProvider:
    """A ``falaj.engine.provider.Provider`` for the package ``kubernetes``.  One instance per provider resource.

    Rendered manifests go to ``<falaj_dir>/local/manifests/<stack>``; relative paths in its settings start from the
    folder that holds ``falaj_dir``.  With ``allow_remote`` a kubeconfig may point at another machine.
    """

    package = kinds.PACKAGE
    accepts_secrets = True
    """The state holds every input twice (``__inputs``): only the provider knows where secrets went."""

    def __init__(self, falaj_dir: Path, *, allow_remote: bool = False) -> None:
        self.version = _package_version()
        self._falaj_dir, self._root, self._allow_remote = falaj_dir, falaj_dir.absolute().parent, allow_remote
        self._configuration: provider_config.Configuration | None = None
        self._backends: dict[str, Backend] = {}
        self._scopes: dict[tuple[str, str], bool] = {}
        """Whether a custom kind is namespaced, as the definitions in the program say."""
        self._lock = threading.Lock()
        self._cancelled = threading.Event()

    # -- the provider itself -------------------------------------------------------------------------------------------

    def check_config(self, urn: str, old_inputs: Properties, new_inputs: Properties) -> CheckResult:
        plain = unwrap_secrets(dict(new_inputs))
        found = provider_config.failures(plain, self._root, allow_remote=self._allow_remote)
        return CheckResult(new_inputs, found)

    def diff_config(
        self,
        urn: str,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        ignore_changes: Sequence[str],
    ) -> DiffResult:
        old, new = unwrap_secrets(dict(old_inputs)), unwrap_secrets(dict(new_inputs))
        return provider_config.compare(old, new, self._root)

    def configure(self, urn: str, id: str, inputs: Properties) -> None:
        try:
            plain = unwrap_secrets(dict(inputs))
            self._configuration = provider_config.parse(plain, self._root, allow_remote=self._allow_remote)
        except ValueError as error:
            raise ProviderError(str(error)) from None

    # -- pure calls ----------------------------------------------------------------------------------------------------

    def check(
        self, urn: str, type: str, name: str, old_inputs: Properties, new_inputs: Properties, random_seed: bytes
    ) -> CheckResult:
        if type == releases.RELEASE:
            namespace = self._configuration.namespace if self._configuration else ""
            return releases.check(name, old_inputs, new_inputs, random_seed or urn.encode(), namespace)
        kind = kind_of(type)
        refused = kinds.refusal(kind, new_inputs)
        if refused:
            return CheckResult(new_inputs, [CheckFailure("", refused)])
        old = unwrap_secrets(dict(old_inputs))
        inputs = manifests.normalized(kind, new_inputs)
        metadata = inputs.setdefault("metadata", {})
        failures = []
        if isinstance(metadata, Mapping):
            if metadata.get("generateName"):
                reason = "not supported, as with server-side apply; leave the name out to have one made up"
                failures.append(CheckFailure("metadata.generateName", reason))
            inputs = self._with_namespace(kind, self._named(name, inputs, old, random_seed or urn.encode()), old)
        elif metadata is not UNKNOWN:
            failures.append(CheckFailure("metadata", "expected an object"))
        self._learn_scope(kind, inputs)
        # What was accepted once and did not change needs no second look, nor the schemas for it.
        if not failures and inputs != old and not contains_unknowns(inputs):
            failures = self._failures(urn, kind, inputs, new_inputs)
        return CheckResult(manifests.mark_secret_data(propagate_secrets(inputs, new_inputs)), failures)

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
        """Old inputs against new ones.

        A read has taken real drift over into the old inputs (``manifests.observed_inputs``).  Comparing with the live
        object itself would report for ever what the server or a webhook spells in its own way.
        """
        if type == releases.RELEASE:
            return releases.diff(old_inputs, new_inputs, ignore_changes)
        kind = kind_of(type)
        old = self._declared(kind, old_inputs, old_outputs)
        new = self._with_canonical_namespace(kind, manifests.normalized(kind, new_inputs))
        settings = self._configuration or provider_config.Configuration()
        paths = force_new_paths(
            kind, old, mutable_config_maps=settings.mutable_config_maps, mutable_secrets=settings.mutable_secrets
        )
        result = diffing.compare(manifests.same_spelling(old, new), new, diffing.Rules(paths), ignore_changes)
        if not result.replaces:
            return result
        before, after = (manifests.identity_of(kind, properties, self._namespaced(kind)) for properties in (old, new))
        return replace(result, delete_before_replace=before == after and not manifests.is_autonamed(new))

    # -- calls on the back end -----------------------------------------------------------------------------------------

    def create(
        self, urn: str, type: str, name: str, inputs: Properties, timeout_seconds: float, preview: bool
    ) -> CreateResult:
        if type == releases.RELEASE:
            return releases.create(inputs, preview=preview)
        kind, given = kind_of(type), _known(inputs)
        wanted = self._wanted(urn, kind, given, {})
        if preview:
            return CreateResult("", self._previewed(wanted, inputs, kind.api_version, is_new=True))
        with self._reported(urn, type, wanted.identity, "create", inputs):
            try:
                live = self._backend(urn).create(wanted, timeout_seconds)
            except NotReadyError as error:
                found = self._outputs(wanted, error.live, inputs, kind.api_version)
                reasons = self._reasons(urn, type, wanted.identity, error, inputs)
                raise InitializationError(wanted.identity.id, found, None, reasons) from error
        return CreateResult(self._identity(kind, live).id, self._outputs(wanted, live, inputs, kind.api_version))

    def read(
        self, urn: str, type: str, name: str, id: str, old_inputs: Properties, old_outputs: Properties
    ) -> ReadResult:
        if type == releases.RELEASE:
            return releases.read(id, old_inputs, old_outputs)
        kind = kind_of(type)
        identity = manifests.identity_from_id(kind, id, self._namespaced(kind))
        with self._reported(urn, type, identity, "read", old_inputs, old_outputs):
            live = self._backend(urn).read(identity)
        if live is None:
            return GONE
        seen = manifests.to_properties(live)
        if not old_inputs:  # an import
            inputs = manifests.mark_secret_data(manifests.imported_inputs(seen))
        else:
            before = unwrap_secrets(dict(old_outputs))
            observed = manifests.observed_inputs(unwrap_secrets(dict(old_inputs)), before, seen)
            inputs = manifests.mark_secret_data(propagate_secrets(observed, old_inputs))
        wanted = self._wanted(urn, kind, unwrap_secrets(inputs), old_outputs)
        version = old_outputs.get(manifests.INITIAL_API_VERSION)
        outputs = self._outputs(wanted, live, inputs, version if isinstance(version, str) else kind.api_version)
        # What was secret stays so, wherever it shows up.
        return ReadResult(id, propagate_secrets(outputs, old_outputs), inputs)

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
        if type == releases.RELEASE:
            return releases.update(old_outputs, new_inputs, preview=preview)
        kind, given = kind_of(type), _known(new_inputs)
        wanted = replace(self._wanted(urn, kind, given, old_outputs), ignored=tuple(ignore_changes))
        version = old_outputs.get(manifests.INITIAL_API_VERSION)
        version = version if isinstance(version, str) else kind.api_version
        if preview:
            return self._previewed(wanted, new_inputs, version, is_new=False)
        former = manifests.field_manager(urn, old_outputs, {})
        with self._reported(urn, type, wanted.identity, "update", new_inputs, old_inputs):
            try:
                live = self._backend(urn).update(wanted, former, timeout_seconds)
            except NotReadyError as error:
                found = self._outputs(wanted, error.live, new_inputs, version)
                reasons = self._reasons(urn, type, wanted.identity, error, new_inputs)
                raise InitializationError(id, found, None, reasons) from error
        return self._outputs(wanted, live, new_inputs, version)

    def delete(
        self, urn: str, type: str, id: str, old_inputs: Properties, old_outputs: Properties, timeout_seconds: float
    ) -> None:
        if type == releases.RELEASE:
            return  # it was in the state alone
        kind = kind_of(type)
        identity = manifests.identity_from_id(kind, id, self._namespaced(kind))
        propagation = manifests.annotation(unwrap_secrets(dict(old_inputs)), manifests.DELETION_PROPAGATION)
        with self._reported(urn, type, identity, "delete", old_inputs):
            self._backend(urn).delete(identity, propagation.capitalize(), timeout_seconds)

    def take_back(self, urn: str, type: str, name: str, inputs: Properties) -> bool:
        """Deletes what a killed create of ``urn`` left behind; ``inputs`` are those of the pending operation.

        Returns whether there was something.
        """
        if type == releases.RELEASE:
            return False
        wanted = self._wanted(urn, kind_of(type), _known(inputs), {})
        with self._reported(urn, type, wanted.identity, "take back", inputs):
            return self._backend(urn).take_back(wanted)

    def invoke(self, token: str, args: Properties) -> InvokeResult:
        raise ProviderError(
            f"function {token}: the local provider has none; charts, YAML files and kustomizations are expanded by the "
            "official plugin only"
        )

    def cancel(self) -> None:
        self._cancelled.set()

    # -- checking ------------------------------------------------------------------------------------------------------

    def _named(self, name: str, inputs: dict[str, Value], old: Properties, seed: bytes) -> dict[str, Value]:
        """Inputs with a name: their own, the one made up before, or a new one."""
        if manifests.metadata_of(inputs).get("name") is not None:
            return inputs
        kept = manifests.metadata_of(old).get("name") if manifests.is_autonamed(old) else None
        return manifests.autonamed(inputs, kept if isinstance(kept, str) else manifests.made_up_name(name, seed))

    def _with_namespace(self, kind: Kind, inputs: dict[str, Value], old: Properties) -> dict[str, Value]:
        """Inputs in the provider's namespace, where they name none and their kind has one."""
        default = self._configuration.namespace if self._configuration else ""
        if not default or manifests.metadata_of(inputs).get("namespace"):
            return inputs
        namespaced = self._namespaced(kind)
        if namespaced is None:
            # Asked once: what was decided at the first check holds.
            namespaced = "namespace" in manifests.metadata_of(old) if old else self._asked_scope(kind)
        return manifests.with_metadata(inputs, namespace=default) if namespaced else inputs

    def _asked_scope(self, kind: Kind) -> bool:
        """Most custom kinds live in a namespace; a cluster knows of which that is not true."""
        if self._configuration is None or self._configuration.connection is None:
            return True
        return self._backend("").is_namespaced(kind) is not False

    def _learn_scope(self, kind: Kind, inputs: Properties) -> None:
        if (kind.group, kind.name) != kinds.CRD:
            return
        spec = inputs.get("spec")
        names = spec.get("names") if isinstance(spec, Mapping) else None
        if isinstance(spec, Mapping) and isinstance(names, Mapping):
            self._scopes[str(spec.get("group")), str(names.get("kind"))] = spec.get("scope") != "Cluster"

    def _namespaced(self, kind: Kind) -> bool | None:
        known = kinds.is_namespaced(kind)
        return self._scopes.get((kind.group, kind.name)) if known is None else known

    def _failures(self, urn: str, kind: Kind, inputs: Properties, given: Properties) -> list[CheckFailure]:
        if self._configuration is None:
            return []
        manifest = manifests.to_manifest(inputs)
        identity = manifests.identity_of(kind, manifest, self._namespaced(kind))
        where = f"{kind.name} {identity.id}" if identity.name else kind.name
        return [
            CheckFailure(path, manifests.scrubbed(f"{where}: {reason}", given))
            for path, reason in self._backend(urn).problems(identity, manifest)
        ]

    # -- comparing -----------------------------------------------------------------------------------------------------

    def _declared(self, kind: Kind, old_inputs: Properties, old_outputs: Properties) -> dict[str, Value]:
        """What was declared last; the live object itself where nobody recorded that."""
        recorded = old_inputs or old_outputs.get(manifests.INPUTS) or manifests.imported_inputs(old_outputs)
        return self._with_canonical_namespace(kind, manifests.normalized(kind, recorded))

    def _with_canonical_namespace(self, kind: Kind, inputs: dict[str, Value]) -> dict[str, Value]:
        """No namespace means ``default``; a namespace means nothing where the kind has none."""
        metadata = inputs.get("metadata")
        if not isinstance(metadata, Mapping):
            return inputs
        namespaced = self._namespaced(kind)
        if namespaced is False:
            return {**inputs, "metadata": {key: value for key, value in metadata.items() if key != "namespace"}}
        if namespaced and not metadata.get("namespace"):
            return manifests.with_metadata(inputs, namespace="default")
        return inputs

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _wanted(self, urn: str, kind: Kind, given: Properties, old_outputs: Properties) -> Apply:
        declared = self._with_canonical_namespace(kind, manifests.normalized(kind, given))
        manifest = manifests.to_manifest(declared)
        manager = manifests.field_manager(urn, old_outputs, given)
        force = manifests.annotation(given, manifests.PATCH_FORCE) == "true"
        return Apply(urn, self._identity(kind, manifest), manifest, manager, force)

    def _identity(self, kind: Kind, manifest: Manifest) -> Identity:
        return manifests.identity_of(kind, manifest, self._namespaced(kind))

    def _previewed(self, wanted: Apply, inputs: Properties, version: str, *, is_new: bool) -> dict[str, Value]:
        """Outputs as they would be; the inputs alone where nobody can tell yet."""
        if self._configuration is None or contains_unknowns(dict(inputs)):
            return dict(inputs)
        type = f"{kinds.PACKAGE}:{wanted.identity.kind.api_version}:{wanted.identity.kind.name}"
        with self._reported(wanted.urn, type, wanted.identity, "preview", inputs):
            live = self._backend(wanted.urn).preview(wanted, is_new=is_new)
        return dict(inputs) if live is None else self._outputs(wanted, live, inputs, version)

    def _outputs(self, wanted: Apply, live: Manifest, inputs: Properties, version: str) -> dict[str, Value]:
        marks = self._backend(wanted.urn).marks(wanted.identity.kind)
        return {**manifests.outputs(live, inputs, wanted.field_manager, version), **marks}

    def _backend(self, urn: str) -> Backend:
        """The back end; rendered manifests of each stack have a folder of their own."""
        settings = self._configuration
        if settings is None:
            raise ProviderError("provider kubernetes: not configured; its kubeconfig is not known yet")
        stack = parse_urn(urn).stack if urn and not (settings.connection or settings.directory) else ""
        with self._lock:
            if stack not in self._backends:
                self._backends[stack] = self._made_backend(settings, stack)
            return self._backends[stack]

    def _made_backend(self, settings: provider_config.Configuration, stack: str) -> Backend:
        if settings.connection:
            from falaj.local.kubernetes.cluster import ClusterBackend

            return ClusterBackend(settings, self._cancelled)
        from falaj.local.kubernetes.render import RenderBackend

        return RenderBackend(settings.directory or self._falaj_dir / "local" / "manifests" / stack)

    def _reasons(self, urn: str, type: str, identity: Identity, error: NotReadyError, inputs: Properties) -> list[str]:
        first, *others = (manifests.scrubbed(reason, inputs) for reason in error.reasons or ("not ready",))
        return [f"{_title(urn, type, identity)}: {first}", *others]

    @contextmanager
    def _reported(
        self, urn: str, type: str, identity: Identity, action: str, *properties: Properties
    ) -> Iterator[None]:
        """Names the resource and the action in errors of the back end, and takes secrets out of them."""
        if self._cancelled.is_set():
            raise ProviderError("provider kubernetes: cancelled by the user")
        try:
            yield
        except InitializationError:
            raise
        except ProviderError as error:
            text = manifests.scrubbed(str(error), *properties)
            raise ProviderError(f"{_title(urn, type, identity)}: {action}: {text}") from error


def _title(urn: str, type: str, identity: Identity) -> str:
    return f'{identity} (resource "{urn_name(urn)}", {type})'


def _known(inputs: Properties) -> dict[str, Value]:
    return dict(unwrap_secrets(dict(inputs)))


@functools.cache
def _package_version() -> str:
    from importlib.metadata import version

    return version("pulumi-kubernetes")
