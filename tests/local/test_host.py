"""Which providers this machine has.  Guards: a package that is half there, a consent that does not arrive."""

from __future__ import annotations

from pathlib import Path

import pytest

from falaj.engine.provider import ProviderError
from falaj.local.host import PACKAGES, LocalProviderHost

REMOTE = (
    "current-context: x\nclusters: [{name: x, cluster: {server: 'https://10.0.0.1'}}]\n"
    "contexts: [{name: x, context: {cluster: x}}]\n"
)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_a_provider_of_its_own_for_each_provider_resource(package: str) -> None:
    host = LocalProviderHost(Path("unused"))
    first, second = host.load(package, ""), host.load(package, "1.2.3")
    assert first is not second
    assert first.package == second.package == package


def test_any_other_package_is_refused_by_name() -> None:
    with pytest.raises(ProviderError, match="`random`: the local environment has providers for `aws` and `kubernetes`"):
        LocalProviderHost(Path("unused")).load("random", "")


def test_a_cluster_elsewhere_needs_the_consent_that_the_host_was_given() -> None:
    for allow_remote in (False, True):
        provider = LocalProviderHost(Path("unused"), allow_remote=allow_remote).load("kubernetes", "")
        checked = provider.check_config("urn", {}, {"kubeconfig": REMOTE})
        assert bool(checked.failures) is not allow_remote
