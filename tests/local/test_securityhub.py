"""Security Hub and Access Analyzer handlers.  Guards: standards that outlive their hub, unmarked emulation."""

from __future__ import annotations

from tests.support.aws_lifecycle import Account, assert_settled
from tests.support.moto_server import ACCOUNT_ID, REGION, client

HUB = "aws:securityhub/account:Account"
STANDARD = "aws:securityhub/standardsSubscription:StandardsSubscription"
ANALYZER = "aws:accessanalyzer/analyzer:Analyzer"
CIS = f"arn:aws:securityhub:{REGION}::standards/cis-aws-foundations-benchmark/v/3.0.0"


def test_hub_and_its_standard_live_and_go_together(account: Account) -> None:
    """An account has one hub, so the story is told once."""
    hub = account.created(HUB, "hub", {"enableDefaultStandards": False})
    assert_settled(hub, {"enableDefaultStandards": False})
    seen = client(account.endpoint_url, "securityhub").describe_hub()
    assert hub.outputs["arn"] == seen["HubArn"]
    standard = account.created(STANDARD, "cis", {"standardsArn": CIS})
    assert standard.outputs["__falaj"] == {"emulated": "state"}
    subscription = "subscription/cis-aws-foundations-benchmark/v/3.0.0"
    assert standard.id == f"arn:aws:securityhub:{REGION}:{ACCOUNT_ID}:{subscription}"
    assert_settled(standard, {"standardsArn": CIS})
    hub.delete()
    hub.delete()
    assert not hub.refresh()
    assert not standard.refresh()


def test_analyzer_is_marked_and_settles(account: Account) -> None:
    inputs = {"analyzerName": "external-access", "type": "ACCOUNT"}
    analyzer = account.created(ANALYZER, "external", inputs)
    assert analyzer.outputs["__falaj"] == {"emulated": "state"}
    assert analyzer.outputs["arn"] == f"arn:aws:access-analyzer:{REGION}:{ACCOUNT_ID}:analyzer/external-access"
    assert_settled(analyzer, inputs)
