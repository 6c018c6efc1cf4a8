"""Amazon SQS: queues and their policies."""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.tagging import apply_tag_map

_ATTRIBUTES = {
    "contentBasedDeduplication": "ContentBasedDeduplication",
    "deduplicationScope": "DeduplicationScope",
    "delaySeconds": "DelaySeconds",
    "fifoThroughputLimit": "FifoThroughputLimit",
    "kmsDataKeyReusePeriodSeconds": "KmsDataKeyReusePeriodSeconds",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "maxMessageSize": "MaximumMessageSize",
    "messageRetentionSeconds": "MessageRetentionPeriod",
    "policy": "Policy",
    "receiveWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
    "redriveAllowPolicy": "RedriveAllowPolicy",
    "redrivePolicy": "RedrivePolicy",
    "sqsManagedSseEnabled": "SqsManagedSseEnabled",
    "visibilityTimeoutSeconds": "VisibilityTimeout",
}
_BOOLEANS = frozenset({"contentBasedDeduplication", "sqsManagedSseEnabled"})
_TEXTS = frozenset(
    {"deduplicationScope", "fifoThroughputLimit", "kmsMasterKeyId", "policy", "redriveAllowPolicy", "redrivePolicy"}
)


class Queue(Handler):
    type = "aws:sqs/queue:Queue"
    auto_name = AutoName(max_length=80, suffix_when=("fifoQueue", ".fifo"))
    defaults = {
        "contentBasedDeduplication": False,
        "delaySeconds": 0,
        "fifoQueue": False,
        "maxMessageSize": 262144,
        "messageRetentionSeconds": 345600,
        "receiveWaitTimeSeconds": 0,
        "visibilityTimeoutSeconds": 30,
    }
    force_new = frozenset({"fifoQueue", "name", "namePrefix"})
    json_inputs = frozenset({"policy", "redriveAllowPolicy", "redrivePolicy"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        attributes = {
            _ATTRIBUTES[name]: _text(inputs[name]) for name in _ATTRIBUTES if inputs.get(name) not in (None, "")
        }
        if inputs.get("fifoQueue"):
            attributes["FifoQueue"] = "true"
        else:
            attributes.pop("ContentBasedDeduplication", None)  # a standard queue refuses even "false"
        url = aws.client("sqs").create_queue(
            QueueName=inputs["name"], Attributes=attributes, tags=inputs.get("tagsAll") or {}
        )["QueueUrl"]
        return url, {"url": url, "arn": aws.arn("sqs", inputs["name"])}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        sqs = aws.client("sqs")
        attributes = sqs.get_queue_attributes(QueueUrl=id, AttributeNames=["All"])["Attributes"]
        state: Outputs = {
            "url": id,
            "arn": attributes["QueueArn"],
            "name": attributes["QueueArn"].rsplit(":", 1)[-1],
            "fifoQueue": attributes.get("FifoQueue") == "true",
            "tagsAll": sqs.list_queue_tags(QueueUrl=id).get("Tags", {}),
        }
        for name, attribute in _ATTRIBUTES.items():
            if attribute in attributes:
                state[name] = _value(name, attributes[attribute])
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        sqs = aws.client("sqs")
        attributes = {
            _ATTRIBUTES[name]: _text(update.new.get(name, ""))
            for name in _ATTRIBUTES
            if name in update.changed or (not update.changed and name in update.new)
        }
        if not update.new.get("fifoQueue"):
            attributes.pop("ContentBasedDeduplication", None)
        if attributes:
            sqs.set_queue_attributes(QueueUrl=id, Attributes=attributes)
        apply_tag_map(
            update,
            lambda tags: sqs.tag_queue(QueueUrl=id, Tags=tags),
            lambda keys: sqs.untag_queue(QueueUrl=id, TagKeys=keys),
        )
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("sqs").delete_queue(QueueUrl=id)


class QueuePolicy(Handler):
    type = "aws:sqs/queuePolicy:QueuePolicy"
    force_new = frozenset({"queueUrl"})
    json_inputs = frozenset({"policy"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        _set_policy(aws, inputs["queueUrl"], inputs["policy"])
        return inputs["queueUrl"], {}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        attributes = (
            aws.client("sqs").get_queue_attributes(QueueUrl=id, AttributeNames=["Policy"]).get("Attributes", {})
        )
        if not attributes.get("Policy"):
            return None
        return {"queueUrl": id, "policy": attributes["Policy"]}

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        _set_policy(aws, id, update.new["policy"])
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        _set_policy(aws, id, "")


def _set_policy(aws: Aws, url: str, policy: str) -> None:
    aws.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})


def _text(value: Any) -> str:
    """An attribute as the API takes it; numbers may arrive as floats."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) else str(value)


def _value(name: str, text: str) -> Any:
    if name in _BOOLEANS:
        return text.lower() == "true"
    return text if name in _TEXTS else int(text)


HANDLERS = (Queue, QueuePolicy)
