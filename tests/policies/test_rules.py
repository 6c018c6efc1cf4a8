"""The failure guarded here is a rule that passes what it should refuse, or that guesses where it cannot know."""

from __future__ import annotations

from collections import defaultdict

import pytest

from policies.rules import RULES
from policies.verdict import UNKNOWN, Resource, Status, worst
from tests.policies.cases import AWS_CASES, BLOCK, BUCKET, BUCKET_POLICY, HERE, REPLICATION, SSE, Case
from tests.policies.cost_cases import COST_CASES
from tests.policies.kubernetes_cases import KUBERNETES_CASES

CASES = [*AWS_CASES, *KUBERNETES_CASES, *COST_CASES]


@pytest.mark.parametrize("case", CASES, ids=[f"{c.rule}-{c.name}" for c in CASES])
def test_rule_says(case: Case) -> None:
    verdicts = RULES[case.rule].evaluate(case.resource())
    assert worst(verdicts) is case.expected, [v.message for v in verdicts]


@pytest.mark.parametrize("rule_id", sorted(set(RULES) - {"RES-003"}))
def test_every_rule_has_all_four_kinds_of_cases(rule_id: str) -> None:
    found = {case.expected for case in CASES if case.rule == rule_id}
    assert found == set(Status)


@pytest.mark.parametrize("case", [c for c in CASES if c.expected is Status.VIOLATION], ids=lambda c: c.name)
def test_a_violation_says_what_is_wrong(case: Case) -> None:
    messages = [v.message for v in RULES[case.rule].evaluate(case.resource()) if v.status is Status.VIOLATION]
    assert messages
    assert all(len(message) > 10 for message in messages)


def test_one_unknown_does_not_hide_another_violation() -> None:
    case = next(c for c in CASES if c.name == "aes256-with-key-unknown")
    assert {v.status for v in RULES["ENC-001"].evaluate(case.resource())} >= {Status.VIOLATION, Status.UNVERIFIED}


def bucket(name: str, provider: dict[str, object] | None = None, **props: object) -> Resource:
    return Resource(BUCKET, name, f"urn:{name}", {"bucket": name, **props}, provider or HERE)


def satellite(type_token: str, *, of: str, known: bool) -> Resource:
    props = {"bucket": of if known else UNKNOWN}
    return Resource(type_token, f"{of}-satellite", f"urn:{of}-satellite", props, HERE, {"bucket": (f"urn:{of}",)})


@pytest.mark.parametrize(("rule_id", "token"), [("ENC-001", SSE), ("TLS-001", BUCKET_POLICY), ("NET-003", BLOCK)])
@pytest.mark.parametrize("known", [True, False], ids=["deployed", "preview"])
def test_bucket_without_its_satellite_is_named(rule_id: str, token: str, known: bool) -> None:
    resources = [bucket("lake"), bucket("bare"), satellite(token, of="lake", known=known)]
    verdicts = {v.urn: v.status for v in RULES[rule_id].evaluate_stack(resources)}
    assert verdicts == {"urn:lake": Status.COMPLIANT, "urn:bare": Status.VIOLATION}


def replication(destination: object, linked_to: str = "") -> Resource:
    props = {"bucket": "lake", "rules": [{"destination": {"bucket": destination}}]}
    return Resource(REPLICATION, "copy", "urn:copy", props, HERE, {"rules": (linked_to,) if linked_to else ()})


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        pytest.param([bucket("lake")], Status.NOT_APPLICABLE, id="no-replication"),
        pytest.param([replication("arn:aws:s3:::twin"), bucket("twin")], Status.COMPLIANT, id="to-our-bucket"),
        pytest.param([replication("arn:aws:s3:::elsewhere")], Status.VIOLATION, id="to-a-stranger"),
        pytest.param(
            [replication("arn:aws:s3:::twin"), bucket("twin", {"region": "eu-west-1"})],
            Status.VIOLATION,
            id="to-our-bucket-in-ireland",
        ),
        pytest.param([replication(UNKNOWN, "urn:twin"), bucket("twin")], Status.COMPLIANT, id="preview-to-our-bucket"),
        pytest.param([replication(UNKNOWN)], Status.UNVERIFIED, id="preview-to-something-unknown"),
        pytest.param(
            [bucket("src", replicationConfiguration={"rules": [{"destination": {"bucket": "arn:aws:s3:::x"}}]})],
            Status.VIOLATION,
            id="inline-to-a-stranger",
        ),
    ],
)
def test_replication_stays_in_the_uae(resources: list[Resource], expected: Status) -> None:
    assert worst(RULES["RES-003"].evaluate_stack(resources)) is expected


def test_attaching_a_boundary_is_a_violation() -> None:
    boundary = Resource("aws:iam/policy:Policy", "platform-boundary", "urn:boundary", {"policy": "{}"})
    attachment = Resource(
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        "oops",
        "urn:oops",
        {"policyArn": UNKNOWN},
        HERE,
        {"policyArn": ("urn:boundary",)},
    )
    verdicts = RULES["IAM-001"].evaluate_stack([boundary, attachment])
    assert [(v.urn, v.status) for v in verdicts] == [("urn:oops", Status.VIOLATION)]


def test_rule_prose_is_complete_and_unique() -> None:
    seen = defaultdict(list)
    for rule in RULES.values():
        assert rule.title.endswith(".")
        assert rule.why
        assert rule.fix
        assert rule.references
        seen[rule.title].append(rule.id)
    assert all(len(ids) == 1 for ids in seen.values())
