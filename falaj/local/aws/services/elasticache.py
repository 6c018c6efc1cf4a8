"""Amazon ElastiCache: replication groups and users are real; the groups that moto lacks live in the state.

moto changes few settings of a replication group and none of a user.  Their ARNs follow from their ids, so what cannot
be changed is deleted and made again: the account then holds what the program says.
"""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, StateOnly, Update
from falaj.local.aws.shapes import observed, pascal, request, tag_list, tag_map
from falaj.local.aws.tagging import apply_tag_list

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
        group = aws.client("elasticache").create_replication_group(
            ReplicationGroupId=inputs["replicationGroupId"],
            ReplicasPerNodeGroup=_replicas(inputs),
            Tags=tag_list(inputs.get("tagsAll")),
            **request(inputs, {**_MODIFIABLE, **_FIXED}),
            **_log_delivery(inputs),
        )["ReplicationGroup"]
        return inputs["replicationGroupId"], self._outputs(group, inputs)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        elasticache = aws.client("elasticache")
        group = elasticache.describe_replication_groups(ReplicationGroupId=id)["ReplicationGroups"][0]
        if group["Status"] == "deleting":
            return None
        names = {
            "atRestEncryptionEnabled": "AtRestEncryptionEnabled",
            "autoMinorVersionUpgrade": "AutoMinorVersionUpgrade",
            "description": "Description",
            "engine": "Engine",
            "kmsKeyId": "KmsKeyId",
            "nodeType": "CacheNodeType",
            "snapshotRetentionLimit": "SnapshotRetentionLimit",
            "snapshotWindow": "SnapshotWindow",
            "transitEncryptionEnabled": "TransitEncryptionEnabled",
            "transitEncryptionMode": "TransitEncryptionMode",
            "userGroupIds": "UserGroupIds",
        }
        shards = group["NodeGroups"]
        sizes = {
            "numCacheClusters": len(group["MemberClusters"]),
            "numNodeGroups": len(shards),
            "replicasPerNodeGroup": len(shards[0]["NodeGroupMembers"]) - 1,
        }
        return {
            **self._outputs(group, inputs),
            **observed(group, names),
            **{name: size for name, size in sizes.items() if name in inputs},
            "replicationGroupId": id,
            "automaticFailoverEnabled": group["AutomaticFailover"] == "enabled",
            "multiAzEnabled": group["MultiAZ"] == "enabled",
            "tagsAll": tag_map(elasticache.list_tags_for_resource(ResourceName=group["ARN"])["TagList"]),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        elasticache = aws.client("elasticache")
        if update.changed - _MODIFIABLE.keys() - {"applyImmediately", "tags", "tagsAll"}:
            self.delete(aws, id, update.old, update.outputs)
            return self.create(aws, update.new)[1]
        changes = request({name: update.new.get(name) for name in _MODIFIABLE if update.has(name)}, _MODIFIABLE)
        if changes:
            elasticache.modify_replication_group(ReplicationGroupId=id, ApplyImmediately=True, **changes)
        _apply_tags(elasticache, update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("elasticache").delete_replication_group(ReplicationGroupId=id, RetainPrimaryCluster=False)

    @staticmethod
    def _outputs(group: Any, inputs: Properties) -> Outputs:
        outputs: Outputs = {
            "arn": group["ARN"],
            "engineVersionActual": inputs.get("engineVersion"),
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


class User(Handler):
    type = "aws:elasticache/user:User"
    force_new = frozenset({"engine", "userId", "userName"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        names = {"userId": "UserId", "userName": "UserName", "engine": "Engine", "accessString": "AccessString"}
        mode = inputs.get("authenticationMode")
        given = {name: inputs[name] for name in ("noPasswordRequired", "passwords") if inputs.get(name)}
        user = aws.client("elasticache").create_user(
            **request(inputs, names),
            **pascal(given),
            **({"AuthenticationMode": request(mode, {"type": "Type", "passwords": "Passwords"})} if mode else {}),
            Tags=tag_list(inputs.get("tagsAll")),
        )
        return inputs["userId"], {"arn": user["ARN"]}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        elasticache = aws.client("elasticache")
        user = elasticache.describe_users(UserId=id)["Users"][0]
        if user["Status"] == "deleting":
            return None
        names = {"userId": "UserId", "userName": "UserName", "engine": "Engine", "accessString": "AccessString"}
        tags = elasticache.list_tags_for_resource(ResourceName=user["ARN"])["TagList"]
        return {**observed(user, names), "arn": user["ARN"], "tagsAll": tag_map(tags)}

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        if update.changed - {"tags", "tagsAll"}:
            self.delete(aws, id, update.old, update.outputs)
            return self.create(aws, update.new)[1]
        _apply_tags(aws.client("elasticache"), update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        elasticache = aws.client("elasticache")
        elasticache.delete_user(UserId=id)
        elasticache.describe_users(UserId=id)  # moto lets a deleted user go when it is next looked at


def _apply_tags(elasticache: Any, update: Update) -> None:
    arn = update.outputs["arn"]
    apply_tag_list(
        update,
        lambda tags: elasticache.add_tags_to_resource(ResourceName=arn, Tags=tags),
        lambda keys: elasticache.remove_tags_from_resource(ResourceName=arn, TagKeys=keys),
    )


class UserGroup(StateOnly):
    type = "aws:elasticache/userGroup:UserGroup"
    force_new = frozenset({"engine", "userGroupId"})
    unordered = frozenset({"userIds"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        for user_id in inputs.get("userIds") or ():
            aws.client("elasticache").describe_users(UserId=user_id)
        name = inputs["userGroupId"]
        return name, {"arn": aws.arn("elasticache", f"usergroup:{name}")}


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


HANDLERS = (ReplicationGroup, User, UserGroup, SubnetGroup, ParameterGroup)
