"""Components and rules are written apart; what the components really declare must satisfy every rule, with nothing left
unverified once all values are known.  What an exemption covers is judged as of the day on which it was granted: that it
ends is tested in tests/policies/test_exemptions.py."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

import policies
from policies.exemptions import Exemption, load_exemptions
from policies.rules import RULES
from policies.verdict import Resource, Status, Verdict
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


@functools.cache
def exemptions() -> tuple[Exemption, ...]:
    return tuple(load_exemptions(Path(policies.__file__).parent / "exemptions"))


def objections(rule_id: str, blueprint: str) -> list[tuple[str, Verdict]]:
    """(URN, verdict) of everything that a rule cannot call compliant."""
    rule, resources = RULES[rule_id], declared(blueprint)
    found = [(resource.urn, verdict) for resource in resources for verdict in rule.evaluate(resource)]
    found += [(verdict.urn, verdict) for verdict in rule.evaluate_stack(resources)]
    return [(urn, verdict) for urn, verdict in found if verdict.status >= Status.UNVERIFIED]


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
@pytest.mark.parametrize("rule_id", sorted(RULES))
def test_what_the_program_declares_satisfies_the_rule(rule_id: str, blueprint: str) -> None:
    assert [
        (urn, verdict)
        for urn, verdict in objections(rule_id, blueprint)
        if not any(exemption.covers(rule_id, urn) for exemption in exemptions())
    ] == []


@pytest.mark.parametrize("exemption", exemptions(), ids=lambda exemption: f"{exemption.rule} {exemption.urn}")
def test_every_exemption_is_needed(exemption: Exemption) -> None:
    assert [
        urn
        for blueprint in BLUEPRINTS
        for urn, _ in objections(exemption.rule, blueprint)
        if exemption.covers(exemption.rule, urn)
    ]


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
@pytest.mark.parametrize("rule_id", sorted(set(RULES) - NOTHING_TO_JUDGE))
def test_the_rule_found_something_to_judge(rule_id: str, blueprint: str) -> None:
    """A rule that is never applicable would pass the test above without having been asked."""
    rule, resources = RULES[rule_id], declared(blueprint)
    verdicts = [verdict for r in resources for verdict in rule.evaluate(r)] + rule.evaluate_stack(resources)
    assert [verdict for verdict in verdicts if verdict.status is Status.COMPLIANT]
