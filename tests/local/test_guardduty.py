"""GuardDuty handlers on a real server.  Guards: features that switch each other off, detectors left behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.aws_lifecycle import Account, Resource, assert_full_life
from tests.support.moto_server import client

DETECTOR = "aws:guardduty/detector:Detector"
FEATURE = "aws:guardduty/detectorFeature:DetectorFeature"


@pytest.fixture
def detector(account: Account) -> Resource:
    return account.created(DETECTOR, "region", {"enable": True})


def enabled_features(account: Account, detector: Resource) -> set[str]:
    seen = client(account.endpoint_url, "guardduty").get_detector(DetectorId=detector.id)
    return {feature["Name"] for feature in seen["Features"] if feature["Status"] == "ENABLED"}


def test_detector_lives_through_create_update_and_delete(account: Account) -> None:
    first = {"enable": True, "findingPublishingFrequency": "SIX_HOURS"}
    second = {"enable": True, "findingPublishingFrequency": "FIFTEEN_MINUTES", "tags": {"a": "b"}}
    assert_full_life(account, DETECTOR, "threats", first, second)


def test_feature_lives_through_create_update_and_delete(account: Account, detector: Resource) -> None:
    first = {"detectorId": detector.id, "name": "RUNTIME_MONITORING", "status": "ENABLED"}
    agents = [{"name": "EKS_ADDON_MANAGEMENT", "status": "ENABLED"}]
    assert_full_life(account, FEATURE, "runtime", first, {**first, "additionalConfigurations": agents})


def test_features_made_at_the_same_time_all_stay(account: Account, detector: Resource) -> None:
    names = ["S3_DATA_EVENTS", "EKS_AUDIT_LOGS", "RDS_LOGIN_EVENTS", "LAMBDA_NETWORK_LOGS", "EBS_MALWARE_PROTECTION"]

    def make(name: str) -> Resource:
        return account.created(FEATURE, name, {"detectorId": detector.id, "name": name, "status": "ENABLED"})

    with ThreadPoolExecutor(len(names)) as pool:
        features = list(pool.map(make, names))
    assert enabled_features(account, detector) == set(names)
    features[0].delete()
    assert enabled_features(account, detector) == set(names[1:])
