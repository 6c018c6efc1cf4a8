"""Network Firewall, in the state only.  Guards: unmarked emulation, endpoints in the wrong zone, lost protection."""

from __future__ import annotations

from typing import Any

import pytest

from falaj.engine.provider import ProviderError
from tests.support.aws_lifecycle import Account, assert_settled
from tests.support.aws_network import default_subnets, default_vpc
from tests.support.moto_server import ACCOUNT_ID, REGION, client

RULES = "aws:networkfirewall/ruleGroup:RuleGroup"
POLICY = "aws:networkfirewall/firewallPolicy:FirewallPolicy"
FIREWALL = "aws:networkfirewall/firewall:Firewall"
LOGGING = "aws:networkfirewall/loggingConfiguration:LoggingConfiguration"
ARN = f"arn:aws:network-firewall:{REGION}:{ACCOUNT_ID}"


def firewall_inputs(account: Account, **more: Any) -> dict[str, Any]:
    return {
        "vpcId": default_vpc(account.endpoint_url),
        "firewallPolicyArn": f"{ARN}:firewall-policy/egress",
        "subnetMappings": [{"subnetId": subnet} for subnet in default_subnets(account.endpoint_url)[:2]],
        **more,
    }


def test_rule_group_and_policy_are_marked_and_settle(account: Account) -> None:
    lists = {"rulesString": "drop tls any any -> any any (sid:1;)"}
    rules = {"capacity": 100, "type": "STATEFUL", "ruleGroup": {"rulesSource": lists}}
    group = account.created(RULES, "egress", rules)
    engine = {"ruleOrder": "STRICT_ORDER"}
    policy = {
        "firewallPolicy": {
            "statelessDefaultActions": ["aws:forward_to_sfe"],
            "statelessFragmentDefaultActions": ["aws:forward_to_sfe"],
            "statefulEngineOptions": engine,
            "statefulRuleGroupReferences": [{"resourceArn": group.outputs["arn"], "priority": 1}],
        }
    }
    made = account.created(POLICY, "egress", policy)
    assert group.outputs["arn"].startswith(f"{ARN}:stateful-rulegroup/egress-")
    for resource, inputs in ((group, rules), (made, policy)):
        assert resource.outputs["__falaj"] == {"emulated": "state"}
        assert_settled(resource, inputs)
    looser = {
        "firewallPolicy": {**policy["firewallPolicy"], "statefulEngineOptions": {"ruleOrder": "DEFAULT_ACTION_ORDER"}}
    }
    assert made.diff(looser).replaces == ("firewallPolicy",)
    token = group.outputs["updateToken"]
    group.update({**rules, "description": "egress"})
    assert group.outputs["updateToken"] != token


def test_firewall_answers_one_endpoint_per_subnet_in_its_zone(account: Account) -> None:
    firewall = account.created(FIREWALL, "egress", firewall_inputs(account))
    states = firewall.outputs["firewallStatuses"][0]["syncStates"]
    subnets = client(account.endpoint_url, "ec2").describe_subnets(
        SubnetIds=[state["attachments"][0]["subnetId"] for state in states]
    )["Subnets"]
    zones = {subnet["SubnetId"]: subnet["AvailabilityZone"] for subnet in subnets}
    assert [state["availabilityZone"] for state in states] == [
        zones[state["attachments"][0]["subnetId"]] for state in states
    ]
    endpoints = {state["attachments"][0]["endpointId"] for state in states}
    assert len(endpoints) == 2
    assert all(endpoint.startswith("vpce-") and len(endpoint) == 22 for endpoint in endpoints)
    assert_settled(firewall, firewall_inputs(account))


def test_protected_firewall_refuses_to_go(account: Account) -> None:
    inputs = firewall_inputs(account, deleteProtection=True)
    firewall = account.created(FIREWALL, "guarded", inputs)
    with pytest.raises(ProviderError, match="set deleteProtection to false"):
        firewall.delete()
    firewall.update({**inputs, "deleteProtection": False})
    firewall.delete()


def test_logging_belongs_to_its_firewall(account: Account) -> None:
    destination = {"logDestinationType": "CloudWatchLogs", "logType": "ALERT", "logDestination": {"logGroup": "/nfw"}}
    inputs = {"firewallArn": f"{ARN}:firewall/egress", "loggingConfiguration": {"logDestinationConfigs": [destination]}}
    logging = account.created(LOGGING, "egress", inputs)
    assert logging.id == inputs["firewallArn"]
    assert_settled(logging, inputs)
    assert logging.diff({**inputs, "firewallArn": f"{ARN}:firewall/other"}).replaces == ("firewallArn",)
