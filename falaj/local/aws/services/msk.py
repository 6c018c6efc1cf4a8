"""Amazon MSK: clusters exist in the account, configurations in the state only."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, StateOnly, Update
from falaj.local.aws.shapes import observed, pascal, request, tag_map
from falaj.local.aws.tagging import apply_tag_map

_PLAINTEXT_PORT, _TLS_PORT, _SCRAM_PORT, _IAM_PORT = 9092, 9094, 9096, 9098  # MSK developer guide, "Port information"


class Configuration(StateOnly):
    type = "aws:msk/configuration:Configuration"
    auto_name = AutoName()
    force_new = frozenset({"kafkaVersions", "name"})
    unordered = frozenset({"kafkaVersions"})
    changes_with_update = frozenset({"latestRevision"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        arn = aws.arn("kafka", f"configuration/{inputs['name']}/{uuid.uuid4()}-1")
        return arn, {"arn": arn, "latestRevision": 1}

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        return {"latestRevision": int(update.outputs.get("latestRevision", 1)) + 1}


class Cluster(Handler):
    type = "aws:msk/cluster:Cluster"
    auto_name = AutoName(property="clusterName", max_length=64)
    defaults = {"enhancedMonitoring": "DEFAULT"}
    force_new = frozenset(
        {
            "brokerNodeGroupInfo.azDistribution",
            "brokerNodeGroupInfo.clientSubnets",
            "brokerNodeGroupInfo.securityGroups",
            "clusterName",
            "encryptionInfo.encryptionAtRestKmsKeyArn",
            "encryptionInfo.encryptionInTransit.inCluster",
        }
    )
    unordered = frozenset({"brokerNodeGroupInfo.clientSubnets", "brokerNodeGroupInfo.securityGroups"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        kafka = aws.client("kafka")
        arn = kafka.create_cluster(
            **request(
                inputs,
                {
                    "clusterName": "ClusterName",
                    "kafkaVersion": "KafkaVersion",
                    "numberOfBrokerNodes": "NumberOfBrokerNodes",
                    "enhancedMonitoring": "EnhancedMonitoring",
                    "storageMode": "StorageMode",
                },
            ),
            BrokerNodeGroupInfo=_broker_nodes(inputs["brokerNodeGroupInfo"]),
            Tags=inputs.get("tagsAll") or {},
            **_settings(inputs),
        )["ClusterArn"]
        return arn, self._outputs(arn, kafka.describe_cluster(ClusterArn=arn)["ClusterInfo"], inputs, aws.region)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        kafka = aws.client("kafka")
        # moto answers 500 when a missing cluster is described, so it is looked for in the list.
        pages = kafka.get_paginator("list_clusters").paginate()
        if not any(cluster["ClusterArn"] == id for page in pages for cluster in page["ClusterInfoList"]):
            return None
        cluster = kafka.describe_cluster(ClusterArn=id)["ClusterInfo"]
        settings: Properties = inputs or {"clientAuthentication": _client_authentication(cluster)}
        return {
            **self._outputs(id, cluster, {**observed(cluster, {"clusterName": "ClusterName"}), **settings}, aws.region),
            "clusterName": cluster["ClusterName"],
            "tagsAll": tag_map([{"Key": key, "Value": text} for key, text in (cluster.get("Tags") or {}).items()]),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        kafka = aws.client("kafka")
        apply_tag_map(
            update,
            lambda tags: kafka.tag_resource(ResourceArn=id, Tags=tags),
            lambda keys: kafka.untag_resource(ResourceArn=id, TagKeys=keys),
        )
        return self._outputs(id, kafka.describe_cluster(ClusterArn=id)["ClusterInfo"], update.new, aws.region)

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        if self.read(aws, id, inputs, outputs) is not None:
            aws.client("kafka").delete_cluster(ClusterArn=id)

    @staticmethod
    def _outputs(arn: str, cluster: Any, inputs: Properties, region: str) -> Outputs:
        names = {"currentVersion": "CurrentVersion", "zookeeperConnectString": "ZookeeperConnectString"}
        cluster_uuid = arn.rsplit("/", 1)[-1]
        return {
            "arn": arn,
            "clusterUuid": cluster_uuid,
            **observed(cluster, names),
            **_bootstrap_brokers(inputs, cluster_uuid, region),
        }


def _broker_nodes(info: Properties) -> dict[str, Any]:
    """The broker settings as the API nests them; ``connectivityInfo`` differs in shape and stays in the state."""
    return {
        **request(info, {"azDistribution": "BrokerAZDistribution"}),
        "ClientSubnets": info["clientSubnets"],
        "InstanceType": info["instanceType"],
        "SecurityGroups": info["securityGroups"],
        **({"StorageInfo": pascal(info["storageInfo"])} if info.get("storageInfo") else {}),
    }


def _settings(inputs: Properties) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    if authentication := inputs.get("clientAuthentication"):
        sasl, tls = authentication.get("sasl") or {}, authentication.get("tls")
        parameters["ClientAuthentication"] = {
            "Sasl": {"Iam": {"Enabled": bool(sasl.get("iam"))}, "Scram": {"Enabled": bool(sasl.get("scram"))}},
            "Unauthenticated": {"Enabled": bool(authentication.get("unauthenticated"))},
        }
        if tls is not None:
            authorities = tls.get("certificateAuthorityArns") or []
            parameters["ClientAuthentication"]["Tls"] = {"CertificateAuthorityArnList": authorities, "Enabled": True}
    if encryption := inputs.get("encryptionInfo"):
        parameters["EncryptionInfo"] = pascal(
            {"encryptionInTransit": encryption.get("encryptionInTransit") or {"clientBroker": "TLS", "inCluster": True}}
        )
        if key := encryption.get("encryptionAtRestKmsKeyArn"):
            parameters["EncryptionInfo"]["EncryptionAtRest"] = {"DataVolumeKMSKeyId": key}
    if configuration := inputs.get("configurationInfo"):
        parameters["ConfigurationInfo"] = pascal(configuration)
    if monitoring := inputs.get("openMonitoring"):
        parameters["OpenMonitoring"] = pascal(monitoring)
    if logging := inputs.get("loggingInfo"):
        logs = logging["brokerLogs"]
        section = {"cloudwatchLogs": "CloudWatchLogs", "firehose": "Firehose", "s3": "S3"}
        parameters["LoggingInfo"] = {
            "BrokerLogs": {section[name]: pascal(setting) for name, setting in logs.items() if setting is not None}
        }
    return parameters


def _client_authentication(cluster: Any) -> Outputs:
    sasl = (cluster.get("ClientAuthentication") or {}).get("Sasl") or {}
    return {"sasl": {"iam": bool((sasl.get("Iam") or {}).get("Enabled"))}}


def _bootstrap_brokers(inputs: Properties, cluster_uuid: str, region: str) -> Outputs:
    """The broker lists that MSK would give for these settings: one name per broker, at most three, by port."""
    name = inputs.get("clusterName") or "cluster"
    domain = f"{name.lower()}.{cluster_uuid[:6]}.c2.kafka.{region}.amazonaws.com"
    count = min(int(inputs.get("numberOfBrokerNodes") or 3), 3)

    def brokers(port: int) -> str:
        return ",".join(f"b-{number}.{domain}:{port}" for number in range(1, count + 1))

    authentication = inputs.get("clientAuthentication") or {}
    sasl = authentication.get("sasl") or {}
    in_transit = (inputs.get("encryptionInfo") or {}).get("encryptionInTransit") or {}
    protocol = in_transit.get("clientBroker") or "TLS"
    certificates = isinstance(authentication.get("tls"), Mapping)
    open_door = not authentication or bool(authentication.get("unauthenticated"))
    return {
        "bootstrapBrokers": brokers(_PLAINTEXT_PORT) if protocol != "TLS" and open_door else "",
        "bootstrapBrokersTls": brokers(_TLS_PORT) if protocol != "PLAINTEXT" and (open_door or certificates) else "",
        "bootstrapBrokersSaslScram": brokers(_SCRAM_PORT) if sasl.get("scram") else "",
        "bootstrapBrokersSaslIam": brokers(_IAM_PORT) if sasl.get("iam") else "",
    }


HANDLERS = (Configuration, Cluster)
