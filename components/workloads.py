"""What each service of the platform may touch: the table behind the Pod Identity roles.

Pure.  A workload is one Kubernetes service account with one role; a grant says which actions on which resource and
under which prefix.  Resources are named by keys (``bucket:lake``, ``key:lake``, ``stream``...) that the identity
component resolves to ARNs, so that this table reads without knowing how a resource is made.

Tenants get the prefix ``tenants/<name>/`` of each bucket under their own key and nothing of each other's; platform
services own the prefixes that they alone write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from blueprints.schema import Blueprint, Tenant
from components.iam_documents import Statement, allow
from manifests.objects import OBSERVABILITY_NAMESPACE, PLATFORM_NAMESPACE, tenant_namespace
from manifests.tenancy import BUCKETS, WORKBENCH_ACCOUNT, tenant_prefix

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


@dataclass(frozen=True)
class Workload:
    """One service account and what it may do."""

    name: str
    namespace: str
    service_account: str
    grants: tuple[Grant, ...]

    @property
    def resource_keys(self) -> tuple[str, ...]:
        """The resources that its policy names, sorted."""
        return tuple(sorted({grant.on for grant in self.grants}))


def workload_statements(workload: Workload, arns: Mapping[str, str], *, region: str) -> list[Statement]:
    """Return the statements of a workload's policy.  ``arns``: resource key -> ARN; KeyError if one is missing."""
    statements = []
    for grant in workload.grants:
        conditions: dict[str, dict[str, str | Sequence[str]]] = {}
        if grant.prefixes:
            conditions["StringLike"] = {"s3:prefix": grant.prefixes}
        if grant.via_service:
            conditions["StringEquals"] = {"kms:ViaService": f"{grant.via_service}.{region}.amazonaws.com"}
        if grant.encryption_context:
            context = {f"kms:EncryptionContext:{name}": value for name, value in grant.encryption_context.items()}
            conditions["StringEquals"] = {**conditions.get("StringEquals", {}), **context}
        resources = [arns[grant.on] + path for path in grant.paths]
        statements.append(allow(grant.sid, grant.actions, resources, conditions=conditions))
    return statements


def platform_workloads(blueprint: Blueprint) -> tuple[Workload, ...]:
    """Return the platform's services for a blueprint's engines, sorted by name."""
    stream = _Stream(blueprint.streaming.engine)
    online = _Online(blueprint.online_store.engine)
    workloads = (
        # Makes the roles and databases of the services: the only one that may read the administrator's password.
        _platform(
            "database",
            Grant(
                "AdminSecret",
                "secret:postgres-admin",
                ("secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"),
            ),
            Grant("SecretKey", "key:platform", DECRYPT, via_service="secretsmanager"),
        ),
        # Tracks runs and registers models: the only writer of the registry's artefacts.
        _platform(
            "mlflow",
            *_bucket("model", "Artefacts", prefixes=("mlflow/",), write=True),
            _database("mlflow"),
            _announce(),
        ),
        # Answers feature requests: reads the online store, which also says what is live in it.
        _platform(
            "feature-server",
            *online.read(),
        ),
        # Moves features from the lake to both stores.
        _platform(
            "feature-materialiser",
            *_bucket("lake", "Lake", prefixes=("curated/",)),
            *_catalogue(CATALOGUE_READ),
            *_bucket("feature", "Features", prefixes=("features/",), write=True),
            *online.write(),
        ),
        # Accepts events and files: writes the raw zone and the stream, reads nothing back.
        _platform(
            "ingestion",
            *_bucket("lake", "Raw", prefixes=("raw/",), write=True),
            *stream.produce("events"),
            _announce(),
        ),
        # Turns raw data into contract-checked tables.
        _platform(
            "stream-processor",
            *stream.consume("events"),
            _receive("ingestion"),
            Grant("Refused", "queue:stream-dead-letters", ("sqs:SendMessage",)),
            # What SQS needs of the key to take a message, which includes what it needs to hand one out.
            Grant("QueueKey", "key:platform", ENCRYPT, via_service="sqs"),
            *_bucket("lake", "Lake", prefixes=("curated/", "dead-letters/", "quarantine/", "raw/"), write=True),
            # A commit removes the metadata files of long ago; rows stay.
            Grant("OldMetadata", "bucket:lake", ("s3:DeleteObject",), paths=("/curated/*/metadata/*",)),
            *_catalogue(CATALOGUE_WRITE),
            _announce(),
        ),
        # Trains: reads curated data and features, writes checkpoints and candidate artefacts.
        _platform(
            "training",
            *_bucket("lake", "Lake", prefixes=("curated/",)),
            *_catalogue(CATALOGUE_READ),
            *_bucket("feature", "Features", prefixes=("features/",)),
            *_bucket("model", "Runs", prefixes=("checkpoints/", "mlflow/"), write=True),
            _announce(),
        ),
        # Serves: reads signed packages, never what training left, and logs predictions.
        _platform(
            "serving",
            *_bucket("model", "Packages", prefixes=(PACKAGES,)),
            _package_key(PACKAGE_READ),
            *online.read(),
            *stream.produce("predictions"),
        ),
        # Compares live traffic with the training data and announces drift.
        _platform(
            "drift-monitor",
            *stream.consume("predictions"),
            *_bucket("lake", "Curated", prefixes=("curated/",)),
            *_catalogue(CATALOGUE_READ),
            *_bucket("lake", "Windows", prefixes=("drift/",), write=True),
            _announce(),
        ),
        # Starts retraining on drift and releases the winner: the only writer of packages and of the audit record.
        _platform(
            "retraining",
            _receive("retraining"),
            _queue_key(),
            *_bucket("model", "Models", prefixes=("checkpoints/", "mlflow/", PACKAGES), write=True),
            _package_key(PACKAGE_WRITE),
            _database("registry"),
            _announce(),
        ),
        # Collects every platform event as OpenLineage.
        _platform(
            "lineage",
            _receive("lineage"),
            _queue_key(),
            _database("lineage"),
        ),
    )
    return tuple(sorted(workloads, key=lambda workload: workload.name))


def observability_workloads() -> tuple[Workload, ...]:
    """Return the service accounts of the observability namespace that call AWS: Alertmanager, which sends alerts."""
    return (
        Workload(
            name="alertmanager",
            namespace=OBSERVABILITY_NAMESPACE,
            service_account="alertmanager",
            grants=(
                Grant("SendAlerts", "topic:alerts", ("sns:Publish",)),
                Grant("TopicKey", "key:platform", ENCRYPT, via_service="sns"),
            ),
        ),
    )


def tenant_workload(tenant: Tenant) -> Workload:
    """Return the service account of a tenant's notebooks and jobs: its own prefix of each bucket under its own key.

    It gets no right on the domains' keys: what it writes under another key than its own is refused twice, by KMS and
    by the bucket's policy.
    """
    own = tenant_prefix(tenant.name)
    return Workload(
        name=f"tenant-{tenant.name}",
        namespace=tenant_namespace(tenant.name),
        service_account=WORKBENCH_ACCOUNT,
        grants=(
            *(grant for domain in BUCKETS for grant in _objects(domain, domain.title(), prefixes=(own,), write=True)),
            Grant("TenantKey", tenant_key(tenant.name), ENCRYPT, via_service="s3"),
        ),
    )


def tenant_key(tenant: str) -> str:
    """Return the resource key under which a tenant's KMS key is resolved."""
    return f"key:tenant-{tenant}"


def tenant_workloads(tenants: Iterable[Tenant]) -> tuple[Workload, ...]:
    """Return the tenants' service accounts, sorted by tenant."""
    return tuple(tenant_workload(tenant) for tenant in sorted(tenants, key=lambda tenant: tenant.name))


def _platform(name: str, *grants: Grant) -> Workload:
    return Workload(name=name, namespace=PLATFORM_NAMESPACE, service_account=name, grants=_merge_key_grants(grants))


def _bucket(domain: str, sid: str, *, prefixes: tuple[str, ...], write: bool = False) -> tuple[Grant, ...]:
    """Return the grants to list, read (and write) some prefixes of a domain's bucket, with its key through S3 only."""
    key = Grant(f"{sid}Key", f"key:{domain}", ENCRYPT if write else DECRYPT, via_service="s3")
    return (*_objects(domain, sid, prefixes=prefixes, write=write), key)


def _objects(domain: str, sid: str, *, prefixes: tuple[str, ...], write: bool) -> tuple[Grant, ...]:
    """Return the grants of ``_bucket`` without the right to use a key."""
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


def _catalogue(actions: tuple[str, ...]) -> tuple[Grant, ...]:
    """Return the rights on the lake's tables: Glue asks for each call on the catalogue, the database and the table.

    The databases are those whose name begins with the platform's prefix: a catalogue is one for a whole account.
    """
    databases = tuple(action for action in actions if action.endswith("Database"))
    return (
        Grant("Catalogue", "catalogue", actions),
        Grant("Databases", "catalogue-databases", actions),
        Grant("Tables", "catalogue-tables", tuple(action for action in actions if action not in databases)),
    )


def _database(user: str) -> Grant:
    """Return the right to log in to PostgreSQL as ``user`` with a 15-minute IAM token instead of a password."""
    return Grant("Database", "database", ("rds-db:connect",), paths=(f"/{user}",))


def _package_key(actions: tuple[str, ...]) -> Grant:
    """Return the right to use the model key as the registry's envelopes do, for packages of the platform alone."""
    return Grant("PackageKey", "key:model", actions, encryption_context={"tenant": PACKAGE_TENANT})


def _announce() -> Grant:
    return Grant("Announce", "bus", ("events:PutEvents",))


def _receive(queue: str) -> Grant:
    return Grant(
        "Receive",
        f"queue:{queue}",
        ("sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"),
    )


def _queue_key() -> Grant:
    return Grant("QueueKey", "key:platform", DECRYPT, via_service="sqs")


@dataclass(frozen=True)
class _Stream:
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
        return (
            Grant("Connect", "stream", ("kafka-cluster:Connect", "kafka-cluster:DescribeCluster")),
            Grant(
                "Produce",
                "topics",
                ("kafka-cluster:DescribeTopic", "kafka-cluster:WriteData"),
                paths=(f"/{topic}", f"/{topic}.*"),
            ),
        )

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
            Grant("Connect", "stream", ("kafka-cluster:Connect", "kafka-cluster:DescribeCluster")),
            Grant(
                "Consume",
                "topics",
                ("kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"),
                paths=(f"/{topic}", f"/{topic}.*"),
            ),
            Grant(
                "ConsumerGroup",
                "groups",
                ("kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"),
                paths=(f"/{topic}.*",),
            ),
        )


@dataclass(frozen=True)
class _Online:
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


def _merge_key_grants(grants: Sequence[Grant]) -> tuple[Grant, ...]:
    """Return the grants without repetition: a workload that reads two things under one key needs the right once."""
    merged: dict[tuple[str, str, tuple[str, ...], tuple[str, ...]], Grant] = {}
    for grant in grants:
        merged.setdefault((grant.on, grant.via_service, grant.actions, grant.paths), grant)
    return tuple(merged.values())
