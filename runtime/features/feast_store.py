"""Feast itself, opened on one generation or on whatever is live.

The registry is made from the customer's code each time, in a file of this process: no registry travels, so Feast never
loads a transformation that somebody else stored.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.features.dynamodb import table_template
from runtime.features.generations import physical_project
from runtime.features.valkey_store import connection_string

if TYPE_CHECKING:
    from runtime.features.declaration import Declaration
    from runtime.settings import Settings

BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


def repository_config(settings: Settings, project: str, registry: Path, *, follow_live: bool = False) -> dict[str, Any]:
    """What stands in ``feature_store.yaml`` for ``project`` on the online store of ``settings``."""
    common = {"follow_live": follow_live, "store_endpoint": settings.online_store_endpoint}
    if settings.online_store_engine == "dynamodb":
        online = {
            "type": "runtime.features.online_store.DynamoGenerationsOnlineStore",
            "region": settings.aws_region,
            "endpoint_url": settings.aws_endpoint_url or None,
            "table_name_template": table_template(settings),
            "consistent_reads": True,
            "kms_key_arn": settings.kms_key_arn,
            **common,
        }
    else:
        online = {
            "type": "runtime.features.online_store.ValkeyOnlineStore",
            "connection_string": connection_string(settings),
            **common,
        }
    return {
        "project": project,
        "provider": "local",
        # The file changes only when this process changes it.
        "registry": {"registry_type": "file", "path": str(registry), "cache_ttl_seconds": 0},
        "offline_store": {"type": "dask"},
        "online_store": online,
        "entity_key_serialization_version": 3,
    }


def open_generation(settings: Settings, declaration: Declaration, generation: int, registry: Path) -> Any:
    """A ``feast.FeatureStore`` on one generation, its views applied."""
    project = physical_project(declaration.catalogue.project, generation)
    return _open(repository_config(settings, project, registry), declaration)


def open_live(settings: Settings, declaration: Declaration, registry: Path) -> Any:
    """A ``feast.FeatureStore`` that reads the live generation, whichever that is at each read."""
    return _open(repository_config(settings, declaration.catalogue.project, registry, follow_live=True), declaration)


@contextlib.contextmanager
def quiet_feast() -> Iterator[None]:
    """Keeps Feast's prints, progress bars and notices of experimental features from the terminal."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def _open(config: dict[str, Any], declaration: Declaration) -> Any:
    from feast import FeatureStore, RepoConfig

    with quiet_feast():
        store = FeatureStore(config=RepoConfig(**config))
        store.apply(list(declaration.objects))
    return store
