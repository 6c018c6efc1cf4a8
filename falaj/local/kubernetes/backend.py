"""What keeps the objects of the provider: files, or a real cluster.  Two back ends behind one small interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from falaj.engine.provider import ProviderError
from falaj.engine.values import Value
from falaj.local.kubernetes.kinds import Kind
from falaj.local.kubernetes.manifests import Identity, Manifest


class NotReadyError(Exception):
    """The object exists, but did not become ready.  ``live`` is how it was last seen."""

    def __init__(self, live: Manifest, reasons: Sequence[str]) -> None:
        super().__init__(reasons[0] if reasons else "not ready")
        self.live, self.reasons = live, tuple(reasons)


class NoSuchKindError(ProviderError):
    """The cluster does not serve the kind: its CustomResourceDefinition is missing."""


@dataclass(frozen=True, slots=True)
class Apply:
    """An object to be made what its manifest says.

    ``urn`` is the resource that owns it, ``field_manager`` the name under which its fields are owned on a cluster.
    ``force`` takes over fields that others own; ``ignored`` are property paths whose values stay as they are.
    """

    urn: str
    identity: Identity
    manifest: Manifest
    field_manager: str
    force: bool = False
    ignored: tuple[str, ...] = ()


class Backend(Protocol):
    """Calls come from many threads.  All but ``problems`` may raise ProviderError."""

    def problems(self, identity: Identity, manifest: Manifest) -> Sequence[tuple[str, str]]:
        """(property path, what is wrong) of a manifest without unknown values, as far as that can be told offline."""

    def is_namespaced(self, kind: Kind) -> bool | None:
        """Whether a custom kind lives in a namespace; None when that cannot be told (yet)."""

    def preview(self, wanted: Apply, *, is_new: bool) -> Manifest | None:
        """The object as it would be; None when nobody can tell.  Changes nothing."""

    def create(self, wanted: Apply, timeout_seconds: float) -> Manifest:
        """Makes the object and waits until it is ready; returns it.  Raises NotReadyError."""

    def update(self, wanted: Apply, former_field_manager: str, timeout_seconds: float) -> Manifest:
        """Makes the object what the manifest says now, as ``create`` does."""

    def read(self, identity: Identity) -> Manifest | None:
        """The object; None when there is none."""

    def delete(self, identity: Identity, propagation: str, timeout_seconds: float) -> None:
        """Returns when the object is gone.  That it is gone already is no error."""

    def take_back(self, wanted: Apply) -> bool:
        """Deletes what a killed create left behind; answers whether there was something of ``wanted.urn``."""

    def marks(self, kind: Kind) -> dict[str, Value]:
        """Outputs that tell how the object is kept; empty for a real cluster."""
