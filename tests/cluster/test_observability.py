"""Rules, routes and monitors on a real API server: it keeps every field that they state, and refuses what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from blueprints import load
from falaj.cluster.control_plane import ControlPlane, Options
from falaj.cluster.errors import ApiError
from manifests.objects import OBSERVABILITY_NAMESPACE, Manifest
from manifests.observability import observability
from tests.support.applied import Applier
from tests.support.control_plane import namespace, running

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(240)]

TOPIC = "arn:aws:sns:me-central-1:123456789012:falaj-dev-alerts"


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Without nodes: nothing here runs."""
    with running(tmp_path_factory.mktemp("cluster"), Options(autoscaler=False)) as (started, _):
        with started.client() as client:
            namespace(client, OBSERVABILITY_NAMESPACE)
        yield started


@pytest.fixture
def applier(control_plane: ControlPlane) -> Iterator[Applier]:
    with control_plane.client() as client:
        yield Applier(client)


def missing(stated: Any, kept: Any, at: str = "") -> list[str]:
    """What of an object the server did not keep; a field that its definition does not know is dropped in silence."""
    if isinstance(stated, dict):
        return [
            found
            for key, value in stated.items()
            for found in (missing(value, kept[key], f"{at}.{key}") if key in (kept or {}) else [f"{at}.{key}"])
        ]
    if isinstance(stated, list):
        if not isinstance(kept, list) or len(stated) != len(kept):
            return [at]
        return [found for i, value in enumerate(stated) for found in missing(value, kept[i], f"{at}[{i}]")]
    return [] if stated == kept else [at]


@pytest.mark.parametrize("name", ["enterprise", "smb"])
def test_the_server_keeps_every_field(name: str, applier: Applier) -> None:
    for made in observability(load(name), alerts_topic_arn=TOPIC):
        assert missing(made, applier.apply(made)) == [], made["kind"]


def rule(spec: dict[str, Any]) -> Manifest:
    metadata = {"name": "wrong", "namespace": OBSERVABILITY_NAMESPACE}
    return {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"groups": [{"rules": [{"alert": "A", "expr": "up"}]}]}, "name"),
        ({"groups": [{"name": "a", "rules": [{"alert": "A"}]}]}, "expr"),
        ({"groups": [{"name": "a", "rules": [{"alert": "A", "expr": "up", "for": "ten minutes"}]}]}, "for"),
    ],
)
def test_the_server_refuses_a_rule_that_is_none(spec: dict[str, Any], complaint: str, applier: Applier) -> None:
    with pytest.raises(ApiError, match=complaint):
        applier.apply(rule(spec))
