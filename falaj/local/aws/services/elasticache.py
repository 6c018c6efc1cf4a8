"""Amazon ElastiCache: replication groups are real; subnet and parameter groups live in the state."""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, StateOnly, Update
from falaj.local.aws.shapes import observed, pascal, request, tag_list

_MANAGED = "Managed by Pulumi"
_MODIFIABLE = {
    "automaticFailoverEnabled": "AutomaticFailoverEnabled",
    "description": "ReplicationGroupDescription",
    "engine": "Engine",
    "multiAzEnabled": "MultiAZEnabled",
    "nodeType": "CacheNodeType",
    "snapshotRetentionLimit": "SnapshotRetentionLimit",
}
_FIXED = {
    "atRestEncryptionEnabled": "AtRestEncryptionEnabled",
    "authToken": "AuthToken",
    "autoMinorVersionUpgrade": "AutoMinorVersionUpgrade",
    "clusterMode": "ClusterMode",
    "dataTieringEnabled": "DataTieringEnabled",
    "engineVersion": "EngineVersion",
    "ipDiscovery": "IpDiscovery",
    "kmsKeyId": "KmsKeyId",
    "maintenanceWindow": "PreferredMaintenanceWindow",
    "networkType": "NetworkType",
    "notificationTopicArn": "NotificationTopicArn",
    "numNodeGroups": "NumNodeGroups",
    "parameterGroupName": "CacheParameterGroupName",
    "port": "Port",
    "preferredCacheClusterAzs": "PreferredCacheClusterAZs",
    "securityGroupIds": "SecurityGroupIds",
    "snapshotWindow": "SnapshotWindow",
    "subnetGroupName": "CacheSubnetGroupName",
    "transitEncryptionEnabled": "TransitEncryptionEnabled",
    "transitEncryptionMode": "TransitEncryptionMode",
    "userGroupIds": "UserGroupIds",
}


class ReplicationGroup(Handler):
    type = "aws:elasticache/replicationGroup:ReplicationGroup"
    auto_name = AutoName(property="replicationGroupId", max_length=40, lower=True)
    defaults = {"engine": "redis"}
    force_new = frozenset(
        {
            "atRestEncryptionEnabled",
            "dataTieringEnabled",
            "globalReplicationGroupId",
            "kmsKeyId",
            "networkType",
            "port",
            "preferredCacheClusterAzs",
            "replicationGroupId",
            "snapshotArns",
            "snapshotName",
            "subnetGroupName",
        }
    )
    unordered = frozenset({"logDeliveryConfigurations", "securityGroupIds", "userGroupIds"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        name = inputs["replicationGroupId"]
        group = aws.client("elasticache").create_replication_group(
            ReplicationGroupId=name,
            ReplicasPerNodeGroup=_replicas(inputs),
            Tags=tag_list(inputs.get("tagsAll")),
            **request(inputs, {**_MODIFIABLE, **_FIXED}),
            **_log_delivery(inputs),
        )["ReplicationGroup"]
        return name, self._outputs(group)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        found = aws.client("elasticache").describe_replication_groups(ReplicationGroupId=id)
        group = found["ReplicationGroups"][0]
        if group["Status"] == "deleting":
            return None
        names = {
            "atRestEncryptionEnabled": "AtRestEncryptionEnabled",
            "description": "Description",
            "engine": "Engine",
            "nodeType": "CacheNodeType",
            "snapshotRetentionLimit": "SnapshotRetentionLimit",
            "transitEncryptionEnabled": "TransitEncryptionEnabled",
        }
        return {
            **self._outputs(group),
            **observed(group, names),
            "replicationGroupId": id,
            "automaticFailoverEnabled": group["AutomaticFailover"] == "enabled",
            "multiAzEnabled": group["MultiAZ"] == "enabled",
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        changes = request({name: update.new.get(name) for name in _MODIFIABLE if update.has(name)}, _MODIFIABLE)
        if changes:
            aws.client("elasticache").modify_replication_group(ReplicationGroupId=id, ApplyImmediately=True, **changes)
        return {"engineVersionActual": update.new.get("engineVersion")}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("elasticache").delete_replication_group(ReplicationGroupId=id, RetainPrimaryCluster=False)

    @staticmethod
    def _outputs(group: Any) -> Outputs:
        outputs: Outputs = {
            "arn": group["ARN"],
            "clusterEnabled": group["ClusterEnabled"],
            "memberClusters": group["MemberClusters"],
        }
        if configuration := group.get("ConfigurationEndpoint"):
            outputs["configurationEndpointAddress"] = configuration["Address"]
            outputs["port"] = configuration["Port"]
        for node_group in group["NodeGroups"][:1]:
            if primary := node_group.get("PrimaryEndpoint"):
                outputs["primaryEndpointAddress"] = primary["Address"]
                outputs["port"] = primary["Port"]
                reader = node_group.get("ReaderEndpoint", {}).get("Address")
                outputs["readerEndpointAddress"] = reader or primary["Address"].replace("master.", "replica.", 1)
        return outputs


def _replicas(inputs: Properties) -> int:
    """Replicas of each shard.  moto overlooks NumCacheClusters, so it is turned into the same number of replicas."""
    if (clusters := inputs.get("numCacheClusters")) is not None:
        return max(int(clusters) - 1, 0)
    return int(inputs.get("replicasPerNodeGroup") or 0)


def _log_delivery(inputs: Properties) -> dict[str, Any]:
    details = {"cloudwatch-logs": ("CloudWatchLogsDetails", "LogGroup")}
    firehose = ("KinesisFirehoseDetails", "DeliveryStream")
    configurations = []
    for item in inputs.get("logDeliveryConfigurations") or ():
        section, key = details.get(item["destinationType"], firehose)
        configuration = pascal({name: item[name] for name in ("destinationType", "logFormat", "logType")})
        configurations.append({**configuration, "DestinationDetails": {section: {key: item["destination"]}}})
    return {"LogDeliveryConfigurations": configurations} if configurations else {}


class SubnetGroup(StateOnly):
    type = "aws:elasticache/subnetGroup:SubnetGroup"
    auto_name = AutoName(lower=True)
    defaults = {"description": _MANAGED}
    force_new = frozenset({"name"})
    unordered = frozenset({"subnetIds"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        subnets = aws.client("ec2").describe_subnets(SubnetIds=inputs["subnetIds"])["Subnets"]
        name = inputs["name"]
        return name, {"arn": aws.arn("elasticache", f"subnetgroup:{name}"), "vpcId": subnets[0]["VpcId"]}


class ParameterGroup(StateOnly):
    type = "aws:elasticache/parameterGroup:ParameterGroup"
    auto_name = AutoName(lower=True)
    defaults = {"description": _MANAGED}
    force_new = frozenset({"description", "family", "name"})
    unordered = frozenset({"parameters"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        name = inputs["name"]
        return name, {"arn": aws.arn("elasticache", f"parametergroup:{name}")}


HANDLERS = (ReplicationGroup, SubnetGroup, ParameterGroup)
