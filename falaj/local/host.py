"""The providers that the embedded engine can load on this machine."""

from __future__ import annotations

from falaj.engine.provider import Provider, ProviderError


class LocalProviderHost:
    """Loads the local ``aws`` provider; every other package is refused by name."""

    def load(self, package: str, version: str) -> Provider:
        """Returns a fresh, unconfigured provider.  Raises ProviderError for a package without a local provider."""
        if package == "aws":
            from falaj.local.aws.provider import AwsProvider

            return AwsProvider()
        raise ProviderError(
            f"package `{package}`: the local environment has a provider for `aws` only; remove its resources from the "
            "stack `local`, or deploy with the official Pulumi CLI"
        )
