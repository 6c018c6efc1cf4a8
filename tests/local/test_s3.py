"""S3 handlers on a real server.  Guards: buckets without key, TLS-only policy or lock, lost objects, drift noise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from falaj.engine.provider import ProviderError
from tests.support.aws_lifecycle import DEFAULT_TAGS, Account, Resource, assert_full_life, assert_settled
from tests.support.moto_server import client

BUCKET = "aws:s3/bucket:Bucket"


def setting(name: str) -> str:
    return f"aws:s3/bucket{name}:Bucket{name}"


@pytest.fixture
def bucket(account: Account) -> Resource:
    return account.created(BUCKET, "setting-host", {"objectLockEnabled": True, "bucket": f"falaj-{next(_numbers)}"})


_numbers = iter(range(1000))


def test_bucket_lives_through_create_update_and_delete(account: Account) -> None:
    assert_full_life(account, BUCKET, "Lake", {}, {"tags": {"domain": "lake"}})


def test_bucket_name_is_made_lower_case_and_kept(account: Account) -> None:
    made = account.created(BUCKET, "Model-Registry", {})
    assert made.id.startswith("model-registry-")
    assert made.check({})["bucket"] == made.id


def test_independent_client_sees_region_and_tags(account: Account) -> None:
    made = account.created(BUCKET, "seen", {"tags": {"domain": "lake"}})
    s3 = client(account.endpoint_url, "s3")
    assert s3.get_bucket_location(Bucket=made.id)["LocationConstraint"] == "me-central-1"
    tags = {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket=made.id)["TagSet"]}
    assert tags == {**DEFAULT_TAGS, "domain": "lake"}


def test_full_bucket_stays_unless_it_may_be_emptied(account: Account) -> None:
    made = account.created(BUCKET, "full", {"bucket": "falaj-full"})
    s3 = client(account.endpoint_url, "s3")
    s3.put_bucket_versioning(Bucket=made.id, VersioningConfiguration={"Status": "Enabled"})
    for text in (b"one", b"two"):
        s3.put_object(Bucket=made.id, Key="data", Body=text)
    s3.delete_object(Bucket=made.id, Key="data")
    with pytest.raises(ProviderError, match=r"full \(aws:s3/bucket:Bucket\): delete falaj-full: BucketNotEmpty"):
        made.delete()
    made.update({"bucket": "falaj-full", "forceDestroy": True})
    made.delete()
    assert not made.refresh()


def rule(**changes: Any) -> dict[str, Any]:
    return {"id": "expire", "status": "Enabled", **changes}


POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": "arn:aws:s3:::falaj",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    ],
}

SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ServerSideEncryptionConfiguration": (
        {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]},
        {
            "rules": [
                {
                    "applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": "alias/lake"},
                    "bucketKeyEnabled": True,
                }
            ]
        },
    ),
    "PublicAccessBlock": (
        {"blockPublicAcls": True, "blockPublicPolicy": True, "ignorePublicAcls": True, "restrictPublicBuckets": True},
        {"blockPublicAcls": True, "blockPublicPolicy": True, "ignorePublicAcls": True},
    ),
    "OwnershipControls": (
        {"rule": {"objectOwnership": "BucketOwnerPreferred"}},
        {"rule": {"objectOwnership": "BucketOwnerEnforced"}},
    ),
    "Policy": (
        {"policy": json.dumps(POLICY)},
        {"policy": json.dumps({**POLICY, "Id": "second"})},
    ),
    "LifecycleConfiguration": (
        {
            "rules": [
                rule(expiration={"days": 30}, filter={"prefix": "tmp/"}),
                rule(id="versions", noncurrentVersionExpiration={"noncurrentDays": 7}),
                rule(id="uploads", abortIncompleteMultipartUpload={"daysAfterInitiation": 3}),
            ]
        },
        {
            "rules": [
                rule(
                    transitions=[{"days": 90, "storageClass": "GLACIER"}],
                    filter={"and": {"prefix": "raw/", "tags": {"tier": "cold"}}},
                ),
                rule(
                    id="versions",
                    noncurrentVersionTransitions=[{"noncurrentDays": 30, "storageClass": "GLACIER"}],
                    filter={"tag": {"key": "tier", "value": "cold"}},
                ),
            ]
        },
    ),
    "ObjectLockConfiguration": (
        {"rule": {"defaultRetention": {"mode": "GOVERNANCE", "days": 30}}},
        {"rule": {"defaultRetention": {"mode": "COMPLIANCE", "years": 1}}},
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_lives_through_create_update_and_delete(account: Account, bucket: Resource, name: str) -> None:
    first, second = ({"bucket": bucket.id, **inputs} for inputs in SETTINGS[name])
    assert_full_life(account, setting(name), "setting", first, second)


def test_versioning_is_switched_on_and_suspended(account: Account) -> None:
    host = account.created(BUCKET, "versioned", {})
    on = {"bucket": host.id, "versioningConfiguration": {"status": "Enabled"}}
    off = {"bucket": host.id, "versioningConfiguration": {"status": "Suspended"}}
    made = account.created(setting("Versioning"), "versioned", on)
    assert_settled(made, on)
    made.update(off)
    assert_settled(made, off)
    made.update(on)
    made.delete()
    assert not made.refresh()


def test_versioning_of_a_locked_bucket_can_be_forgotten(account: Account, bucket: Resource) -> None:
    on = {"bucket": bucket.id, "versioningConfiguration": {"status": "Enabled"}}
    account.created(setting("Versioning"), "locked", on).delete()
    s3 = client(account.endpoint_url, "s3")
    assert s3.get_bucket_versioning(Bucket=bucket.id)["Status"] == "Suspended"  # it can never be taken off again


def test_versioning_suspended_outside_is_found(account: Account) -> None:
    host = account.created(BUCKET, "switched-off", {})
    on = {"bucket": host.id, "versioningConfiguration": {"status": "Enabled"}}
    made = account.created(setting("Versioning"), "switched-off", on)
    s3 = client(account.endpoint_url, "s3")
    s3.put_bucket_versioning(Bucket=host.id, VersioningConfiguration={"Status": "Suspended"})
    assert not made.refresh()  # counts as gone, so the next deployment switches it on again


def test_setting_moves_to_another_bucket_by_deleting_first(account: Account, bucket: Resource) -> None:
    inputs = {"rule": {"objectOwnership": "BucketOwnerEnforced"}}
    made = account.created(setting("OwnershipControls"), "moving", {"bucket": bucket.id, **inputs})
    difference = made.diff({"bucket": "another", **inputs})
    assert (difference.replaces, difference.delete_before_replace) == (("bucket",), True)


def test_independent_client_sees_the_policy_and_the_key(account: Account, bucket: Resource) -> None:
    account.created(setting("Policy"), "tls", {"bucket": bucket.id, "policy": json.dumps(POLICY)})
    encryption = SETTINGS["ServerSideEncryptionConfiguration"][1]
    account.created(setting("ServerSideEncryptionConfiguration"), "sse", {"bucket": bucket.id, **encryption})
    s3 = client(account.endpoint_url, "s3")
    assert json.loads(s3.get_bucket_policy(Bucket=bucket.id)["Policy"]) == POLICY
    rules = s3.get_bucket_encryption(Bucket=bucket.id)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert rules[0]["BucketKeyEnabled"] is True


def test_access_logs_go_to_another_bucket(account: Account, bucket: Resource) -> None:
    target = account.created(BUCKET, "logs", {})
    account.created(
        setting("OwnershipControls"), "logs", {"bucket": target.id, "rule": {"objectOwnership": "BucketOwnerPreferred"}}
    )
    grants = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "logging.s3.amazonaws.com"},
                "Action": "s3:PutObject",
                "Resource": f"arn:aws:s3:::{target.id}/*",
            }
        ],
    }
    account.created(setting("Policy"), "logs", {"bucket": target.id, "policy": json.dumps(grants)})
    first = {"bucket": bucket.id, "targetBucket": target.id, "targetPrefix": "lake/"}
    assert_full_life(account, setting("Logging"), "logs", first, {**first, "targetPrefix": "lake/access/"})


def test_notifications_reach_a_queue_and_the_event_bus(account: Account, bucket: Resource) -> None:
    queue = client(account.endpoint_url, "sqs").create_queue(QueueName="arrivals")["QueueUrl"].rsplit("/", 1)[-1]
    arn = f"arn:aws:sqs:me-central-1:123456789012:{queue}"
    target = {"queueArn": arn, "events": ["s3:ObjectCreated:*"], "filterPrefix": "raw/", "id": "arrivals"}
    first = {"bucket": bucket.id, "queues": [target]}
    second = {"bucket": bucket.id, "queues": [{**target, "filterSuffix": ".parquet"}], "eventbridge": True}
    assert_full_life(account, setting("Notification"), "arrivals", first, second)
