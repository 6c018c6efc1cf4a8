"""MSK handlers on a real server.  Guards: broker lists for the wrong protocol, clusters left behind."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.aws_lifecycle import Account, assert_full_life, assert_settled
from tests.support.aws_network import default_subnets
from tests.support.moto_server import client

CLUSTER = "aws:msk/cluster:Cluster"
CONFIGURATION = "aws:msk/configuration:Configuration"


def cluster_inputs(account: Account, **more: Any) -> dict[str, Any]:
    return {
        "kafkaVersion": "3.9.x",
        "numberOfBrokerNodes": 2,
        "brokerNodeGroupInfo": {
            "instanceType": "kafka.m7g.large",
            "clientSubnets": default_subnets(account.endpoint_url)[:2],
            "securityGroups": ["sg-0123456789abcdef0"],
            "storageInfo": {"ebsStorageInfo": {"volumeSize": 100}},
        },
        "clientAuthentication": {"sasl": {"iam": True}},
        "encryptionInfo": {"encryptionInTransit": {"clientBroker": "TLS", "inCluster": True}},
        "openMonitoring": {"prometheus": {"jmxExporter": {"enabledInBroker": True}}},
        "loggingInfo": {"brokerLogs": {"cloudwatchLogs": {"enabled": True, "logGroup": "/msk/events"}}},
        **more,
    }


def test_cluster_lives_through_create_update_and_delete(account: Account) -> None:
    second = cluster_inputs(account, numberOfBrokerNodes=4, tags={"tier": "streaming"})
    assert_full_life(account, CLUSTER, "events", cluster_inputs(account), second)


def test_independent_client_sees_authentication_encryption_and_storage(account: Account) -> None:
    cluster = account.created(CLUSTER, "seen", cluster_inputs(account))
    seen = client(account.endpoint_url, "kafka").describe_cluster(ClusterArn=cluster.id)["ClusterInfo"]
    assert seen["ClientAuthentication"]["Sasl"]["Iam"]["Enabled"] is True
    assert seen["EncryptionInfo"]["EncryptionInTransit"] == {"ClientBroker": "TLS", "InCluster": True}
    assert seen["BrokerNodeGroupInfo"]["StorageInfo"]["EbsStorageInfo"]["VolumeSize"] == 100
    assert seen["LoggingInfo"]["BrokerLogs"]["CloudWatchLogs"]["LogGroup"] == "/msk/events"


@pytest.mark.parametrize(
    ("authentication", "protocol", "given"),
    [
        ({"sasl": {"iam": True}}, "TLS", {"bootstrapBrokersSaslIam": 9098}),
        ({"sasl": {"scram": True}}, "TLS", {"bootstrapBrokersSaslScram": 9096}),
        ({"unauthenticated": True}, "TLS_PLAINTEXT", {"bootstrapBrokers": 9092, "bootstrapBrokersTls": 9094}),
        ({"tls": {"certificateAuthorityArns": ["arn:aws:acm-pca:x"]}}, "TLS", {"bootstrapBrokersTls": 9094}),
    ],
)
def test_broker_lists_follow_authentication_and_protocol(
    account: Account, authentication: dict[str, Any], protocol: str, given: dict[str, int]
) -> None:
    encryption = {"encryptionInTransit": {"clientBroker": protocol, "inCluster": True}}
    inputs = cluster_inputs(account, clientAuthentication=authentication, encryptionInfo=encryption)
    out = account.created(CLUSTER, "brokers", inputs).outputs
    lists = ("bootstrapBrokers", "bootstrapBrokersTls", "bootstrapBrokersSaslScram", "bootstrapBrokersSaslIam")
    ports = {name: {broker.rsplit(":", 1)[-1] for broker in out[name].split(",")} for name in lists if out[name]}
    assert ports == {name: {str(port)} for name, port in given.items()}
    assert all(out[name].count(",") == 1 for name in given)


def test_moved_brokers_replace_the_cluster(account: Account) -> None:
    cluster = account.created(CLUSTER, "moved", cluster_inputs(account))
    nodes = {
        **cluster_inputs(account)["brokerNodeGroupInfo"],
        "clientSubnets": default_subnets(account.endpoint_url)[1:],
    }
    assert cluster.diff(cluster_inputs(account, brokerNodeGroupInfo=nodes)).replaces == ("brokerNodeGroupInfo",)


def test_configuration_is_marked_and_counts_its_revisions(account: Account) -> None:
    inputs = {"serverProperties": "auto.create.topics.enable=false", "kafkaVersions": ["3.9.x"]}
    configuration = account.created(CONFIGURATION, "brokers", inputs)
    assert configuration.outputs["__falaj"] == {"emulated": "state"}
    assert_settled(configuration, inputs)
    configuration.update({**inputs, "serverProperties": "auto.create.topics.enable=false\nlog.retention.hours=24"})
    assert configuration.outputs["latestRevision"] == 2
