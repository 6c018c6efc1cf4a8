"""Amazon DynamoDB: tables with their indexes, time to live and point-in-time recovery."""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.shapes import tag_list, tag_map
from falaj.local.aws.tagging import apply_tag_list

_ON_DEMAND = "PAY_PER_REQUEST"


class Table(Handler):
    type = "aws:dynamodb/table:Table"
    auto_name = AutoName()
    defaults = {"billingMode": "PROVISIONED"}
    force_new = frozenset({"hashKey", "importTable", "localSecondaryIndexes", "name", "rangeKey", "restoreSourceName"})
    unordered = frozenset({"attributes", "globalSecondaryIndexes", "localSecondaryIndexes", "replicas"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        parameters: dict[str, Any] = {
            "TableName": inputs["name"],
            "AttributeDefinitions": _attributes(inputs),
            "KeySchema": _keys(inputs),
            "BillingMode": inputs["billingMode"],
            "DeletionProtectionEnabled": bool(inputs.get("deletionProtectionEnabled")),
            "Tags": tag_list(inputs.get("tagsAll")),
            **_throughput(inputs, inputs["billingMode"]),
            **_stream(inputs),
            **_encryption(inputs),
        }
        if inputs.get("tableClass"):
            parameters["TableClass"] = inputs["tableClass"]
        if indexes := inputs.get("globalSecondaryIndexes"):
            parameters["GlobalSecondaryIndexes"] = [_index(index, inputs["billingMode"]) for index in indexes]
        if indexes := inputs.get("localSecondaryIndexes"):
            parameters["LocalSecondaryIndexes"] = [
                {**_index({**index, "hashKey": inputs["hashKey"]}, _ON_DEMAND)} for index in indexes
            ]
        table = aws.client("dynamodb").create_table(**parameters)["TableDescription"]
        return table["TableName"], self._outputs(table)

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        if (inputs.get("ttl") or {}).get("enabled"):
            _set_time_to_live(aws, id, inputs["ttl"], enabled=True)
        if (inputs.get("pointInTimeRecovery") or {}).get("enabled"):
            _set_recovery(aws, id, inputs["pointInTimeRecovery"])

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        dynamodb = aws.client("dynamodb")
        table = dynamodb.describe_table(TableName=id)["Table"]
        keys = {key["KeyType"]: key["AttributeName"] for key in table["KeySchema"]}
        billing_mode = table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
        state: Outputs = {
            **self._outputs(table),
            "name": table["TableName"],
            "hashKey": keys["HASH"],
            "rangeKey": keys.get("RANGE"),
            "attributes": [
                {"name": item["AttributeName"], "type": item["AttributeType"]} for item in table["AttributeDefinitions"]
            ],
            "billingMode": billing_mode,
            "deletionProtectionEnabled": table.get("DeletionProtectionEnabled", False),
            "streamEnabled": table.get("StreamSpecification", {}).get("StreamEnabled", False),
            "tagsAll": _tags(dynamodb, table["TableArn"]),
        }
        if billing_mode != _ON_DEMAND:
            state["readCapacity"] = table["ProvisionedThroughput"]["ReadCapacityUnits"]
            state["writeCapacity"] = table["ProvisionedThroughput"]["WriteCapacityUnits"]
        if encryption := table.get("SSEDescription"):
            state["serverSideEncryption"] = {
                "enabled": encryption.get("Status") in ("ENABLED", "ENABLING"),
                "kmsKeyArn": encryption.get("KMSMasterKeyArn"),
            }
        ttl = dynamodb.describe_time_to_live(TableName=id)["TimeToLiveDescription"]
        enabled = ttl.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        if enabled or "ttl" in inputs:
            state["ttl"] = {"enabled": enabled, "attributeName": ttl.get("AttributeName", "")}
        recovery = dynamodb.describe_continuous_backups(TableName=id)["ContinuousBackupsDescription"]
        status = recovery["PointInTimeRecoveryDescription"]
        enabled = status["PointInTimeRecoveryStatus"] == "ENABLED"
        if enabled or "pointInTimeRecovery" in inputs:
            state["pointInTimeRecovery"] = {"enabled": enabled}
            if enabled:
                state["pointInTimeRecovery"]["recoveryPeriodInDays"] = status.get("RecoveryPeriodInDays")
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        dynamodb = aws.client("dynamodb")
        new = update.new
        # DynamoDB takes one kind of change per call.
        changes: list[dict[str, Any]] = []
        if update.has("deletionProtectionEnabled"):
            changes.append({"DeletionProtectionEnabled": bool(new.get("deletionProtectionEnabled"))})
        if update.changed & {"billingMode", "readCapacity", "writeCapacity"}:
            changes.append({"BillingMode": new["billingMode"], **_throughput(new, new["billingMode"])})
        if update.changed & {"streamEnabled", "streamViewType"}:
            if update.old.get("streamEnabled") and new.get("streamEnabled"):
                changes.append({"StreamSpecification": {"StreamEnabled": False}})
            changes.append(_stream(new) or {"StreamSpecification": {"StreamEnabled": False}})
        if "serverSideEncryption" in update.changed:
            changes.append(_encryption(new) or {"SSESpecification": {"Enabled": False}})
        if "tableClass" in update.changed:
            changes.append({"TableClass": new.get("tableClass") or "STANDARD"})
        if "globalSecondaryIndexes" in update.changed:
            changes += _index_changes(update)
        for change in changes:
            dynamodb.update_table(TableName=id, **change)
        if "ttl" in update.changed or (not update.changed and new.get("ttl")):
            old_ttl = update.old.get("ttl") or {}
            wanted = new.get("ttl") or {**old_ttl, "enabled": False}
            if old_ttl.get("enabled") or wanted.get("enabled"):
                _set_time_to_live(aws, id, wanted, enabled=bool(wanted.get("enabled")))
        if update.has("pointInTimeRecovery"):
            _set_recovery(aws, id, new.get("pointInTimeRecovery") or {"enabled": False})
        table = dynamodb.describe_table(TableName=id)["Table"]
        arn = table["TableArn"]
        apply_tag_list(
            update,
            lambda tags: dynamodb.tag_resource(ResourceArn=arn, Tags=tags),
            lambda keys: dynamodb.untag_resource(ResourceArn=arn, TagKeys=keys),
        )
        return self._outputs(table)

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("dynamodb").delete_table(TableName=id)

    @staticmethod
    def _outputs(table: Any) -> Outputs:
        return {
            "arn": table["TableArn"],
            "streamArn": table.get("LatestStreamArn", ""),
            "streamLabel": table.get("LatestStreamLabel", ""),
        }


def _tags(dynamodb: Any, arn: str) -> dict[str, str]:
    pages = dynamodb.get_paginator("list_tags_of_resource").paginate(ResourceArn=arn)  # ten tags a page
    return tag_map([tag for page in pages for tag in page["Tags"]])


def _attributes(inputs: Properties) -> list[dict[str, str]]:
    return [{"AttributeName": item["name"], "AttributeType": item["type"]} for item in inputs.get("attributes") or ()]


def _keys(keys: Properties) -> list[dict[str, str]]:
    schema = [{"AttributeName": keys["hashKey"], "KeyType": "HASH"}]
    if keys.get("rangeKey"):
        schema.append({"AttributeName": keys["rangeKey"], "KeyType": "RANGE"})
    return schema


def _throughput(capacity: Properties, billing_mode: str) -> dict[str, Any]:
    if billing_mode == _ON_DEMAND:
        return {}
    return {
        "ProvisionedThroughput": {
            "ReadCapacityUnits": capacity.get("readCapacity") or 1,
            "WriteCapacityUnits": capacity.get("writeCapacity") or 1,
        }
    }


def _stream(inputs: Properties) -> dict[str, Any]:
    if not inputs.get("streamEnabled"):
        return {}
    return {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": inputs.get("streamViewType")}}


def _encryption(inputs: Properties) -> dict[str, Any]:
    encryption = inputs.get("serverSideEncryption") or {}
    if not encryption.get("enabled"):
        return {}
    specification = {"Enabled": True, "SSEType": "KMS"}
    if encryption.get("kmsKeyArn"):
        specification["KMSMasterKeyId"] = encryption["kmsKeyArn"]
    return {"SSESpecification": specification}


def _index(index: Properties, billing_mode: str) -> dict[str, Any]:
    projection: dict[str, Any] = {"ProjectionType": index["projectionType"]}
    if index.get("nonKeyAttributes"):
        projection["NonKeyAttributes"] = index["nonKeyAttributes"]
    keys = index.get("keySchemas")
    schema = [{"AttributeName": key["attributeName"], "KeyType": key["keyType"]} for key in keys or ()] or _keys(index)
    return {
        "IndexName": index["name"],
        "KeySchema": schema,
        "Projection": projection,
        **_throughput(index, billing_mode),
    }


def _index_changes(update: Update) -> list[dict[str, Any]]:
    """One UpdateTable call per index that goes or comes; a changed index goes first and comes back."""
    old, new = (
        {index["name"]: index for index in inputs.get("globalSecondaryIndexes") or ()}
        for inputs in (update.old, update.new)
    )
    gone = [name for name, index in old.items() if new.get(name) != index]
    come = [index for name, index in new.items() if old.get(name) != index]
    attributes, billing_mode = _attributes(update.new), update.new["billingMode"]
    deletions = [{"GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": name}}]} for name in gone]
    creations = [
        {
            "AttributeDefinitions": attributes,
            "GlobalSecondaryIndexUpdates": [{"Create": _index(index, billing_mode)}],
        }
        for index in come
    ]
    return [*deletions, *creations]


def _set_time_to_live(aws: Aws, table: str, ttl: Properties, *, enabled: bool) -> None:
    aws.client("dynamodb").update_time_to_live(
        TableName=table, TimeToLiveSpecification={"Enabled": enabled, "AttributeName": ttl.get("attributeName") or ""}
    )


def _set_recovery(aws: Aws, table: str, recovery: Properties) -> None:
    specification: dict[str, Any] = {"PointInTimeRecoveryEnabled": bool(recovery.get("enabled"))}
    if recovery.get("enabled") and recovery.get("recoveryPeriodInDays"):
        specification["RecoveryPeriodInDays"] = recovery["recoveryPeriodInDays"]
    aws.client("dynamodb").update_continuous_backups(TableName=table, PointInTimeRecoverySpecification=specification)


HANDLERS = (Table,)
