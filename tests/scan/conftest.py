"""Scanners see what the whole program declares; every test here runs for both blueprints."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.rendered import write


@pytest.fixture(scope="session", params=["smb", "enterprise"])
def blueprint_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def folder(blueprint_name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The objects of a blueprint, one file each."""
    return write(blueprint_name, tmp_path_factory.mktemp(blueprint_name) / "manifests")
