"""The render back end against a real API server, on the same manifests.

Guards: a manifest that renders and that no cluster takes, or the other way round.
"""

from __future__ import annotations

from typing import Any

import pytest

from falaj.engine.provider import ProviderError
from falaj.engine.values import UNKNOWN
from falaj.local.kubernetes.kinds import kind_of
from falaj.local.kubernetes.provider import KubernetesProvider
from tests.support.kubernetes_lifecycle import Resource
from tests.support.kubernetes_manifests import INVALID, VALID, broken, named

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(240)]

BUILT_IN = [type for type in VALID if kind_of(type).is_builtin]


@pytest.mark.parametrize("type", BUILT_IN)
def test_what_render_accepts_a_real_server_accepts(on_cluster: KubernetesProvider, type: str) -> None:
    seen = Resource(on_cluster, type, "accepted").preview(named(VALID[type], "accepted"))
    assert seen["metadata"]["uid"] is UNKNOWN, "the server was asked"


# The server takes a LimitRange without limits, though its own schema asks for them; it is not asked about another
# version; and a namespace that cannot be is one that is not there.
NOT_REFUSED = ("spec/limits", "apiVersion", "metadata/namespace")
REFUSED = [case[:3] for case in INVALID if kind_of(case[0]).is_builtin and case[1] not in NOT_REFUSED]


@pytest.mark.parametrize(("type", "path", "value"), REFUSED)
def test_what_render_refuses_a_real_server_refuses(
    on_cluster: KubernetesProvider, type: str, path: str, value: Any
) -> None:
    with pytest.raises(ProviderError, match="preview"):
        Resource(on_cluster, type, "refused").preview(broken(type, path, value))
