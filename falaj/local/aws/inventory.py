"""What the emulated account holds, counted by kind with an ordinary client: nothing of it comes from a state file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from falaj.local.aws.clients import ACCOUNT_ID, Aws


@dataclass(frozen=True, slots=True)
class Listing:
    """How one kind is listed: a boto3 service, an operation, the key of the list and which entries count (asked
    with the client and the entry)."""

    kind: str
    service: str
    operation: str
    key: str
    counts: Callable[[Any, Any], bool] = lambda client, entry: True
    arguments: tuple[tuple[str, Any], ...] = ()


def _own_group(_: Any, entry: Mapping[str, Any]) -> bool:
    return bool(entry["GroupName"] != "default")


def _key_in_use(kms: Any, entry: Mapping[str, Any]) -> bool:
    """Not waiting for its deletion, which takes a week at least, and not one of AWS's own."""
    key = kms.describe_key(KeyId=entry["KeyId"])["KeyMetadata"]
    return bool(key["KeyState"] != "PendingDeletion" and key.get("KeyManager") != "AWS")


LISTINGS: tuple[Listing, ...] = (
    Listing("VPCs", "ec2", "describe_vpcs", "Vpcs", lambda _, entry: not entry.get("IsDefault")),
    Listing("subnets", "ec2", "describe_subnets", "Subnets", lambda _, entry: not entry.get("DefaultForAz")),
    Listing("security groups", "ec2", "describe_security_groups", "SecurityGroups", _own_group),
    Listing(
        "VPC endpoints", "ec2", "describe_vpc_endpoints", "VpcEndpoints", lambda _, entry: entry["State"] != "deleted"
    ),
    Listing(
        "NAT gateways", "ec2", "describe_nat_gateways", "NatGateways", lambda _, entry: entry["State"] == "available"
    ),
    Listing("flow logs", "ec2", "describe_flow_logs", "FlowLogs"),
    Listing("launch templates", "ec2", "describe_launch_templates", "LaunchTemplates"),
    Listing("KMS keys", "kms", "list_keys", "Keys", _key_in_use),
    Listing(
        "KMS aliases",
        "kms",
        "list_aliases",
        "Aliases",
        lambda _, entry: not entry["AliasName"].startswith("alias/aws/"),
    ),
    Listing("buckets", "s3", "list_buckets", "Buckets"),
    Listing("IAM roles", "iam", "list_roles", "Roles", lambda _, entry: "/aws-service-role/" not in entry["Path"]),
    Listing("IAM policies", "iam", "list_policies", "Policies", arguments=(("Scope", "Local"),)),
    Listing("EKS clusters", "eks", "list_clusters", "clusters"),
    Listing("RDS instances", "rds", "describe_db_instances", "DBInstances"),
    Listing("RDS clusters", "rds", "describe_db_clusters", "DBClusters"),
    Listing("ElastiCache groups", "elasticache", "describe_replication_groups", "ReplicationGroups"),
    Listing("DynamoDB tables", "dynamodb", "list_tables", "TableNames"),
    Listing("Kinesis streams", "kinesis", "list_streams", "StreamNames"),
    Listing("MSK clusters", "kafka", "list_clusters_v2", "ClusterInfoList"),
    Listing("SQS queues", "sqs", "list_queues", "QueueUrls"),
    Listing("SNS topics", "sns", "list_topics", "Topics"),
    Listing("log groups", "logs", "describe_log_groups", "logGroups"),
    Listing("event rules", "events", "list_rules", "Rules"),
    Listing("alarms", "cloudwatch", "describe_alarms", "MetricAlarms"),
    Listing("ECR repositories", "ecr", "describe_repositories", "repositories"),
    Listing("trails", "cloudtrail", "describe_trails", "trailList"),
    Listing("backup vaults", "backup", "list_backup_vaults", "BackupVaultList"),
    Listing("secrets", "secretsmanager", "list_secrets", "SecretList"),
    Listing("budgets", "budgets", "describe_budgets", "Budgets", arguments=(("AccountId", ACCOUNT_ID),)),
)


def count(aws: Aws) -> dict[str, int]:
    """How many resources of each kind exist; kinds without any are left out.  Raises botocore's errors."""
    for service in dict.fromkeys(listing.service for listing in LISTINGS):
        aws.client(service)  # made here, one after another: threads would only wait for each other
    with ThreadPoolExecutor(max_workers=4) as threads:
        counts = list(threads.map(lambda listing: _count(aws, listing), LISTINGS))
    return {listing.kind: number for listing, number in zip(LISTINGS, counts, strict=True) if number}


def _count(aws: Aws, listing: Listing) -> int:
    client, arguments = aws.client(listing.service), dict(listing.arguments)
    if client.can_paginate(listing.operation):
        pages = client.get_paginator(listing.operation).paginate(**arguments)
    else:
        pages = [getattr(client, listing.operation)(**arguments)]
    return sum(1 for page in pages for entry in page.get(listing.key) or () if listing.counts(client, entry))
