"""AWS Network Firewall, in the state only: moto can neither hold rule groups nor delete a firewall."""

from __future__ import annotations

import hashlib
import uuid

from falaj.engine.provider import ProviderError
from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Outputs, StateOnly, Update


class _Versioned(StateOnly):
    """Things that AWS hands a new update token after each change."""

    auto_name = AutoName(max_length=128)
    changes_with_update = frozenset({"updateToken"})

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        return {"updateToken": str(uuid.uuid4())}


class RuleGroup(_Versioned):
    type = "aws:networkfirewall/ruleGroup:RuleGroup"
    force_new = frozenset({"capacity", "name", "type"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        arn = aws.arn("network-firewall", f"{str(inputs['type']).lower()}-rulegroup/{inputs['name']}")
        return arn, {"arn": arn, "updateToken": str(uuid.uuid4())}


class FirewallPolicy(_Versioned):
    type = "aws:networkfirewall/firewallPolicy:FirewallPolicy"
    force_new = frozenset({"firewallPolicy.statefulEngineOptions.ruleOrder", "name"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        arn = aws.arn("network-firewall", f"firewall-policy/{inputs['name']}")
        return arn, {"arn": arn, "updateToken": str(uuid.uuid4())}


class Firewall(_Versioned):
    type = "aws:networkfirewall/firewall:Firewall"
    defaults = {"deleteProtection": False, "firewallPolicyChangeProtection": False, "subnetChangeProtection": False}
    force_new = frozenset({"name", "transitGatewayId", "vpcId"})
    unordered = frozenset({"enabledAnalysisTypes", "subnetMappings"})
    changes_with_update = frozenset({"firewallStatuses", "updateToken"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        arn = aws.arn("network-firewall", f"firewall/{inputs['name']}")
        return arn, {"arn": arn, "updateToken": str(uuid.uuid4()), "firewallStatuses": _statuses(aws, arn, inputs)}

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        return {**super().update(aws, id, update), "firewallStatuses": _statuses(aws, id, update.new)}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        if inputs.get("deleteProtection"):
            raise ProviderError(
                f'network firewall "{inputs["name"]}" has delete protection; '
                "set deleteProtection to false, deploy, then delete it"
            )


def _statuses(aws: Aws, arn: str, inputs: Properties) -> list[Outputs]:
    """One firewall endpoint per mapped subnet, in the subnet's zone; its id follows from firewall and subnet."""
    subnet_ids = [mapping["subnetId"] for mapping in inputs.get("subnetMappings") or ()]
    if not subnet_ids:
        return [{"syncStates": []}]
    described = aws.client("ec2").describe_subnets(SubnetIds=subnet_ids)["Subnets"]
    states = []
    for subnet in sorted(described, key=lambda item: str(item["AvailabilityZone"])):
        endpoint_id = "vpce-" + hashlib.sha256(f"{arn} {subnet['SubnetId']}".encode()).hexdigest()[:17]
        attachment = {"endpointId": endpoint_id, "subnetId": subnet["SubnetId"]}
        states.append({"availabilityZone": subnet["AvailabilityZone"], "attachments": [attachment]})
    return [{"syncStates": states}]


class LoggingConfiguration(StateOnly):
    type = "aws:networkfirewall/loggingConfiguration:LoggingConfiguration"
    force_new = frozenset({"firewallArn"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        return inputs["firewallArn"], {}


HANDLERS = (RuleGroup, FirewallPolicy, Firewall, LoggingConfiguration)
