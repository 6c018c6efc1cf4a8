"""Components and rules are written apart; what the components really declare must satisfy every rule, with nothing left
unverified once all values are known."""

from __future__ import annotations

import functools

import pytest

from policies.rules import RULES
from policies.verdict import Resource, Status
from tests.support.resource_graph import run_program

BLUEPRINTS = ("enterprise", "smb")
NOTHING_TO_JUDGE = {"RES-003"}
"""Rules that find nothing to judge: the platform declares no replication at all."""


@functools.cache
def declared(blueprint: str) -> tuple[Resource, ...]:
    """The resources of a whole program as a policy sees them."""
    recording = run_program(blueprint)
    provider = recording.one("pulumi:providers:aws").inputs
    return tuple(
        Resource(
            type=found.type,
            name=found.name,
            urn=found.urn,
            props=found.inputs,
            provider=provider if found.type.startswith("aws:") else None,
            property_dependencies=found.property_dependencies,
        )
        for found in recording.resources
    )


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
@pytest.mark.parametrize("rule_id", sorted(RULES))
def test_what_the_program_declares_satisfies_the_rule(rule_id: str, blueprint: str) -> None:
    rule, resources = RULES[rule_id], declared(blueprint)
    found = [(r.name, verdict) for r in resources for verdict in rule.evaluate(r)]
    found += [(verdict.urn, verdict) for verdict in rule.evaluate_stack(resources)]
    assert [(name, verdict) for name, verdict in found if verdict.status >= Status.UNVERIFIED] == []


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
@pytest.mark.parametrize("rule_id", sorted(set(RULES) - NOTHING_TO_JUDGE))
def test_the_rule_found_something_to_judge(rule_id: str, blueprint: str) -> None:
    """A rule that is never applicable would pass the test above without having been asked."""
    rule, resources = RULES[rule_id], declared(blueprint)
    verdicts = [verdict for r in resources for verdict in rule.evaluate(r)] + rule.evaluate_stack(resources)
    assert [verdict for verdict in verdicts if verdict.status is Status.COMPLIANT]
