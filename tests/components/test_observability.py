"""Alerts that nobody gets: no right to send, no subscription, or two for one address."""

from __future__ import annotations

import json

import pytest

from components.observability import Observability, tenants_by_owner
from components.workloads import observability_workloads, workload_statements
from manifests.objects import OBSERVABILITY_NAMESPACE
from manifests.observability import observability
from tests.support.answers import REGION
from tests.support.platforms import NAMES, TOPIC_ARN, platform
from tests.support.recorder import Recording, record

SUBSCRIPTION = "aws:sns/topicSubscription:TopicSubscription"


def build(name: str) -> Recording:
    return record(lambda: Observability("observability", platform(name).blueprint, alerts_topic_arn=TOPIC_ARN))


@pytest.mark.parametrize("name", NAMES)
def test_every_manifest_is_declared_once(name: str) -> None:
    wanted = [made["kind"] for made in observability(platform(name).blueprint, alerts_topic_arn=TOPIC_ARN)]
    declared = [r.type.rpartition(":")[2] for r in build(name).resources if r.type.startswith("kubernetes:")]
    assert sorted(declared) == sorted(wanted)


@pytest.mark.parametrize("name", NAMES)
def test_children_belong_to_the_component(name: str) -> None:
    made = build(name)
    parent = made.one("falaj:kubernetes:Observability").urn
    assert {r.parent for r in made.resources if r.type != "falaj:kubernetes:Observability"} == {parent}


@pytest.mark.parametrize("name", NAMES)
def test_every_tenants_owner_hears_of_its_alerts_and_of_no_other(name: str) -> None:
    blueprint = platform(name).blueprint
    heard = {s.inputs["endpoint"]: json.loads(s.inputs["filterPolicy"])["tenant"] for s in build(name).of(SUBSCRIPTION)}
    for tenant in blueprint.tenants:
        if tenant.owner_email in blueprint.budget.notify_emails:
            assert tenant.owner_email not in heard
        else:
            assert tenant.name in heard[tenant.owner_email]
    assert sum(map(len, heard.values())) <= len(blueprint.tenants)


def test_one_address_has_one_subscription() -> None:
    """SNS refuses a second one with another filter."""
    blueprint = platform("enterprise").blueprint
    same = tuple(tenant.model_copy(update={"owner_email": "one@example.com"}) for tenant in blueprint.tenants)
    owned = tenants_by_owner(blueprint.model_copy(update={"tenants": same}))
    assert owned == {"one@example.com": tuple(sorted(tenant.name for tenant in same))}


def test_who_gets_every_alert_has_no_second_subscription() -> None:
    blueprint = platform("smb").blueprint
    owner = blueprint.tenants[0].owner_email
    budget = blueprint.budget.model_copy(update={"notify_emails": (owner,)})
    assert tenants_by_owner(blueprint.model_copy(update={"budget": budget})) == {}


def test_alertmanager_may_publish_to_the_topic_and_do_nothing_else() -> None:
    (workload,) = observability_workloads()
    assert (workload.namespace, workload.service_account) == (OBSERVABILITY_NAMESPACE, "alertmanager")
    statements = workload_statements(workload, {"topic:alerts": TOPIC_ARN, "key:platform": "arn:key"}, region=REGION)
    assert {(action, resource) for s in statements for action in s.actions for resource in s.resources} == {
        ("sns:Publish", TOPIC_ARN),
        ("kms:Decrypt", "arn:key"),
        ("kms:DescribeKey", "arn:key"),
        ("kms:GenerateDataKey", "arn:key"),
    }
