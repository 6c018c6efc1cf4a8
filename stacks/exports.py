"""The stack's outputs: a contract for whoever reads them by StackReference, by CLI or from a service's settings.

Renaming or removing one is a breaking change.  Every output exists for every blueprint; one that a blueprint has no
resource for is an empty string or mapping, so that a reader need not know which blueprint it talks to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from blueprints.placement import Placement
from components.identity import Identity
from stacks.account import Account
from stacks.compute import Compute
from stacks.data import Data
from stacks.foundation import Foundation
from stacks.governance import Governance
from stacks.platform_layer import PlatformLayer
from stacks.settings import StackSettings

CONTRACT: Mapping[str, str] = {
    "accountId": "AWS account that holds the platform",
    "region": "AWS region, always inside the UAE",
    "environment": "name in every physical name and tag",
    "blueprint": "blueprint that the stack is made from",
    "zones": "zone ids in use, best first",
    "vpcId": "VPC",
    "privateSubnetIds": "zone id -> subnet of nodes and pods",
    "dataSubnetIds": "zone id -> subnet of databases and brokers, without a way out",
    "natPublicIps": "zone id -> address under which the platform calls out; for allow-lists of partners",
    "keyArns": "data domain -> customer managed key",
    "packageSigningKeyArn": "key of KMS that signs model packages and by which they are trusted",
    "bucketNames": "data domain -> bucket",
    "clusterName": "EKS cluster",
    "clusterEndpoint": "Kubernetes API, reachable from the VPC",
    "clusterCertificateAuthority": "base64 PEM that signs the Kubernetes API's certificate",
    "clusterVersion": "Kubernetes version",
    "nodeRoleArn": "role of the nodes",
    "nodeGroupNames": "node pool -> EKS node group",
    "registryUrls": "repository -> address to push to and pull from",
    "registryMirrors": "prefixes under which upstream images are mirrored",
    "postgresEndpoint": "host of the PostgreSQL writer",
    "postgresPort": "port of PostgreSQL",
    "postgresDatabase": "database made with the instance",
    "postgresMasterSecretArn": "secret with the rotated master password; services log in with IAM instead",
    "onlineStoreEngine": "dynamodb or valkey",
    "onlineStoreEndpoint": "table name (dynamodb) or configuration endpoint (valkey)",
    "streamEngine": "kinesis or msk",
    "streamEndpoint": "stream name (kinesis) or bootstrap brokers for IAM over TLS (msk)",
    "eventBusName": "EventBridge bus for platform events",
    "queueUrls": "subscription -> SQS queue",
    "workloadRoleArns": "service account -> Pod Identity role",
    "ciRoleArn": "role that CI assumes; empty without CI",
    "alertsTopicArn": "topic that alerts of every kind go to",
    "trailArn": "CloudTrail trail of the account",
    "tenantNamespaces": "tenant -> Kubernetes namespace",
    "modelsUrl": "where every served model answers, within the cluster",
    "mlflowUrl": "tracking server and model registry, within the cluster",
    "releasesLeftOut": "releases that wait for the digest of their image (falaj:imageDigests)",
    "backupVaultName": "vault with the daily recovery points",
    "boundaryArn": "permissions boundary that every role carries",
}
"""Output -> what it is."""


def export_outputs(
    settings: StackSettings,
    account: Account,
    placement: Placement,
    foundation: Foundation,
    compute: Compute,
    data: Data,
    governance: Governance,
    identity: Identity,
    layer: PlatformLayer,
) -> None:
    """Export every output of the contract."""
    values: dict[str, Any] = {
        "accountId": account.environment.account_id,
        "region": account.environment.region,
        "environment": settings.environment,
        "blueprint": settings.blueprint.name,
        "zones": list(placement.zones),
        "vpcId": foundation.network.vpc_id,
        "privateSubnetIds": foundation.network.private_subnet_ids,
        "dataSubnetIds": foundation.network.data_subnet_ids,
        "natPublicIps": foundation.network.nat_public_ips,
        "keyArns": foundation.encryption.key_arns,
        "packageSigningKeyArn": foundation.signing.key_arn,
        "bucketNames": foundation.storage.bucket_names,
        "clusterName": compute.cluster.cluster_name,
        "clusterEndpoint": compute.cluster.endpoint,
        "clusterCertificateAuthority": compute.cluster.certificate_authority,
        "clusterVersion": compute.cluster.version,
        "nodeRoleArn": compute.node_pools.node_role_arn,
        "nodeGroupNames": compute.node_pools.node_group_names,
        "registryUrls": compute.registry.repository_urls,
        "registryMirrors": list(compute.registry.mirror_prefixes),
        "postgresEndpoint": data.postgres.endpoint,
        "postgresPort": data.postgres.port,
        "postgresDatabase": data.postgres.database_name,
        "postgresMasterSecretArn": data.postgres.master_secret_arn,
        "onlineStoreEngine": data.online_store.engine,
        "onlineStoreEndpoint": data.online_store.endpoint,
        "streamEngine": data.streaming.engine,
        "streamEndpoint": data.streaming.endpoint,
        "eventBusName": data.events.bus_name,
        "queueUrls": data.events.queue_urls,
        "workloadRoleArns": identity.role_arns,
        "ciRoleArn": identity.ci_role_arn or "",
        "alertsTopicArn": governance.audit.alerts_topic_arn,
        "trailArn": governance.audit.trail_arn,
        "tenantNamespaces": layer.tenancy.namespaces,
        "modelsUrl": layer.releases.router_url,
        "mlflowUrl": layer.releases.mlflow_url,
        "releasesLeftOut": list(layer.releases.left_out),
        "backupVaultName": governance.backup.vault_name,
        "boundaryArn": foundation.boundary.arn,
    }
    for name in CONTRACT:
        pulumi.export(name, values[name])
