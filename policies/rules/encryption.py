"""Encryption at rest with keys of our own, and TLS on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from policies.documents import DocumentError, conditions, denies, principals, statements
from policies.rules.pairs import satellites_of
from policies.verdict import (
    UNKNOWN,
    Reference,
    Resource,
    Severity,
    Unverified,
    Verdict,
    guarded,
    read,
    require,
    require_set,
    rule,
    unverified,
    violation,
    with_stack_check,
)

PDPL_SECURITY = Reference("PDPL, Federal Decree-Law 45/2021", "Art. 20")
CRYPTO_POLICY = Reference("UAE IA", "T7.4.1")
KEY_MANAGEMENT = Reference("UAE IA", "T7.4.2")
TRANSFER = Reference("UAE IA", "T4.2.1")

BUCKETS = ("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2")
_ENCRYPTION = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2",
)


@rule("ENC-001", severity=Severity.HIGH, types=_ENCRYPTION, references=(PDPL_SECURITY, CRYPTO_POLICY))
def _bucket_encryption(resource: Resource) -> Iterator[Verdict]:
    """Every bucket is encrypted by default with a customer managed KMS key, with a bucket key.

    Why: with the service's own key nobody can revoke access to the data by revoking the key, or audit its use.
    Fix: add a server-side encryption configuration with sseAlgorithm=aws:kms, kmsMasterKeyId and bucketKeyEnabled.
    """
    try:
        rules = read(resource.props, "rules", default=[])
    except Unverified as unknown:
        yield unverified(unknown.path)
        return
    if not rules:
        yield violation("rules is empty: nothing is encrypted by default", "rules")
    for i, one in enumerate(rules):

        def algorithm(i: int = i, one: object = one) -> Verdict | None:
            found = read(one, "applyServerSideEncryptionByDefault", "sseAlgorithm")
            if found in ("aws:kms", "aws:kms:dsse"):
                return None
            path = f"rules[{i}].applyServerSideEncryptionByDefault.sseAlgorithm"
            return violation(f"{path} is {found or 'not set'}, must be aws:kms", path)

        def key(i: int = i, one: object = one) -> Verdict | None:
            if read(one, "applyServerSideEncryptionByDefault", "kmsMasterKeyId"):
                return None
            path = f"rules[{i}].applyServerSideEncryptionByDefault.kmsMasterKeyId"
            return violation(f"{path} is not set: name a customer managed key", path)

        def bucket_key(i: int = i, one: object = one) -> Verdict | None:
            if read(one, "bucketKeyEnabled") is True:
                return None
            path = f"rules[{i}].bucketKeyEnabled"
            return violation(f"{path} must be true: without it every object costs a KMS call", path)

        for check in (algorithm, key, bucket_key):
            yield from guarded(check)


@with_stack_check(_bucket_encryption)
def buckets_are_encrypted_with_a_customer_key(resources: Sequence[Resource]) -> Iterator[Verdict]:
    yield from satellites_of(resources, BUCKETS, _ENCRYPTION, "server-side encryption configuration")


_DATABASES = ("aws:rds/instance:Instance", "aws:rds/cluster:Cluster", "aws:rds/clusterInstance:ClusterInstance")


@rule("ENC-003", severity=Severity.CRITICAL, types=_DATABASES, references=(PDPL_SECURITY, CRYPTO_POLICY))
def databases_are_encrypted_with_a_customer_key(resource: Resource) -> Iterator[Verdict]:
    """RDS and Aurora storage, and Performance Insights, are encrypted with customer managed keys.

    Why: snapshots and replicas inherit the encryption of their source; what starts unencrypted stays so.
    Fix: set storageEncrypted=true, kmsKeyId and performanceInsightsKmsKeyId (an existing database must be restored).
    """
    if resource.type != _DATABASES[2] and not _is_replica(resource):
        yield from require(resource, "storageEncrypted", [True], "data at rest must be encrypted")
        yield from require_set(resource, "kmsKeyId", "name a customer managed key")

    def insights() -> Verdict | None:
        if read(resource.props, "performanceInsightsEnabled") is not True:
            return None
        if read(resource.props, "performanceInsightsKmsKeyId"):
            return None
        message = "performanceInsightsKmsKeyId is not set: query texts would be kept under a key that is not ours"
        return violation(message, "performanceInsightsKmsKeyId")

    yield from guarded(insights)


def _is_replica(resource: Resource) -> bool:
    return bool(resource.props.get("replicateSourceDb"))


@rule("ENC-004", severity=Severity.CRITICAL, types=["aws:eks/cluster:Cluster"], references=(CRYPTO_POLICY,))
def cluster_secrets_are_envelope_encrypted(resource: Resource) -> Iterator[Verdict]:
    """Kubernetes secrets are envelope-encrypted with a customer managed key.

    Why: whoever reads a copy of etcd would otherwise read every password of the platform.
    Fix: set encryptionConfig with resources ["secrets"] and provider.keyArn (it cannot be taken back, by design).
    """

    def covers_secrets() -> Verdict | None:
        if "secrets" in (read(resource.props, "encryptionConfig", "resources", default=[]) or []):
            return None
        message = 'encryptionConfig.resources does not name "secrets": they would lie in etcd under no key of ours'
        return violation(message, "encryptionConfig.resources")

    yield from guarded(covers_secrets)
    yield from require_set(resource, "encryptionConfig.provider.keyArn", "name a customer managed key")


@rule("ENC-006", severity=Severity.HIGH, types=["aws:kms/key:Key"], references=(KEY_MANAGEMENT,))
def keys_rotate_and_cannot_be_lost(resource: Resource) -> Iterator[Verdict]:
    """Keys rotate at least yearly, wait 30 days before deletion, and are open to named principals only.

    Why: a deleted key destroys all data under it, and a key policy with a bare "*" gives it to every account.
    Fix: set enableKeyRotation, deletionWindowInDays=30, and name principals or limit "*" with conditions.
    """
    symmetric = resource.props.get("customerMasterKeySpec") in (None, "SYMMETRIC_DEFAULT", UNKNOWN)
    if symmetric:
        yield from require(resource, "enableKeyRotation", [True], "keys must rotate", default=False)

    def period() -> Verdict | None:
        days = read(resource.props, "rotationPeriodInDays", default=365)
        return (
            None if days <= 365 else violation(f"rotationPeriodInDays is {days}, at most 365", "rotationPeriodInDays")
        )

    def window() -> Verdict | None:
        days = read(resource.props, "deletionWindowInDays", default=30)
        return None if days >= 30 else violation(f"deletionWindowInDays is {days}, must be 30", "deletionWindowInDays")

    def principals_are_named() -> Verdict | None:
        document = read(resource.props, "policy", default="")
        if not document:
            return violation("policy is not set: the default one leaves everything to IAM", "policy")
        try:
            found = statements(document)
        except DocumentError as error:
            return violation(str(error), "policy")
        for i, statement in enumerate(found):
            if statement.get("Effect") == "Allow" and "*" in principals(statement) and not list(conditions(statement)):
                return violation(f'policy.Statement[{i}] allows "*" without a condition', "policy")
        return None

    for check in (period, window, principals_are_named):
        yield from guarded(check)


_BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy"


@rule("TLS-001", severity=Severity.HIGH, types=[_BUCKET_POLICY], references=(TRANSFER,))
def _bucket_tls(resource: Resource) -> Iterable[Verdict]:
    """Every bucket refuses requests without TLS, and TLS below 1.2.

    Why: S3 still answers plain HTTP; one misconfigured client would put data on the wire in clear text.
    Fix: add a bucket policy that denies aws:SecureTransport=false and s3:TlsVersion below 1.2 to everybody.
    """

    def check(question: str) -> Verdict | None:
        try:
            found = statements(read(resource.props, "policy", default=""))
        except DocumentError as error:
            return violation(str(error), "policy")
        if question == "transport":
            if any(denies(s, "Bool", "aws:SecureTransport", "false") for s in found):
                return None
            return violation("policy does not deny aws:SecureTransport=false", "policy")
        if any(denies(s, "NumericLessThan", "s3:TlsVersion", "1.2") for s in found):
            return None
        return violation("policy does not deny s3:TlsVersion below 1.2", "policy")

    yield from guarded(lambda: check("transport"))
    yield from guarded(lambda: check("version"))


@with_stack_check(_bucket_tls)
def buckets_refuse_clear_text(resources: Sequence[Resource]) -> Iterator[Verdict]:
    yield from satellites_of(resources, BUCKETS, (_BUCKET_POLICY,), "bucket policy")
