"""The ``cluster`` back end: server-side apply to a real API server, and waiting until what was applied is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from falaj.engine.provider import ProviderError
from falaj.engine.values import UNKNOWN, Value
from falaj.local.kubernetes.api_server import ApiError, ApiResource, ApiServer, UnreachableError
from falaj.local.kubernetes.backend import Apply, NoSuchKindError, NotReadyError
from falaj.local.kubernetes.kinds import CRD, Kind
from falaj.local.kubernetes.manifests import (
    PATCH_FORCE,
    SKIP_AWAIT,
    TIMEOUT_SECONDS,
    Identity,
    Manifest,
    annotation,
    with_values_of,
)
from falaj.local.kubernetes.provider_config import Configuration
from falaj.local.kubernetes.readiness import (
    Phase,
    Readiness,
    is_awaited,
    pod_reasons,
    pod_selector,
    readiness,
    refusals,
)

READY_SECONDS: Final = 600.0
"""How long an object may take to become ready where nobody says otherwise, as with the official plugin."""

GONE_SECONDS: Final = 300.0
_NEW_KIND_SECONDS: Final = 10.0
"""An API server lists the kind of a new CustomResourceDefinition a moment after it is established."""

_FIRST_POLL_SECONDS: Final = 0.1
_LAST_POLL_SECONDS: Final = 1.0
_MOST_POD_REASONS: Final = 5
_SERVER_MADE: Final = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")


class ClusterBackend:
    """A ``falaj.local.kubernetes.backend.Backend`` on the API server of a kubeconfig."""

    def __init__(self, configuration: Configuration, cancelled: threading.Event) -> None:
        """Raises ProviderError when the kubeconfig's certificates cannot be used.  Does not connect."""
        assert configuration.connection is not None
        self._configuration, self._cancelled = configuration, cancelled
        self._server = ApiServer(configuration.connection, cancelled)

    def problems(self, identity: Identity, manifest: Manifest) -> Sequence[tuple[str, str]]:
        return ()  # the server judges, in previews too

    def is_namespaced(self, kind: Kind) -> bool | None:
        resource = self._server.resource(kind)
        return None if resource is None else resource.namespaced

    # -- making --------------------------------------------------------------------------------------------------------

    def preview(self, wanted: Apply, *, is_new: bool) -> Manifest | None:
        """A dry run on the server.

        Nothing can be told of an object whose kind or namespace the same deployment makes first, nor of one that takes
        the place of another: the server would see a change of the old one.
        """
        resource = self._server.resource(wanted.identity.kind)
        if resource is None or (is_new and self._server.get(resource, wanted.identity) is not None):
            return None
        try:
            seen = self._apply(resource, wanted, dry_run=True)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        metadata = {key: value for key, value in seen.get("metadata", {}).items() if key not in _SERVER_MADE}
        if is_new:
            metadata["uid"] = UNKNOWN  # the server makes up another one when it is in earnest
        return {key: value for key, value in {**seen, "metadata": metadata}.items() if key != "status"}

    def create(self, wanted: Apply, timeout_seconds: float) -> Manifest:
        resource = self._resource_in_earnest(wanted.identity.kind)
        if not self._configuration.upsert:
            self._refuse_foreign(resource, wanted)
        return self._made(resource, wanted, timeout_seconds)

    def update(self, wanted: Apply, former_field_manager: str, timeout_seconds: float) -> Manifest:
        resource = self._resource_in_earnest(wanted.identity.kind)
        live = self._made(resource, wanted, timeout_seconds)
        if former_field_manager != wanted.field_manager:
            self._relinquish(resource, wanted, former_field_manager)
        return live

    def _made(self, resource: ApiResource, wanted: Apply, timeout_seconds: float) -> Manifest:
        live = self._apply(resource, wanted, dry_run=False)
        live = self._until_ready(resource, wanted, live, timeout_seconds)
        if (wanted.identity.kind.group, wanted.identity.kind.name) == CRD:
            self._until_served(live)
        return live

    def _apply(self, resource: ApiResource, wanted: Apply, *, dry_run: bool) -> Manifest:
        force = wanted.force or self._configuration.force
        manifest = wanted.manifest
        if wanted.ignored and (live := self._server.get(resource, wanted.identity)) is not None:
            manifest = with_values_of(live, manifest, wanted.ignored)
        try:
            return self._server.apply(
                resource, wanted.identity, manifest, wanted.field_manager, force=force, dry_run=dry_run
            )
        except ApiError as error:
            conflict = _conflict(error)
            if conflict:
                raise ProviderError(
                    f"{conflict}; stop the other from setting it, leave it out here, or take it over with "
                    f'the annotation {PATCH_FORCE}: "true"'
                ) from error
            raise

    def _relinquish(self, resource: ApiResource, wanted: Apply, manager: str) -> None:
        """Gives up what is owned under a former name: applying nothing owns nothing."""
        metadata = {
            key: wanted.manifest["metadata"][key] for key in ("name", "namespace") if key in wanted.manifest["metadata"]
        }
        nothing = {key: wanted.manifest[key] for key in ("apiVersion", "kind")} | {"metadata": metadata}
        self._apply(resource, replace(wanted, manifest=nothing, field_manager=manager, ignored=()), dry_run=False)

    def _refuse_foreign(self, resource: ApiResource, wanted: Apply) -> None:
        """An object that exists and is not ours is somebody else's; one of ours was left behind by a killed run."""
        live = self._server.get(resource, wanted.identity)
        if live is None or _manages(wanted.field_manager, live):
            return
        if live.get("metadata", {}).get("deletionTimestamp"):
            self._until_gone(resource, wanted.identity, live, GONE_SECONDS)
            return
        raise ProviderError(
            f"it exists already on {self._server.address} and is not managed from here; take it over with the "
            f'resource option import_="{wanted.identity.id}", delete it, or set `upsertExistingObjects` on the provider'
        )

    def _resource_in_earnest(self, kind: Kind) -> ApiResource:
        """Where the objects of a kind lie, waiting a little for a new kind.  Raises NoSuchKindError."""
        resource = self._server.resource(kind)
        deadline = time.monotonic() + (0 if kind.is_builtin else _NEW_KIND_SECONDS)
        while resource is None and time.monotonic() < deadline:
            self._pause(_LAST_POLL_SECONDS / 2)
            resource = self._server.resource(kind, fresh=True)
        if resource is None:
            raise NoSuchKindError(
                f"{self._server.address} serves no {kind}; declare its CustomResourceDefinition and make this depend "
                "on it, or install the operator that brings it"
            )
        return resource

    def _until_served(self, crd: Manifest) -> None:
        """Waits until the server lists the kind of an established definition."""
        spec = crd.get("spec", {})
        for version in spec.get("versions") or []:
            if version.get("served"):
                kind = Kind(str(spec.get("group")), str(version["name"]), str(spec.get("names", {}).get("kind")))
                self._server.resource(kind, fresh=True)
                try:
                    self._resource_in_earnest(kind)
                except ProviderError as error:
                    raise NotReadyError(crd, (str(error),)) from error

    # -- waiting -------------------------------------------------------------------------------------------------------

    def _until_ready(self, resource: ApiResource, wanted: Apply, live: Manifest, timeout_seconds: float) -> Manifest:
        kind = wanted.identity.kind
        if not is_awaited(kind) or annotation(wanted.manifest, SKIP_AWAIT) == "true":
            return live
        limit = timeout_seconds or _annotated_seconds(wanted.manifest) or READY_SECONDS
        deadline, pause = time.monotonic() + limit, _FIRST_POLL_SECONDS
        while True:
            state = readiness(kind, live)
            if state.phase is Phase.READY:
                return live
            if state.phase is Phase.FAILED or time.monotonic() >= deadline or self._cancelled.is_set():
                raise NotReadyError(live, self._reasons(wanted.identity, live, state, limit))
            self._cancelled.wait(min(pause, max(deadline - time.monotonic(), 0)))
            pause = min(pause * 1.5, _LAST_POLL_SECONDS)
            if self._cancelled.is_set():
                continue
            try:
                found = self._server.get(resource, wanted.identity)
            except ProviderError as error:
                # The object is there: an error that would make the engine forget it must not leave.
                raise NotReadyError(live, (f"it could not be watched: {error}",)) from error
            if found is None:
                raise ProviderError("it was deleted by somebody else while it was waited for")
            live = found

    def _reasons(self, identity: Identity, live: Manifest, state: Readiness, limit: float) -> list[str]:
        reasons = list(state.reasons)
        if self._cancelled.is_set():
            reasons[:1] = [f"waiting was cancelled by the user: {reasons[0]}"]
        elif state.phase is Phase.WAITING:
            reasons[:1] = [f"not ready after {limit:g} s: {reasons[0]}"]
        selector = pod_selector(live)
        if selector and not self._cancelled.is_set():
            place, uid = f"/api/v1/namespaces/{identity.namespace}", live.get("metadata", {}).get("uid", "")
            pods = self._explanations(f"{place}/pods", labelSelector=selector)
            # What a Deployment's condition says, the controller of a Job or a StatefulSet says in an event only.
            events = self._explanations(f"{place}/events", fieldSelector=f"involvedObject.uid={uid},type=Warning")
            found = [*(reason for pod in pods for reason in pod_reasons(pod)), *refusals(events)]
            reasons += found[:_MOST_POD_REASONS]
        return reasons

    def _explanations(self, path: str, **query: str) -> list[Manifest]:
        """Objects that may tell why; none when the server does not say, for they are not the matter itself."""
        try:
            return list(self._server.list(path, limit="50", **query))
        except ProviderError:
            return []

    def _until_gone(self, resource: ApiResource, identity: Identity, live: Manifest, limit: float) -> None:
        uid = live.get("metadata", {}).get("uid")
        deadline, pause = time.monotonic() + limit, _FIRST_POLL_SECONDS
        while True:
            found = self._server.get(resource, identity)
            if found is None or found.get("metadata", {}).get("uid") != uid:
                return
            if time.monotonic() >= deadline:
                raise ProviderError(f"still there {limit:g} s after it was deleted{_held_by(found)}")
            self._pause(min(pause, max(deadline - time.monotonic(), 0)))
            pause = min(pause * 1.5, _LAST_POLL_SECONDS)

    def _pause(self, seconds: float) -> None:
        if self._cancelled.wait(seconds):
            raise ProviderError("provider kubernetes: cancelled by the user")

    # -- the rest ------------------------------------------------------------------------------------------------------

    def read(self, identity: Identity) -> Manifest | None:
        try:
            resource = self._server.resource(identity.kind)
            return None if resource is None else self._server.get(resource, identity)
        except UnreachableError:
            if self._configuration.delete_unreachable:
                return None
            raise

    def delete(self, identity: Identity, propagation: str, timeout_seconds: float) -> None:
        try:
            resource = self._server.resource(identity.kind)
            if resource is None:
                return  # its definition is gone, and all objects with it
            live = self._server.get(resource, identity)
            if live is None or self._server.delete(resource, identity, propagation or "Foreground") is None:
                return
            self._until_gone(resource, identity, live, timeout_seconds or GONE_SECONDS)
        except UnreachableError:
            if not self._configuration.delete_unreachable:
                raise

    def take_back(self, wanted: Apply) -> bool:
        live = self.read(wanted.identity)
        if live is None or not _manages(wanted.field_manager, live):
            return False
        self.delete(wanted.identity, "", 0)
        return True

    def marks(self, kind: Kind) -> dict[str, Value]:
        return {}


def _manages(manager: str, live: Manifest) -> bool:
    managed = live.get("metadata", {}).get("managedFields") or []
    return any(entry.get("manager") == manager and entry.get("operation") == "Apply" for entry in managed)


def _conflict(error: ApiError) -> str:
    """Which fields others own, and who; empty for any other error."""
    causes = error.details.get("causes") or []
    found = [cause for cause in causes if cause.get("reason") == "FieldManagerConflict"]
    if error.status != 409 or not found:
        return ""
    texts = []
    for cause in found:
        owner = str(cause.get("message", "")).removeprefix("conflict with ")
        texts.append(f"{str(cause.get('field', '')).removeprefix('.')} is owned by {owner}")
    return "; ".join(texts)


def _held_by(live: Manifest) -> str:
    """What keeps a deleted object: its finalizers, and what a namespace says of its content."""
    finalizers = live.get("metadata", {}).get("finalizers") or live.get("spec", {}).get("finalizers") or []
    texts = [f"finalizers {', '.join(finalizers)}"] if isinstance(finalizers, list) and finalizers else []
    for condition in (live.get("status") or {}).get("conditions") or []:
        if condition.get("status") == "True" and condition.get("message"):
            texts.append(str(condition["message"]))
    return f": {'; '.join(texts)}" if texts else ""


def _annotated_seconds(manifest: Manifest) -> float:
    text = annotation(manifest, TIMEOUT_SECONDS)
    return float(text) if text.isdigit() else 0.0
