"""The event stream: Kinesis for a small platform, Kafka (MSK) for a large one.

Encrypted under the lake's key, since what flows through is what lands there; TLS only, IAM login only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_aws import cloudwatch, kinesis, msk

from blueprints import schema
from components.access import client_access_group
from components.base import ComponentSpecError, PlatformComponent
from components.log_retention import log_retention_days
from components.naming import Environment

KAFKA_IAM_PORT = 9098
KAFKA_METRICS_PORTS = (11_001, 11_002)
"""JMX and node exporter of MSK open monitoring.  Source: MSK developer guide, port information."""

SHARD_METRICS = (
    "IncomingBytes",
    "IteratorAgeMilliseconds",
    "ReadProvisionedThroughputExceeded",
    "WriteProvisionedThroughputExceeded",
)
"""Enough to see a full shard or a late consumer; each is billed per shard."""


class Streaming(PlatformComponent):
    """A Kinesis stream, or an MSK cluster spread evenly over the usable zones.

    Children, kinesis: the stream.  msk: security group with its rules, log group, configuration, cluster.  ``protect``
    refuses deletion.  Raises ComponentSpecError for brokers that do not divide over the zones.
    """

    engine: str
    arn: pulumi.Output[str]
    endpoint: pulumi.Output[str]
    """kinesis: the stream's name.  msk: bootstrap brokers for IAM over TLS, ``host:9098`` joined by commas."""
    topics_arn: pulumi.Output[str] | None
    """ARN to which ``/<topic>`` is appended in IAM policies; None for Kinesis."""
    groups_arn: pulumi.Output[str] | None
    """ARN to which ``/<consumer group>`` is appended in IAM policies; None for Kinesis."""

    def __init__(
        self,
        name: str,
        spec: schema.Streaming,
        *,
        environment: Environment,
        domain: schema.DataDomain,
        vpc_id: pulumi.Input[str],
        subnet_ids: Sequence[pulumi.Input[str]],
        client_security_group_id: pulumi.Input[str],
        key_arn: pulumi.Input[str],
        log_key_arn: pulumi.Input[str],
        log_retention: int,
        protect: bool = True,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        check_streaming(spec, zone_count=len(subnet_ids))
        super().__init__("falaj:data:Streaming", name, opts, protect=protect)
        self._environment = environment
        self._tags = environment.data_tags(domain)
        self.engine = spec.engine
        if spec.engine == "kinesis":
            self._stream(name, spec, key_arn)
        else:
            self._brokers(name, spec, vpc_id, subnet_ids, client_security_group_id, key_arn, log_key_arn, log_retention)
        self.register_declared_outputs()

    def _stream(self, name: str, spec: schema.Streaming, key_arn: pulumi.Input[str]) -> None:
        on_demand = spec.shards == 0
        stream = kinesis.Stream(
            f"{name}-stream",
            name=self._environment.physical_name("events"),
            stream_mode_details=kinesis.StreamStreamModeDetailsArgs(
                stream_mode="ON_DEMAND" if on_demand else "PROVISIONED"
            ),
            shard_count=None if on_demand else spec.shards,
            retention_period=spec.retention_hours,
            encryption_type="KMS",
            kms_key_id=key_arn,
            shard_level_metrics=list(SHARD_METRICS),
            # A registered consumer must not be able to keep a stream from being removed, nor removed unnoticed.
            enforce_consumer_deletion=not self.protect_data,
            tags=self._tags,
            opts=self.child_opts(protect=self.protect_data),
        )
        self.arn = stream.arn
        self.endpoint = stream.name
        self.topics_arn = None
        self.groups_arn = None

    def _brokers(
        self,
        name: str,
        spec: schema.Streaming,
        vpc_id: pulumi.Input[str],
        subnet_ids: Sequence[pulumi.Input[str]],
        client_security_group_id: pulumi.Input[str],
        key_arn: pulumi.Input[str],
        log_key_arn: pulumi.Input[str],
        log_retention: int,
    ) -> None:
        group = client_access_group(
            self,
            name,
            description="Kafka, from the cluster's nodes only",
            vpc_id=vpc_id,
            source_group_id=client_security_group_id,
            ports=(KAFKA_IAM_PORT, *KAFKA_METRICS_PORTS),
        )
        logs = cloudwatch.LogGroup(
            f"{name}-logs",
            name=self._environment.log_group_name("msk"),
            retention_in_days=log_retention_days(log_retention),
            kms_key_id=log_key_arn,
            opts=self.child_opts(),
        )
        properties = broker_properties(
            zone_count=len(subnet_ids), brokers=spec.brokers, retention_hours=spec.retention_hours
        )
        configuration = msk.Configuration(
            f"{name}-configuration",
            name=self._environment.physical_name("events"),
            description="Replicas in every zone, no topics by accident",
            kafka_versions=[spec.kafka_version],
            server_properties="".join(f"{key}={value}\n" for key, value in properties.items()),
            opts=self.child_opts(),
        )
        cluster = msk.Cluster(
            f"{name}-cluster",
            cluster_name=self._environment.physical_name("events"),
            kafka_version=spec.kafka_version,
            number_of_broker_nodes=spec.brokers,
            broker_node_group_info=msk.ClusterBrokerNodeGroupInfoArgs(
                instance_type=spec.broker_type,
                client_subnets=list(subnet_ids),
                security_groups=[group.id],
                storage_info=msk.ClusterBrokerNodeGroupInfoStorageInfoArgs(
                    ebs_storage_info=msk.ClusterBrokerNodeGroupInfoStorageInfoEbsStorageInfoArgs(
                        volume_size=spec.broker_volume_gib
                    )
                ),
                connectivity_info=msk.ClusterBrokerNodeGroupInfoConnectivityInfoArgs(
                    public_access=msk.ClusterBrokerNodeGroupInfoConnectivityInfoPublicAccessArgs(type="DISABLED")
                ),
            ),
            configuration_info=msk.ClusterConfigurationInfoArgs(
                arn=configuration.arn, revision=configuration.latest_revision
            ),
            encryption_info=msk.ClusterEncryptionInfoArgs(
                encryption_at_rest_kms_key_arn=key_arn,
                encryption_in_transit=msk.ClusterEncryptionInfoEncryptionInTransitArgs(
                    client_broker="TLS", in_cluster=True
                ),
            ),
            client_authentication=msk.ClusterClientAuthenticationArgs(
                sasl=msk.ClusterClientAuthenticationSaslArgs(iam=True, scram=False), unauthenticated=False
            ),
            enhanced_monitoring="PER_TOPIC_PER_BROKER",
            open_monitoring=msk.ClusterOpenMonitoringArgs(
                prometheus=msk.ClusterOpenMonitoringPrometheusArgs(
                    jmx_exporter=msk.ClusterOpenMonitoringPrometheusJmxExporterArgs(enabled_in_broker=True),
                    node_exporter=msk.ClusterOpenMonitoringPrometheusNodeExporterArgs(enabled_in_broker=True),
                )
            ),
            logging_info=msk.ClusterLoggingInfoArgs(
                broker_logs=msk.ClusterLoggingInfoBrokerLogsArgs(
                    cloudwatch_logs=msk.ClusterLoggingInfoBrokerLogsCloudwatchLogsArgs(
                        enabled=True, log_group=logs.name
                    )
                )
            ),
            tags=self._tags,
            opts=self.child_opts(protect=self.protect_data),
        )
        self.arn = cluster.arn
        self.endpoint = cluster.bootstrap_brokers_sasl_iam
        # IAM names topics and groups by the cluster's ARN with another noun (MSK developer guide, IAM resources).
        self.topics_arn = cluster.arn.apply(lambda arn: arn.replace(":cluster/", ":topic/", 1))
        self.groups_arn = cluster.arn.apply(lambda arn: arn.replace(":cluster/", ":group/", 1))


def broker_properties(*, zone_count: int, brokers: int, retention_hours: int) -> Mapping[str, str]:
    """Return Kafka's server properties, sorted.

    Replicas are placed rack by rack.  Over three zones three replicas leave two when a zone goes; over two zones
    it takes four, or losing the zone with two of three replicas would stop every write.
    """
    replicas = min(brokers, 3 if zone_count >= 3 else 4)
    return dict(
        sorted(
            {
                "auto.create.topics.enable": "false",
                "default.replication.factor": str(replicas),
                "delete.topic.enable": "true",
                "log.retention.hours": str(retention_hours),
                "min.insync.replicas": str(min(2, replicas)),
                "num.partitions": str(max(6, brokers)),
                "offsets.topic.replication.factor": str(replicas),
                "transaction.state.log.min.isr": str(min(2, replicas)),
                "transaction.state.log.replication.factor": str(replicas),
                # An out-of-sync replica as leader would silently drop acknowledged events.
                "unclean.leader.election.enable": "false",
            }.items()
        )
    )


def check_streaming(spec: schema.Streaming, *, zone_count: int) -> None:
    """Raise ComponentSpecError for brokers that MSK could not spread evenly over that many zones."""
    if spec.engine == "kinesis":
        return
    if zone_count not in (2, 3):
        raise ComponentSpecError("streaming.brokers", f"{zone_count} usable zones; MSK takes two or three")
    if spec.brokers % zone_count:
        more = -(-spec.brokers // zone_count) * zone_count
        raise ComponentSpecError(
            "streaming.brokers",
            f"{spec.brokers} over {zone_count} usable zones; give a multiple of {zone_count}, e.g. {more}",
        )
