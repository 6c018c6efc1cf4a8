"""Object storage: one bucket per data domain (lake, feature, model, audit), each with everything that makes it safe.

One unit because a bucket without its satellites is not a smaller bucket but an unsafe one: encryption with the
domain's key, versions, no public access, no ACLs, a policy that refuses plain connections and foreign keys, and a life
cycle that ends when the domain's retention does.

Who read or wrote which object is recorded by the audit trail's data events, not by S3 server access logs: those arrive
on best effort only, and S3 cannot deliver them to a bucket whose default encryption is SSE-KMS (S3 user guide,
"Enabling Amazon S3 server access logging"), so their bucket would be the one store outside the platform's own keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_aws import s3

from blueprints.schema import DataDomain
from components.base import ComponentSpecError, PlatformComponent
from components.bucket_policies import bucket_policy
from components.encryption import TRAIL_PURPOSE
from components.naming import Environment

BUCKET_DOMAINS = ("lake", "feature", "model", "audit")
"""Domains that have a bucket; ``platform`` data lives on volumes and in log groups."""
EVENT_DOMAINS = ("feature", "lake")
"""Buckets whose object events go to EventBridge: new data starts ingestion, a materialised feature its checks."""
ARCHIVED_TAG = ("registry-stage", "archived")
"""Object tag that the model registry sets when a version is archived.  Only such models expire: the age of a model says
nothing about whether it still serves."""

INCOMPLETE_UPLOAD_DAYS = 7
OLD_VERSION_DAYS = 30
"""How long an overwritten or deleted object can be brought back."""
COLD_AFTER_DAYS = 90
COLD_STORAGE_MINIMUM_DAYS = 90
"""Glacier Instant Retrieval bills at least 90 days (S3 pricing); shorter-lived objects stay in Standard."""


class Storage(PlatformComponent):
    """The data buckets.

    Children: per bucket the bucket, versioning, encryption, public access block, ownership controls, policy and life
    cycle; object lock where the domain asks for it; EventBridge notification for lake and feature.

    ``bucket_names`` and ``bucket_arns`` are keyed by domain.  Raises ComponentSpecError for a missing domain or a key
    that was not given.
    """

    bucket_names: dict[str, pulumi.Output[str]]
    bucket_arns: dict[str, pulumi.Output[str]]

    def __init__(
        self,
        name: str,
        domains: Sequence[DataDomain],
        *,
        environment: Environment,
        key_arns: Mapping[str, pulumi.Input[str]],
        tenant_key_arns: Mapping[str, pulumi.Input[str]] | None = None,
        protect: bool = True,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``tenant_key_arns``: tenant -> its key, demanded under its prefix of every bucket but that of the audit."""
        by_name = _checked(domains, key_arns)
        names = {purpose: environment.bucket_name(purpose) for purpose in BUCKET_DOMAINS}
        super().__init__("falaj:storage:Storage", name, opts, protect=protect)
        self._tenant_key_arns = dict(tenant_key_arns or {})
        self.bucket_names = {}
        self.bucket_arns = {}
        self.bucket_policies: dict[str, s3.BucketPolicy] = {}
        """Keyed by domain: what a service that writes into a bucket has to wait for."""
        for purpose in BUCKET_DOMAINS:
            bucket = self._bucket(name, names[purpose], by_name[purpose], key_arns[purpose], environment)
            self.bucket_names[purpose] = bucket.bucket
            self.bucket_arns[purpose] = bucket.arn
        self.register_declared_outputs()

    def _bucket(
        self,
        name: str,
        bucket_name: str,
        domain: DataDomain,
        key_arn: pulumi.Input[str],
        environment: Environment,
    ) -> s3.Bucket:
        logical_name = f"{name}-{domain.name}"
        audit = domain.name == "audit"
        bucket = s3.Bucket(
            logical_name,
            bucket=bucket_name,
            # Can only be given when the bucket is made; the retention itself is below and may be lengthened later.
            object_lock_enabled=domain.object_lock_days > 0,
            force_destroy=False,
            tags=environment.data_tags(domain, backup=not audit) | {"role": _role_tag(domain)},
            opts=self.child_opts(protect=self.protect_data),
        )
        versioning = s3.BucketVersioning(
            logical_name,
            bucket=bucket.bucket,
            versioning_configuration={"status": "Enabled"},
            opts=self.child_opts(),
        )
        s3.BucketServerSideEncryptionConfiguration(
            logical_name,
            bucket=bucket.bucket,
            rules=[
                {
                    "apply_server_side_encryption_by_default": {
                        "sse_algorithm": "aws:kms",
                        "kms_master_key_id": key_arn,
                    },
                    # One data key per bucket and hour instead of one KMS call per object.
                    "bucket_key_enabled": True,
                }
            ],
            opts=self.child_opts(),
        )
        public_access_block = s3.BucketPublicAccessBlock(
            logical_name,
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=self.child_opts(),
        )
        s3.BucketOwnershipControls(
            logical_name,
            bucket=bucket.bucket,
            rule={"object_ownership": "BucketOwnerEnforced"},
            opts=self.child_opts(),
        )
        trail_name = environment.physical_name(TRAIL_PURPOSE) if audit else ""
        self.bucket_policies[domain.name] = s3.BucketPolicy(
            logical_name,
            bucket=bucket.bucket,
            policy=pulumi.Output.all(key=key_arn, tenants={} if audit else self._tenant_key_arns).apply(
                lambda arns: bucket_policy(
                    domain.name, arns["key"], environment, tenant_key_arns=arns["tenants"], trail_name=trail_name
                )
            ),
            # S3 answers with a conflict when a policy and a public access block are written at the same time.
            opts=self.child_opts(depends_on=[public_access_block]),
        )
        s3.BucketLifecycleConfiguration(
            logical_name,
            bucket=bucket.bucket,
            rules=lifecycle_rules(domain),
            # Rules for old versions are refused while versioning is off.
            opts=self.child_opts(depends_on=[versioning]),
        )
        if domain.object_lock_days:
            s3.BucketObjectLockConfiguration(
                logical_name,
                bucket=bucket.bucket,
                # Compliance, not governance: an auditor must not have to trust whoever administers the account.
                rule={"default_retention": {"mode": "COMPLIANCE", "days": domain.object_lock_days}},
                opts=self.child_opts(depends_on=[versioning]),
            )
        if domain.name in EVENT_DOMAINS:
            s3.BucketNotification(logical_name, bucket=bucket.bucket, eventbridge=True, opts=self.child_opts())
        return bucket


def lifecycle_rules(
    domain: DataDomain,
) -> list[s3.BucketLifecycleConfigurationRuleArgsDict]:
    """Return the life cycle of a domain's bucket: nothing outlives ``retention_days``, old versions wait 30 days.

    Models expire only once the registry has tagged them archived; audit records turn cold after 90 days.
    """
    expiring: s3.BucketLifecycleConfigurationRuleArgsDict = {
        "id": "expire-after-retention",
        "status": "Enabled",
        "filter": {"prefix": ""},
        "expiration": {"days": domain.retention_days},
    }
    if domain.name == "model":
        key, value = ARCHIVED_TAG
        expiring["filter"] = {"tag": {"key": key, "value": value}}
    if domain.name == "audit" and domain.retention_days >= COLD_AFTER_DAYS + COLD_STORAGE_MINIMUM_DAYS:
        expiring["transitions"] = [{"days": COLD_AFTER_DAYS, "storage_class": "GLACIER_IR"}]
    elif domain.name == "lake":
        # The lake's access pattern is not known in advance; this class moves what is not read and bills no retrieval.
        expiring["transitions"] = [{"days": 0, "storage_class": "INTELLIGENT_TIERING"}]
    return [
        expiring,
        {
            "id": "tidy",
            "status": "Enabled",
            "filter": {"prefix": ""},
            "noncurrent_version_expiration": {"noncurrent_days": max(OLD_VERSION_DAYS, domain.object_lock_days)},
            "abort_incomplete_multipart_upload": {"days_after_initiation": INCOMPLETE_UPLOAD_DAYS},
        },
    ]


def _role_tag(domain: DataDomain) -> str:
    return {"lake": "dataset", "feature": "feature", "model": "model", "audit": "audit"}[domain.name]


def _checked(domains: Sequence[DataDomain], key_arns: Mapping[str, pulumi.Input[str]]) -> dict[str, DataDomain]:
    by_name: dict[str, DataDomain] = {domain.name: domain for domain in domains}
    for purpose in BUCKET_DOMAINS:
        if purpose not in by_name:
            raise ComponentSpecError(
                "data_domains", f"{purpose} missing; list {', '.join(BUCKET_DOMAINS)} and platform"
            )
        if purpose not in key_arns:
            raise ComponentSpecError(f"key_arns.{purpose}", "no key given; pass Encryption.key_arns")
    return by_name
