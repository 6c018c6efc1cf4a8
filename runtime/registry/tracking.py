"""MLflow: runs of training, registered models, their versions and aliases.

MLflow keeps names, figures and pointers; what a model *is* lies in its package.  A version carries the package's digest
and address as tags, and nothing of it is ever loaded through MLflow.  Stages are MLflow's past: an alias says what
serves (``champion``).
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from runtime.registry.errors import RegistryAwayError, RequestError

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from runtime.settings import Settings

T = TypeVar("T")
DIGEST_TAG: Final = "falaj.package.digest"
LOCATION_TAG: Final = "falaj.package.uri"
AUTHOR_TAG: Final = "falaj.author"
MOST_PARAMETER_CHARACTERS: Final = 6000
MOST_ARTIFACT_BYTES: Final = 1 << 30
_CONNECT_SECONDS: Final = 5.0
_ALIAS: Final = re.compile(r"^[a-z][a-z0-9-]{0,62}$")
_NAME: Final = re.compile(r"[^A-Za-z0-9_\-. /]")


@dataclass(frozen=True)
class ModelVersion:
    """A registered version of a model."""

    name: str
    version: str
    digest: str
    """Of its package."""
    location: str
    author: str
    aliases: tuple[str, ...]
    created_seconds: float


class Tracking:
    """MLflow of one deployment.  Methods raise RegistryAwayError when it does not answer.

    Importing MLflow takes seconds, and so does the first use of an empty database: it makes its tables.
    """

    def __init__(self, settings: Settings) -> None:
        settings.require("mlflow_tracking_uri")
        self._settings = settings
        self._client: MlflowClient | None = None

    # -- models --------------------------------------------------------------------------------------------------------

    def register(self, name: str, digest: str, location: str, author: str, *, run_id: str = "") -> ModelVersion:
        """A version for a package; the one there is, if the package is registered already."""
        full = self._full(name)

        def work(client: MlflowClient) -> ModelVersion:
            from mlflow.exceptions import MlflowException

            try:
                client.create_registered_model(full, tags={"falaj.tenant": self._settings.tenant})
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            for found in client.search_model_versions(f"name='{full}'"):
                if found.tags.get(DIGEST_TAG) == digest:
                    return self._version(found)
            tags = {DIGEST_TAG: digest, LOCATION_TAG: location, AUTHOR_TAG: author}
            made = client.create_model_version(full, location, run_id=run_id or None, tags=tags)
            return self._version(made)

        return self._call(work)

    def version(self, name: str, version: str) -> ModelVersion:
        """By number, or by alias as ``@champion``.  Raises RequestError if there is none."""
        full = self._full(name)

        def work(client: MlflowClient) -> ModelVersion | None:
            from mlflow.exceptions import MlflowException

            try:
                if version.startswith("@"):
                    found = client.get_model_version_by_alias(full, version[1:])
                else:
                    found = client.get_model_version(full, version)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise
            return self._version(found)

        found = self._call(work)
        if found is None:
            raise RequestError(f"{name} {version}: no such version; `registry show {name}` lists them")
        return found

    def holder(self, name: str, alias: str) -> ModelVersion | None:
        """The version that holds an alias."""
        try:
            return self.version(name, f"@{alias}")
        except RequestError:
            return None

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Newest first."""
        full = self._full(name)
        found = self._call(lambda client: [self._version(v) for v in client.search_model_versions(f"name='{full}'")])
        # A search leaves aliases out of versions; they stand with the model.
        aliases = self._aliases(full) if found else {}
        whole = [
            ModelVersion(**{**vars(each), "aliases": tuple(sorted(aliases.get(each.version, ())))}) for each in found
        ]
        return tuple(sorted(whole, key=lambda each: -int(each.version)))

    def point(self, name: str, alias: str, version: str) -> None:
        """Gives an alias to a version.  Raises RequestError for a name that is no alias."""
        if not _ALIAS.match(alias):
            raise RequestError(f"alias {alias!r}: must be lower-case letters, digits and -")
        self._call(lambda client: client.set_registered_model_alias(self._full(name), alias, version))

    def _aliases(self, full: str) -> dict[str, list[str]]:
        given = self._call(lambda client: client.get_registered_model(full).aliases)
        found: dict[str, list[str]] = {}
        for alias, version in given.items():
            found.setdefault(str(version), []).append(alias)
        return found

    # -- runs ----------------------------------------------------------------------------------------------------------

    @contextmanager
    def run(self, experiment: str, name: str) -> Iterator[RunTracker]:
        """A run of training; ends as FINISHED, or FAILED where the block raises."""
        settings = self._settings
        full = f"{settings.tenant}/{experiment}"

        def start(client: MlflowClient) -> Any:
            found = client.get_experiment_by_name(full)
            if found is not None:
                identifier = found.experiment_id
            else:
                location = f"s3://{settings.model_bucket}/mlflow/{full}" if settings.model_bucket else None
                identifier = client.create_experiment(full, artifact_location=location)
            return client.create_run(identifier, run_name=name, tags={"falaj.tenant": settings.tenant})

        made = self._call(start)
        run_id = made.info.run_id
        try:
            yield RunTracker(self, run_id, made.info.artifact_uri, settings)
        except BaseException:
            self._call(lambda client: client.set_terminated(run_id, "FAILED"))
            raise
        self._call(lambda client: client.set_terminated(run_id, "FINISHED"))

    # -- the client ----------------------------------------------------------------------------------------------------

    def _full(self, name: str) -> str:
        if not _ALIAS.match(name):
            raise RequestError(f"model name {name!r}: must be lower-case letters, digits and -")
        return f"{self._settings.tenant}.{name}"

    def _version(self, found: Any) -> ModelVersion:
        return ModelVersion(
            name=str(found.name).removeprefix(f"{self._settings.tenant}."),
            version=str(found.version),
            digest=found.tags.get(DIGEST_TAG, ""),
            location=found.tags.get(LOCATION_TAG, ""),
            author=found.tags.get(AUTHOR_TAG, ""),
            aliases=tuple(sorted(found.aliases)),
            created_seconds=found.creation_timestamp / 1000,
        )

    def _call(self, work: Callable[[MlflowClient], T]) -> T:
        # MLflow and what it uses warn about themselves; a user of this command can do nothing about it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import requests
            from mlflow.exceptions import MlflowException
            from sqlalchemy.exc import SQLAlchemyError

            try:
                if self._client is None:
                    self._client = _client(self._settings.mlflow_tracking_uri)
                return work(self._client)
            except (MlflowException, SQLAlchemyError, requests.RequestException, OSError) as error:
                raise RegistryAwayError(f"MLflow: {_line(error)}") from None


class RunTracker:
    """A run of MLflow behind the port of ``runtime.training.journal.Tracker``."""

    def __init__(self, tracking: Tracking, run_id: str, artifact_uri: str, settings: Settings) -> None:
        self._tracking, self.run_id, self._artifact_uri, self._settings = tracking, run_id, artifact_uri, settings

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        flat = {_NAME.sub("_", key): str(value)[:MOST_PARAMETER_CHARACTERS] for key, value in _flat(parameters)}
        given = [Param(key, value) for key, value in flat.items()]
        self._tracking._call(lambda client: client.log_batch(self.run_id, params=given))

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        given = [Metric(key, float(value), now, step) for key, value in values.items() if math.isfinite(value)]
        self._tracking._call(lambda client: client.log_batch(self.run_id, metrics=given))

    def log_artifact(self, path: Path) -> None:
        """Goes to the run's place on S3 through the runtime's own client, so that endpoint and limits are its own."""
        from runtime.training.objects import open_store

        if path.stat().st_size > MOST_ARTIFACT_BYTES:
            raise RequestError(f"{path}: larger than {MOST_ARTIFACT_BYTES} bytes; log a summary instead")
        open_store(self._settings, self._artifact_uri).put(path.name, path.read_bytes())


def _client(uri: str) -> MlflowClient:
    """Raises OSError at once where nothing listens: MLflow itself would try for most of an hour."""
    import logging
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(uri)
    if parts.hostname:
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 5432)
        socket.create_connection((parts.hostname, port), _CONNECT_SECONDS).close()

    from mlflow import MlflowClient

    # The making of its tables is told line by line otherwise.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _line(error: Exception) -> str:
    """One line without the address: it may hold a password."""
    text = " ".join(str(error).split())
    return re.sub(r"\w+://[^\s@/]*:[^\s@/]*@", "://", text)[:300] or type(error).__name__
