"""Amazon RDS: Aurora clusters and their members."""

from __future__ import annotations

import uuid
from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import Handler, Outputs, Update
from falaj.local.aws.services.rds_settings import (
    apply_tags,
    changes,
    keep_spelling,
    log_exports,
    master_user_secrets,
    observe_managed_password,
    security_groups,
)
from falaj.local.aws.shapes import observed, request, tag_list, tag_map

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
            "vpcSecurityGroupIds": security_groups(cluster),
            "tagsAll": tag_map(cluster.get("TagList")),
        }
        keep_spelling(state, inputs, "preferredMaintenanceWindow")
        observe_managed_password(state, cluster, inputs)
        if scaling := cluster.get("ServerlessV2ScalingConfiguration"):
            state["serverlessv2ScalingConfiguration"] = {
                **(inputs.get("serverlessv2ScalingConfiguration") or {}),
                **observed(scaling, {"minCapacity": "MinCapacity", "maxCapacity": "MaxCapacity"}),
            }
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        rds = aws.client("rds")
        modifications = changes(update, _CLUSTER_MODIFIABLE)
        if update.has("serverlessv2ScalingConfiguration"):
            modifications.update(_serverless_scaling(update.new))
        if update.has("enabledCloudwatchLogsExports"):
            modifications["CloudwatchLogsExportConfiguration"] = log_exports(update)
        if modifications:
            rds.modify_db_cluster(DBClusterIdentifier=id, ApplyImmediately=True, **modifications)
        cluster = rds.describe_db_clusters(DBClusterIdentifier=id)["DBClusters"][0]
        apply_tags(rds, update, cluster["DBClusterArn"])
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
            "masterUserSecrets": master_user_secrets(cluster),
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
        modifications = changes(update, _MEMBER_MODIFIABLE)
        if modifications:
            rds.modify_db_instance(DBInstanceIdentifier=id, ApplyImmediately=True, **modifications)
        apply_tags(rds, update, update.outputs["arn"])
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
