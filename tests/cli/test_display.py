"""The failures guarded here: a secret on a screen, a replacement counted twice, a resource in the wrong component."""

from __future__ import annotations

import io
import json
from typing import Any

from falaj.cli.diff_view import changed_lines, shown
from falaj.cli.progress import Progress
from falaj.cli.render import JsonRenderer, PlainRenderer
from falaj.cli.summary_view import headline, summary_object
from falaj.engine.events import (
    Diagnostic,
    Op,
    PolicyViolation,
    Severity,
    StepDone,
    StepFailed,
    StepInfo,
    StepStarted,
    Summary,
)
from falaj.engine.values import UNKNOWN, Secret

STACK = "urn:pulumi:local::falaj::pulumi:pulumi:Stack::falaj-local"
NETWORK = "urn:pulumi:local::falaj::falaj:network:Network::network"
INNER = "urn:pulumi:local::falaj::falaj:network:Network$falaj:network:Egress::egress"
VPC = "urn:pulumi:local::falaj::falaj:network:Network$aws:ec2/vpc:Vpc::network-vpc"


def step(op: Op, urn: str, type_token: str, parent: str = "", *, custom: bool = True, **more: Any) -> StepInfo:
    return StepInfo(op, urn, type_token, custom, parent=parent, **more)


def played(*steps: StepInfo) -> Progress:
    progress = Progress()
    for one in (
        step(Op.CREATE, STACK, "pulumi:pulumi:Stack", custom=False),
        step(Op.CREATE, NETWORK, "falaj:network:Network", STACK, custom=False),
        *steps,
    ):
        progress.update(StepStarted(one))
        progress.update(StepDone(one))
    return progress


def test_a_resource_counts_under_its_top_level_component() -> None:
    progress = played(
        step(Op.CREATE, INNER, "falaj:network:Egress", NETWORK, custom=False),
        step(Op.CREATE, VPC, "aws:ec2/vpc:Vpc", NETWORK),
        step(Op.CREATE, VPC + "-nat", "aws:ec2/natGateway:NatGateway", INNER),
    )
    assert {row.title: row.resources for row in progress.components()} == {"network": 2}


def test_a_replacement_counts_once() -> None:
    progress = played(
        step(Op.CREATE_REPLACEMENT, VPC, "aws:ec2/vpc:Vpc", NETWORK),
        step(Op.REPLACE, VPC, "aws:ec2/vpc:Vpc", NETWORK),
        step(Op.DELETE_REPLACED, VPC, "aws:ec2/vpc:Vpc", NETWORK),
    )
    assert [row.operations for row in progress.components()] == [{Op.REPLACE: 1}]
    assert [s.op for s in progress.changes() if s.custom] == [Op.REPLACE]


def test_state_only_resources_are_counted() -> None:
    marked = {"arn": "x", "__falaj": {"emulated": "state"}}
    progress = played(step(Op.SAME, VPC, "aws:ec2/vpc:Vpc", NETWORK, new_outputs=marked))
    assert progress.emulated_state_only() == 1


def test_a_resource_that_was_read_before_it_was_deployed_still_counts_as_state_only() -> None:
    marked = {"__falaj": {"emulated": "state"}}
    progress = played(
        step(Op.SAME, VPC, "aws:ec2/vpc:Vpc", NETWORK),
        step(Op.SAME, VPC, "aws:ec2/vpc:Vpc", NETWORK, new_outputs=marked),
    )
    assert progress.emulated_state_only() == 1


def test_secrets_are_masked_wherever_they_hide() -> None:
    change = step(
        Op.UPDATE,
        VPC,
        "aws:ec2/vpc:Vpc",
        old_inputs={"password": Secret("old-pw"), "tags": {"a": [Secret("deep-pw")]}},
        new_inputs={"password": Secret("new-pw"), "tags": {"a": [Secret("deep-new")]}, "extra": Secret("add-pw")},
    )
    text = "\n".join(changed_lines(change))
    assert "pw" not in text
    assert "deep-new" not in text
    assert text.count("[secret]") == 5


def test_unknown_values_read_as_unknown() -> None:
    assert shown({"arn": UNKNOWN}) == "{arn: [unknown]}"


def test_long_values_are_cut() -> None:
    assert len(shown("x" * 5_000)) == 100


def test_a_replacing_property_is_named() -> None:
    change = step(
        Op.REPLACE,
        VPC,
        "aws:ec2/vpc:Vpc",
        keys=("cidrBlock",),
        old_inputs={"cidrBlock": "10.0.0.0/16"},
        new_inputs={"cidrBlock": "10.1.0.0/16"},
    )
    assert list(changed_lines(change)) == ['~ cidrBlock: "10.0.0.0/16" => "10.1.0.0/16"  (forces replacement)']


def test_plain_output_is_silent_about_what_did_not_change() -> None:
    out = io.StringIO()
    renderer = PlainRenderer(out, show_diff=False)
    renderer(StepDone(step(Op.SAME, VPC, "aws:ec2/vpc:Vpc", NETWORK)))
    renderer(StepDone(step(Op.CREATE, VPC, "aws:ec2/vpc:Vpc", NETWORK)))
    renderer(StepFailed(step(Op.UPDATE, VPC, "aws:ec2/vpc:Vpc", NETWORK)))
    renderer(Diagnostic(Severity.DEBUG, "noise"))
    renderer(Diagnostic(Severity.ERROR, "no such zone", VPC))
    assert out.getvalue().splitlines() == [
        "+  aws:ec2/vpc:Vpc network-vpc",
        "!! update failed: aws:ec2/vpc:Vpc network-vpc",
        "error: network-vpc: no such zone",
    ]


def test_a_type_without_a_handler_is_warned_about() -> None:
    out = io.StringIO()
    unhandled = {"__falaj": {"emulated": "state", "handler": "none"}}
    PlainRenderer(out, show_diff=False)(StepDone(step(Op.CREATE, VPC, "aws:ec2/vpc:Vpc", new_outputs=unhandled)))
    assert "no local handler for this type" in out.getvalue()


def test_json_lines_never_hold_a_secret() -> None:
    out = io.StringIO()
    renderer = JsonRenderer(out)
    renderer(StepDone(step(Op.CREATE, VPC, "aws:ec2/vpc:Vpc", NETWORK, new_inputs={"pw": Secret("hidden-word")})))
    renderer(PolicyViolation(VPC, "NET-002", "falaj-baseline", "0.1.0", "mandatory", "open"))
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["kind"] for line in lines] == ["resource", "policy_violation"]
    assert "hidden-word" not in out.getvalue()


def test_summary_has_the_promised_fields() -> None:
    summary = Summary({Op.SAME: 3, Op.CREATE: 0}, 3, 1.2345, "succeeded", 42, {"mandatory": 0})
    assert summary_object("up", Progress(), summary, None) == {
        "kind": "summary",
        "command": "up",
        "result": "succeeded",
        "changes": {"same": 3},
        "resources": 3,
        "policies": {"evaluated": 42, "violations": {"mandatory": 0}},
        "emulated_state_only": 0,
        "duration_seconds": 1.234,
    }


def test_a_run_without_changes_says_so() -> None:
    assert headline("up", Summary({Op.SAME: 3}, 3, 2.04, "succeeded")) == "up: no changes (3 unchanged) in 2.0 s"


def test_a_failed_run_never_claims_success() -> None:
    assert headline("up", Summary({Op.CREATE: 1}, 1, 1.0, "failed")).startswith("up failed (1 created)")
