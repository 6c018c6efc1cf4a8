from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.cluster.api import ApiClient
from falaj.cluster.control_plane import ControlPlane, Options
from falaj.cluster.kwok import fake_node
from falaj.local.kubernetes.provider import KubernetesProvider
from tests.support.control_plane import running
from tests.support.kubernetes_lifecycle import Resource, provider


@pytest.fixture
def rendering(tmp_path: Path) -> KubernetesProvider:
    """A provider with the default back end, whose manifests lie under ``tmp_path``."""
    return provider(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where ``rendering`` writes."""
    return tmp_path / "local" / "manifests" / "local"


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real control plane with one node, for the tests that are marked ``cluster``."""
    with running(tmp_path_factory.mktemp("cluster"), Options(autoscaler=False)) as (made, _):
        with made.client() as client:
            client.create("/api/v1/nodes", fake_node("node-1"))
        yield made


@pytest.fixture
def admin(plane: ControlPlane) -> Iterator[ApiClient]:
    with plane.client() as client:
        yield client


@pytest.fixture(scope="session")
def on_cluster(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> KubernetesProvider:
    """A provider that applies to ``plane``, where the namespace ``ml`` is made."""
    made = provider(tmp_path_factory.mktemp("falaj"), kubeconfig=str(plane.layout.kubeconfig))
    Resource(made, "kubernetes:core/v1:Namespace", "ml").create({"metadata": {"name": "ml"}})
    return made
