"""DynamoDB as the online store: the pointer, the conditional write, copies and clean-up.

Each generation has one table per view (``<endpoint>.<project>_g7.<view>``); dropping a table costs nothing, deleting
its items would.  Tables are asked for by name, never listed: IAM cannot limit a listing to a platform's own.  The
pointer is one item, so each transition is one conditional write.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from runtime.features.encoding import Scalar, encode_value
from runtime.features.errors import OnlineStoreAwayError, OnlineStoreError, UnknownGenerationError
from runtime.features.generations import (
    LEASE_SECONDS,
    Build,
    GenerationRecord,
    Generations,
    busy,
    lease_lost,
)

if TYPE_CHECKING:
    from runtime.settings import Settings

WRITERS: Final = 8
"""Conditional writes cannot be batched; this many go at once."""

Item = Mapping[str, Any]


def resource(settings: Settings) -> Any:
    """boto3's resource interface, which Feast uses, with the endpoint, credentials and limits of ``settings``.

    It has a client of its own: a resource teaches its client to translate items, which the plain calls here must not
    meet.
    """
    import boto3
    from botocore.config import Config

    from runtime import aws

    local = settings.is_local
    credentials = {"aws_access_key_id": aws.LOCAL_CREDENTIAL, "aws_secret_access_key": aws.LOCAL_CREDENTIAL}
    config = Config(
        connect_timeout=aws.CONNECT_TIMEOUT_SECONDS,
        read_timeout=aws.READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": aws.ATTEMPTS},
        **({"proxies": {}} if local else {}),
    )
    session = boto3.session.Session(region_name=settings.aws_region, **(credentials if local else {}))
    return session.resource("dynamodb", endpoint_url=settings.aws_endpoint_url or None, config=config)


def table_template(settings: Settings) -> str:
    """Feast's ``table_name_template``."""
    return f"{settings.online_store_endpoint}.{{project}}.{{table_name}}"


def ensure_tables(settings: Settings, names: Sequence[str]) -> None:
    """Makes the tables that are missing and returns once all stand.

    They are encrypted under ``settings.kms_key_arn`` (AWS's own key without it) and carry the tags of the table named
    ``settings.online_store_endpoint``, where the account has it: owner, class of data and backup are the platform's.
    """
    client = _client(settings)
    missing = [name for name in names if not _exists(client, name)]
    tags = _platform_tags(settings, client) if missing else []
    encryption: dict[str, Any] = {"Enabled": True, "SSEType": "KMS"}
    if settings.kms_key_arn:
        encryption["KMSMasterKeyId"] = settings.kms_key_arn

    def make(name: str) -> None:
        # Another process may make it this very moment.
        with contextlib.suppress(client.exceptions.ResourceInUseException):
            client.create_table(
                TableName=name,
                KeySchema=[{"AttributeName": "entity_id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "entity_id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
                SSESpecification=encryption,
                **({"Tags": tags} if tags else {}),
            )

    for name in missing:
        _asked(functools.partial(make, name))
    for name in names:
        _asked(functools.partial(client.get_waiter("table_exists").wait, TableName=name))


def drop_tables(settings: Settings, names: Sequence[str]) -> int:
    """Deletes those of the tables that are there; returns how many."""
    client = _client(settings)

    def drop(name: str) -> int:
        try:
            client.delete_table(TableName=name)
        except client.exceptions.ResourceNotFoundException:
            return 0
        return 1

    return sum(_asked(functools.partial(drop, name)) for name in names)


def put_newer(settings: Settings, table: str, items: Sequence[Item]) -> int:
    """Puts items (low-level form, as Feast writes them) where they are newer than what is stored; returns how many.

    Event times are ISO 8601 in UTC, so their order as text is their order in time.
    """
    client = _client(settings)

    def put(item: Item) -> int:
        try:
            client.put_item(
                TableName=table,
                Item=item,
                ConditionExpression="attribute_not_exists(entity_id) OR event_ts < :moment",
                ExpressionAttributeValues={":moment": item["event_ts"]},
            )
        except client.exceptions.ConditionalCheckFailedException:
            return 0
        return 1

    with ThreadPoolExecutor(WRITERS) as pool:
        return sum(_asked(lambda: list(pool.map(put, items))))


def encode_item(
    entity_key: bytes, types: Mapping[str, str], values: Mapping[str, Scalar], known_at: datetime
) -> dict[str, Any]:
    """One row as Feast stores it.  ``entity_key``: serialised, without a project.  ``known_at``: aware."""
    import mmh3

    return {
        "entity_id": {"S": mmh3.hash_bytes(entity_key).hex()},
        "event_ts": {"S": str(known_at.astimezone(UTC))},
        "values": {"M": {name: {"B": encode_value(values.get(name), kind)} for name, kind in types.items()}},
    }


def carry_forward(settings: Settings, view: str, source: str, target: str) -> int:
    """Copies the rows of a stream view between two generations' projects; newer ones there stay."""
    template = table_template(settings)
    table, other = (template.format(project=project, table_name=view) for project in (source, target))
    client = _client(settings)
    if not _exists(client, table):
        return 0
    pages = client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return sum(_asked(lambda: [put_newer(settings, other, page["Items"]) for page in pages]))


def drop_project(settings: Settings, project: str, views: Sequence[str]) -> int:
    """Deletes the tables of one generation's project, which has ``views``; returns how many there were."""
    template = table_template(settings)
    return drop_tables(settings, [template.format(project=project, table_name=view) for view in views])


class DynamoPointer:
    """The pointer in DynamoDB.  ``clock``: seconds since 1970; leases compare the clocks of builders."""

    def __init__(
        self,
        settings: Settings,
        project: str,
        *,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._client = _client(settings)
        self._project = project
        self._table = f"{settings.online_store_endpoint}.{project}.generations"
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._made = False

    def read(self) -> Generations:
        item = self._item("pointer")
        held = "building" in item and float(item["lease_until"]["N"]) > self._clock()
        return Generations(
            live=int(item["live"]["N"]) if "live" in item else None,
            building=int(item["building"]["N"]) if held else None,
        )

    def record(self, generation: int) -> GenerationRecord:
        item = self._item(f"record#{generation}")
        if not item:
            raise UnknownGenerationError(f"generation {generation} of {self._project} is not in the online store")
        return GenerationRecord.from_json(item["body"]["S"])

    def ensure_live(self, record: GenerationRecord) -> int:
        live = self.read().live
        if live is None:
            generation = self._allocate(record)
            values = {":n": {"N": str(generation)}, ":g": {"NS": [str(generation)]}}
            self._update("SET live = :n ADD lived :g", "attribute_not_exists(live)", values)
            live = self.read().live
            assert live is not None
        return live

    def begin(self, record: GenerationRecord) -> Build:
        building = self.read().building
        if building is not None:
            raise busy(building)
        build = Build(self._allocate(record), secrets.token_hex(8))
        granted = self._update(
            "SET building = :n, lease_token = :t, lease_until = :u",
            "attribute_not_exists(building) OR lease_until <= :now",
            {**self._held(build), ":n": {"N": str(build.generation)}, ":u": self._lease_end()},
        )
        if not granted:
            self.forget(build.generation)
            raise busy(self.read().building or build.generation)
        return build

    def renew(self, build: Build) -> None:
        values = {**self._held(build), ":u": self._lease_end()}
        if not self._update("SET lease_until = :u", "lease_token = :t AND lease_until > :now", values):
            raise lease_lost(build.generation)

    def flip(self, build: Build) -> None:
        expression = "SET live = :n REMOVE building, lease_token, lease_until ADD lived :g"
        number = str(build.generation)
        values = {**self._held(build), ":n": {"N": number}, ":g": {"NS": [number]}}
        if not self._update(expression, "lease_token = :t AND lease_until > :now", values):
            raise lease_lost(build.generation)

    def release(self, build: Build) -> None:
        values = {":t": {"S": build.token}}
        self._update("REMOVE building, lease_token, lease_until", "lease_token = :t", values)

    def known(self) -> frozenset[int]:
        return frozenset(int(number) for number in self._item("pointer").get("known", {}).get("NS", ()))

    def lived(self) -> frozenset[int]:
        return frozenset(int(number) for number in self._item("pointer").get("lived", {}).get("NS", ()))

    def forget(self, generation: int) -> None:
        key = {"entity_id": {"S": f"record#{generation}"}}
        _asked(lambda: self._client.delete_item(TableName=self._table, Key=key))
        self._update("DELETE known :g, lived :g", None, {":g": {"NS": [str(generation)]}})

    def _allocate(self, record: GenerationRecord) -> int:
        self._ensure_table()
        answer = _asked(
            lambda: self._client.update_item(
                TableName=self._table,
                Key={"entity_id": {"S": "pointer"}},
                UpdateExpression="ADD generation_counter :one",
                ExpressionAttributeValues={":one": {"N": "1"}},
                ReturnValues="UPDATED_NEW",
            )
        )
        generation = int(answer["Attributes"]["generation_counter"]["N"])
        item = {"entity_id": {"S": f"record#{generation}"}, "body": {"S": record.to_json()}}
        _asked(lambda: self._client.put_item(TableName=self._table, Item=item))
        self._update("ADD known :g", None, {":g": {"NS": [str(generation)]}})
        return generation

    def _ensure_table(self) -> None:
        if not self._made:
            ensure_tables(self._settings, [self._table])
            self._made = True

    def _item(self, key: str) -> dict[str, Any]:
        try:
            answer = _asked(
                lambda: self._client.get_item(TableName=self._table, Key={"entity_id": {"S": key}}, ConsistentRead=True)
            )
        except OnlineStoreError as error:
            if isinstance(error.__cause__, self._client.exceptions.ResourceNotFoundException):
                return {}
            raise
        item: dict[str, Any] = answer.get("Item", {})
        return item

    def _held(self, build: Build) -> dict[str, Any]:
        return {":t": {"S": build.token}, ":now": {"N": repr(self._clock())}}

    def _lease_end(self) -> dict[str, str]:
        return {"N": repr(self._clock() + self._lease_seconds)}

    def _update(self, expression: str, condition: str | None, values: dict[str, Any]) -> bool:
        used = {name: value for name, value in values.items() if name in f"{expression} {condition}"}
        try:
            _asked(
                lambda: self._client.update_item(
                    TableName=self._table,
                    Key={"entity_id": {"S": "pointer"}},
                    UpdateExpression=expression,
                    ExpressionAttributeValues=used,
                    **({"ConditionExpression": condition} if condition else {}),
                )
            )
        except OnlineStoreError as error:
            if isinstance(error.__cause__, self._client.exceptions.ConditionalCheckFailedException):
                return False
            raise
        return True


def _exists(client: Any, name: str) -> bool:
    return _described(client, name) is not None


def _described(client: Any, name: str) -> dict[str, Any] | None:
    def ask() -> dict[str, Any] | None:
        try:
            table: dict[str, Any] = client.describe_table(TableName=name)["Table"]
        except client.exceptions.ResourceNotFoundException:
            return None
        return table

    table: dict[str, Any] | None = _asked(ask)
    return table


def _platform_tags(settings: Settings, client: Any) -> list[dict[str, str]]:
    table = _described(client, settings.online_store_endpoint)
    if table is None:
        return []
    answer = _asked(lambda: client.list_tags_of_resource(ResourceArn=table["TableArn"]))
    return [tag for tag in answer.get("Tags", ()) if not tag["Key"].startswith("aws:")]


def _client(settings: Settings) -> Any:
    from runtime.aws import client

    return client(settings, "dynamodb")


def _asked(call: Callable[[], Any]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return call()
    except BotoCoreError as error:
        raise OnlineStoreAwayError(f"the online store does not answer: {error}") from error
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500 or "Throttl" in str(error):
            raise OnlineStoreAwayError(f"the online store does not answer: {error}") from error
        raise OnlineStoreError(f"the online store refuses: {error}") from error
