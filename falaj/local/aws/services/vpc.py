"""Security group rules that are resources of their own (``aws:vpc/...``)."""

from __future__ import annotations

from typing import Any, ClassVar

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import Outputs, Update
from falaj.local.aws.services.ec2.resource import Ec2Resource, retag, tagged
from falaj.local.aws.shapes import tag_map

_ALL_PROTOCOLS = "-1"


class _Rule(Ec2Resource):
    """One permission in one direction; any change but that of tags makes another rule."""

    force_new = frozenset(
        {
            "securityGroupId",
            "ipProtocol",
            "fromPort",
            "toPort",
            "cidrIpv4",
            "cidrIpv6",
            "prefixListId",
            "referencedSecurityGroupId",
        }
    )
    # The group refuses a second rule of the same meaning while the old one stands.
    delete_before_replace = True
    way: ClassVar[str]

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        ec2 = aws.client("ec2")
        authorize = getattr(ec2, f"authorize_security_group_{self.way}")
        answer = authorize(
            GroupId=inputs["securityGroupId"],
            IpPermissions=[_permission(inputs)],
            **tagged("security-group-rule", inputs),
        )
        id = answer["SecurityGroupRules"][0]["SecurityGroupRuleId"]
        return id, self._outputs(aws, id)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        answer = aws.client("ec2").describe_security_group_rules(SecurityGroupRuleIds=[id])
        for rule in answer["SecurityGroupRules"]:
            state: Outputs = {
                **self._outputs(aws, id),
                "securityGroupId": rule["GroupId"],
                "ipProtocol": rule["IpProtocol"],
                "cidrIpv4": rule.get("CidrIpv4"),
                "cidrIpv6": rule.get("CidrIpv6"),
                "prefixListId": rule.get("PrefixListId"),
                "referencedSecurityGroupId": (rule.get("ReferencedGroupInfo") or {}).get("GroupId"),
                "tagsAll": tag_map(rule.get("Tags")),
            }
            if rule.get("ReferencedGroupInfo") is None:  # moto does not tell the description of those
                state["description"] = rule.get("Description")
            if rule["IpProtocol"] != _ALL_PROTOCOLS:
                state.update(fromPort=rule.get("FromPort"), toPort=rule.get("ToPort"))
            return state
        return None

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        if update.has("description"):
            describe = getattr(aws.client("ec2"), f"update_security_group_rule_descriptions_{self.way}")
            described = {"description": "", **update.new}
            describe(GroupId=update.new["securityGroupId"], IpPermissions=[_permission(described)])
        retag(aws, id, update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        revoke = getattr(aws.client("ec2"), f"revoke_security_group_{self.way}")
        revoke(GroupId=inputs["securityGroupId"], SecurityGroupRuleIds=[id])

    @staticmethod
    def _outputs(aws: Aws, id: str) -> Outputs:
        return {"arn": aws.arn("ec2", f"security-group-rule/{id}"), "securityGroupRuleId": id}


class SecurityGroupIngressRule(_Rule):
    type = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
    way = "ingress"


class SecurityGroupEgressRule(_Rule):
    type = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
    way = "egress"


def _permission(inputs: Properties) -> dict[str, Any]:
    permission: dict[str, Any] = {"IpProtocol": inputs["ipProtocol"]}
    if inputs["ipProtocol"] != _ALL_PROTOCOLS:
        permission.update(FromPort=inputs.get("fromPort", -1), ToPort=inputs.get("toPort", -1))
    described = {"Description": inputs["description"]} if inputs.get("description") is not None else {}
    if inputs.get("cidrIpv4"):
        permission["IpRanges"] = [{"CidrIp": inputs["cidrIpv4"], **described}]
    elif inputs.get("cidrIpv6"):
        permission["Ipv6Ranges"] = [{"CidrIpv6": inputs["cidrIpv6"], **described}]
    elif inputs.get("prefixListId"):
        permission["PrefixListIds"] = [{"PrefixListId": inputs["prefixListId"], **described}]
    else:
        permission["UserIdGroupPairs"] = [{"GroupId": inputs["referencedSecurityGroupId"], **described}]
    return permission


HANDLERS = (SecurityGroupEgressRule, SecurityGroupIngressRule)
