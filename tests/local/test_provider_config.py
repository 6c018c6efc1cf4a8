"""The provider's own settings.  The failure guarded above all: a call that leaves this machine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from falaj.engine.provider import Changes, ProviderError
from falaj.engine.values import UNKNOWN
from falaj.local.aws.provider import AwsProvider
from falaj.local.aws.provider_config import parse
from falaj.local.loopback import is_loopback

GOOD: dict[str, Any] = {"region": "me-central-1", "endpoints": '[{"s3": "http://127.0.0.1:4599"}]'}


def failures(**changes: Any) -> dict[str, str]:
    inputs = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return {failure.property: failure.reason for failure in AwsProvider().check_config("urn", {}, inputs).failures}


def test_settings_as_the_sdk_sends_them_are_read() -> None:
    parsed = parse(
        {
            "region": "me-central-1",
            "endpoints": json.dumps([{"s3": "http://127.0.0.1:4599", "cloudwatchlogs": "http://localhost:4600"}]),
            "defaultTags": '{"tags": {"owner": "platform"}}',
            "skipCredentialsValidation": "true",
            "version": "7.51.1",
        }
    )
    assert parsed is not None
    assert (parsed.region, parsed.endpoint_url) == ("me-central-1", "http://127.0.0.1:4599")
    assert parsed.endpoints["logs"] == "http://localhost:4600"
    assert parsed.default_tags == {"owner": "platform"}


@pytest.mark.parametrize(
    "url",
    [
        "https://s3.me-central-1.amazonaws.com",
        "http://10.0.0.5:4599",
        "http://127.0.0.1.example.org:4599",
        "http://0.0.0.0:4599",
        "ftp://127.0.0.1",
        "127.0.0.1:4599",
        "http://[::1",
    ],
)
def test_address_beyond_this_machine_is_refused(url: str) -> None:
    assert not is_loopback(url)
    found = failures(endpoints=[{"kms": url}])
    assert "not a loopback address" in found["endpoints"]
    with pytest.raises(ProviderError, match="kms"):
        AwsProvider().configure("urn", "id", {**GOOD, "endpoints": [{"kms": url}]})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:4599", "http://localhost:1", "https://[::1]:4599", "http://127.9.9.9"]
)
def test_loopback_addresses_pass(url: str) -> None:
    assert failures(endpoints=[{"s3": url}]) == {}


@pytest.mark.parametrize("endpoints", [None, "[]", "[{}]", '[{"s3": ""}]'])
def test_provider_without_endpoints_is_refused_with_what_to_do(endpoints: str | None) -> None:
    assert "`falaj:awsEndpointUrl`" in failures(endpoints=endpoints)["endpoints"]


def test_unknown_setting_and_missing_region_are_named() -> None:
    found = failures(region=None, regoin="x")
    assert set(found) == {"region", "regoin"}


@pytest.mark.parametrize("settings", [{"endpoints": "{"}, {"defaultTags": "["}, {"defaultTags": '{"tags": {"a": 1}}'}])
def test_malformed_settings_are_refused(settings: dict[str, str]) -> None:
    assert set(failures(**settings)) == set(settings)


@pytest.mark.parametrize("settings", [{"region": UNKNOWN}, {"endpoints": UNKNOWN}, {"defaultTags": UNKNOWN}])
def test_unknown_settings_wait(settings: dict[str, Any]) -> None:
    assert failures(**settings) == {}
    assert parse({**GOOD, **settings}) is None
    waiting = AwsProvider()
    waiting.configure("urn", "id", {**GOOD, **settings})
    with pytest.raises(ProviderError, match="not configured"):
        waiting.create("urn", "aws:kms/key:Key", "k", {}, 0, False)


def diff(new: dict[str, Any]) -> tuple[Changes, tuple[str, ...]]:
    result = AwsProvider().diff_config("urn", "id", GOOD, GOOD, new, ())
    return result.changes, tuple(result.replaces)


def test_another_region_replaces_every_resource() -> None:
    assert diff({**GOOD, "region": "me-south-1"}) == (Changes.SOME, ("region",))


def test_another_endpoint_or_version_replaces_nothing() -> None:
    assert diff({**GOOD, "endpoints": '[{"s3": "http://127.0.0.1:4600"}]'}) == (Changes.SOME, ())
    assert diff({**GOOD, "version": "7.52.0"}) == (Changes.NONE, ())
