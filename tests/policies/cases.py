"""Resources by name, and what each rule says of them: the fixtures of test_rules.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from policies.verdict import UNKNOWN, Resource, Status

C, V, N, U = Status.COMPLIANT, Status.VIOLATION, Status.NOT_APPLICABLE, Status.UNVERIFIED
HERE = {"region": "me-central-1"}


@dataclass(frozen=True)
class Case:
    """``expected`` is the worst verdict of ``rule`` on one resource."""

    rule: str
    name: str
    type: str
    props: dict[str, Any]
    expected: Status
    provider: dict[str, Any] | None = None

    def resource(self) -> Resource:
        return Resource(
            self.type, self.name, f"urn:pulumi:t::falaj::{self.type}::{self.name}", self.props, self.provider
        )


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def denied(operator: str, key: str, value: str) -> dict[str, Any]:
    return {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": "*",
        "Condition": {operator: {key: value}},
    }


TLS = policy(denied("Bool", "aws:SecureTransport", "false"), denied("NumericLessThan", "s3:TlsVersion", "1.2"))
KEY_POLICY = policy(
    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "kms:*", "Resource": "*"}
)
OPEN_KEY_POLICY = policy({"Effect": "Allow", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"})
READ_LAKE = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::lake/*"}


def sse(algorithm: Any, key: Any, bucket_key: Any = True) -> dict[str, Any]:
    default = {"sseAlgorithm": algorithm, "kmsMasterKeyId": key}
    return {"rules": [{"applyServerSideEncryptionByDefault": default, "bucketKeyEnabled": bucket_key}]}


def deployment(image: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}}


PROVIDER, BUCKET, QUEUE = "pulumi:providers:aws", "aws:s3/bucket:Bucket", "aws:sqs/queue:Queue"
SSE = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
BUCKET_POLICY, BLOCK = "aws:s3/bucketPolicy:BucketPolicy", "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
KEY, CLUSTER, RDS = "aws:kms/key:Key", "aws:eks/cluster:Cluster", "aws:rds/instance:Instance"
SUBNET, INGRESS = "aws:ec2/subnet:Subnet", "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
GROUP, MSK, IAM_POLICY = "aws:ec2/securityGroup:SecurityGroup", "aws:msk/cluster:Cluster", "aws:iam/policy:Policy"
DEPLOYMENT, MIRROR = "kubernetes:apps/v1:Deployment", "aws:ecr/pullThroughCacheRule:PullThroughCacheRule"
REPLICATION = "aws:s3/bucketReplicationConfig:BucketReplicationConfig"
OURS = "123456789012.dkr.ecr.me-central-1.amazonaws.com/falaj/server@sha256:0"
ROTATING = {"enableKeyRotation": True, "deletionWindowInDays": 30, "policy": KEY_POLICY}
BLOCKS = dict.fromkeys(("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True)

AWS_CASES = [
    Case("RES-001", "provider-in-the-uae", PROVIDER, HERE, C),
    Case("RES-001", "provider-in-ireland", PROVIDER, {"region": "eu-west-1"}, V),
    Case("RES-001", "provider-without-region", PROVIDER, {}, V),
    Case("RES-001", "provider-region-unknown", PROVIDER, {"region": UNKNOWN}, U),
    Case("RES-001", "not-a-provider", BUCKET, {"region": "eu-west-1"}, N),
    Case("RES-002", "queue-with-provider-in-the-uae", QUEUE, {}, C, HERE),
    Case("RES-002", "queue-with-own-uae-region", QUEUE, HERE, C, {"region": "eu-west-1"}),
    Case("RES-002", "queue-overriding-to-ireland", QUEUE, {"region": "eu-west-1"}, V, HERE),
    Case("RES-002", "queue-with-provider-in-ireland", QUEUE, {}, V, {"region": "eu-west-1"}),
    Case("RES-002", "queue-with-unknown-region", QUEUE, {"region": UNKNOWN}, U, HERE),
    Case("RES-002", "queue-with-invisible-provider", QUEUE, {}, U),
    Case("RES-002", "config-map", "kubernetes:core/v1:ConfigMap", {"region": "eu-west-1"}, N, HERE),
    Case("RES-003", "bucket-without-replication", BUCKET, {}, N),
    Case("RES-004", "single-region-key", KEY, {"multiRegion": False}, C),
    Case("RES-004", "key-by-default", KEY, {}, C),
    Case("RES-004", "multi-region-key", KEY, {"multiRegion": True}, V),
    Case("RES-004", "replica-key", "aws:kms/replicaKey:ReplicaKey", {}, V),
    Case("RES-004", "key-kind-unknown", KEY, {"multiRegion": UNKNOWN}, U),
    Case("RES-004", "queue", QUEUE, {"multiRegion": True}, N),
    Case("RES-014", "image-from-our-registry", DEPLOYMENT, deployment(OURS), C),
    Case("RES-014", "image-from-docker-hub", DEPLOYMENT, deployment("nginx:1.29"), V),
    Case("RES-014", "image-from-ecr-in-ireland", DEPLOYMENT, deployment(OURS.replace("me-central-1", "eu-west-1")), V),
    Case("RES-014", "host-that-only-looks-like-ours", DEPLOYMENT, deployment("x." + OURS), V),
    Case("RES-014", "image-unknown", DEPLOYMENT, deployment(UNKNOWN), U),
    Case("RES-014", "mirror-of-a-named-upstream", MIRROR, {"upstreamRegistryUrl": "public.ecr.aws"}, C),
    Case("RES-014", "mirror-of-a-stranger", MIRROR, {"upstreamRegistryUrl": "registry.example.org"}, V),
    Case("RES-014", "bucket", BUCKET, {}, N),
    Case("ENC-001", "kms-with-our-key", SSE, sse("aws:kms", "arn:aws:kms:::key/1"), C),
    Case("ENC-001", "aes256", SSE, sse("AES256", None), V),
    Case("ENC-001", "kms-with-the-services-key", SSE, sse("aws:kms", None), V),
    Case("ENC-001", "kms-without-bucket-key", SSE, sse("aws:kms", "arn:aws:kms:::key/1", False), V),
    Case("ENC-001", "no-rules", SSE, {"rules": []}, V),
    Case("ENC-001", "key-unknown", SSE, sse("aws:kms", UNKNOWN), U),
    Case("ENC-001", "aes256-with-key-unknown", SSE, sse("AES256", UNKNOWN), V),
    Case("ENC-001", "queue", QUEUE, {}, N),
    Case("ENC-003", "database-with-our-key", RDS, {"storageEncrypted": True, "kmsKeyId": "arn:aws:kms:::key/1"}, C),
    Case("ENC-003", "database-in-clear", RDS, {"storageEncrypted": False, "kmsKeyId": "arn:aws:kms:::key/1"}, V),
    Case("ENC-003", "database-with-the-services-key", RDS, {"storageEncrypted": True}, V),
    Case("ENC-003", "database-key-unknown", RDS, {"storageEncrypted": True, "kmsKeyId": UNKNOWN}, U),
    Case(
        "ENC-003",
        "insights-under-the-services-key",
        RDS,
        {"storageEncrypted": True, "kmsKeyId": "arn:aws:kms:::key/1", "performanceInsightsEnabled": True},
        V,
    ),
    Case("ENC-003", "bucket", BUCKET, {}, N),
    Case(
        "ENC-004",
        "secrets-under-our-key",
        CLUSTER,
        {"encryptionConfig": {"resources": ["secrets"], "provider": {"keyArn": "arn:aws:kms:::key/1"}}},
        C,
    ),
    Case("ENC-004", "no-envelope", CLUSTER, {}, V),
    Case("ENC-004", "envelope-for-nothing", CLUSTER, {"encryptionConfig": {"resources": [], "provider": {}}}, V),
    Case(
        "ENC-004",
        "envelope-key-unknown",
        CLUSTER,
        {"encryptionConfig": {"resources": ["secrets"], "provider": {"keyArn": UNKNOWN}}},
        U,
    ),
    Case("ENC-004", "database", RDS, {}, N),
    Case("ENC-006", "rotating-key", KEY, ROTATING, C),
    Case("ENC-006", "key-that-never-rotates", KEY, {**ROTATING, "enableKeyRotation": False}, V),
    Case("ENC-006", "key-gone-in-a-week", KEY, {**ROTATING, "deletionWindowInDays": 7}, V),
    Case("ENC-006", "key-rotating-every-two-years", KEY, {**ROTATING, "rotationPeriodInDays": 730}, V),
    Case("ENC-006", "key-open-to-all", KEY, {**ROTATING, "policy": OPEN_KEY_POLICY}, V),
    Case("ENC-006", "key-with-broken-policy", KEY, {**ROTATING, "policy": "{"}, V),
    Case("ENC-006", "key-policy-unknown", KEY, {**ROTATING, "policy": UNKNOWN}, U),
    Case("ENC-006", "bucket", BUCKET, {}, N),
    Case("TLS-001", "policy-that-demands-tls", BUCKET_POLICY, {"policy": TLS}, C),
    Case("TLS-001", "policy-as-object", BUCKET_POLICY, {"policy": json.loads(TLS)}, C),
    Case("TLS-001", "policy-without-version", BUCKET_POLICY, {"policy": policy(json.loads(TLS)["Statement"][0])}, V),
    Case("TLS-001", "empty-policy", BUCKET_POLICY, {"policy": policy()}, V),
    Case("TLS-001", "policy-unknown", BUCKET_POLICY, {"policy": UNKNOWN}, U),
    Case("TLS-001", "bucket", BUCKET, {}, N),
    Case("NET-001", "private-endpoint", CLUSTER, {"vpcConfig": {"endpointPublicAccess": False}}, C),
    Case("NET-001", "endpoint-for-one-network", CLUSTER, {"vpcConfig": {"publicAccessCidrs": ["192.0.2.0/24"]}}, C),
    Case("NET-001", "endpoint-by-default", CLUSTER, {"vpcConfig": {}}, V),
    Case(
        "NET-001",
        "endpoint-for-everybody",
        CLUSTER,
        {"vpcConfig": {"publicAccessCidrs": ["192.0.2.0/24", "0.0.0.0/0"]}},
        V,
    ),
    Case("NET-001", "endpoint-unknown", CLUSTER, {"vpcConfig": {"endpointPublicAccess": UNKNOWN}}, U),
    Case("NET-001", "bucket", BUCKET, {}, N),
    Case("NET-002", "private-database", RDS, {"publiclyAccessible": False}, C),
    Case("NET-002", "public-database", RDS, {"publiclyAccessible": True}, V),
    Case("NET-002", "private-subnet", SUBNET, {"mapPublicIpOnLaunch": False}, C),
    Case("NET-002", "public-subnet", SUBNET, {"mapPublicIpOnLaunch": True}, V),
    Case("NET-002", "ingress-from-the-vpc", INGRESS, {"cidrIpv4": "10.0.0.0/16"}, C),
    Case("NET-002", "ingress-from-everywhere", INGRESS, {"cidrIpv4": "0.0.0.0/0"}, V),
    Case("NET-002", "ingress-from-everywhere-v6", INGRESS, {"cidrIpv6": "::/0"}, V),
    Case("NET-002", "ingress-unknown", INGRESS, {"cidrIpv4": UNKNOWN}, U),
    Case("NET-002", "group-open-inline", GROUP, {"ingress": [{"cidrBlocks": ["0.0.0.0/0"]}]}, V),
    Case("NET-002", "group-closed", GROUP, {"ingress": []}, C),
    Case("NET-002", "private-brokers", MSK, {"brokerNodeGroupInfo": {}}, C),
    Case(
        "NET-002",
        "public-brokers",
        MSK,
        {"brokerNodeGroupInfo": {"connectivityInfo": {"publicAccess": {"type": "SERVICE_PROVIDED_EIPS"}}}},
        V,
    ),
    Case("NET-002", "bucket", BUCKET, {}, N),
    Case("NET-003", "all-four-blocks", BLOCK, BLOCKS, C),
    Case("NET-003", "three-blocks", BLOCK, {**BLOCKS, "blockPublicPolicy": False}, V),
    Case("NET-003", "blocks-missing", BLOCK, {}, V),
    Case("NET-003", "block-unknown", BLOCK, {**BLOCKS, "blockPublicAcls": UNKNOWN}, U),
    Case("NET-003", "bucket", BUCKET, {}, N),
    Case("IAM-001", "read-one-bucket", IAM_POLICY, {"policy": policy(READ_LAKE)}, C),
    Case("IAM-001", "administrator", IAM_POLICY, {"policy": policy({**READ_LAKE, "Action": "*", "Resource": "*"})}, V),
    Case("IAM-001", "all-of-s3", IAM_POLICY, {"policy": policy({**READ_LAKE, "Action": "s3:*"})}, V),
    Case("IAM-001", "any-object", IAM_POLICY, {"policy": policy({**READ_LAKE, "Resource": "*"})}, V),
    Case(
        "IAM-001",
        "describe-needs-a-star",
        IAM_POLICY,
        {"policy": policy({"Effect": "Allow", "Action": "ec2:DescribeSubnets", "Resource": "*"})},
        C,
    ),
    Case(
        "IAM-001",
        "everything-but",
        IAM_POLICY,
        {"policy": policy({"Effect": "Allow", "NotAction": "iam:*", "Resource": "arn:aws:s3:::lake"})},
        V,
    ),
    Case("IAM-001", "denial-of-all", IAM_POLICY, {"policy": policy({**READ_LAKE, "Effect": "Deny", "Action": "*"})}, C),
    Case("IAM-001", "not-json", IAM_POLICY, {"policy": "{"}, V),
    Case("IAM-001", "policy-unknown", IAM_POLICY, {"policy": UNKNOWN}, U),
    Case("IAM-001", "platform-boundary", IAM_POLICY, {"policy": policy({**READ_LAKE, "Action": "s3:*"})}, C),
    Case(
        "IAM-001",
        "role-with-inline-star",
        "aws:iam/role:Role",
        {"inlinePolicies": [{"policy": policy({**READ_LAKE, "Action": "*"})}]},
        V,
    ),
    Case("IAM-001", "bucket", BUCKET, {}, N),
]
