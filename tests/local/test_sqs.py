"""SQS handlers on a real server.  Guards: queues without encryption or dead letters, FIFO names, lost policies."""

from __future__ import annotations

import json

from falaj.engine.provider import Changes
from tests.support.aws_lifecycle import DEFAULT_TAGS, Account, assert_full_life, assert_settled
from tests.support.moto_server import ACCOUNT_ID, client

QUEUE = "aws:sqs/queue:Queue"
POLICY = "aws:sqs/queuePolicy:QueuePolicy"


def document(action: str) -> str:
    statement = {
        "Sid": "deny-plaintext",
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": "*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_queue_lives_through_create_update_and_delete(account: Account) -> None:
    first = {"visibilityTimeoutSeconds": 60, "sqsManagedSseEnabled": True}
    second = {**first, "visibilityTimeoutSeconds": 120, "receiveWaitTimeSeconds": 20, "tags": {"a": "b"}}
    assert_full_life(account, QUEUE, "events", first, second)


def test_independent_client_sees_key_and_dead_letters(account: Account) -> None:
    dead = account.created(QUEUE, "dead", {})
    redrive = json.dumps({"deadLetterTargetArn": dead.outputs["arn"], "maxReceiveCount": 5})
    queue = account.created(QUEUE, "seen", {"kmsMasterKeyId": "alias/platform", "redrivePolicy": redrive})
    sqs = client(account.endpoint_url, "sqs")
    seen = sqs.get_queue_attributes(QueueUrl=queue.id, AttributeNames=["All"])["Attributes"]
    assert seen["KmsMasterKeyId"] == "alias/platform"
    assert json.loads(seen["RedrivePolicy"])["deadLetterTargetArn"] == dead.outputs["arn"]
    assert seen["QueueArn"] == queue.outputs["arn"]
    assert sqs.list_queue_tags(QueueUrl=queue.id)["Tags"] == DEFAULT_TAGS


def test_redrive_policy_spelled_differently_is_no_change(account: Account) -> None:
    dead = account.created(QUEUE, "spelled-dead", {}).outputs["arn"]
    queue = account.created(
        QUEUE, "spelled", {"redrivePolicy": f'{{"deadLetterTargetArn":"{dead}","maxReceiveCount":5}}'}
    )
    spaced = {"redrivePolicy": f'{{ "maxReceiveCount": 5, "deadLetterTargetArn": "{dead}" }}'}
    assert queue.diff(spaced).changes is Changes.NONE


def test_fifo_queue_keeps_its_suffix_last(account: Account) -> None:
    inputs = {"fifoQueue": True, "contentBasedDeduplication": True}
    queue = account.created(QUEUE, "ordered", inputs)
    assert queue.inputs["name"].endswith(".fifo")
    assert queue.outputs["arn"] == f"arn:aws:sqs:me-central-1:{ACCOUNT_ID}:{queue.inputs['name']}"
    assert_settled(queue, inputs)
    assert queue.diff({}).replaces == ("fifoQueue",)


def test_queue_policy_lives_through_create_update_and_delete(account: Account) -> None:
    queue = account.created(QUEUE, "governed", {})
    first, second = ({"queueUrl": queue.id, "policy": document(action)} for action in ("sqs:*", "sqs:SendMessage"))
    assert_full_life(account, POLICY, "governed", first, second)
