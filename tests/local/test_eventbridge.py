"""EventBridge handlers on a real server.  Guards: rules on the wrong bus, events that reach nobody, leftovers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from falaj.engine.provider import Changes
from tests.support.aws_lifecycle import Account, Resource, assert_full_life
from tests.support.moto_server import ACCOUNT_ID, REGION, client

BUS = "aws:cloudwatch/eventBus:EventBus"
RULE = "aws:cloudwatch/eventRule:EventRule"
TARGET = "aws:cloudwatch/eventTarget:EventTarget"
QUEUE_ARN = f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:drift"
PATTERN = json.dumps({"source": ["falaj.drift"]})


@pytest.fixture(scope="module")
def bus(account: Account) -> Resource:
    return account.created(BUS, "platform", {})


def test_bus_lives_through_create_update_and_delete(account: Account) -> None:
    assert_full_life(account, BUS, "events", {"description": "platform"}, {"description": "events", "tags": {"a": "b"}})


def test_rule_lives_through_create_update_and_delete(account: Account, bus: Resource) -> None:
    first = {"eventBusName": bus.id, "eventPattern": PATTERN, "description": "drift"}
    assert_full_life(account, RULE, "drift", first, {**first, "state": "DISABLED", "tags": {"a": "b"}})


def test_scheduled_rule_lives_on_the_default_bus(account: Account) -> None:
    first = {"scheduleExpression": "rate(1 hour)"}
    assert_full_life(account, RULE, "hourly", first, {"scheduleExpression": "rate(2 hours)"})


def test_independent_client_sees_the_rule_on_its_bus(account: Account, bus: Resource) -> None:
    rule = account.created(RULE, "seen", {"eventBusName": bus.id, "eventPattern": PATTERN})
    events = client(account.endpoint_url, "events")
    seen = events.describe_rule(Name=rule.inputs["name"], EventBusName=bus.id)
    assert (json.loads(seen["EventPattern"]), seen["State"]) == (json.loads(PATTERN), "ENABLED")
    assert rule.id == f"{bus.id}/{rule.inputs['name']}"
    assert rule.diff({"eventBusName": bus.id, "eventPattern": PATTERN.replace(" ", "")}).changes is Changes.NONE


def test_target_lives_through_create_update_and_delete(account: Account, bus: Resource) -> None:
    rule = account.created(RULE, "aimed", {"eventBusName": bus.id, "eventPattern": PATTERN})
    first: dict[str, Any] = {"eventBusName": bus.id, "rule": rule.inputs["name"], "arn": QUEUE_ARN}
    second = {
        **first,
        "retryPolicy": {"maximumRetryAttempts": 3, "maximumEventAgeInSeconds": 3600},
        "deadLetterConfig": {"arn": f"{QUEUE_ARN}-dead"},
    }
    assert_full_life(account, TARGET, "queue", first, second)


def test_independent_client_sees_the_transformed_target(account: Account, bus: Resource) -> None:
    rule = account.created(RULE, "transformed", {"eventBusName": bus.id, "eventPattern": PATTERN})
    transformer = {"inputPaths": {"model": "$.detail.model"}, "inputTemplate": '{"retrain": "<model>"}'}
    inputs = {"eventBusName": bus.id, "rule": rule.inputs["name"], "arn": QUEUE_ARN, "inputTransformer": transformer}
    target = account.created(TARGET, "transformed", inputs)
    events = client(account.endpoint_url, "events")
    seen = events.list_targets_by_rule(Rule=rule.inputs["name"], EventBusName=bus.id)["Targets"][0]
    assert seen["InputTransformer"]["InputPathsMap"] == {"model": "$.detail.model"}
    assert target.id == f"{bus.id}-{rule.inputs['name']}-{target.inputs['targetId']}"
