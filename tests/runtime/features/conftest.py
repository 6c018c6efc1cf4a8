"""A declared project, its tables in a bucket of its own, an empty online store."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.features.snapshots import Snapshot, compute_snapshot
from runtime.settings import Settings
from tests.support.ride_project import RIDES, FrameTables, ride_tables


@pytest.fixture(autouse=True, scope="session")
def feast_imported() -> Iterator[None]:
    """Imports Feast once, outside any test: it takes seconds, and warns about libraries that are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import feast
        import feast.infra.online_stores.dynamodb
        import feast.infra.online_stores.redis  # noqa: F401
    yield


@pytest.fixture(scope="session")
def declared(feast_imported: None, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    from runtime.features.declaration import declare

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return declare(RIDES, tmp_path_factory.mktemp("declared"))


@pytest.fixture
def rides() -> FrameTables:
    return FrameTables(ride_tables())


@pytest.fixture
def online(settings: Settings, valkey_endpoint: str) -> Settings:
    """Settings with a bucket of its own and an empty Valkey."""
    return settings.model_copy(update={"online_store_engine": "valkey", "online_store_endpoint": valkey_endpoint})


@pytest.fixture
def snapshot(settings: Settings, declared, rides: FrameTables) -> Snapshot:  # type: ignore[no-untyped-def]
    return compute_snapshot(settings, RIDES, declared.catalogue, rides)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path
