"""What each service of the platform may touch: the table behind the Pod Identity roles.

Pure.  A workload is one Kubernetes service account with one role; a grant (``grants.py``) says which actions on which
resource and under which prefix.  Resources are named by keys (``bucket:lake``, ``key:lake``, ``stream``...) that the
identity component resolves to ARNs, so that this table reads without knowing how a resource is made.

Tenants get the prefix ``tenants/<name>/`` of each bucket under their own key and nothing of each other's; platform
services own the prefixes that they alone write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from blueprints.schema import Blueprint, Tenant
from components.grants import (
    CATALOGUE_READ,
    CATALOGUE_WRITE,
    DECRYPT,
    ENCRYPT,
    PACKAGE_READ,
    PACKAGE_WRITE,
    PACKAGES,
    Grant,
    Online,
    Stream,
    announce,
    bucket,
    catalogue,
    database,
    merge_key_grants,
    objects,
    package_key,
    queue_key,
    receive,
    record_releases,
    sign_packages,
    verify_packages,
)
from components.iam_documents import Statement, allow
from manifests.objects import OBSERVABILITY_NAMESPACE, PLATFORM_NAMESPACE, tenant_namespace
from manifests.tenancy import BUCKETS, WORKBENCH_ACCOUNT, tenant_prefix


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


RELEASER = "retraining"
"""The workload that releases models; the key that signs them names its role."""


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
    stream = Stream(blueprint.streaming.engine)
    online = Online(blueprint.online_store.engine)
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
            *bucket("model", "Artefacts", prefixes=("mlflow/",), write=True),
            database("mlflow"),
            announce(),
        ),
        # Answers feature requests: reads the online store, which also says what is live in it.
        _platform(
            "feature-server",
            *online.read(),
        ),
        # Moves features from the lake to both stores.
        _platform(
            "feature-materialiser",
            *bucket("lake", "Lake", prefixes=("curated/",)),
            *catalogue(CATALOGUE_READ),
            *bucket("feature", "Features", prefixes=("features/",), write=True),
            *online.write(),
        ),
        # Accepts events and files: writes the raw zone and the stream, reads nothing back.
        _platform(
            "ingestion",
            *bucket("lake", "Raw", prefixes=("raw/",), write=True),
            *stream.produce("events"),
            announce(),
        ),
        # Turns raw data into contract-checked tables.
        _platform(
            "stream-processor",
            *stream.consume("events"),
            receive("ingestion"),
            Grant("Refused", "queue:stream-dead-letters", ("sqs:SendMessage",)),
            # What SQS needs of the key to take a message, which includes what it needs to hand one out.
            Grant("QueueKey", "key:platform", ENCRYPT, via_service="sqs"),
            *bucket("lake", "Lake", prefixes=("curated/", "dead-letters/", "quarantine/", "raw/"), write=True),
            # A commit removes the metadata files of long ago; rows stay.
            Grant("OldMetadata", "bucket:lake", ("s3:DeleteObject",), paths=("/curated/*/metadata/*",)),
            *catalogue(CATALOGUE_WRITE),
            announce(),
        ),
        # Trains: reads curated data and features, writes checkpoints and candidate artefacts.
        _platform(
            "training",
            *bucket("lake", "Lake", prefixes=("curated/",)),
            *catalogue(CATALOGUE_READ),
            *bucket("feature", "Features", prefixes=("features/",)),
            *bucket("model", "Runs", prefixes=("checkpoints/", "mlflow/"), write=True),
            announce(),
        ),
        # Serves: reads signed packages, never what training left, and logs predictions.
        _platform(
            "serving",
            *bucket("model", "Packages", prefixes=(PACKAGES,)),
            package_key(PACKAGE_READ),
            verify_packages(),
            *online.read(),
            *stream.produce("predictions"),
        ),
        # Compares live traffic with the training data and announces drift.
        _platform(
            "drift-monitor",
            *stream.consume("predictions"),
            *bucket("lake", "Curated", prefixes=("curated/",)),
            *catalogue(CATALOGUE_READ),
            *bucket("lake", "Windows", prefixes=("drift/",), write=True),
            announce(),
        ),
        # Starts retraining on drift and releases the winner: the only one that writes and signs packages, and the only
        # writer of the audit record.
        _platform(
            RELEASER,
            receive("retraining"),
            queue_key(),
            *bucket("model", "Models", prefixes=("checkpoints/", "mlflow/", PACKAGES), write=True),
            package_key(PACKAGE_WRITE),
            sign_packages(),
            verify_packages(),
            *record_releases(),
            database("registry"),
            announce(),
        ),
        # Collects every platform event as OpenLineage.
        _platform(
            "lineage",
            receive("lineage"),
            queue_key(),
            database("lineage"),
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
            *(grant for domain in BUCKETS for grant in objects(domain, domain.title(), prefixes=(own,), write=True)),
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
    return Workload(name=name, namespace=PLATFORM_NAMESPACE, service_account=name, grants=merge_key_grants(grants))
