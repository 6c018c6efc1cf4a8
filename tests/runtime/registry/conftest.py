"""One trained run for all tests of the registry, and a registry on the servers of the session."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.registry.package import Package
from runtime.settings import Settings
from tests.support.model_packages import Keys, make_keys, make_package, trained_run
from tests.support.runtime_servers import Aws


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def built(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A package that no test may change."""
    return make_package(trained, tmp_path_factory.mktemp("built") / "package")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_keys(tmp_path)


@pytest.fixture
def kms_key(aws: Aws) -> str:
    """The tenant's key."""
    return str(aws.client("kms").create_key(Description="tenant")["KeyMetadata"]["Arn"])


@pytest.fixture
def store_settings(settings: Settings, keys: Keys, kms_key: str, tmp_path: Path) -> Settings:
    """Everything but PostgreSQL and MLflow."""
    return settings.model_copy(
        update={
            "kms_key_arn": kms_key,
            "trusted_keys": str(keys.trusted),
            "signing_key": f"file:{keys.private}",
            "lineage_url": f"file:{tmp_path}/lineage.jsonl",
        }
    )
