"""The providers that the embedded engine can load on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from falaj.engine.provider import Provider, ProviderError
from falaj.engine.values import Properties

PACKAGES = ("aws", "kubernetes")
"""The packages with a local provider."""


class LocalProvider(Provider, Protocol):
    """A provider that knows again what a killed run of it made."""

    def take_back(self, urn: str, type: str, name: str, inputs: Properties) -> bool:
        """Deletes what a killed create of ``urn`` left behind; ``inputs`` are those of the pending operation.

        Returns whether there was something.  Raises ProviderError when it can be neither finished nor deleted.
        """


class LocalProviderHost:
    """Loads the local ``aws`` and ``kubernetes`` providers; every other package is refused by name.

    ``falaj_dir`` is the project's folder for what is made on this machine.  With ``allow_remote`` a kubeconfig may
    point at a cluster elsewhere.
    """

    def __init__(self, falaj_dir: Path, *, allow_remote: bool = False) -> None:
        self._falaj_dir, self._allow_remote = falaj_dir, allow_remote

    def load(self, package: str, version: str) -> LocalProvider:
        """Returns a fresh, unconfigured provider.  Raises ProviderError for a package without a local provider."""
        if package == "aws":
            from falaj.local.aws.provider import AwsProvider

            return AwsProvider(self._falaj_dir / "local" / "servers")
        if package == "kubernetes":
            from falaj.local.kubernetes.provider import KubernetesProvider

            return KubernetesProvider(self._falaj_dir, allow_remote=self._allow_remote)
        raise ProviderError(
            f"package `{package}`: the local environment has providers for `aws` and `kubernetes` only; remove its "
            "resources from the stack `local`, or deploy with the official Pulumi CLI"
        )
