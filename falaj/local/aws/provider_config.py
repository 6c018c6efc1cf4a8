"""The configuration of the ``aws`` provider as the local provider reads it: pure, and loopback only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from falaj.engine.provider import CheckFailure
from falaj.engine.values import UNKNOWN, UNKNOWN_SENTINEL, Properties, Value
from falaj.local.aws import schema
from falaj.local.loopback import is_loopback

_BOTO3_SERVICES: Mapping[str, str] = {
    "cloudwatchlogs": "logs",
    "cloudwatchevents": "events",
    "eventbridge": "events",
    "configservice": "config",
    "cognitoidp": "cognito-idp",
    "elb": "elb",
    "elbv2": "elbv2",
    "networkfirewall": "network-firewall",
    "resourcegroupstaggingapi": "resourcegroupstaggingapi",
    "servicediscovery": "servicediscovery",
}
"""Endpoint keys of the provider whose boto3 service has another name; the rest are equal."""

_ENGINE_KEYS = frozenset({"version", "pluginDownloadURL"})


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the provider needs: where the account is, its region and the default tags."""

    region: str
    endpoint_url: str
    endpoints: Mapping[str, str] = field(default_factory=dict)
    default_tags: Mapping[str, str] = field(default_factory=dict)


def failures(inputs: Properties) -> list[CheckFailure]:
    """What is wrong with provider inputs.  Unknown values pass: they are judged when they are known."""
    found = []
    allowed = schema.provider_inputs()
    for key in inputs:
        if not key.startswith("__") and key not in allowed and key not in _ENGINE_KEYS:
            found.append(CheckFailure(key, f"unknown provider setting; allowed: {', '.join(sorted(allowed))}"))
    region = inputs.get("region")
    if region is None:
        found.append(CheckFailure("region", "missing; set it on the provider, e.g. me-central-1"))
    elif region is not UNKNOWN and (not isinstance(region, str) or region.count("-") < 2):
        found.append(CheckFailure("region", f"expected a region such as me-central-1, got {region!r}"))
    try:
        endpoints = _endpoints(inputs.get("endpoints"))
    except ValueError as error:
        return [*found, CheckFailure("endpoints", str(error))]
    if endpoints is not None and not endpoints:
        reason = (
            "missing; the local provider works on the emulated account alone and never calls a real cloud: set "
            "`falaj:awsEndpointUrl` in the stack's config to the address that `falaj local start` prints"
        )
        found.append(CheckFailure("endpoints", reason))
    for service, url in (endpoints or {}).items():
        if not is_loopback(url):
            reason = f"{service}: {url!r} is not a loopback address; the local provider never calls a real cloud"
            found.append(CheckFailure("endpoints", reason))
    try:
        _default_tags(inputs.get("defaultTags"))
    except ValueError as error:
        found.append(CheckFailure("defaultTags", str(error)))
    return found


def parse(inputs: Properties) -> Configuration | None:
    """The configuration, or None while a part of it is unknown.  Raises ValueError for what ``failures`` rejects."""
    rejected = failures(inputs)
    if rejected:
        raise ValueError(f"provider aws: {rejected[0].property}: {rejected[0].reason}")
    endpoints = _endpoints(inputs.get("endpoints"))
    default_tags = _default_tags(inputs.get("defaultTags"))
    if endpoints is None or default_tags is None or inputs["region"] is UNKNOWN:
        return None
    by_service = {_BOTO3_SERVICES.get(name, name): url for name, url in endpoints.items()}
    return Configuration(inputs["region"], next(iter(endpoints.values())), by_service, default_tags)


def _decoded(value: Value, name: str) -> Any:
    """Nested provider settings travel as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError(f"{name} is not valid JSON") from None


def _endpoints(value: Value) -> dict[str, str] | None:
    """Endpoint URL by service name; None when any part is unknown."""
    blocks = _decoded(value, "endpoints")
    if blocks is UNKNOWN:
        return None
    if isinstance(blocks, Mapping):
        blocks = [blocks]
    if not isinstance(blocks, list | type(None)):
        raise ValueError("expected a list of maps from service to URL")
    merged: dict[str, str] = {}
    for block in blocks or ():
        if block is UNKNOWN:
            return None
        if not isinstance(block, Mapping):
            raise ValueError("expected a list of maps from service to URL")
        for service, url in block.items():
            if url is UNKNOWN or (isinstance(url, str) and is_unknown_text(url)):
                return None
            if url is not None and not isinstance(url, str):
                raise ValueError(f"{service}: expected a URL")
            if url:
                merged[service] = url
    return merged


def _default_tags(value: Value) -> dict[str, str] | None:
    block = _decoded(value, "defaultTags")
    if block is UNKNOWN:
        return None
    if block is None:
        return {}
    tags = block.get("tags") if isinstance(block, Mapping) else block
    if tags is UNKNOWN:
        return None
    if not isinstance(tags, Mapping | type(None)):
        raise ValueError('expected {"tags": {"key": "value"}}')
    merged: dict[str, str] = {}
    for key, text in (tags or {}).items():
        if text is UNKNOWN or (isinstance(text, str) and is_unknown_text(text)):
            return None
        if not isinstance(text, str):
            raise ValueError(f'tag "{key}": expected text')
        merged[key] = text
    return merged


def is_unknown_text(text: str) -> bool:
    """Whether a text inside JSON-encoded settings is the wire form of an unknown value."""

    return text == UNKNOWN_SENTINEL
