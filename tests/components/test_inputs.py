"""Nested inputs are plain dictionaries: a misspelt key in one would pass through the SDK untouched and be ignored."""

from __future__ import annotations

from functools import cache

import pytest

from components.audit import Audit
from components.backup import Backup
from components.budget import Budget
from components.encryption import Encryption
from components.network import Network
from components.storage import Storage
from falaj.local.aws.schema import problems
from tests.support.platforms import BOUNDARY_ARN, NAMES, Platform, platform
from tests.support.recorder import Recording, record


def foundation(subject: Platform) -> None:
    """Everything that comes before the cluster, wired as a stack wires it."""
    blueprint, environment = subject.blueprint, subject.environment
    keys = Encryption("encryption", blueprint.data_domains, environment=environment)
    storage = Storage("storage", blueprint.data_domains, environment=environment, key_arns=keys.key_arns)
    Network(
        "network",
        blueprint.network,
        environment=environment,
        region_zones=subject.region_zones,
        usable_zones=subject.placement.zones,
        key_arn=keys.key_arns["platform"],
        permissions_boundary_arn=BOUNDARY_ARN,
    )
    audit = Audit(
        "audit",
        blueprint.audit,
        domains=blueprint.data_domains,
        environment=environment,
        key_arns=keys.key_arns,
        bucket_names=storage.bucket_names,
        audit_bucket_policy=storage.bucket_policies["audit"],
        notify_emails=blueprint.budget.notify_emails,
    )
    Backup(
        "backup",
        blueprint.backup,
        environment=environment,
        key_arn=keys.key_arns["platform"],
        alerts_topic_arn=audit.alerts_topic_arn,
        permissions_boundary_arn=BOUNDARY_ARN,
        compliance_lock=True,
    )
    Budget("budget", blueprint.budget, environment=environment, alerts_topic_arn=audit.alerts_topic_arn)


@cache
def recorded(name: str) -> Recording:
    return record(lambda: foundation(platform(name)))


@pytest.mark.parametrize("name", NAMES)
def test_every_input_at_every_depth_is_one_that_the_provider_knows(name: str) -> None:
    found = {
        f"{resource.name} ({resource.type}) {path}": problem
        for resource in recorded(name).resources
        if resource.type.startswith("aws:")
        for path, problem in problems(resource.type, resource.inputs)
    }
    assert found == {}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_registered_outside_a_component(name: str) -> None:
    assert [resource.name for resource in recorded(name).resources if resource.custom and not resource.parent] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_deprecated_type_is_used_and_nothing_is_logged(name: str) -> None:
    recording = recorded(name)
    assert [token for token in recording.types() if token.endswith("V2")] == []
    assert recording.log == []


@pytest.mark.parametrize("name", NAMES)
def test_a_second_run_declares_exactly_the_same(name: str) -> None:
    again = record(lambda: foundation(platform(name)))
    assert {one.urn: one for one in again.resources} == {one.urn: one for one in recorded(name).resources}
