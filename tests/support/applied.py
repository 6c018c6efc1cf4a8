"""The platform's manifests on a real API server, by server-side apply as any client would."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from falaj.cluster.api import ApiClient
from manifests.objects import Manifest

MANAGER = "pulumi-test"
WAIT_SECONDS = 60


class Applier:
    """Applies manifests as one user; asks the server once per API version where each kind lies."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._plurals: dict[str, dict[str, str]] = {}

    def path(self, manifest: Manifest) -> str:
        """Where the server keeps an object."""
        version, metadata = manifest["apiVersion"], manifest["metadata"]
        prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
        place = f"/namespaces/{metadata['namespace']}" if metadata.get("namespace") else ""
        return f"{prefix}{place}/{self._plural(prefix, manifest['kind'])}/{metadata['name']}"

    def apply(self, manifest: Manifest) -> dict[str, Any]:
        """Applies one object and returns it as the server keeps it."""
        return self._client.apply(self.path(manifest), manifest, manager=MANAGER)

    def apply_all(self, manifests: Iterable[Manifest]) -> dict[str, dict[str, Any]]:
        """Applies objects in order and waits until quotas are counted; path -> object as the server keeps it."""
        made = {self.path(manifest): self.apply(manifest) for manifest in manifests}
        for path, thing in made.items():
            if thing["kind"] == "ResourceQuota":
                self._client.wait_for(
                    path,
                    lambda live: bool((live.get("status") or {}).get("hard")),
                    timeout_seconds=WAIT_SECONDS,
                    what=f"{path} is not counted",
                )
        return made

    def _plural(self, prefix: str, kind: str) -> str:
        if prefix not in self._plurals:
            found = self._client.get(prefix)["resources"]
            self._plurals[prefix] = {entry["kind"]: entry["name"] for entry in found if "/" not in entry["name"]}
        return self._plurals[prefix][kind]
