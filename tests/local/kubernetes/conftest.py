from __future__ import annotations

from pathlib import Path

import pytest

from falaj.local.kubernetes.provider import KubernetesProvider
from tests.support.kubernetes_lifecycle import provider


@pytest.fixture
def rendering(tmp_path: Path) -> KubernetesProvider:
    """A provider with the default back end, whose manifests lie under ``tmp_path``."""
    return provider(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where ``rendering`` writes."""
    return tmp_path / "local" / "manifests" / "local"
