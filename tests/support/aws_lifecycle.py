"""Drives the local ``aws`` provider as the engine does, one resource at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from falaj.engine.provider import Changes, DiffResult
from falaj.local.aws.provider import AwsProvider
from tests.support.moto_server import REGION

DEFAULT_TAGS = {"owner": "platform-team", "falaj:stack": "local"}


def provider(endpoint_url: str, **settings: Any) -> AwsProvider:
    """A configured provider with default tags."""
    made = AwsProvider()
    inputs = {
        "region": REGION,
        "endpoints": json.dumps([{"s3": endpoint_url, "ec2": endpoint_url}]),
        "defaultTags": json.dumps({"tags": DEFAULT_TAGS}),
        **settings,
    }
    made.configure("urn:pulumi:local::falaj::pulumi:providers:aws::uae", "provider-id", inputs)
    return made


@dataclass
class Resource:
    """One resource under test: what a state file would hold of it."""

    provider: AwsProvider
    type: str
    name: str
    id: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def urn(self) -> str:
        return f"urn:pulumi:local::falaj::{self.type}::{self.name}"

    def check(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Checked inputs; fails the test when the provider rejects any."""
        result = self.provider.check(self.urn, self.type, self.name, self.inputs, inputs, self.name.encode())
        assert not result.failures, result.failures
        return dict(result.inputs)

    def create(self, inputs: dict[str, Any]) -> Resource:
        checked = self.check(inputs)
        created = self.provider.create(self.urn, self.type, self.name, checked, 0, False)
        assert created.id
        self.id, self.inputs, self.outputs = created.id, checked, dict(created.outputs)
        return self

    def diff(self, inputs: dict[str, Any]) -> DiffResult:
        return self.provider.diff(self.urn, self.type, self.id, self.inputs, self.outputs, self.check(inputs), ())

    def update(self, inputs: dict[str, Any]) -> Resource:
        """Updates in place; fails the test when the provider would replace."""
        difference = self.diff(inputs)
        assert difference.changes is Changes.SOME
        assert not difference.replaces, difference
        checked = self.check(inputs)
        outputs = self.provider.update(self.urn, self.type, self.id, self.inputs, self.outputs, checked, 0, (), False)
        self.inputs, self.outputs = checked, dict(outputs)
        return self

    def refresh(self) -> bool:
        """Takes over what the account says; False when the resource is gone."""
        read = self.provider.read(self.urn, self.type, self.name, self.id, self.inputs, self.outputs)
        if not read.id:
            return False
        self.inputs, self.outputs = dict(read.inputs or {}), dict(read.outputs)
        return True

    def delete(self) -> None:
        self.provider.delete(self.urn, self.type, self.id, self.inputs, self.outputs, 0)


@dataclass
class Account:
    """The emulated account with a provider on it."""

    endpoint_url: str
    provider: AwsProvider

    def resource(self, type: str, name: str) -> Resource:
        return Resource(self.provider, type, name)

    def created(self, type: str, name: str, inputs: dict[str, Any]) -> Resource:
        return self.resource(type, name).create(inputs)


def assert_full_life(account: Account, type: str, name: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    """create -> no drift -> update -> no drift -> delete -> gone, with ``second`` reachable in place from ``first``."""
    resource = account.created(type, name, first)
    assert_settled(resource, first)
    resource.update(second)
    assert_settled(resource, second)
    resource.delete()
    assert not resource.refresh(), f"{type} {resource.id} can still be read after its deletion"
    resource.delete()  # a second deletion finds nothing, which is no error


def assert_settled(resource: Resource, inputs: dict[str, Any]) -> None:
    """The same program again finds nothing to do, both from the state and after reading the account."""
    assert resource.diff(inputs).changes is Changes.NONE, resource.diff(inputs).detailed
    before = dict(resource.outputs)
    assert resource.refresh(), f"{resource.type} {resource.id} cannot be read"
    assert resource.diff(inputs).changes is Changes.NONE, resource.diff(inputs).detailed
    missing = {key for key, value in before.items() if value not in (None, {}, [], "")} - resource.outputs.keys()
    assert not missing, f"a refresh loses outputs: {missing}"
