"""An object that may not be read is never taken for one that is not there, though S3 answers both alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import botocore.client
import pytest
from botocore.exceptions import ClientError

from runtime.features.bucket import FeatureBucket
from runtime.features.errors import SnapshotError
from runtime.registry.errors import RegistryAwayError
from runtime.registry.store import PackageStore
from runtime.settings import Settings
from runtime.training.errors import ConfigurationError
from runtime.training.objects import S3Store
from tests.support.runtime_servers import Aws

DIGEST = "a" * 64


def package(settings: Settings) -> bool:
    return PackageStore(settings.model_copy(update={"kms_key_arn": "arn:aws:kms:::key/1"})).has("arrivals", DIGEST)


def checkpoint(settings: Settings) -> bool:
    return S3Store(settings, f"s3://{settings.model_bucket}/run").get("latest", most_bytes=10) is not None


def feature_file(settings: Settings) -> bool:
    return FeatureBucket(settings, "features")._size("rows") is not None


ASKING: dict[str, tuple[Callable[[Settings], bool], str, type[Exception]]] = {
    "package": (package, f"packages/tests/arrivals/{DIGEST}/index.json", RegistryAwayError),
    "checkpoint": (checkpoint, "run/latest", ConfigurationError),
    "feature file": (feature_file, "features/rows", SnapshotError),
}
"""Who asks -> whether it finds its object, the object's key, and what it raises when it may not know."""


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets S3 refuse the reading of objects as it does to a role that may not list the bucket; more if asked."""
    call = botocore.client.BaseClient._make_api_call
    codes = {"GetObject": "AccessDenied", "HeadObject": "403"}

    def start(*more: str) -> None:
        denied = codes | dict.fromkeys(more, "AccessDenied")

        def answer(client: Any, operation: str, given: dict[str, Any]) -> Any:
            if operation in denied:
                raise ClientError({"Error": {"Code": denied[operation], "Message": "Access Denied"}}, operation)
            return call(client, operation, given)

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", answer)

    return start


@pytest.fixture
def own(settings: Settings) -> Settings:
    return settings.model_copy(update={"tenant": "tests"})


def put(aws: Aws, settings: Settings, key: str) -> None:
    bucket = settings.feature_bucket if key.startswith("features/") else settings.model_bucket
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=b"{}")


@pytest.mark.parametrize("who", ASKING)
def test_what_s3_refuses_and_does_not_list_is_absent(
    own: Settings, aws: Aws, refuse: Callable[..., None], who: str
) -> None:
    found, key, _ = ASKING[who]
    # A name that begins with the key is another object.
    put(aws, own, f"{key}.old")
    refuse()
    assert not found(own)


@pytest.mark.parametrize("who", ASKING)
def test_what_s3_refuses_and_lists_is_denied(own: Settings, aws: Aws, refuse: Callable[..., None], who: str) -> None:
    found, key, error = ASKING[who]
    put(aws, own, key)
    refuse()
    with pytest.raises(error):
        found(own)


@pytest.mark.parametrize("who", ASKING)
def test_who_may_not_list_either_is_told_that_it_is_denied(
    own: Settings, refuse: Callable[..., None], who: str
) -> None:
    found, _, error = ASKING[who]
    refuse("ListObjectsV2")
    with pytest.raises(error):
        found(own)


@pytest.mark.parametrize("who", ASKING)
def test_what_is_there_is_found_and_what_is_not_is_absent(own: Settings, aws: Aws, who: str) -> None:
    found, key, _ = ASKING[who]
    assert not found(own)
    put(aws, own, key)
    assert found(own)
