from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.product import Product


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    """A checkout of its own with its own account, which ends with the test."""
    made = Product(tmp_path)
    try:
        yield made
    finally:
        made.falaj("local", "stop")


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A checkout whose smb platform is deployed; shared by tests that only look.

    Tests that ask for it are marked ``xdist_group("deployed")``, or a second worker deploys it once more.
    """
    made = Product(tmp_path_factory.mktemp("deployed"))
    try:
        made.deploy("up")
        yield made
    finally:
        made.falaj("local", "stop")
