"""What may be done with one of the platform's resources: a grant, and the grants that each kind of store takes.

Pure.  ``workloads.py`` says who gets which; here stands what a right consists of, in the words of the service that asks
for it.  Resources are named by keys (``bucket:lake``, ``key:lake``, ``stream``...), as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

READ = ("s3:GetObject", "s3:GetObjectVersion")
WRITE = ("s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject")
DECRYPT = ("kms:Decrypt", "kms:DescribeKey")
ENCRYPT = ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey")
CATALOGUE_READ = ("glue:GetTable",)
CATALOGUE_WRITE = ("glue:CreateDatabase", "glue:CreateTable", "glue:GetDatabase", "glue:GetTable", "glue:UpdateTable")
"""What pyiceberg's Glue catalogue calls to read a table, and to make one and commit to it; it never drops one."""
ONLINE_READ = ("dynamodb:BatchGetItem", "dynamodb:GetItem")
ONLINE_WRITE = (
    "dynamodb:CreateTable",
    "dynamodb:DeleteItem",
    "dynamodb:DeleteTable",
    "dynamodb:DescribeTable",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Scan",
    "dynamodb:UpdateItem",
)
"""What the runtime asks of DynamoDB to answer features, and to fill a generation, put it live and drop older ones."""
ONLINE_MODEL = ("dynamodb:DescribeTable", "dynamodb:ListTagsOfResource")
"""What it asks of the platform's own table, whose tags the tables of generations get."""
PACKAGE_TENANT = "default"
"""Tenant of the platform's own registry: what ``FALAJ_TENANT`` is where nobody sets it."""
PACKAGES = f"packages/{PACKAGE_TENANT}/"
PACKAGE_READ = ("kms:Decrypt",)
PACKAGE_WRITE = ("kms:Decrypt", "kms:GenerateDataKey")
"""What the registry asks of KMS itself: packages are encrypted before they come to S3, under a data key each."""
SIGN = ("kms:Sign",)
VERIFY = ("kms:GetPublicKey",)
"""What the registry asks of the key that signs packages: the signature, and its public half to trust it."""
AUDIT_RECORD = "registry-audit/"
"""Where copies of the registry's audit record lie, beside those of the trail and of Config."""
AUDIT_LOCK = ("s3:GetBucketObjectLockConfiguration",)
AUDIT_COPY = ("s3:PutObject", "s3:PutObjectRetention")
"""What a copy of an audit record takes where the bucket has object lock; nobody reads or removes one with these."""
GENERATIONS = ".*"
"""After the ARN of the online store's table: the tables of generations, named ``<table>.<project>_g7.<view>``."""
TABLE_KEY = (
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)
"""What DynamoDB wants whoever makes an encrypted table to be allowed, all of it through DynamoDB itself.
Source: DynamoDB developer guide, how it uses KMS, the least permissions of a customer managed key."""


@dataclass(frozen=True)
class Grant:
    """``actions`` on the resource ``on``; ``paths`` are appended to its ARN (empty: the ARN itself).

    ``prefixes`` limit a bucket listing; ``via_service`` limits a key to requests made through that AWS service, so that
    holding the key's grant does not decrypt what the bucket policy would not hand out.
    """

    sid: str
    on: str
    actions: tuple[str, ...]
    paths: tuple[str, ...] = ("",)
    prefixes: tuple[str, ...] = ()
    via_service: str = ""
    encryption_context: Mapping[str, str] = field(default_factory=dict)
    """Of a key that is used without a service between: what a request must say that it is for."""


def bucket(domain: str, sid: str, *, prefixes: tuple[str, ...], write: bool = False) -> tuple[Grant, ...]:
    """Return the grants to list, read (and write) some prefixes of a domain's bucket, with its key through S3 only."""
    key = Grant(f"{sid}Key", f"key:{domain}", ENCRYPT if write else DECRYPT, via_service="s3")
    return (*objects(domain, sid, prefixes=prefixes, write=write), key)


def objects(domain: str, sid: str, *, prefixes: tuple[str, ...], write: bool) -> tuple[Grant, ...]:
    """Return the grants of ``bucket`` without the right to use a key."""
    return (
        Grant(
            f"{sid}List", f"bucket:{domain}", ("s3:ListBucket",), prefixes=tuple(f"{prefix}*" for prefix in prefixes)
        ),
        Grant(
            f"{sid}Objects",
            f"bucket:{domain}",
            WRITE if write else READ,
            paths=tuple(f"/{prefix}*" for prefix in prefixes),
        ),
    )


def catalogue(actions: tuple[str, ...]) -> tuple[Grant, ...]:
    """Return the rights on the lake's tables: Glue asks for each call on the catalogue, the database and the table.

    The databases are those whose name begins with the platform's prefix: a catalogue is one for a whole account.
    """
    databases = tuple(action for action in actions if action.endswith("Database"))
    return (
        Grant("Catalogue", "catalogue", actions),
        Grant("Databases", "catalogue-databases", actions),
        Grant("Tables", "catalogue-tables", tuple(action for action in actions if action not in databases)),
    )


def database(user: str) -> Grant:
    """Return the right to log in to PostgreSQL as ``user`` with a 15-minute IAM token instead of a password."""
    return Grant("Database", "database", ("rds-db:connect",), paths=(f"/{user}",))


def package_key(actions: tuple[str, ...]) -> Grant:
    """Return the right to use the model key as the registry's envelopes do, for packages of the platform alone."""
    return Grant("PackageKey", "key:model", actions, encryption_context={"tenant": PACKAGE_TENANT})


def sign_packages() -> Grant:
    """Return the right to sign; whose key policy names the one role that it is for."""
    return Grant("Sign", "key:signing", SIGN)


def verify_packages() -> Grant:
    """Return the right to read the public half of the key by which packages are trusted."""
    return Grant("Verify", "key:signing", VERIFY)


def record_releases() -> tuple[Grant, ...]:
    """Return the rights to copy the audit record of the platform's registry to the audit bucket, and to see which
    copies are there."""
    record = f"{AUDIT_RECORD}{PACKAGE_TENANT}/"
    return (
        Grant("AuditList", "bucket:audit", ("s3:ListBucket",), prefixes=(f"{record}*",)),
        Grant("AuditLock", "bucket:audit", AUDIT_LOCK),
        Grant("AuditCopies", "bucket:audit", AUDIT_COPY, paths=(f"/{record}*",)),
        Grant("AuditKey", "key:audit", ("kms:GenerateDataKey",), via_service="s3"),
    )


def announce() -> Grant:
    return Grant("Announce", "bus", ("events:PutEvents",))


def receive(queue: str) -> Grant:
    return Grant(
        "Receive",
        f"queue:{queue}",
        ("sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"),
    )


def queue_key() -> Grant:
    return Grant("QueueKey", "key:platform", DECRYPT, via_service="sqs")


@dataclass(frozen=True)
class Stream:
    """Rights on the event stream in the words of its engine."""

    engine: str

    def produce(self, topic: str) -> tuple[Grant, ...]:
        if self.engine == "kinesis":
            return (
                Grant(
                    "Produce",
                    "stream",
                    ("kinesis:DescribeStreamSummary", "kinesis:ListShards", "kinesis:PutRecord", "kinesis:PutRecords"),
                ),
                Grant("StreamKey", "key:lake", ENCRYPT, via_service="kinesis"),
            )
        return self._topics("Produce", topic, "kafka-cluster:WriteData")

    def consume(self, topic: str) -> tuple[Grant, ...]:
        if self.engine == "kinesis":
            return (
                Grant(
                    "Consume",
                    "stream",
                    (
                        "kinesis:DescribeStreamSummary",
                        "kinesis:GetRecords",
                        "kinesis:GetShardIterator",
                        "kinesis:ListShards",
                    ),
                ),
                Grant("StreamKey", "key:lake", DECRYPT, via_service="kinesis"),
            )
        return (
            *self._topics("Consume", topic, "kafka-cluster:ReadData"),
            Grant(
                "ConsumerGroup",
                "groups",
                ("kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"),
                paths=(f"/{topic}.*",),
            ),
        )

    def _topics(self, sid: str, topic: str, action: str) -> tuple[Grant, ...]:
        """``action`` on the topic and on those named after it, with the login at the brokers that it takes."""
        return (
            Grant("Connect", "stream", ("kafka-cluster:Connect", "kafka-cluster:DescribeCluster")),
            Grant(sid, "topics", ("kafka-cluster:DescribeTopic", action), paths=(f"/{topic}", f"/{topic}.*")),
        )


@dataclass(frozen=True)
class Online:
    """Rights on the online store in the words of its engine."""

    engine: str

    def read(self) -> tuple[Grant, ...]:
        if self.engine == "dynamodb":
            return (
                Grant("OnlineRead", "online-store", ONLINE_READ, paths=(GENERATIONS,)),
                Grant("OnlineKey", "key:feature", DECRYPT, via_service="dynamodb"),
            )
        return (
            Grant("OnlineRead", "online-store", ("elasticache:Connect",)),
            Grant("OnlineReader", "online-reader", ("elasticache:Connect",)),
        )

    def write(self) -> tuple[Grant, ...]:
        if self.engine == "dynamodb":
            return (
                # A table that is made with tags needs the right to tag.
                Grant("OnlineWrite", "online-store", (*ONLINE_WRITE, "dynamodb:TagResource"), paths=(GENERATIONS,)),
                Grant("OnlineModel", "online-store", ONLINE_MODEL),
                Grant("OnlineKey", "key:feature", TABLE_KEY, via_service="dynamodb"),
            )
        return (
            Grant("OnlineWrite", "online-store", ("elasticache:Connect",)),
            Grant("OnlineWriter", "online-writer", ("elasticache:Connect",)),
        )


def merge_key_grants(grants: Sequence[Grant]) -> tuple[Grant, ...]:
    """Return the grants without repetition: a workload that reads two things under one key needs the right once."""
    merged: dict[tuple[object, ...], Grant] = {}
    for grant in grants:
        context = tuple(sorted(grant.encryption_context.items()))
        merged.setdefault((grant.on, grant.via_service, grant.actions, grant.paths, grant.prefixes, context), grant)
    return tuple(merged.values())
