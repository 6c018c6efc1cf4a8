"""CloudTrail handler on a real server.  Guards: trails that do not log, unvalidated log files, lost selectors."""

from __future__ import annotations

from typing import Any

import pytest

from falaj.engine.provider import ProviderError
from tests.support.aws_lifecycle import Account, assert_full_life
from tests.support.moto_server import REGION, client

TRAIL = "aws:cloudtrail/trail:Trail"
BUCKET = "audit-trail-logs"


@pytest.fixture(scope="module")
def bucket(account: Account) -> str:
    client(account.endpoint_url, "s3").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return BUCKET


def trail_inputs(bucket: str, **more: Any) -> dict[str, Any]:
    selector = {
        "name": "lake reads",
        "fieldSelectors": [
            {"field": "eventCategory", "equals": ["Data"]},
            {"field": "resources.type", "equals": ["AWS::S3::Object"]},
            {"field": "resources.ARN", "startsWiths": ["arn:aws:s3:::lake/"]},
        ],
    }
    return {
        "s3BucketName": bucket,
        "enableLogFileValidation": True,
        "isMultiRegionTrail": True,
        "advancedEventSelectors": [selector],
        **more,
    }


def test_trail_lives_through_create_update_and_delete(account: Account, bucket: str) -> None:
    second = trail_inputs(bucket, enableLogging=False, s3KeyPrefix="audit", tags={"a": "b"})
    assert_full_life(account, TRAIL, "audit", trail_inputs(bucket), second)


def test_independent_client_sees_a_validating_logging_trail(account: Account, bucket: str) -> None:
    trail = account.created(TRAIL, "seen", trail_inputs(bucket))
    cloudtrail = client(account.endpoint_url, "cloudtrail")
    assert cloudtrail.get_trail(Name=trail.id)["Trail"]["LogFileValidationEnabled"] is True
    assert cloudtrail.get_trail_status(Name=trail.id)["IsLogging"] is True
    selectors = cloudtrail.get_event_selectors(TrailName=trail.id)["AdvancedEventSelectors"]
    assert selectors[0]["FieldSelectors"][2] == {"Field": "resources.ARN", "StartsWith": ["arn:aws:s3:::lake/"]}


def test_trail_without_its_bucket_is_refused(account: Account) -> None:
    with pytest.raises(ProviderError, match="S3BucketDoesNotExist"):
        account.created(TRAIL, "stray", trail_inputs("no-such-bucket"))


def test_logging_stopped_outside_is_found_and_repaired(account: Account, bucket: str) -> None:
    trail = account.created(TRAIL, "drifting", trail_inputs(bucket))
    cloudtrail = client(account.endpoint_url, "cloudtrail")
    cloudtrail.stop_logging(Name=trail.id)
    assert trail.refresh()
    trail.update(trail_inputs(bucket))
    assert cloudtrail.get_trail_status(Name=trail.id)["IsLogging"] is True
