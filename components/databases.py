"""PostgreSQL for the services' own records: MLflow's tracking, the Feast registry, lineage.

Reachable from the cluster's nodes only, over TLS only, encrypted under a customer managed key, and logged in to with
IAM tokens: there is no password in a stack file, a state file or a pod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_aws import cloudwatch, rds

from blueprints import schema
from components.access import client_access_group
from components.base import ComponentSpecError, PlatformComponent
from components.log_retention import log_retention_days
from components.naming import Environment
from components.versions import postgres_parameter_family

POSTGRES_PORT = 5432

MASTER_USERNAME = "falaj_admin"
"""Used to create the services' own IAM users and then by nobody; Secrets Manager rotates its password every 7 days."""

PERFORMANCE_INSIGHTS_DAYS = 7
"""The free retention of Performance Insights (RDS user guide)."""

BACKUP_WINDOW_UTC = "22:00-22:30"
MAINTENANCE_WINDOW_UTC = "Fri:23:00-Fri:23:45"
"""02:00 and Saturday 03:00 in the UAE (UTC+4), outside the working week."""

POSTGRES_PARAMETERS: Mapping[str, str] = {
    "log_connections": "1",
    "log_disconnections": "1",
    # DDL: enough to see who changed a schema, without statements that carry personal data.
    "log_statement": "ddl",
    "rds.force_ssl": "1",
    "ssl_min_protocol_version": "TLSv1.2",
}
"""All dynamic except ``rds.force_ssl`` on Aurora, which is set before the first instance exists."""

STORAGE_GROWTH_FACTOR = 4
"""An RDS volume may grow by itself to this multiple of its first size before somebody has to decide."""


class Postgres(PlatformComponent):
    """PostgreSQL for MLflow, the Feast registry and lineage: one RDS instance, or an Aurora cluster.

    Children: subnet group, security group with its rule, log group, parameter group, then either an instance or a
    cluster with its instances.  ``subnet_ids`` are private subnets in zones that are not lost.  ``protect`` refuses
    deletion in Pulumi and in RDS, and keeps a final snapshot.  Raises ComponentSpecError for fewer than two subnets,
    UnsupportedVersionError for a version without a parameter family.
    """

    endpoint: pulumi.Output[str]
    """Host name of the writer."""
    port: pulumi.Output[int]
    database_name: str
    resource_id: pulumi.Output[str]
    """Immutable id that IAM policies name (``db-...`` or ``cluster-...``)."""
    master_secret_arn: pulumi.Output[str]
    security_group_id: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: schema.Postgres,
        *,
        environment: Environment,
        domain: schema.DataDomain,
        vpc_id: pulumi.Input[str],
        subnet_ids: Sequence[pulumi.Input[str]],
        client_security_group_id: pulumi.Input[str],
        key_arn: pulumi.Input[str],
        log_retention: int,
        protect: bool = True,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        check_postgres(spec, zone_count=len(subnet_ids))
        family = postgres_parameter_family(spec.engine, spec.version)
        super().__init__("falaj:data:Postgres", name, opts, protect=protect)
        self._environment = environment
        self._spec = spec
        self._key_arn = key_arn
        self._tags = environment.data_tags(domain, backup=True)
        self._identifier = environment.physical_name("postgres", limit=63)
        self._subnet_group = rds.SubnetGroup(
            f"{name}-subnets",
            description="Private subnets in usable zones",
            subnet_ids=list(subnet_ids),
            opts=self.child_opts(),
        )
        group = client_access_group(
            self,
            name,
            description="PostgreSQL, from the cluster's nodes only",
            vpc_id=vpc_id,
            source_group_id=client_security_group_id,
            ports=(POSTGRES_PORT,),
        )
        self._group = group
        self._logs = cloudwatch.LogGroup(
            f"{name}-logs",
            # RDS writes to this name whatever exists; a group it has to make itself never expires and has no key.
            name=f"/aws/rds/{'instance' if spec.engine == 'rds' else 'cluster'}/{self._identifier}/postgresql",
            retention_in_days=log_retention_days(log_retention),
            kms_key_id=key_arn,
            opts=self.child_opts(),
        )
        self.database_name = "falaj"
        if spec.engine == "rds":
            self._instance(name, family)
        else:
            self._cluster(name, family)
        self.security_group_id = group.id
        self.register_declared_outputs()

    def _instance(self, name: str, family: str) -> None:
        parameters = rds.ParameterGroup(
            f"{name}-parameters",
            family=family,
            description="TLS only, connections and schema changes logged",
            parameters=[
                rds.ParameterGroupParameterArgs(name=key, value=value) for key, value in POSTGRES_PARAMETERS.items()
            ],
            opts=self.child_opts(),
        )
        instance = rds.Instance(
            f"{name}-instance",
            identifier=self._identifier,
            engine="postgres",
            engine_version=self._spec.version,
            instance_class=self._spec.instance_class,
            multi_az=self._spec.instances == 2,
            allocated_storage=self._spec.storage_gib,
            max_allocated_storage=self._spec.storage_gib * STORAGE_GROWTH_FACTOR,
            storage_type="gp3",
            storage_encrypted=True,
            kms_key_id=self._key_arn,
            db_name=self.database_name,
            username=MASTER_USERNAME,
            manage_master_user_password=True,
            master_user_secret_kms_key_id=self._key_arn,
            iam_database_authentication_enabled=True,
            port=POSTGRES_PORT,
            db_subnet_group_name=self._subnet_group.name,
            vpc_security_group_ids=[self._group.id],
            publicly_accessible=False,
            parameter_group_name=parameters.name,
            ca_cert_identifier="rds-ca-rsa2048-g1",
            backup_retention_period=self._spec.backup_retention_days,
            backup_window=BACKUP_WINDOW_UTC,
            maintenance_window=MAINTENANCE_WINDOW_UTC,
            copy_tags_to_snapshot=True,
            delete_automated_backups=not self.protect_data,
            deletion_protection=self.protect_data,
            skip_final_snapshot=not self.protect_data,
            final_snapshot_identifier=f"{self._identifier}-final" if self.protect_data else None,
            auto_minor_version_upgrade=True,
            enabled_cloudwatch_logs_exports=["postgresql"],
            performance_insights_enabled=True,
            performance_insights_kms_key_id=self._key_arn,
            performance_insights_retention_period=PERFORMANCE_INSIGHTS_DAYS,
            tags=self._tags,
            opts=self.child_opts(protect=self.protect_data, depends_on=[self._logs]),
        )
        self.endpoint = instance.address
        self.port = instance.port
        self.resource_id = instance.resource_id
        self.master_secret_arn = instance.master_user_secrets.apply(_secret_arn)

    def _cluster(self, name: str, family: str) -> None:
        parameters = rds.ClusterParameterGroup(
            f"{name}-parameters",
            family=family,
            description="TLS only, connections and schema changes logged",
            parameters=[
                rds.ClusterParameterGroupParameterArgs(name=key, value=value)
                for key, value in POSTGRES_PARAMETERS.items()
            ],
            opts=self.child_opts(),
        )
        cluster = rds.Cluster(
            f"{name}-cluster",
            cluster_identifier=self._identifier,
            engine="aurora-postgresql",
            engine_mode="provisioned",
            engine_version=self._spec.version,
            storage_encrypted=True,
            kms_key_id=self._key_arn,
            database_name=self.database_name,
            master_username=MASTER_USERNAME,
            manage_master_user_password=True,
            master_user_secret_kms_key_id=self._key_arn,
            iam_database_authentication_enabled=True,
            port=POSTGRES_PORT,
            db_subnet_group_name=self._subnet_group.name,
            vpc_security_group_ids=[self._group.id],
            db_cluster_parameter_group_name=parameters.name,
            backup_retention_period=self._spec.backup_retention_days,
            preferred_backup_window=BACKUP_WINDOW_UTC,
            preferred_maintenance_window=MAINTENANCE_WINDOW_UTC,
            copy_tags_to_snapshot=True,
            delete_automated_backups=not self.protect_data,
            deletion_protection=self.protect_data,
            skip_final_snapshot=not self.protect_data,
            final_snapshot_identifier=f"{self._identifier}-final" if self.protect_data else None,
            enabled_cloudwatch_logs_exports=["postgresql"],
            tags=self._tags,
            opts=self.child_opts(protect=self.protect_data, depends_on=[self._logs]),
        )
        for index in range(self._spec.instances):
            rds.ClusterInstance(
                f"{name}-instance-{index}",
                identifier=f"{self._identifier}-{index}",
                cluster_identifier=cluster.id,
                engine="aurora-postgresql",
                engine_version=cluster.engine_version,
                instance_class=self._spec.instance_class,
                db_subnet_group_name=self._subnet_group.name,
                publicly_accessible=False,
                ca_cert_identifier="rds-ca-rsa2048-g1",
                # The first instance and its failover twin share tier 0, so a failover keeps the writer's size.
                promotion_tier=0 if index < 2 else 1,
                auto_minor_version_upgrade=True,
                copy_tags_to_snapshot=True,
                performance_insights_enabled=True,
                performance_insights_kms_key_id=self._key_arn,
                performance_insights_retention_period=PERFORMANCE_INSIGHTS_DAYS,
                tags=self._tags,
                opts=self.child_opts(),
            )
        self.endpoint = cluster.endpoint
        self.port = cluster.port
        self.resource_id = cluster.cluster_resource_id
        self.master_secret_arn = cluster.master_user_secrets.apply(_secret_arn)


def check_postgres(spec: schema.Postgres, *, zone_count: int) -> None:
    """Raise ComponentSpecError or UnsupportedVersionError for a database that ``Postgres`` could not build."""
    postgres_parameter_family(spec.engine, spec.version)
    if zone_count < 2:
        raise ComponentSpecError(
            "postgres.subnets", f"{zone_count} given; RDS needs private subnets in at least two usable zones"
        )


def _secret_arn(secrets: Sequence[rds.outputs.InstanceMasterUserSecret] | None) -> str:
    """Return the ARN of the managed master password's secret; empty while RDS has not made it."""
    for secret in secrets or ():
        if secret.secret_arn:
            return str(secret.secret_arn)
    return ""
