"""The online store: where features are read from while a request waits.

Reachable from the cluster's nodes only, over TLS only, encrypted under the feature key, and logged in to with IAM: the
feature server's role can read and not write, the materialiser's can do both.
"""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi_aws import cloudwatch, dynamodb, elasticache

from blueprints import schema
from components.access import client_access_group
from components.base import ComponentSpecError, PlatformComponent
from components.log_retention import log_retention_days
from components.naming import Environment
from components.versions import VALKEY_PARAMETER_FAMILY, VALKEY_VERSION

VALKEY_PORT = 6379
SNAPSHOT_WINDOW_UTC = "22:00-23:00"
MAINTENANCE_WINDOW_UTC = "fri:23:00-sat:00:00"
"""02:00 and Saturday 03:00 in the UAE (UTC+4), outside the working week."""

TTL_ATTRIBUTE = "expires_at"
"""Attribute with the epoch second after which DynamoDB removes a feature row."""


class OnlineStore(PlatformComponent):
    """Where online features are read from: a DynamoDB table, or a Valkey replication group.

    Children, dynamodb: the table.  valkey: subnet group, security group with its rule, parameter group, three RBAC
    users (a locked default, a reader, a writer), user group, log group, replication group.  ``protect`` refuses
    deletion.
    Raises ComponentSpecError for replicas that no second zone could hold.
    """

    engine: str
    arn: pulumi.Output[str]
    endpoint: pulumi.Output[str]
    """dynamodb: the table's name.  valkey: host name of the configuration endpoint."""
    port: int
    """0 for DynamoDB, which is reached through its regional endpoint."""
    reader_arn: pulumi.Output[str] | None
    writer_arn: pulumi.Output[str] | None
    """Valkey users that IAM policies name; None for DynamoDB."""

    def __init__(
        self,
        name: str,
        spec: schema.OnlineStore,
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
        check_online_store(spec, zone_count=len(subnet_ids))
        super().__init__("falaj:data:OnlineStore", name, opts, protect=protect)
        self._environment = environment
        self._tags = environment.data_tags(domain, backup=spec.engine == "dynamodb")
        self.engine = spec.engine
        if spec.engine == "dynamodb":
            self._table(name, key_arn)
        else:
            self._replication_group(
                name, spec, vpc_id, subnet_ids, client_security_group_id, key_arn, log_key_arn, log_retention
            )
        self.register_declared_outputs()

    def _table(self, name: str, key_arn: pulumi.Input[str]) -> None:
        table = dynamodb.Table(
            f"{name}-table",
            name=self._environment.physical_name("online-features"),
            # Feast's DynamoDB layout: one row per entity, features as attributes.
            hash_key="entity_id",
            attributes=[dynamodb.TableAttributeArgs(name="entity_id", type="S")],
            billing_mode="PAY_PER_REQUEST",
            server_side_encryption=dynamodb.TableServerSideEncryptionArgs(enabled=True, kms_key_arn=key_arn),
            point_in_time_recovery=dynamodb.TablePointInTimeRecoveryArgs(enabled=True),
            ttl=dynamodb.TableTtlArgs(enabled=True, attribute_name=TTL_ATTRIBUTE),
            deletion_protection_enabled=self.protect_data,
            tags=self._tags,
            opts=self.child_opts(protect=self.protect_data),
        )
        self.arn = table.arn
        self.endpoint = table.name
        self.port = 0
        self.reader_arn = None
        self.writer_arn = None

    def _replication_group(
        self,
        name: str,
        spec: schema.OnlineStore,
        vpc_id: pulumi.Input[str],
        subnet_ids: Sequence[pulumi.Input[str]],
        client_security_group_id: pulumi.Input[str],
        key_arn: pulumi.Input[str],
        log_key_arn: pulumi.Input[str],
        log_retention: int,
    ) -> None:
        subnet_group = elasticache.SubnetGroup(
            f"{name}-subnets",
            name=self._environment.physical_name("online-features"),
            description="Private subnets in usable zones",
            subnet_ids=list(subnet_ids),
            opts=self.child_opts(),
        )
        group = client_access_group(
            self,
            name,
            description="Valkey, from the cluster's nodes only",
            vpc_id=vpc_id,
            source_group_id=client_security_group_id,
            ports=(VALKEY_PORT,),
        )
        parameters = elasticache.ParameterGroup(
            f"{name}-parameters",
            name=self._environment.physical_name("online-features"),
            family=VALKEY_PARAMETER_FAMILY,
            description="Cluster mode; rows with a time to live go first when memory is full",
            parameters=[
                elasticache.ParameterGroupParameterArgs(name="cluster-enabled", value="yes"),
                elasticache.ParameterGroupParameterArgs(name="maxmemory-policy", value="volatile-ttl"),
            ],
            opts=self.child_opts(),
        )
        # Every user group must hold a user named "default"; this one can do nothing.
        locked = self._user(name, "default", user_name="default", access="off -@all", iam=False)
        reader = self._user(
            name, "reader", access="on ~* -@all +@read +@connection +cluster|slots +cluster|shards +info"
        )
        writer = self._user(
            name, "writer", access="on ~* -@all +@read +@write +@connection +cluster|slots +cluster|shards +info"
        )
        users = elasticache.UserGroup(
            f"{name}-users",
            engine="valkey",
            user_group_id=self._environment.physical_name("online", limit=40),
            user_ids=[locked.user_id, reader.user_id, writer.user_id],
            opts=self.child_opts(),
        )
        logs = cloudwatch.LogGroup(
            f"{name}-logs",
            name=self._environment.log_group_name("valkey"),
            retention_in_days=log_retention_days(log_retention),
            kms_key_id=log_key_arn,
            opts=self.child_opts(),
        )
        store = elasticache.ReplicationGroup(
            f"{name}-valkey",
            replication_group_id=self._environment.physical_name("online", limit=40),
            description="Online features",
            engine="valkey",
            engine_version=VALKEY_VERSION,
            node_type=spec.node_type,
            num_node_groups=spec.shards,
            replicas_per_node_group=spec.replicas_per_shard,
            automatic_failover_enabled=spec.replicas_per_shard > 0,
            multi_az_enabled=spec.replicas_per_shard > 0,
            subnet_group_name=subnet_group.name,
            security_group_ids=[group.id],
            parameter_group_name=parameters.name,
            port=VALKEY_PORT,
            at_rest_encryption_enabled=True,
            kms_key_id=key_arn,
            transit_encryption_enabled=True,
            transit_encryption_mode="required",
            user_group_ids=[users.user_group_id],
            auto_minor_version_upgrade=True,
            # Features can be materialised again from the lake; the snapshot only shortens that.
            snapshot_retention_limit=1,
            snapshot_window=SNAPSHOT_WINDOW_UTC,
            maintenance_window=MAINTENANCE_WINDOW_UTC,
            log_delivery_configurations=[
                elasticache.ReplicationGroupLogDeliveryConfigurationArgs(
                    destination=logs.name,
                    destination_type="cloudwatch-logs",
                    log_format="json",
                    log_type=log_type,
                )
                for log_type in ("engine-log", "slow-log")
            ],
            tags=self._tags,
            opts=self.child_opts(protect=self.protect_data),
        )
        self.arn = store.arn
        self.endpoint = store.configuration_endpoint_address
        self.port = VALKEY_PORT
        self.reader_arn = reader.arn
        self.writer_arn = writer.arn

    def _user(self, name: str, purpose: str, *, access: str, user_name: str = "", iam: bool = True) -> elasticache.User:
        # With IAM authentication ElastiCache demands that the user's id and name are equal.
        user_id = self._environment.physical_name(f"online-{purpose}", limit=40)
        mode = elasticache.UserAuthenticationModeArgs(type="iam" if iam else "no-password-required")
        return elasticache.User(
            f"{name}-{purpose}",
            engine="valkey",
            user_id=user_id,
            user_name=user_name or user_id,
            access_string=access,
            authentication_mode=mode,
            opts=self.child_opts(),
        )


def check_online_store(spec: schema.OnlineStore, *, zone_count: int) -> None:
    """Raise ComponentSpecError for replicas that would share a zone with their primary."""
    if spec.engine == "valkey" and spec.replicas_per_shard and zone_count < 2:
        raise ComponentSpecError(
            "online_store.replicas_per_shard",
            f"{spec.replicas_per_shard} with one usable zone; replicas beside the primary do not survive its zone",
        )
