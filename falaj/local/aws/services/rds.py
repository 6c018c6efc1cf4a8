"""Amazon RDS: instances; clusters are in ``rds_clusters.py``, groups in ``rds_groups.py``.

Deletions skip the final snapshot: the emulated account has nothing worth a snapshot.  Deletion protection holds here as
in AWS: the account refuses until an update has switched it off.
"""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.services.rds_clusters import Cluster, ClusterInstance
from falaj.local.aws.services.rds_groups import ClusterParameterGroup, ParameterGroup, SubnetGroup
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
            "vpcSecurityGroupIds": security_groups(instance),
            "tagsAll": tag_map(instance.get("TagList")),
        }
        keep_spelling(state, inputs, "maintenanceWindow")
        observe_managed_password(state, instance, inputs)
        if subnet_group := instance.get("DBSubnetGroup"):
            state["dbSubnetGroupName"] = subnet_group["DBSubnetGroupName"]
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        rds = aws.client("rds")
        identifier = update.outputs.get("identifier") or update.old["identifier"]
        modifications = changes(update, _INSTANCE_MODIFIABLE)
        if update.has("enabledCloudwatchLogsExports"):
            modifications["CloudwatchLogsExportConfiguration"] = log_exports(update)
        if update.new["identifier"] != identifier:
            modifications["NewDBInstanceIdentifier"] = update.new["identifier"]
        if modifications:
            rds.modify_db_instance(DBInstanceIdentifier=identifier, ApplyImmediately=True, **modifications)
        instance = rds.describe_db_instances(DBInstanceIdentifier=update.new["identifier"])["DBInstances"][0]
        apply_tags(rds, update, instance["DBInstanceArn"])
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
            "masterUserSecrets": master_user_secrets(instance),
            "port": endpoint["Port"],
            "replicas": instance.get("ReadReplicaDBInstanceIdentifiers", []),
            "resourceId": instance["DbiResourceId"],
            "status": instance["DBInstanceStatus"],
            "vpcSecurityGroupIds": security_groups(instance),
        }


HANDLERS = (SubnetGroup, ParameterGroup, ClusterParameterGroup, Instance, Cluster, ClusterInstance)
