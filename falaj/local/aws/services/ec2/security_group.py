"""Security groups with the rules written inside them; rules of their own are in ``services/vpc.py``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, NamedTuple

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Outputs, Update
from falaj.local.aws.services.ec2.resource import Ec2Resource, retag, tagged
from falaj.local.aws.shapes import observed, request, tag_map

_ALL_PROTOCOLS: Final = "-1"


class _Atom(NamedTuple):
    """One permission for one peer: what a rule means however it is grouped."""

    protocol: str
    from_port: int
    to_port: int
    kind: str
    peer: str
    description: str


_PEERS: Final = {
    "cidrBlocks": ("IpRanges", "CidrIp"),
    "ipv6CidrBlocks": ("Ipv6Ranges", "CidrIpv6"),
    "prefixListIds": ("PrefixListIds", "PrefixListId"),
    "securityGroups": ("UserIdGroupPairs", "GroupId"),
}


class SecurityGroup(Ec2Resource):
    type = "aws:ec2/securityGroup:SecurityGroup"
    auto_name: ClassVar[AutoName | None] = AutoName()
    defaults: ClassVar[Properties] = {"description": "Managed by Pulumi"}
    force_new = frozenset({"name", "namePrefix", "description", "vpcId"})
    unordered = frozenset({"ingress", "egress", *(f"{way}.{peer}" for way in ("ingress", "egress") for peer in _PEERS)})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        parameters = request(inputs, {"name": "GroupName", "description": "Description", "vpcId": "VpcId"})
        group_id = aws.client("ec2").create_security_group(**parameters, **tagged("security-group", inputs))["GroupId"]
        return group_id, self._outputs(aws, group_id)

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        # AWS lets everything out of a new group; like the real provider, only what is declared stays.
        set_rules(aws, id, "egress", inputs.get("egress") or ())
        set_rules(aws, id, "ingress", inputs.get("ingress") or ())

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        group = aws.client("ec2").describe_security_groups(GroupIds=[id])["SecurityGroups"][0]
        state: Outputs = {
            **self._outputs(aws, id),
            **observed(group, {"name": "GroupName", "description": "Description", "vpcId": "VpcId"}),
            "tagsAll": tag_map(group.get("Tags")),
        }
        for way, key in (("ingress", "IpPermissions"), ("egress", "IpPermissionsEgress")):
            if inputs.get(way) is not None:
                state[way] = _declared_or_observed(id, inputs[way], group.get(key, ()))
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        for way in ("ingress", "egress"):
            if update.has(way) and (way in update.old or way in update.new):
                set_rules(aws, id, way, update.new.get(way) or ())
        retag(aws, id, update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        if inputs.get("revokeRulesOnDelete"):
            set_rules(aws, id, "ingress", ())
            set_rules(aws, id, "egress", ())
        aws.client("ec2").delete_security_group(GroupId=id)

    @staticmethod
    def _outputs(aws: Aws, id: str) -> Outputs:
        return {"arn": aws.arn("ec2", f"security-group/{id}"), "ownerId": aws.account_id}


class DefaultSecurityGroup(SecurityGroup):
    """The group every VPC is born with: taken over, and stripped of every rule that is not declared."""

    type = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
    auto_name = None
    defaults: ClassVar[Properties] = {}
    force_new = frozenset({"vpcId"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        filters = [{"Name": "group-name", "Values": ["default"]}]
        if inputs.get("vpcId"):
            filters.append({"Name": "vpc-id", "Values": [inputs["vpcId"]]})
        group = aws.client("ec2").describe_security_groups(Filters=filters)["SecurityGroups"][0]
        return group["GroupId"], {
            **self._outputs(aws, group["GroupId"]),
            **observed(group, {"name": "GroupName", "description": "Description", "vpcId": "VpcId"}),
        }

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        super().configure(aws, id, inputs)
        retag(aws, id, Update({}, inputs, {}, frozenset({"tags"})))

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        """Nothing: AWS does not let the default group go before its VPC."""


def set_rules(aws: Aws, group_id: str, way: str, rules: Iterable[Mapping[str, Any]]) -> None:
    """Makes ``rules`` the only ones of a group in one direction ("ingress" or "egress")."""
    ec2 = aws.client("ec2")
    group = ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"][0]
    present = _observed_atoms(group_id, group.get("IpPermissions" if way == "ingress" else "IpPermissionsEgress", ()))
    wanted = {atom for rule in rules for atom in _declared_atoms(group_id, rule)}
    revoke = ec2.revoke_security_group_ingress if way == "ingress" else ec2.revoke_security_group_egress
    authorize = ec2.authorize_security_group_ingress if way == "ingress" else ec2.authorize_security_group_egress
    if surplus := sorted(present - wanted):
        revoke(GroupId=group_id, IpPermissions=[_permission(atom) for atom in surplus])
    if missing := sorted(wanted - present):
        authorize(GroupId=group_id, IpPermissions=[_permission(atom) for atom in missing])


def _declared_atoms(group_id: str, rule: Mapping[str, Any]) -> list[_Atom]:
    protocol = str(rule.get("protocol", _ALL_PROTOCOLS)).lower()
    protocol = _ALL_PROTOCOLS if protocol == "all" else protocol
    ports = (0, 0) if protocol == _ALL_PROTOCOLS else (int(rule.get("fromPort", 0)), int(rule.get("toPort", 0)))
    peers = [(name, peer) for name in _PEERS for peer in rule.get(name) or ()]
    if rule.get("self"):
        peers.append(("securityGroups", group_id))
    description = rule.get("description") or ""
    return [_Atom(protocol, *ports, name, peer, description) for name, peer in peers]


def _observed_atoms(group_id: str, permissions: Iterable[Mapping[str, Any]]) -> set[_Atom]:
    atoms = set()
    for permission in permissions:
        protocol = permission["IpProtocol"]
        all_ports = protocol == _ALL_PROTOCOLS
        ports = (0, 0) if all_ports else (int(permission.get("FromPort", 0)), int(permission.get("ToPort", 0)))
        for name, (list_key, peer_key) in _PEERS.items():
            for peer in permission.get(list_key, ()):
                atoms.add(_Atom(protocol, *ports, name, peer[peer_key], peer.get("Description", "")))
    return atoms


def _permission(atom: _Atom) -> dict[str, Any]:
    list_key, peer_key = _PEERS[atom.kind]
    peer = {peer_key: atom.peer, **({"Description": atom.description} if atom.description else {})}
    ports = {} if atom.protocol == _ALL_PROTOCOLS else {"FromPort": atom.from_port, "ToPort": atom.to_port}
    return {"IpProtocol": atom.protocol, **ports, list_key: [peer]}


def _declared_or_observed(
    group_id: str, declared: list[Mapping[str, Any]], permissions: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The declared rules where the group still means them, else the observed ones, one rule per permission."""
    present = _observed_atoms(group_id, permissions)
    if present == {atom for rule in declared for atom in _declared_atoms(group_id, rule)}:
        return declared
    return [
        {
            "protocol": atom.protocol,
            "fromPort": atom.from_port,
            "toPort": atom.to_port,
            atom.kind: [atom.peer],
            **({"description": atom.description} if atom.description else {}),
        }
        for atom in sorted(present)
    ]
