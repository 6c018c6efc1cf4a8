"""Platform events: one EventBridge bus, the rules that sort what is announced on it, and the queues that hold it.

One unit because an event is only delivered if all of it agrees: the rule may send to the queue, the queue admits that
rule alone, and what a consumer cannot handle ends in one place where somebody looks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import cloudwatch, sqs

from components.base import PlatformComponent
from components.iam_documents import require_tls_statements, resource_document
from components.naming import Environment
from components.rule_delivery import deliver_to_queue

DAY_SECONDS = 86_400
RETENTION_SECONDS = 4 * DAY_SECONDS
"""A weekend and a working day for a stopped consumer to come back."""
DEAD_LETTER_RETENTION_SECONDS = 14 * DAY_SECONDS
"""The longest that SQS keeps a message."""
DELIVERY_ATTEMPTS = 5
LONG_POLL_SECONDS = 20
"""The longest wait that SQS offers; shorter polls cost more and find nothing sooner."""
DATA_KEY_REUSE_SECONDS = 300
"""How long SQS uses one data key: KMS is called at most every five minutes, and a disabled key bites within five."""


@dataclass(frozen=True)
class Subscription:
    """Events that go to one queue.  ``on_platform_bus``: announced by the platform; else by AWS on the default bus."""

    name: str
    description: str
    pattern: Mapping[str, object]
    visibility_timeout_seconds: int
    """Longer than the consumer takes for one message, or another consumer starts the same work."""
    on_platform_bus: bool = True


def subscriptions(*, lake_bucket: str) -> tuple[Subscription, ...]:
    """Return the platform's subscriptions.  ``lake_bucket``: name of the bucket whose raw zone starts ingestion."""
    return (
        Subscription(
            name="ingestion",
            description="Objects that arrive in the raw zone of the lake",
            pattern={
                "source": ["aws.s3"],
                "detail-type": ["Object Created"],
                "detail": {"bucket": {"name": [lake_bucket]}, "object": {"key": [{"prefix": "raw/"}]}},
            },
            visibility_timeout_seconds=900,
            on_platform_bus=False,
        ),
        Subscription(
            name="lineage",
            description="Every event that a platform service announces",
            pattern={"source": [{"prefix": "falaj."}]},
            visibility_timeout_seconds=60,
        ),
        Subscription(
            name="retraining",
            description="Drift that the monitor found to be significant",
            pattern={"source": ["falaj.drift-monitor"], "detail-type": ["Drift Detected"]},
            visibility_timeout_seconds=3_600,
        ),
    )


class PlatformEvents(PlatformComponent):
    """The event bus with its subscriptions.

    Children: bus, dead-letter queues and their policies, and per subscription a queue, a queue policy, a rule and a
    target.  What nobody can handle of the subscriptions lies apart from what the consumer of the event stream refuses:
    the messages differ, and so does who puts them right.
    """

    bus_name: pulumi.Output[str]
    bus_arn: pulumi.Output[str]
    queue_arns: Mapping[str, pulumi.Output[str]]
    """Subscription name -> queue ARN."""
    queue_urls: Mapping[str, pulumi.Output[str]]
    dead_letter_queue_arn: pulumi.Output[str]
    """Of the subscriptions."""
    stream_dead_letter_queue_arn: pulumi.Output[str]
    stream_dead_letter_queue_url: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        environment: Environment,
        lake_bucket: str,
        key_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("falaj:data:PlatformEvents", name, opts)
        self._environment = environment
        self._key_arn = key_arn
        wanted = subscriptions(lake_bucket=lake_bucket)
        bus = cloudwatch.EventBus(
            f"{name}-bus",
            name=environment.physical_name("platform"),
            description="What the platform's services announce: data, models, drift, releases",
            kms_key_identifier=key_arn,
            opts=self.child_opts(),
        )
        dead_letters = self._dead_letter_queue(name, "dead-letters", wanted)
        stream_dead_letters = self._dead_letter_queue(name, "stream-dead-letters")
        queues = {subscription.name: self._subscribe(name, subscription, bus, dead_letters) for subscription in wanted}
        self.bus_name = bus.name
        self.bus_arn = bus.arn
        self.queue_arns = {key: queue.arn for key, queue in queues.items()}
        self.queue_urls = {key: queue.url for key, queue in queues.items()}
        self.dead_letter_queue_arn = dead_letters.arn
        self.stream_dead_letter_queue_arn = stream_dead_letters.arn
        self.stream_dead_letter_queue_url = stream_dead_letters.url
        self.register_declared_outputs()

    def _dead_letter_queue(self, name: str, purpose: str, sources: Sequence[Subscription] = ()) -> sqs.Queue:
        """A queue that keeps what it is given for as long as it can.

        ``sources``: whose queues may move messages in.
        """
        redrive: dict[str, object] = {"redrivePermission": "denyAll"}
        if sources:
            queues = [self._queue_arn(subscription.name) for subscription in sources]
            redrive = {"redrivePermission": "byQueue", "sourceQueueArns": queues}
        queue = sqs.Queue(
            f"{name}-{purpose}",
            name=self._queue_name(purpose),
            message_retention_seconds=DEAD_LETTER_RETENTION_SECONDS,
            kms_master_key_id=self._key_arn,
            kms_data_key_reuse_period_seconds=DATA_KEY_REUSE_SECONDS,
            redrive_allow_policy=json.dumps(redrive, sort_keys=True),
            opts=self.child_opts(),
        )
        sqs.QueuePolicy(
            f"{name}-{purpose}-policy",
            queue_url=queue.url,
            policy=queue.arn.apply(lambda arn: resource_document(require_tls_statements("sqs:*", [arn]))),
            opts=self.child_opts(),
        )
        return queue

    def _subscribe(
        self, name: str, subscription: Subscription, bus: cloudwatch.EventBus, dead_letters: sqs.Queue
    ) -> sqs.Queue:
        label = f"{name}-{subscription.name}"
        queue = sqs.Queue(
            label,
            name=self._queue_name(subscription.name),
            message_retention_seconds=RETENTION_SECONDS,
            receive_wait_time_seconds=LONG_POLL_SECONDS,
            visibility_timeout_seconds=subscription.visibility_timeout_seconds,
            kms_master_key_id=self._key_arn,
            kms_data_key_reuse_period_seconds=DATA_KEY_REUSE_SECONDS,
            redrive_policy=dead_letters.arn.apply(
                lambda arn: json.dumps(
                    {"deadLetterTargetArn": arn, "maxReceiveCount": DELIVERY_ATTEMPTS}, sort_keys=True
                )
            ),
            opts=self.child_opts(),
        )
        deliver_to_queue(
            self,
            label,
            queue,
            rule_name=self._environment.physical_name(subscription.name),
            description=subscription.description,
            pattern=subscription.pattern,
            bus_name=bus.name if subscription.on_platform_bus else None,
        )
        return queue

    def _queue_name(self, purpose: str) -> str:
        return self._environment.physical_name(purpose, limit=80)

    def _queue_arn(self, purpose: str) -> str:
        return self._environment.arn("sqs", self._queue_name(purpose))
