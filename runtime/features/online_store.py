"""Feast's online stores with what generations need: a newer row wins, and reads follow the pointer.

Feast loads these classes by name from its configuration.  ``follow_live`` makes a store that is configured with the
plain project read the live generation, whichever it is at that moment: Feast's own server then follows every flip
without a restart.  Without it the project is taken as it is, a generation's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.dynamodb import DynamoDBOnlineStore, DynamoDBOnlineStoreConfig
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.infra.supported_async_methods import SupportedAsyncMethods

from runtime.features.encoding import encode_timestamp, hash_field, timestamp_field
from runtime.features.errors import OnlineStoreError
from runtime.features.generations import Pointer, open_pointer, physical_project
from runtime.features.valkey_store import write_rows
from runtime.settings import Settings

FLIPS_PER_READ: Final = 5
"""A read that meets a flip is done again; more than this many in one read means that something else is wrong."""

FeastRow = tuple[Any, dict[str, Any], datetime, datetime | None]


class _FollowsLive:
    """Reads on the live generation, and on one generation only."""

    _pointer: Pointer | None = None

    @functools.cached_property
    def _configs(self) -> dict[tuple[str, int], Any]:
        return {}

    def _live(self, config: Any) -> int:
        if self._pointer is None:
            self._pointer = open_pointer(_settings_of(config.online_store), config.project)
        live = self._pointer.read().live
        if live is None:
            raise OnlineStoreError(f"project {config.project} has no live generation: apply it, then materialise")
        return live

    def _generation_config(self, config: Any, generation: int) -> Any:
        key = (config.project, generation)
        if key not in self._configs:
            project = physical_project(config.project, generation)
            own = config.model_copy(update={"project": project})
            own._online_store = config.online_store.model_copy(update={"follow_live": False})
            self._configs[key] = own
        return self._configs[key]

    def _read_live(self, config: Any, read: Callable[[Any], Any], undo: Callable[[], None]) -> Any:
        for _ in range(FLIPS_PER_READ):
            generation = self._live(config)
            answer = read(self._generation_config(config, generation))
            # The generation was live after the read, so nothing of it was being cleaned up during the read.
            if self._live(config) == generation:
                return answer
            undo()
        raise OnlineStoreError(
            f"project {config.project}: the live generation changed {FLIPS_PER_READ} times in a read"
        )

    def _read_views(
        self, config: Any, read: Callable[..., None], grouped_refs: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """All views of one request from one generation; the response is the one argument that is filled in place."""
        response = kwargs.get("online_features_response", args[2] if len(args) > 2 else None)
        if response is None:
            raise OnlineStoreError("this version of Feast calls its online store in a form that is not known here")
        rows, names = len(response.results), len(response.metadata.feature_names.val)

        def undo() -> None:
            del response.results[rows:]
            del response.metadata.feature_names.val[names:]

        def read_from(own: Any) -> None:
            # Feast's store appends to the lists of features, so each attempt gets its own.
            read(own, [(view, list(features)) for view, features in grouped_refs], *args, **kwargs)

        # Inside, the views are read one by one; they must not follow the pointer on their own.
        self._read_live(config, read_from, undo)


class ValkeyOnlineStoreConfig(RedisOnlineStoreConfig):
    """``connection_string`` as Feast has it."""

    type: str = "runtime.features.online_store.ValkeyOnlineStore"  # type: ignore[assignment]
    follow_live: bool = False
    store_endpoint: str = ""
    """``Settings.online_store_endpoint``."""


class ValkeyOnlineStore(_FollowsLive, RedisOnlineStore):
    """Feast's Redis store on Valkey."""

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        # The pointer is read with the blocking client, in the server's thread pool.
        return SupportedAsyncMethods(read=False, write=False)

    def online_write_batch(
        self, config: Any, table: Any, data: Sequence[FeastRow], progress: Callable[[int], Any] | None
    ) -> None:
        if config.online_store.follow_live:
            raise OnlineStoreError("this store only reads: stream rows are written by runtime.features.push")
        client = self._get_client(config.online_store)
        suffix, time_field = config.project.encode(), timestamp_field(table.name)
        fields = {feature.name: hash_field(table.name, feature.name) for feature in table.features}
        rows = []
        for entity_key, values, moment, _ in data:
            row = {fields[name]: value.SerializeToString() for name, value in values.items()}
            seconds, micros = _instant(moment)
            row[time_field] = encode_timestamp(seconds, micros * 1000)
            rows.append((serialize_entity_key(entity_key, entity_key_serialization_version=3) + suffix, row))
        write_rows(client, table.name, rows)
        if progress:
            progress(len(rows))

    def online_read(self, config: Any, table: Any, entity_keys: Any, requested_features: Any = None) -> Any:
        read = functools.partial(super().online_read, table=table, entity_keys=entity_keys)
        if not config.online_store.follow_live:
            return read(config, requested_features=requested_features)
        # Feast appends to the list of requested features on every read.
        return self._read_live(
            config,
            lambda own: read(own, requested_features=None if requested_features is None else list(requested_features)),
            lambda: None,
        )

    def _read_features_per_fv(self, config: Any, grouped_refs: Any, *args: Any, **kwargs: Any) -> None:
        if not config.online_store.follow_live:
            return super()._read_features_per_fv(config, grouped_refs, *args, **kwargs)
        return self._read_views(config, super()._read_features_per_fv, grouped_refs, args, kwargs)


class DynamoGenerationsOnlineStoreConfig(DynamoDBOnlineStoreConfig):
    """``region`` and ``table_name_template`` as Feast has them."""

    type: str = "runtime.features.online_store.DynamoGenerationsOnlineStore"  # type: ignore[assignment]
    follow_live: bool = False
    store_endpoint: str = ""
    """``Settings.online_store_endpoint``."""
    kms_key_arn: str = ""
    """``Settings.kms_key_arn``."""


class DynamoGenerationsOnlineStore(_FollowsLive, DynamoDBOnlineStore):
    """Feast's DynamoDB store; each generation has tables of its own."""

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        return SupportedAsyncMethods(read=False, write=False)

    def update(
        self, config: Any, tables_to_delete: Sequence[Any], tables_to_keep: Sequence[Any], *_: Any, **__: Any
    ) -> None:
        """As Feast's own, but its tables are encrypted under the platform's key."""
        from feast.infra.online_stores.dynamodb import _get_table_name

        from runtime.features.dynamodb import drop_tables, ensure_tables

        if config.online_store.follow_live:
            return  # generations make their own tables
        kept, gone = (
            [_get_table_name(config.online_store, config, table) for table in tables]
            for tables in (tables_to_keep, tables_to_delete)
        )
        settings = _settings_of(config.online_store)
        ensure_tables(settings, kept)
        drop_tables(settings, gone)

    def _get_dynamodb_client(
        self, region: str, endpoint_url: str | None = None, session_based_auth: Any = False
    ) -> Any:
        from runtime.aws import client

        return client(Settings(aws_region=region, aws_endpoint_url=endpoint_url or ""), "dynamodb")

    def _get_dynamodb_resource(
        self, region: str, endpoint_url: str | None = None, session_based_auth: Any = False
    ) -> Any:
        from runtime.features.dynamodb import resource

        return resource(Settings(aws_region=region, aws_endpoint_url=endpoint_url or ""))

    def online_write_batch(
        self, config: Any, table: Any, data: Sequence[FeastRow], progress: Callable[[int], Any] | None
    ) -> None:
        from feast.infra.online_stores.dynamodb import _get_table_name, _latest_data_to_write, _to_client_write_item

        from runtime.features.dynamodb import put_newer

        if config.online_store.follow_live:
            raise OnlineStoreError("this store only reads: stream rows are written by runtime.features.push")
        items = [
            _to_client_write_item(config, key, values, moment)
            for key, values, moment, _ in _latest_data_to_write(list(data))
        ]
        put_newer(_settings_of(config.online_store), _get_table_name(config.online_store, config, table), items)
        if progress:
            progress(len(items))

    def online_read(self, config: Any, table: Any, entity_keys: Any, requested_features: Any = None) -> Any:
        read = functools.partial(super().online_read, table=table, entity_keys=entity_keys)
        if not config.online_store.follow_live:
            return read(config, requested_features=requested_features)
        return self._read_live(config, lambda own: read(own, requested_features=requested_features), lambda: None)

    def _read_features_per_fv(self, config: Any, grouped_refs: Any, *args: Any, **kwargs: Any) -> None:
        if not config.online_store.follow_live:
            return super()._read_features_per_fv(config, grouped_refs, *args, **kwargs)
        return self._read_views(config, super()._read_features_per_fv, grouped_refs, args, kwargs)


def _settings_of(config: Any) -> Settings:
    dynamodb = isinstance(config, DynamoGenerationsOnlineStoreConfig)
    return Settings(
        online_store_engine="dynamodb" if dynamodb else "valkey",
        online_store_endpoint=config.store_endpoint,
        **(
            {
                "aws_region": config.region,
                "aws_endpoint_url": config.endpoint_url or "",
                "kms_key_arn": config.kms_key_arn,
            }
            if dynamodb
            else {}
        ),
    )


def _instant(moment: datetime) -> tuple[int, int]:
    from feast.utils import make_tzaware

    aware = make_tzaware(moment)
    return int(aware.timestamp() // 1), aware.microsecond
