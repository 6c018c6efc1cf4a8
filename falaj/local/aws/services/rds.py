"""Amazon RDS: instances, Aurora clusters and their members; groups are in ``rds_groups.py``.

Deletions skip the final snapshot: the emulated account has nothing worth a snapshot.  Deletion protection holds here as
in AWS: the account refuses until an update has switched it off.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.services.rds_groups import ClusterParameterGroup, ParameterGroup, SubnetGroup
from falaj.local.aws.shapes import observed, request, tag_list, tag_map
from falaj.local.aws.tagging import apply_tag_list

_INSTANCE_MODIFIABLE = {
    "allocatedStorage": "AllocatedStorage",
    "autoMinorVersionUpgrade": "AutoMinorVersionUpgrade",
    "backupRetentionPeriod": "BackupRetentionPeriod",
    "backupWindow": "PreferredBackupWindow",
    "caCertIdentifier": "CACertificateIdentifier",
    "copyTagsToSnapshot": "CopyTagsToSnapshot",
    "dbSubnetGroupName": "DBSubnetGroupName",
    "deletionProtection": "DeletionProtection",
    "engineVersion": "EngineVersion",
    "iamDatabaseAuthenticationEnabled": "EnableIAMDatabaseAuthentication",
    "instanceClass": "DBInstanceClass",
    "iops": "Iops",
    "licenseModel": "LicenseModel",
    "maintenanceWindow": "PreferredMaintenanceWindow",
    "manageMasterUserPassword": "ManageMasterUserPassword",
    "masterUserSecretKmsKeyId": "MasterUserSecretKmsKeyId",
    "maxAllocatedStorage": "MaxAllocatedStorage",
    "monitoringInterval": "MonitoringInterval",
    "monitoringRoleArn": "MonitoringRoleArn",
    "multiAz": "MultiAZ",
    "networkType": "NetworkType",
    "optionGroupName": "OptionGroupName",
    "parameterGroupName": "DBParameterGroupName",
    "password": "MasterUserPassword",
    "performanceInsightsEnabled": "EnablePerformanceInsights",
    "performanceInsightsKmsKeyId": "PerformanceInsightsKMSKeyId",
    "performanceInsightsRetentionPeriod": "PerformanceInsightsRetentionPeriod",
    "publiclyAccessible": "PubliclyAccessible",
    "storageThroughput": "StorageThroughput",
    "storageType": "StorageType",
    "vpcSecurityGroupIds": "VpcSecurityGroupIds",
}
_INSTANCE_FIXED = {
    "availabilityZone": "AvailabilityZone",
    "dbName": "DBName",
    "enabledCloudwatchLogsExports": "EnableCloudwatchLogsExports",
    "engine": "Engine",
    "kmsKeyId": "KmsKeyId",
    "port": "Port",
    "storageEncrypted": "StorageEncrypted",
    "username": "MasterUsername",
}
_INSTANCE_OBSERVED = {
    "allocatedStorage": "AllocatedStorage",
    "autoMinorVersionUpgrade": "AutoMinorVersionUpgrade",
    "availabilityZone": "AvailabilityZone",
    "backupRetentionPeriod": "BackupRetentionPeriod",
    "backupWindow": "PreferredBackupWindow",
    "caCertIdentifier": "CACertificateIdentifier",
    "copyTagsToSnapshot": "CopyTagsToSnapshot",
    "dbName": "DBName",
    "deletionProtection": "DeletionProtection",
    "enabledCloudwatchLogsExports": "EnabledCloudwatchLogsExports",
    "engine": "Engine",
    "engineVersion": "EngineVersion",
    "iamDatabaseAuthenticationEnabled": "IAMDatabaseAuthenticationEnabled",
    "instanceClass": "DBInstanceClass",
    "kmsKeyId": "KmsKeyId",
    "licenseModel": "LicenseModel",
    "maintenanceWindow": "PreferredMaintenanceWindow",
    "maxAllocatedStorage": "MaxAllocatedStorage",
    "monitoringInterval": "MonitoringInterval",
    "monitoringRoleArn": "MonitoringRoleArn",
    "multiAz": "MultiAZ",
    "publiclyAccessible": "PubliclyAccessible",
    "storageEncrypted": "StorageEncrypted",
    "storageType": "StorageType",
    "username": "MasterUsername",
}


class Instance(Handler):
    type = "aws:rds/instance:Instance"
    auto_name = AutoName(property="identifier", separator="", lower=True, max_length=63)
    defaults = {
        "applyImmediately": False,
        "autoMinorVersionUpgrade": True,
        "copyTagsToSnapshot": False,
        "deleteAutomatedBackups": True,
        "monitoringInterval": 0,
        "publiclyAccessible": False,
        "skipFinalSnapshot": False,
    }
    force_new = frozenset(
        {
            "availabilityZone",
            "backupTarget",
            "characterSetName",
            "dbName",
            "engine",
            "identifierPrefix",
            "kmsKeyId",
            "ncharCharacterSetName",
            "port",
            "snapshotIdentifier",
            "storageEncrypted",
            "timezone",
            "username",
        }
    )
    unordered = frozenset({"enabledCloudwatchLogsExports", "vpcSecurityGroupIds"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        instance = aws.client("rds").create_db_instance(
            DBInstanceIdentifier=inputs["identifier"],
            Tags=tag_list(inputs.get("tagsAll")),
            **request(inputs, {**_INSTANCE_MODIFIABLE, **_INSTANCE_FIXED}),
        )["DBInstance"]
        return instance["DbiResourceId"], self._outputs(instance)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        identifier = outputs.get("identifier") or inputs.get("identifier") or id
        instance = aws.client("rds").describe_db_instances(DBInstanceIdentifier=identifier)["DBInstances"][0]
        state = {
            **observed(instance, _INSTANCE_OBSERVED),
            **self._outputs(instance),
            "parameterGroupName": instance["DBParameterGroups"][0]["DBParameterGroupName"],
            "vpcSecurityGroupIds": _security_groups(instance),
            "tagsAll": tag_map(instance.get("TagList")),
        }
        _keep_spelling(state, inputs, "maintenanceWindow")
        _observe_managed_password(state, instance, inputs)
        if subnet_group := instance.get("DBSubnetGroup"):
            state["dbSubnetGroupName"] = subnet_group["DBSubnetGroupName"]
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        rds = aws.client("rds")
        identifier = update.outputs.get("identifier") or update.old["identifier"]
        changes = _changes(update, _INSTANCE_MODIFIABLE)
        if update.has("enabledCloudwatchLogsExports"):
            changes["CloudwatchLogsExportConfiguration"] = _log_exports(update)
        if update.new["identifier"] != identifier:
            changes["NewDBInstanceIdentifier"] = update.new["identifier"]
        if changes:
            rds.modify_db_instance(DBInstanceIdentifier=identifier, ApplyImmediately=True, **changes)
        instance = rds.describe_db_instances(DBInstanceIdentifier=update.new["identifier"])["DBInstances"][0]
        _apply_tags(rds, update, instance["DBInstanceArn"])
        return self._outputs(instance)

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("rds").delete_db_instance(
            DBInstanceIdentifier=outputs.get("identifier") or inputs["identifier"],
            SkipFinalSnapshot=True,
            DeleteAutomatedBackups=inputs.get("deleteAutomatedBackups", True),
        )

    @staticmethod
    def _outputs(instance: Any) -> Outputs:
        endpoint = instance["Endpoint"]
        return {
            "identifier": instance["DBInstanceIdentifier"],
            "address": endpoint["Address"],
            "arn": instance["DBInstanceArn"],
            "availabilityZone": instance.get("AvailabilityZone"),
            "endpoint": f"{endpoint['Address']}:{endpoint['Port']}",
            "engineVersionActual": instance["EngineVersion"],
            "masterUserSecrets": _master_user_secrets(instance),
            "port": endpoint["Port"],
            "replicas": instance.get("ReadReplicaDBInstanceIdentifiers", []),
            "resourceId": instance["DbiResourceId"],
            "status": instance["DBInstanceStatus"],
            "vpcSecurityGroupIds": _security_groups(instance),
        }


_CLUSTER_MODIFIABLE = {
    "allocatedStorage": "AllocatedStorage",
    "backupRetentionPeriod": "BackupRetentionPeriod",
    "copyTagsToSnapshot": "CopyTagsToSnapshot",
    "dbClusterInstanceClass": "DBClusterInstanceClass",
    "dbClusterParameterGroupName": "DBClusterParameterGroupName",
    "deletionProtection": "DeletionProtection",
    "enableHttpEndpoint": "EnableHttpEndpoint",
    "engineVersion": "EngineVersion",
    "iamDatabaseAuthenticationEnabled": "EnableIAMDatabaseAuthentication",
    "iops": "Iops",
    "manageMasterUserPassword": "ManageMasterUserPassword",
    "masterPassword": "MasterUserPassword",
    "masterUserSecretKmsKeyId": "MasterUserSecretKmsKeyId",
    "networkType": "NetworkType",
    "preferredBackupWindow": "PreferredBackupWindow",
    "preferredMaintenanceWindow": "PreferredMaintenanceWindow",
    "storageType": "StorageType",
    "vpcSecurityGroupIds": "VpcSecurityGroupIds",
}
_CLUSTER_FIXED = {
    "availabilityZones": "AvailabilityZones",
    "databaseName": "DatabaseName",
    "dbSubnetGroupName": "DBSubnetGroupName",
    "enabledCloudwatchLogsExports": "EnableCloudwatchLogsExports",
    "engine": "Engine",
    "engineMode": "EngineMode",
    "kmsKeyId": "KmsKeyId",
    "masterUsername": "MasterUsername",
    "port": "Port",
    "storageEncrypted": "StorageEncrypted",
}
_CLUSTER_OBSERVED = {
    "backupRetentionPeriod": "BackupRetentionPeriod",
    "copyTagsToSnapshot": "CopyTagsToSnapshot",
    "databaseName": "DatabaseName",
    "dbClusterParameterGroupName": "DBClusterParameterGroup",
    "dbSubnetGroupName": "DBSubnetGroup",
    "deletionProtection": "DeletionProtection",
    "enabledCloudwatchLogsExports": "EnabledCloudwatchLogsExports",
    "engine": "Engine",
    "engineMode": "EngineMode",
    "engineVersion": "EngineVersion",
    "iamDatabaseAuthenticationEnabled": "IAMDatabaseAuthenticationEnabled",
    "kmsKeyId": "KmsKeyId",
    "masterUsername": "MasterUsername",
    "port": "Port",
    "preferredBackupWindow": "PreferredBackupWindow",
    "preferredMaintenanceWindow": "PreferredMaintenanceWindow",
    "storageEncrypted": "StorageEncrypted",
}


class Cluster(Handler):
    type = "aws:rds/cluster:Cluster"
    defaults = {"copyTagsToSnapshot": False, "engineMode": "provisioned", "skipFinalSnapshot": False}
    force_new = frozenset(
        {
            "availabilityZones",
            "clusterIdentifier",
            "clusterIdentifierPrefix",
            "databaseName",
            "dbSubnetGroupName",
            "engine",
            "engineMode",
            "kmsKeyId",
            "masterUsername",
            "port",
            "snapshotIdentifier",
            "storageEncrypted",
        }
    )
    unordered = frozenset({"availabilityZones", "enabledCloudwatchLogsExports", "iamRoles", "vpcSecurityGroupIds"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        identifier = _identifier(inputs, "clusterIdentifier", "clusterIdentifierPrefix")
        cluster = aws.client("rds").create_db_cluster(
            DBClusterIdentifier=identifier,
            Tags=tag_list(inputs.get("tagsAll")),
            **request(inputs, {**_CLUSTER_MODIFIABLE, **_CLUSTER_FIXED}),
            **_serverless_scaling(inputs),
        )["DBCluster"]
        return cluster["DBClusterIdentifier"], self._outputs(cluster)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        cluster = aws.client("rds").describe_db_clusters(DBClusterIdentifier=id)["DBClusters"][0]
        state = {
            **observed(cluster, _CLUSTER_OBSERVED),
            **self._outputs(cluster),
            "vpcSecurityGroupIds": _security_groups(cluster),
            "tagsAll": tag_map(cluster.get("TagList")),
        }
        _keep_spelling(state, inputs, "preferredMaintenanceWindow")
        _observe_managed_password(state, cluster, inputs)
        if scaling := cluster.get("ServerlessV2ScalingConfiguration"):
            state["serverlessv2ScalingConfiguration"] = {
                **(inputs.get("serverlessv2ScalingConfiguration") or {}),
                **observed(scaling, {"minCapacity": "MinCapacity", "maxCapacity": "MaxCapacity"}),
            }
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        rds = aws.client("rds")
        changes = _changes(update, _CLUSTER_MODIFIABLE)
        if update.has("serverlessv2ScalingConfiguration"):
            changes.update(_serverless_scaling(update.new))
        if update.has("enabledCloudwatchLogsExports"):
            changes["CloudwatchLogsExportConfiguration"] = _log_exports(update)
        if changes:
            rds.modify_db_cluster(DBClusterIdentifier=id, ApplyImmediately=True, **changes)
        cluster = rds.describe_db_clusters(DBClusterIdentifier=id)["DBClusters"][0]
        _apply_tags(rds, update, cluster["DBClusterArn"])
        return self._outputs(cluster)

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        rds = aws.client("rds")
        rds.delete_db_cluster(DBClusterIdentifier=id, SkipFinalSnapshot=True)
        if inputs.get("deleteAutomatedBackups", True):
            # AWS deletes them along; moto keeps them, and a new cluster of that name would fail to make its own.
            kept = rds.describe_db_cluster_snapshots(DBClusterIdentifier=id, SnapshotType="automated")
            for snapshot in kept["DBClusterSnapshots"]:
                rds.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=snapshot["DBClusterSnapshotIdentifier"])

    @staticmethod
    def _outputs(cluster: Any) -> Outputs:
        return {
            "clusterIdentifier": cluster["DBClusterIdentifier"],
            "arn": cluster["DBClusterArn"],
            "availabilityZones": cluster["AvailabilityZones"],
            "clusterMembers": [member["DBInstanceIdentifier"] for member in cluster["DBClusterMembers"]],
            "clusterResourceId": cluster["DbClusterResourceId"],
            "endpoint": cluster["Endpoint"],
            "engineVersionActual": cluster["EngineVersion"],
            "hostedZoneId": cluster["HostedZoneId"],
            "masterUserSecrets": _master_user_secrets(cluster),
            "port": cluster["Port"],
            "readerEndpoint": cluster["ReaderEndpoint"],
        }


_MEMBER_MODIFIABLE = {
    "autoMinorVersionUpgrade": "AutoMinorVersionUpgrade",
    "caCertIdentifier": "CACertificateIdentifier",
    "copyTagsToSnapshot": "CopyTagsToSnapshot",
    "dbParameterGroupName": "DBParameterGroupName",
    "instanceClass": "DBInstanceClass",
    "monitoringInterval": "MonitoringInterval",
    "monitoringRoleArn": "MonitoringRoleArn",
    "performanceInsightsEnabled": "EnablePerformanceInsights",
    "performanceInsightsKmsKeyId": "PerformanceInsightsKMSKeyId",
    "performanceInsightsRetentionPeriod": "PerformanceInsightsRetentionPeriod",
    "preferredMaintenanceWindow": "PreferredMaintenanceWindow",
    "promotionTier": "PromotionTier",
    "publiclyAccessible": "PubliclyAccessible",
}
_MEMBER_FIXED = {
    "availabilityZone": "AvailabilityZone",
    "clusterIdentifier": "DBClusterIdentifier",
    "dbSubnetGroupName": "DBSubnetGroupName",
    "engine": "Engine",
    "engineVersion": "EngineVersion",
}


class ClusterInstance(Handler):
    type = "aws:rds/clusterInstance:ClusterInstance"
    defaults = {
        "autoMinorVersionUpgrade": True,
        "copyTagsToSnapshot": False,
        "monitoringInterval": 0,
        "promotionTier": 0,
    }
    force_new = frozenset(
        {
            "availabilityZone",
            "clusterIdentifier",
            "customIamInstanceProfile",
            "dbSubnetGroupName",
            "engine",
            "engineVersion",
            "identifier",
            "identifierPrefix",
        }
    )

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        member = aws.client("rds").create_db_instance(
            DBInstanceIdentifier=_identifier(inputs, "identifier", "identifierPrefix"),
            Tags=tag_list(inputs.get("tagsAll")),
            **request(inputs, {**_MEMBER_MODIFIABLE, **_MEMBER_FIXED}),
        )["DBInstance"]
        return member["DBInstanceIdentifier"], self._outputs(aws, member)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        member = aws.client("rds").describe_db_instances(DBInstanceIdentifier=id)["DBInstances"][0]
        return {
            **self._outputs(aws, member),
            "autoMinorVersionUpgrade": member["AutoMinorVersionUpgrade"],
            "clusterIdentifier": member["DBClusterIdentifier"],
            "engine": member["Engine"],
            "instanceClass": member["DBInstanceClass"],
            "publiclyAccessible": member.get("PubliclyAccessible", False),
            **observed(
                member,
                {
                    "caCertIdentifier": "CACertificateIdentifier",
                    "copyTagsToSnapshot": "CopyTagsToSnapshot",
                    "engineVersion": "EngineVersion",
                    "monitoringInterval": "MonitoringInterval",
                    "monitoringRoleArn": "MonitoringRoleArn",
                },
            ),
            "tagsAll": tag_map(member.get("TagList")),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        rds = aws.client("rds")
        changes = _changes(update, _MEMBER_MODIFIABLE)
        if changes:
            rds.modify_db_instance(DBInstanceIdentifier=id, ApplyImmediately=True, **changes)
        _apply_tags(rds, update, update.outputs["arn"])
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("rds").delete_db_instance(DBInstanceIdentifier=id, SkipFinalSnapshot=True)

    @staticmethod
    def _outputs(aws: Aws, member: Any) -> Outputs:
        identifier = member["DBClusterIdentifier"]
        cluster = aws.client("rds").describe_db_clusters(DBClusterIdentifier=identifier)["DBClusters"][0]
        writers = [each["DBInstanceIdentifier"] for each in cluster["DBClusterMembers"] if each["IsClusterWriter"]]
        return {
            "identifier": member["DBInstanceIdentifier"],
            "arn": member["DBInstanceArn"],
            "availabilityZone": member.get("AvailabilityZone"),
            "dbiResourceId": member["DbiResourceId"],
            "endpoint": member["Endpoint"]["Address"],
            "engineVersionActual": member["EngineVersion"],
            "kmsKeyId": cluster.get("KmsKeyId", ""),
            "networkType": cluster.get("NetworkType", "IPV4"),
            "port": member["Endpoint"]["Port"],
            "storageEncrypted": cluster["StorageEncrypted"],
            "writer": member["DBInstanceIdentifier"] in writers,
        }


def _identifier(inputs: Properties, name: str, prefix: str) -> str:
    """The identifier asked for, or one made up the way the real provider does it (these types are not auto-named)."""
    given: str | None = inputs.get(name)
    return given or f"{inputs.get(prefix) or 'tf-'}{uuid.uuid4().hex[:26]}"


def _changes(update: Update, modifiable: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of a Modify call; a switch that the program no longer mentions is off, as for a new resource."""
    wanted = {name: update.new.get(name) for name in modifiable if update.has(name)}
    for name in ("deletionProtection", "iamDatabaseAuthenticationEnabled"):
        if name in update.changed:
            wanted[name] = bool(wanted[name])
    return request(wanted, modifiable)


def _keep_spelling(state: Outputs, inputs: Properties, name: str) -> None:
    """RDS answers windows in lower case (``sun:03:00-sun:04:00``); the program's capitals are no drift."""
    declared, seen = inputs.get(name), state.get(name)
    if isinstance(declared, str) and isinstance(seen, str) and declared.lower() == seen.lower():
        state[name] = declared


def _observe_managed_password(state: Outputs, described: Any, inputs: Properties) -> None:
    secret = described.get("MasterUserSecret")
    if secret or "manageMasterUserPassword" in inputs:
        state["manageMasterUserPassword"] = bool(secret)
    if secret and str(inputs.get("masterUserSecretKmsKeyId", "")).startswith("arn:"):
        state["masterUserSecretKmsKeyId"] = secret["KmsKeyId"]  # an alias or an id cannot be compared with it


def _serverless_scaling(inputs: Properties) -> dict[str, Any]:
    scaling = inputs.get("serverlessv2ScalingConfiguration")
    if not scaling:
        return {}
    names = {
        "minCapacity": "MinCapacity",
        "maxCapacity": "MaxCapacity",
        "secondsUntilAutoPause": "SecondsUntilAutoPause",
    }
    return {"ServerlessV2ScalingConfiguration": request(scaling, names)}


def _log_exports(update: Update) -> dict[str, list[str]]:
    old, new = (set(inputs.get("enabledCloudwatchLogsExports") or ()) for inputs in (update.old, update.new))
    return {"EnableLogTypes": sorted(new - old), "DisableLogTypes": sorted(old - new)}


def _master_user_secrets(described: Any) -> list[dict[str, str]]:
    secret = described.get("MasterUserSecret")
    if not secret:
        return []
    names = {"kmsKeyId": "KmsKeyId", "secretArn": "SecretArn", "secretStatus": "SecretStatus"}
    return [observed(secret, names)]


def _security_groups(described: Any) -> list[str]:
    return [group["VpcSecurityGroupId"] for group in described.get("VpcSecurityGroups", [])]


def _apply_tags(rds: Any, update: Update, arn: str) -> None:
    apply_tag_list(
        update,
        lambda tags: rds.add_tags_to_resource(ResourceName=arn, Tags=tags),
        lambda keys: rds.remove_tags_from_resource(ResourceName=arn, TagKeys=keys),
    )


HANDLERS = (SubnetGroup, ParameterGroup, ClusterParameterGroup, Instance, Cluster, ClusterInstance)
