"""Events are lost in three quiet ways: an unencrypted stream, a zone that takes every replica along, a queue that
admits nobody.  Each has a test here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.base import ComponentSpecError
from components.events import PlatformEvents, subscriptions
from components.streaming import Streaming, broker_properties, check_streaming
from tests.support.answers import ACCOUNT_ID, REGION
from tests.support.platforms import platform
from tests.support.recorder import Recording, record

STREAM = "aws:kinesis/stream:Stream"
CLUSTER = "aws:msk/cluster:Cluster"
QUEUE = "aws:sqs/queue:Queue"
POLICY = "aws:sqs/queuePolicy:QueuePolicy"
RULE = "aws:cloudwatch/eventRule:EventRule"
TARGET = "aws:cloudwatch/eventTarget:EventTarget"
NAMES = ("ingestion", "lineage", "retraining")


def streaming(name: str, protect: bool = True, **overrides: Any) -> Recording:
    subject = platform(name, **overrides)
    return record(
        lambda: Streaming(
            "streaming",
            subject.blueprint.streaming,
            environment=subject.environment,
            domain={found.name: found for found in subject.blueprint.data_domains}["lake"],
            vpc_id="vpc-1",
            subnet_ids=["subnet-1", "subnet-3"],
            client_security_group_id="sg-nodes",
            key_arn=subject.key_arns["lake"],
            log_key_arn=subject.key_arns["platform"],
            log_retention=365,
            protect=protect,
        )
    )


def events() -> Recording:
    subject = platform("smb")
    return record(
        lambda: PlatformEvents(
            "events",
            environment=subject.environment,
            lake_bucket="falaj-dev-lake-123456789012",
            key_arn=subject.key_arns["platform"],
        )
    )


def test_the_small_stream_is_kinesis_under_the_lake_key() -> None:
    recording = streaming("smb")
    assert recording.types() == {"falaj:data:Streaming": 1, STREAM: 1}
    stream = recording.one(STREAM)
    assert stream.inputs["encryptionType"] == "KMS"
    assert stream.inputs["kmsKeyId"] == platform("smb").key_arns["lake"]
    assert stream.inputs["streamModeDetails"] == {"streamMode": "PROVISIONED"}
    assert stream.inputs["shardCount"] == platform("smb").blueprint.streaming.shards
    assert stream.inputs["retentionPeriod"] == 24
    assert stream.inputs["tags"]["data-domain"] == "lake"
    assert stream.protect


def test_no_shards_mean_on_demand() -> None:
    inputs = streaming("smb", **{"streaming.shards": 0}).one(STREAM).inputs
    assert inputs["streamModeDetails"] == {"streamMode": "ON_DEMAND"}
    assert "shardCount" not in inputs


def test_only_a_protected_stream_waits_for_its_consumers() -> None:
    assert streaming("smb").one(STREAM).inputs["enforceConsumerDeletion"] is False
    free = streaming("smb", protect=False).one(STREAM)
    assert (free.inputs["enforceConsumerDeletion"], free.protect) == (True, False)


def test_the_enterprise_stream_is_exactly_these_children() -> None:
    assert streaming("enterprise").types() == {
        "falaj:data:Streaming": 1,
        CLUSTER: 1,
        "aws:msk/configuration:Configuration": 1,
        "aws:cloudwatch/logGroup:LogGroup": 1,
        "aws:ec2/securityGroup:SecurityGroup": 1,
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": 3,
    }


def test_kafka_takes_tls_with_iam_and_nothing_else() -> None:
    subject, cluster = platform("enterprise"), streaming("enterprise").one(CLUSTER)
    assert cluster.inputs["encryptionInfo"] == {
        "encryptionAtRestKmsKeyArn": subject.key_arns["lake"],
        "encryptionInTransit": {"clientBroker": "TLS", "inCluster": True},
    }
    assert cluster.inputs["clientAuthentication"] == {
        "sasl": {"iam": True, "scram": False},
        "unauthenticated": False,
    }
    brokers = cluster.inputs["brokerNodeGroupInfo"]
    assert brokers["connectivityInfo"] == {"publicAccess": {"type": "DISABLED"}}
    assert brokers["clientSubnets"] == ["subnet-1", "subnet-3"]
    assert cluster.inputs["numberOfBrokerNodes"] == subject.blueprint.streaming.brokers
    assert cluster.inputs["loggingInfo"]["brokerLogs"]["cloudwatchLogs"]["enabled"] is True
    assert cluster.protect


def test_kafka_admits_the_nodes_on_its_iam_and_metrics_ports_only() -> None:
    rules = streaming("enterprise").of("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
    assert sorted(rule.inputs["fromPort"] for rule in rules) == [9098, 11001, 11002]
    assert {rule.inputs["referencedSecurityGroupId"] for rule in rules} == {"sg-nodes"}


def test_topics_and_groups_are_named_by_the_clusters_arn() -> None:
    recording = streaming("enterprise")
    outputs = recording.outputs_of("falaj:data:Streaming")
    arn = outputs["arn"]
    assert outputs["topics_arn"] == arn.replace(":cluster/", ":topic/")
    assert outputs["groups_arn"] == arn.replace(":cluster/", ":group/")
    assert outputs["endpoint"].count(":9098") == 6


@given(zone_count=st.sampled_from([2, 3]), per_zone=st.integers(1, 10), retention_hours=st.integers(24, 8_760))
def test_losing_a_zone_leaves_enough_replicas_to_write(zone_count: int, per_zone: int, retention_hours: int) -> None:
    brokers = zone_count * per_zone
    properties = broker_properties(zone_count=zone_count, brokers=brokers, retention_hours=retention_hours)
    replicas = int(properties["default.replication.factor"])
    assert replicas <= brokers
    # Rack awareness spreads replicas evenly, so one zone holds at most this many.
    worst_zone = -(-replicas // zone_count)
    if brokers >= 4 or zone_count == 3:
        assert replicas - worst_zone >= int(properties["min.insync.replicas"])
    assert list(properties) == sorted(properties)
    assert properties["unclean.leader.election.enable"] == "false"


@pytest.mark.parametrize(("zone_count", "says"), [(4, "MSK takes two or three"), (1, "MSK takes two or three")])
def test_refuses_a_number_of_zones_that_msk_cannot_use(zone_count: int, says: str) -> None:
    with pytest.raises(ComponentSpecError, match=says):
        check_streaming(platform("enterprise").blueprint.streaming, zone_count=zone_count)


def test_refuses_brokers_that_do_not_divide_over_the_zones() -> None:
    spec = platform("enterprise", **{"streaming.brokers": 4}).blueprint.streaming
    with pytest.raises(ComponentSpecError, match=r"4 over 3 usable zones; give a multiple of 3, e\.g\. 6"):
        check_streaming(spec, zone_count=3)


# --- platform events


def test_platform_events_are_exactly_these_children() -> None:
    assert events().types() == {
        "falaj:data:PlatformEvents": 1,
        "aws:cloudwatch/eventBus:EventBus": 1,
        QUEUE: 5,
        POLICY: 5,
        RULE: 3,
        TARGET: 3,
    }


def test_bus_and_queues_are_encrypted_under_the_platform_key() -> None:
    recording, key = events(), platform("smb").key_arns["platform"]
    assert recording.one("aws:cloudwatch/eventBus:EventBus").inputs["kmsKeyIdentifier"] == key
    assert {queue.inputs["kmsMasterKeyId"] for queue in recording.of(QUEUE)} == {key}


@pytest.mark.parametrize("name", NAMES)
def test_a_queue_admits_its_own_rule_over_tls_and_nobody_else(name: str) -> None:
    recording = events()
    policy = recording.named(f"events-{name}-policy", POLICY)
    rule = recording.named(f"events-{name}-rule", RULE)
    delivery = policy.statement("RuleDelivers")
    assert delivery["Principal"] == {"Service": ["events.amazonaws.com"]}
    (source,) = delivery["Condition"]["ArnEquals"].values()
    assert rule.inputs["name"] in source
    plain = policy.statement("DenyPlainConnections")
    assert (plain["Effect"], plain["Action"], plain["Principal"]) == ("Deny", ["sqs:*"], "*")
    assert plain["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize("name", NAMES)
def test_an_event_is_only_sent_once_its_queue_admits_it(name: str) -> None:
    recording = events()
    target = recording.named(f"events-{name}-target", TARGET)
    queue = recording.named(f"events-{name}", QUEUE)
    assert recording.named(f"events-{name}-policy", POLICY).urn in target.dependencies
    assert target.property_dependencies["arn"] == (queue.urn,)


@pytest.mark.parametrize("name", NAMES)
def test_what_nobody_can_handle_ends_in_the_dead_letter_queue(name: str) -> None:
    recording = events()
    dead = recording.named("events-dead-letters", QUEUE)
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:falaj-dev-dead-letters"
    redrive = recording.named(f"events-{name}", QUEUE).document("redrivePolicy")
    assert redrive == {"deadLetterTargetArn": arn, "maxReceiveCount": 5}
    admitted = dead.document("redriveAllowPolicy")
    assert admitted["redrivePermission"] == "byQueue"
    assert f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:falaj-dev-{name}" in admitted["sourceQueueArns"]
    assert dead.inputs["messageRetentionSeconds"] == 14 * 86_400


def test_what_a_streams_consumer_refuses_has_a_queue_that_nothing_is_moved_to() -> None:
    refused = events().named("events-stream-dead-letters", QUEUE)
    assert refused.document("redriveAllowPolicy") == {"redrivePermission": "denyAll"}
    assert refused.inputs["messageRetentionSeconds"] == 14 * 86_400


def test_only_raw_objects_of_the_lake_start_ingestion() -> None:
    recording = events()
    rule = recording.named("events-ingestion-rule", RULE)
    assert json.loads(rule.inputs["eventPattern"]) == {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {
            "bucket": {"name": ["falaj-dev-lake-123456789012"]},
            "object": {"key": [{"prefix": "raw/"}]},
        },
    }
    # S3 announces on the account's own bus, whatever bus the platform has.
    assert "eventBusName" not in rule.inputs


@pytest.mark.parametrize("name", ["lineage", "retraining"])
def test_platform_announcements_are_read_from_the_platforms_bus(name: str) -> None:
    recording = events()
    assert recording.named(f"events-{name}-rule", RULE).inputs["eventBusName"] == "falaj-dev-platform"
    assert recording.named(f"events-{name}-target", TARGET).inputs["eventBusName"] == "falaj-dev-platform"


def test_every_subscription_outlives_its_consumers_work() -> None:
    for subscription in subscriptions(lake_bucket="lake"):
        # SQS allows twelve hours at most.
        assert 0 < subscription.visibility_timeout_seconds <= 43_200
