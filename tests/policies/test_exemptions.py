"""The failure guarded here is an exemption that never ends, or that covers more than was approved."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from policies.exemptions import ExemptionError, exemption_for, load_exemptions

VALID = """
rule: NET-001
urn: "*::aws:eks/cluster:Cluster::partner"
reason: The partner's network reaches the API until the VPN stands.
legal_basis: no personal data in this cluster
approver: approver@example.org
granted: 2026-11-01
expires: 2026-12-31
"""
URN = "urn:pulumi:prod::falaj::aws:eks/cluster:Cluster::partner"


def day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def test_an_exemption_holds_on_its_last_day_and_expires_after(tmp_path: Path) -> None:
    (tmp_path / "partner.yaml").write_text(VALID)
    exemptions = load_exemptions(tmp_path)
    assert exemption_for(exemptions, "NET-001", URN, day("2026-12-31")) == (exemptions[0], None)
    assert exemption_for(exemptions, "NET-001", URN, day("2027-01-01")) == (None, exemptions[0])


def test_an_exemption_covers_only_its_rule_and_resource(tmp_path: Path) -> None:
    (tmp_path / "partner.yaml").write_text(VALID)
    exemptions = load_exemptions(tmp_path)
    assert exemption_for(exemptions, "NET-002", URN, day("2026-12-01")) == (None, None)
    assert exemption_for(exemptions, "NET-001", URN + "-2", day("2026-12-01")) == (None, None)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("expires: 2026-12-31", "expires: 2027-06-30", "allowed: 0 to 90"),
        ('urn: "*::aws:eks/cluster:Cluster::partner"', 'urn: "***"', "name the resource"),
        ("approver: approver@example.org\n", "", "approver"),
        ("rule: NET-001", "rule: everything", "rule"),
        ("reason:", "motive:", "reason"),
        ("rule: NET-001", "rule: [", "partner.yaml"),
    ],
    ids=["too-long", "covers-everything", "nobody-approved", "no-such-rule-id", "unknown-key", "not-yaml"],
)
def test_a_bad_exemption_is_refused_with_its_file(tmp_path: Path, old: str, new: str, expected: str) -> None:
    (tmp_path / "partner.yaml").write_text(VALID.replace(old, new))
    with pytest.raises(ExemptionError, match=r"partner\.yaml") as error:
        load_exemptions(tmp_path)
    assert expected in str(error.value)
