"""SNS handlers on a real server.  Guards: unencrypted topics, policies that stay after their deletion."""

from __future__ import annotations

import json

from tests.support.aws_lifecycle import Account, assert_full_life, assert_settled
from tests.support.moto_server import ACCOUNT_ID, client

TOPIC = "aws:sns/topic:Topic"
POLICY = "aws:sns/topicPolicy:TopicPolicy"
SUBSCRIPTION = "aws:sns/topicSubscription:TopicSubscription"


def document(service: str, topic: str) -> str:
    statement = {
        "Sid": "publish",
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sns:Publish",
        "Resource": topic,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_topic_lives_through_create_update_and_delete(account: Account) -> None:
    first = {"displayName": "alerts", "kmsMasterKeyId": "alias/platform"}
    assert_full_life(account, TOPIC, "alerts", first, {**first, "displayName": "alarms", "tags": {"a": "b"}})


def test_independent_client_sees_the_key(account: Account) -> None:
    topic = account.created(TOPIC, "seen", {"kmsMasterKeyId": "alias/platform"})
    seen = client(account.endpoint_url, "sns").get_topic_attributes(TopicArn=topic.id)["Attributes"]
    assert seen["KmsMasterKeyId"] == "alias/platform"
    assert topic.outputs["owner"] == ACCOUNT_ID


def test_topic_policy_is_set_changed_and_taken_back(account: Account) -> None:
    topic = account.created(TOPIC, "governed", {})
    sns = client(account.endpoint_url, "sns")
    born_with = json.loads(sns.get_topic_attributes(TopicArn=topic.id)["Attributes"]["Policy"])
    budgets = {"arn": topic.id, "policy": document("budgets.amazonaws.com", topic.id)}
    policy = account.created(POLICY, "governed", budgets)
    assert_settled(policy, budgets)
    events = {"arn": topic.id, "policy": document("events.amazonaws.com", topic.id)}
    policy.update(events)
    assert_settled(policy, events)
    policy.delete()
    left = json.loads(sns.get_topic_attributes(TopicArn=topic.id)["Attributes"]["Policy"])
    assert left["Id"] == born_with["Id"]


def test_subscription_lives_through_create_update_and_delete(account: Account) -> None:
    topic = account.created(TOPIC, "fanout", {})
    queue = f"arn:aws:sqs:me-central-1:{ACCOUNT_ID}:events"
    first = {"topic": topic.id, "protocol": "sqs", "endpoint": queue, "rawMessageDelivery": True}
    second = {**first, "rawMessageDelivery": False, "filterPolicy": json.dumps({"kind": ["drift"]})}
    assert_full_life(account, SUBSCRIPTION, "events", first, second)
