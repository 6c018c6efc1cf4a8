"""Kinesis handler on a real server.  Guards: streams without encryption, retention and shards that do not follow."""

from __future__ import annotations

from tests.support.aws_lifecycle import Account, assert_full_life
from tests.support.moto_server import client

STREAM = "aws:kinesis/stream:Stream"


def test_stream_lives_through_create_update_and_delete(account: Account) -> None:
    first = {"shardCount": 2, "retentionPeriod": 48, "encryptionType": "KMS", "kmsKeyId": "alias/aws/kinesis"}
    second = {
        **first,
        "shardCount": 4,
        "retentionPeriod": 24,
        "shardLevelMetrics": ["IncomingBytes"],
        "tags": {"a": "b"},
    }
    assert_full_life(account, STREAM, "events", first, second)


def test_independent_client_sees_encryption_and_retention(account: Account) -> None:
    inputs = {"retentionPeriod": 168, "encryptionType": "KMS", "kmsKeyId": "alias/aws/kinesis"}
    stream = account.created(STREAM, "seen", inputs)
    kinesis = client(account.endpoint_url, "kinesis")
    seen = kinesis.describe_stream_summary(StreamName=stream.inputs["name"])["StreamDescriptionSummary"]
    assert (seen["EncryptionType"], seen["RetentionPeriodHours"], seen["OpenShardCount"]) == ("KMS", 168, 1)
    assert stream.id == stream.outputs["arn"] == seen["StreamARN"]


def test_on_demand_streams_have_no_shard_count(account: Account) -> None:
    on_demand = {"streamModeDetails": {"streamMode": "ON_DEMAND"}}
    assert_full_life(account, STREAM, "demand", on_demand, {**on_demand, "retentionPeriod": 72})


def test_encryption_switched_off_outside_is_found_and_repaired(account: Account) -> None:
    inputs = {"encryptionType": "KMS", "kmsKeyId": "alias/aws/kinesis"}
    stream = account.created(STREAM, "drifting", inputs)
    kinesis = client(account.endpoint_url, "kinesis")
    name = stream.inputs["name"]
    kinesis.stop_stream_encryption(StreamName=name, EncryptionType="KMS", KeyId="alias/aws/kinesis")
    assert stream.refresh()
    stream.update(inputs)
    assert kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["EncryptionType"] == "KMS"
