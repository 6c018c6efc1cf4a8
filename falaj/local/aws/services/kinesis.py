"""Amazon Kinesis Data Streams."""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.shapes import tag_map
from falaj.local.aws.tagging import apply_tag_map

_DEFAULT_RETENTION_HOURS = 24  # Kinesis quota page: the minimum, and what a new stream has
_PROVISIONED = "PROVISIONED"


class Stream(Handler):
    type = "aws:kinesis/stream:Stream"
    auto_name = AutoName(max_length=128)
    defaults = {"encryptionType": "NONE", "enforceConsumerDeletion": False, "retentionPeriod": _DEFAULT_RETENTION_HOURS}
    force_new = frozenset({"name"})
    unordered = frozenset({"shardLevelMetrics"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        kinesis = aws.client("kinesis")
        mode = _mode(inputs)
        parameters: dict[str, Any] = {"StreamName": inputs["name"], "StreamModeDetails": {"StreamMode": mode}}
        if mode == _PROVISIONED:
            parameters["ShardCount"] = inputs.get("shardCount") or 1
        kinesis.create_stream(**parameters)
        arn = kinesis.describe_stream_summary(StreamName=inputs["name"])["StreamDescriptionSummary"]["StreamARN"]
        return arn, {"arn": arn}

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        kinesis, name = aws.client("kinesis"), inputs["name"]
        if inputs.get("tagsAll"):  # CreateStream takes tags as well, but moto drops those
            kinesis.add_tags_to_stream(StreamName=name, Tags=inputs["tagsAll"])
        if inputs["retentionPeriod"] != _DEFAULT_RETENTION_HOURS:
            kinesis.increase_stream_retention_period(StreamName=name, RetentionPeriodHours=inputs["retentionPeriod"])
        if inputs["encryptionType"] == "KMS":
            kinesis.start_stream_encryption(StreamName=name, EncryptionType="KMS", KeyId=inputs["kmsKeyId"])
        if inputs.get("shardLevelMetrics"):
            kinesis.enable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=inputs["shardLevelMetrics"])

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        kinesis, name = aws.client("kinesis"), id.rsplit("/", 1)[-1]
        stream = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        mode = stream.get("StreamModeDetails", {}).get("StreamMode", _PROVISIONED)
        state: Outputs = {
            "arn": stream["StreamARN"],
            "name": stream["StreamName"],
            "encryptionType": stream.get("EncryptionType", "NONE"),
            "kmsKeyId": stream.get("KeyId"),
            "retentionPeriod": stream["RetentionPeriodHours"],
            "shardLevelMetrics": stream["EnhancedMonitoring"][0]["ShardLevelMetrics"],
            "streamModeDetails": {"streamMode": mode},
            "tagsAll": tag_map(kinesis.list_tags_for_stream(StreamName=name)["Tags"]),
        }
        if mode == _PROVISIONED:
            state["shardCount"] = stream["OpenShardCount"]
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        kinesis, name, new = aws.client("kinesis"), id.rsplit("/", 1)[-1], update.new
        if update.has("streamModeDetails"):
            kinesis.update_stream_mode(StreamARN=id, StreamModeDetails={"StreamMode": _mode(new)})
        if "shardCount" in update.changed and _mode(new) == _PROVISIONED:
            kinesis.update_shard_count(
                StreamName=name, TargetShardCount=new.get("shardCount") or 1, ScalingType="UNIFORM_SCALING"
            )
        if update.has("retentionPeriod"):
            self._set_retention(kinesis, name, new["retentionPeriod"])
        if update.has("encryptionType", "kmsKeyId"):
            if new["encryptionType"] == "KMS":
                kinesis.start_stream_encryption(StreamName=name, EncryptionType="KMS", KeyId=new["kmsKeyId"])
            elif update.old["encryptionType"] == "KMS":
                kinesis.stop_stream_encryption(StreamName=name, EncryptionType="KMS", KeyId=update.old["kmsKeyId"])
        if update.has("shardLevelMetrics"):
            before, after = (set(inputs.get("shardLevelMetrics") or ()) for inputs in (update.old, new))
            if before - after:
                kinesis.disable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=sorted(before - after))
            if after:
                kinesis.enable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=sorted(after))
        apply_tag_map(
            update,
            lambda tags: kinesis.add_tags_to_stream(StreamName=name, Tags=tags),
            lambda keys: kinesis.remove_tags_from_stream(StreamName=name, TagKeys=keys),
        )
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("kinesis").delete_stream(
            StreamName=id.rsplit("/", 1)[-1], EnforceConsumerDeletion=bool(inputs.get("enforceConsumerDeletion"))
        )

    @staticmethod
    def _set_retention(kinesis: Any, name: str, hours: int) -> None:
        stream = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        if hours > stream["RetentionPeriodHours"]:
            kinesis.increase_stream_retention_period(StreamName=name, RetentionPeriodHours=hours)
        elif hours < stream["RetentionPeriodHours"]:
            kinesis.decrease_stream_retention_period(StreamName=name, RetentionPeriodHours=hours)


def _mode(inputs: Properties) -> str:
    mode: str = (inputs.get("streamModeDetails") or {}).get("streamMode", _PROVISIONED)
    return mode


HANDLERS = (Stream,)
