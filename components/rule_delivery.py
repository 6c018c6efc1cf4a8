"""How an event comes into a queue: a rule, the queue's leave for that rule alone, and the target between them."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pulumi
from pulumi_aws import cloudwatch, sqs

from components.base import PlatformComponent
from components.iam_documents import allow, require_tls_statements, resource_document


def deliver_to_queue(
    component: PlatformComponent,
    name: str,
    queue: sqs.Queue,
    *,
    rule_name: str,
    description: str,
    pattern: Mapping[str, object],
    bus_name: pulumi.Input[str] | None = None,
) -> None:
    """Declare the rule ``rule_name`` that sends what fits ``pattern`` to ``queue``.  ``bus_name``: None for the bus on
    which AWS announces.

    The policy is the queue's only one.  The target comes after it: an event that the queue does not admit is lost.
    """
    rule = cloudwatch.EventRule(
        f"{name}-rule",
        name=rule_name,
        description=description,
        event_bus_name=bus_name,
        event_pattern=json.dumps(pattern, sort_keys=True),
        opts=component.child_opts(),
    )
    policy = sqs.QueuePolicy(
        f"{name}-policy",
        queue_url=queue.url,
        policy=pulumi.Output.all(queue.arn, rule.arn).apply(lambda arns: _queue_document(arns[0], arns[1])),
        opts=component.child_opts(),
    )
    cloudwatch.EventTarget(
        f"{name}-target",
        rule=rule.name,
        event_bus_name=bus_name,
        arn=queue.arn,
        opts=component.child_opts(depends_on=[policy]),
    )


def _queue_document(queue_arn: str, rule_arn: str) -> str:
    return resource_document(
        [
            allow(
                "RuleDelivers",
                ["sqs:SendMessage"],
                [queue_arn],
                principals={"Service": ["events.amazonaws.com"]},
                conditions={"ArnEquals": {"aws:SourceArn": rule_arn}},
            ),
            *require_tls_statements("sqs:*", [queue_arn]),
        ]
    )
