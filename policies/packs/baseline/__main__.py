"""The baseline pack: a list of rules, all of them mandatory."""

import datetime
from pathlib import Path

from pulumi_policy import PolicyPack

import policies
from policies.adapter import policies_for
from policies.rules import RULES

BASELINE = (
    "RES-001",
    "RES-002",
    "RES-003",
    "RES-004",
    "RES-014",
    "ENC-001",
    "ENC-003",
    "ENC-004",
    "ENC-006",
    "TLS-001",
    "NET-001",
    "NET-002",
    "NET-003",
    "NET-006",
    "IAM-001",
    "K8S-001",
    "K8S-002",
    "K8S-003",
    "K8S-004",
    "K8S-005",
    "TEN-001",
    "COST-001",
    "COST-002",
    "COST-003",
)

PolicyPack(
    name="falaj-baseline",
    policies=policies_for(
        [RULES[rule_id] for rule_id in BASELINE],
        Path(policies.__file__).parent / "exemptions",
        datetime.datetime.now(datetime.UTC).date(),
    ),
)
