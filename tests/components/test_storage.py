"""A bucket is only as safe as the satellite that was forgotten: each bucket must have all of them."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import pytest

from blueprints.schema import Blueprint, DataClass, DataDomain
from components.base import ComponentSpecError
from components.bucket_policies import bucket_policy
from components.storage import Storage, lifecycle_rules
from tests.support.platforms import NAMES, Platform, platform
from tests.support.recorder import Recording, attempt, record

BUCKET = "aws:s3/bucket:Bucket"
POLICY = "aws:s3/bucketPolicy:BucketPolicy"
LIFECYCLE = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
LOCK = "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"
ENCRYPTION = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
OWNERSHIP = "aws:s3/bucketOwnershipControls:BucketOwnershipControls"
VERSIONING = "aws:s3/bucketVersioning:BucketVersioning"
NOTIFICATION = "aws:s3/bucketNotification:BucketNotification"
LOCKED_DOMAINS = {"smb": ["audit"], "enterprise": ["audit", "model"]}


def build(subject: Platform, **options: Any) -> Recording:
    return record(
        lambda: Storage(
            "data",
            subject.blueprint.data_domains,
            environment=subject.environment,
            key_arns=subject.key_arns,
            **options,
        )
    )


@cache
def recorded(name: str) -> Recording:
    """The storage of a shipped blueprint as it is; shared, since no test changes a recording."""
    return build(platform(name))


@pytest.mark.parametrize("name", NAMES)
def test_each_of_four_buckets_has_every_satellite(name: str) -> None:
    recording = recorded(name)
    assert recording.types() == {
        "falaj:storage:Storage": 1,
        BUCKET: 4,
        VERSIONING: 4,
        ENCRYPTION: 4,
        BLOCK: 4,
        OWNERSHIP: 4,
        POLICY: 4,
        LIFECYCLE: 4,
        LOCK: len(LOCKED_DOMAINS[name]),
        NOTIFICATION: 2,
    }
    for domain in ("audit", "feature", "lake", "model"):
        for satellite in (VERSIONING, ENCRYPTION, BLOCK, OWNERSHIP, POLICY, LIFECYCLE):
            resource = recording.named(f"data-{domain}", satellite)
            assert resource.inputs["bucket"] == f"falaj-dev-{domain}-123456789012"
            assert resource.property_dependencies["bucket"] == (recording.named(f"data-{domain}", BUCKET).urn,)
    assert {resource.parent for resource in recording.resources if resource.custom} == {recording.resources[0].urn}


@pytest.mark.parametrize("name", NAMES)
def test_buckets_are_encrypted_with_their_own_domains_key(name: str) -> None:
    subject = platform(name)
    for resource in recorded(subject.blueprint.name).of(ENCRYPTION):
        assert resource.inputs["rules"] == [
            {
                "applyServerSideEncryptionByDefault": {
                    "sseAlgorithm": "aws:kms",
                    "kmsMasterKeyId": subject.key_arns[resource.name.removeprefix("data-")],
                },
                "bucketKeyEnabled": True,
            }
        ]


@pytest.mark.parametrize("name", NAMES)
def test_no_bucket_can_be_public_use_acls_or_forget_versions(name: str) -> None:
    recording = recorded(name)
    for block in recording.of(BLOCK):
        switches = {key: value for key, value in block.inputs.items() if key != "bucket"}
        assert switches == dict.fromkeys(
            ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True
        )
    for ownership in recording.of(OWNERSHIP):
        assert ownership.inputs["rule"] == {"objectOwnership": "BucketOwnerEnforced"}
    for versioning in recording.of(VERSIONING):
        assert versioning.inputs["versioningConfiguration"] == {"status": "Enabled"}


@pytest.mark.parametrize("name", NAMES)
def test_every_bucket_policy_refuses_plain_old_foreign_and_differently_encrypted_requests(name: str) -> None:
    subject = platform(name)
    for policy in recorded(subject.blueprint.name).of(POLICY):
        domain = policy.name.removeprefix("data-")
        sse = "s3:x-amz-server-side-encryption"
        expected = {
            "DenyPlainConnections": {"Bool": {"aws:SecureTransport": "false"}},
            "DenyOldTls": {"NumericLessThan": {"s3:TlsVersion": "1.2"}},
            "DenyOtherEncryption": {"Null": {sse: "false"}, "StringNotEquals": {sse: "aws:kms"}},
            "DenyOtherKey": {
                "Null": {f"{sse}-aws-kms-key-id": "false"},
                "StringNotEquals": {f"{sse}-aws-kms-key-id": subject.key_arns[domain]},
            },
            "DenyCustomerProvidedKeys": {"Null": {f"{sse}-customer-algorithm": "false"}},
            "DenyOtherAccounts": {
                "StringNotEqualsIfExists": {"aws:PrincipalAccount": "123456789012"},
                "BoolIfExists": {"aws:PrincipalIsAWSService": "false"},
            },
        }
        for sid, conditions in expected.items():
            statement = policy.statement(sid)
            assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
            assert statement["Condition"] == conditions


def test_only_the_trail_and_config_write_to_the_audit_bucket_and_nobody_deletes() -> None:
    policy = recorded("smb").named("data-audit", POLICY)
    allowed = {s["Sid"]: s for s in policy.document()["Statement"] if s["Effect"] == "Allow"}
    assert sorted(allowed) == ["ConfigChecksBucket", "ConfigWrites", "TrailChecksBucket", "TrailWrites"]
    assert allowed["TrailWrites"]["Resource"] == [
        "arn:aws:s3:::falaj-dev-audit-123456789012/AWSLogs/123456789012/CloudTrail*"
    ]
    assert allowed["TrailWrites"]["Condition"]["StringEquals"] == {
        "aws:SourceAccount": "123456789012",
        "aws:SourceArn": "arn:aws:cloudtrail:me-central-1:123456789012:trail/falaj-dev-trail",
        "s3:x-amz-acl": "bucket-owner-full-control",
    }
    for statement in allowed.values():
        assert statement["Condition"]["StringEquals"]["aws:SourceAccount"] == "123456789012"
    assert policy.statement("DenyDeletion")["Action"] == ["s3:BypassGovernanceRetention", "s3:DeleteObject*"]


def test_data_buckets_allow_nobody_and_refuse_awss_own_key() -> None:
    recording = recorded("smb")
    for domain in ("feature", "lake", "model"):
        policy = recording.named(f"data-{domain}", POLICY)
        assert {statement["Effect"] for statement in policy.document()["Statement"]} == {"Deny"}
        assert policy.statement("DenyAwsManagedKey")["Condition"] == {
            "StringEquals": {"s3:x-amz-server-side-encryption": "aws:kms"},
            "Null": {"s3:x-amz-server-side-encryption-aws-kms-key-id": "true"},
        }


@pytest.mark.parametrize("name", NAMES)
def test_object_lock_is_in_compliance_mode_where_the_blueprint_asks_for_it(name: str) -> None:
    subject = platform(name)
    recording = recorded(subject.blueprint.name)
    lock_days = {domain.name: domain.object_lock_days for domain in subject.blueprint.data_domains}
    assert sorted(lock.name.removeprefix("data-") for lock in recording.of(LOCK)) == LOCKED_DOMAINS[name]
    for bucket in recording.of(BUCKET):
        domain = bucket.name.removeprefix("data-")
        assert bucket.inputs["objectLockEnabled"] is (domain in LOCKED_DOMAINS[name])
    for lock in recording.of(LOCK):
        days = lock_days[lock.name.removeprefix("data-")]
        assert lock.inputs["rule"] == {"defaultRetention": {"mode": "COMPLIANCE", "days": days}}


def test_new_data_and_features_raise_events() -> None:
    notifications = recorded("smb").of(NOTIFICATION)
    assert {resource.name: resource.inputs["eventbridge"] for resource in notifications} == {
        "data-feature": True,
        "data-lake": True,
    }


@pytest.mark.parametrize("name", NAMES)
def test_buckets_are_protected_and_never_emptied_by_a_deployment(name: str) -> None:
    recording = recorded(name)
    assert all(bucket.protect and bucket.inputs["forceDestroy"] is False for bucket in recording.of(BUCKET))
    assert not any(resource.protect for resource in recording.resources if resource.type != BUCKET)
    assert not any(bucket.protect for bucket in build(platform(name), protect=False).of(BUCKET))


def test_buckets_state_role_class_and_retention_and_data_is_backed_up() -> None:
    recording = recorded("enterprise")
    tags = {bucket.name.removeprefix("data-"): bucket.inputs["tags"] for bucket in recording.of(BUCKET)}
    assert {domain: found["role"] for domain, found in tags.items()} == {
        "audit": "audit",
        "feature": "feature",
        "lake": "dataset",
        "model": "model",
    }
    assert tags["lake"]["data-class"] == "restricted"
    assert tags["lake"]["retention-days"] == "1827"
    assert [domain for domain, found in sorted(tags.items()) if "backup-plan" in found] == ["feature", "lake", "model"]


def domain_of(name: str, retention_days: int, object_lock_days: int = 0) -> DataDomain:
    return DataDomain.model_validate(
        {
            "name": name,
            "data_class": DataClass.PERSONAL,
            "retention_days": retention_days,
            "object_lock_days": object_lock_days,
        }
    )


@pytest.mark.parametrize("name", ["lake", "feature", "audit"])
def test_what_is_kept_long_enough_expires(name: str) -> None:
    assert lifecycle_rules(domain_of(name, 1096))[0]["expiration"] == {"days": 1096}


def test_a_model_expires_only_after_the_registry_archived_it() -> None:
    rule = lifecycle_rules(domain_of("model", 1096))[0]
    assert rule["filter"] == {"tag": {"key": "registry-stage", "value": "archived"}}


def test_old_versions_wait_for_their_lock_and_unfinished_uploads_go() -> None:
    tidy = lifecycle_rules(domain_of("audit", 2192, 1827))[1]
    assert tidy["noncurrent_version_expiration"] == {"noncurrent_days": 1827}
    assert lifecycle_rules(domain_of("lake", 60))[1]["noncurrent_version_expiration"] == {"noncurrent_days": 30}
    assert tidy["abort_incomplete_multipart_upload"] == {"days_after_initiation": 7}


@pytest.mark.parametrize(("retention_days", "turns_cold"), [(179, False), (180, True)])
def test_audit_records_turn_cold_only_if_they_stay_cold_for_ninety_days(retention_days: int, turns_cold: bool) -> None:
    assert ("transitions" in lifecycle_rules(domain_of("audit", retention_days))[0]) is turns_cold


def test_a_missing_domain_is_refused_before_anything_is_registered() -> None:
    subject = platform("smb")
    domains = [domain for domain in subject.blueprint.data_domains if domain.name != "model"]
    recording = attempt(lambda: Storage("data", domains, environment=subject.environment, key_arns=subject.key_arns))
    assert isinstance(recording.error, ComponentSpecError)
    assert "model missing" in str(recording.error)
    assert recording.resources == []


def test_a_missing_key_is_refused_before_anything_is_registered() -> None:
    subject = platform("smb")
    keys = {domain: arn for domain, arn in subject.key_arns.items() if domain != "lake"}
    recording = attempt(
        lambda: Storage("data", subject.blueprint.data_domains, environment=subject.environment, key_arns=keys)
    )
    assert "key_arns.lake: no key given" in str(recording.error)
    assert recording.resources == []


def test_a_preview_registers_the_same_buckets_with_unknown_policies() -> None:
    subject = platform("smb")
    recording = record(
        lambda: Storage(
            "data", subject.blueprint.data_domains, environment=subject.environment, key_arns=subject.key_arns
        ),
        preview=True,
    )
    assert recording.types()[BUCKET] == 4


def test_policies_stay_under_the_size_s3_accepts() -> None:
    environment = platform("smb").environment
    text = bucket_policy(
        "audit", "arn:aws:kms:me-central-1:123456789012:key/x", environment, trail_name="falaj-dev-trail"
    )
    assert len(text) < 20_480
    assert json.loads(text)["Version"] == "2012-10-17"


TENANT_KEYS = {name: f"arn:aws:kms:me-central-1:123456789012:key/{name}" for name in ("a-1", "a1", "risk")}


def refusals(path: str, key: str | None) -> list[str]:
    """Statements of the lake's policy that refuse to write an object at ``path`` that names ``key``."""
    environment = platform("smb").environment
    text = bucket_policy("lake", "arn:lake-key", environment, tenant_key_arns=TENANT_KEYS)
    found = []
    for statement in json.loads(text)["Statement"]:
        conditions = statement.get("Condition", {})
        named = conditions.get("StringNotEquals", {}).get("s3:x-amz-server-side-encryption-aws-kms-key-id")
        if named is None or not any(
            fnmatchcase(f"{environment.bucket_arn('lake')}/{path}", pattern) for pattern in statement["Resource"]
        ):
            continue
        # Without the header StringNotEquals holds, and Null "false" does not.
        absent_is_fine = "Null" in conditions and key is None
        if not absent_is_fine and key not in ([named] if isinstance(named, str) else named):
            found.append(statement["Sid"])
    return found


@pytest.mark.parametrize("tenant", sorted(TENANT_KEYS))
def test_what_lies_under_a_tenants_prefix_is_under_its_key(tenant: str) -> None:
    path = f"tenants/{tenant}/features.parquet"
    assert refusals(path, TENANT_KEYS[tenant]) == []
    assert refusals(path, None)
    assert refusals(path, "arn:lake-key")
    assert refusals(path, "arn:foreign")
    for other in set(TENANT_KEYS) - {tenant}:
        assert refusals(path, TENANT_KEYS[other])


def test_what_lies_elsewhere_is_under_the_domains_key_or_says_nothing() -> None:
    assert refusals("curated/flights.parquet", None) == []
    assert refusals("curated/flights.parquet", "arn:lake-key") == []
    assert refusals("curated/flights.parquet", "arn:foreign") == ["DenyOtherKey"]


def test_statements_of_tenants_with_similar_names_have_names_of_their_own() -> None:
    text = bucket_policy("lake", "arn:lake-key", platform("smb").environment, tenant_key_arns=TENANT_KEYS)
    sids = [statement["Sid"] for statement in json.loads(text)["Statement"]]
    assert len(sids) == len(set(sids))


def test_a_policy_holds_as_many_tenants_as_a_blueprint_may_have() -> None:
    (most,) = (limit.max_length for limit in Blueprint.model_fields["tenants"].metadata if hasattr(limit, "max_length"))
    key = "arn:aws:kms:me-central-1:123456789012:key/12345678-1234-1234-1234-"
    keys = {f"{'x' * 29}{index:03d}": f"{key}{index:012d}" for index in range(most)}
    assert bucket_policy("feature", f"{key}{most:012d}", platform("smb").environment, tenant_key_arns=keys)


def test_no_tenants_key_opens_the_audit_bucket() -> None:
    subject = platform("smb")
    recording = record(
        lambda: Storage(
            "data",
            subject.blueprint.data_domains,
            environment=subject.environment,
            key_arns=subject.key_arns,
            tenant_key_arns=TENANT_KEYS,
        )
    )
    policies = {made.name: made.inputs["policy"] for made in recording.of("aws:s3/bucketPolicy:BucketPolicy")}
    assert TENANT_KEYS["risk"] not in policies["data-audit"]
    assert all(TENANT_KEYS["risk"] in policies[f"data-{name}"] for name in ("lake", "feature", "model"))
