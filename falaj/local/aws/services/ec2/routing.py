"""Route tables, their routes and the subnets that use them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final

from falaj.engine.provider import ProviderError
from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import Handler, Outputs, Update
from falaj.local.aws.services.ec2.resource import Ec2Resource, retag, tagged
from falaj.local.aws.shapes import request, tag_map

_DESTINATIONS: Final = {
    "destinationCidrBlock": "DestinationCidrBlock",
    "destinationIpv6CidrBlock": "DestinationIpv6CidrBlock",
    "destinationPrefixListId": "DestinationPrefixListId",
}
_TARGETS: Final = {
    "gatewayId": "GatewayId",
    "natGatewayId": "NatGatewayId",
    "networkInterfaceId": "NetworkInterfaceId",
    "transitGatewayId": "TransitGatewayId",
    "egressOnlyGatewayId": "EgressOnlyInternetGatewayId",
    "vpcPeeringConnectionId": "VpcPeeringConnectionId",
    "carrierGatewayId": "CarrierGatewayId",
    "vpcEndpointId": "VpcEndpointId",
}
_INLINE_DESTINATIONS: Final = {
    "cidrBlock": "DestinationCidrBlock",
    "ipv6CidrBlock": "DestinationIpv6CidrBlock",
    "destinationPrefixListId": "DestinationPrefixListId",
}
_INLINE_TARGETS: Final = {**_TARGETS}


class RouteTable(Ec2Resource):
    type = "aws:ec2/routeTable:RouteTable"
    force_new = frozenset({"vpcId"})
    unordered = frozenset({"routes", "propagatingVgws"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        table = aws.client("ec2").create_route_table(VpcId=inputs["vpcId"], **tagged("route-table", inputs))
        id = table["RouteTable"]["RouteTableId"]
        return id, self._outputs(aws, id)

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        for route in inputs.get("routes") or ():
            self._add(aws, id, route)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        table = aws.client("ec2").describe_route_tables(RouteTableIds=[id])["RouteTables"][0]
        state: Outputs = {
            **self._outputs(aws, id),
            "vpcId": table["VpcId"],
            "tagsAll": tag_map(table.get("Tags")),
        }
        if inputs.get("routes") is not None:  # separate Route resources are not this table's business
            present = [route for route in table["Routes"] if route.get("Origin") == "CreateRoute"]
            state["routes"] = [_inline(route) for route in present]
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        if update.has("routes"):
            old, new = update.old.get("routes") or [], update.new.get("routes") or []
            for route in old:
                if route not in new:
                    aws.client("ec2").delete_route(RouteTableId=id, **request(route, _INLINE_DESTINATIONS))
            for route in new:
                if route not in old:
                    self._add(aws, id, route)
        retag(aws, id, update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("ec2").delete_route_table(RouteTableId=id)

    @staticmethod
    def _add(aws: Aws, id: str, route: Mapping[str, Any]) -> None:
        parameters = {**request(route, _INLINE_DESTINATIONS), **request(route, _INLINE_TARGETS)}
        aws.client("ec2").create_route(RouteTableId=id, **parameters)

    @staticmethod
    def _outputs(aws: Aws, id: str) -> Outputs:
        return {"arn": aws.arn("ec2", f"route-table/{id}"), "ownerId": aws.account_id}


class Route(Handler):
    type = "aws:ec2/route:Route"
    force_new = frozenset({"routeTableId", *_DESTINATIONS})
    delete_before_replace = True  # a table holds one route per destination

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        destination = next((inputs[name] for name in _DESTINATIONS if inputs.get(name)), None)
        if destination is None:
            raise ProviderError(f"a route needs one of {', '.join(_DESTINATIONS)}")
        table_id = inputs["routeTableId"]
        aws.client("ec2").create_route(RouteTableId=table_id, **self._parameters(aws, inputs))
        # The real provider's id: the table and the destination's CRC-32.
        return f"r-{table_id}{zlib.crc32(destination.encode())}", {"origin": "CreateRoute", "state": "active"}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        known = {**outputs, **inputs}
        if "routeTableId" not in known:  # an import by "<table>_<destination>"
            table_id, _, destination = id.partition("_")
            known = {"routeTableId": table_id, "destinationCidrBlock": destination}
        table = aws.client("ec2").describe_route_tables(RouteTableIds=[known["routeTableId"]])["RouteTables"][0]
        wanted = request(known, _DESTINATIONS)
        for route in table["Routes"]:
            if any(route.get(name) == value for name, value in wanted.items()):
                state: Outputs = {"routeTableId": known["routeTableId"], "origin": "CreateRoute", "state": "active"}
                state.update({name: known[name] for name in _DESTINATIONS if known.get(name)})
                # A network firewall's endpoint is a gateway to the emulator (see _parameters).
                for name, parameter in _TARGETS.items():
                    if name in inputs:
                        seen = route.get(parameter)
                        state[name] = inputs[name] if name == "vpcEndpointId" and seen is None else seen
                return state
        return None

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        aws.client("ec2").replace_route(RouteTableId=update.new["routeTableId"], **self._parameters(aws, update.new))
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("ec2").delete_route(RouteTableId=inputs["routeTableId"], **request(inputs, _DESTINATIONS))

    @staticmethod
    def _parameters(aws: Aws, inputs: Properties) -> dict[str, Any]:
        parameters = {**request(inputs, _DESTINATIONS), **request(inputs, _TARGETS)}
        # moto takes Gateway Load Balancer endpoints only, while AWS takes those of a network firewall too.
        parameters.pop("VpcEndpointId", None)
        return parameters


class RouteTableAssociation(Handler):
    type = "aws:ec2/routeTableAssociation:RouteTableAssociation"
    # AWS gives a moved association a new id, which a Pulumi update cannot: hence a replacement.
    force_new = frozenset({"routeTableId", "subnetId", "gatewayId"})
    delete_before_replace = True  # a subnet has one association

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        parameters = request(inputs, {"routeTableId": "RouteTableId", "subnetId": "SubnetId", "gatewayId": "GatewayId"})
        return aws.client("ec2").associate_route_table(**parameters)["AssociationId"], {}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        filters = [{"Name": "association.route-table-association-id", "Values": [id]}]
        for table in aws.client("ec2").describe_route_tables(Filters=filters)["RouteTables"]:
            for association in table.get("Associations", ()):
                if association["RouteTableAssociationId"] == id:
                    return {"routeTableId": table["RouteTableId"], "subnetId": association.get("SubnetId")}
        return None

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("ec2").disassociate_route_table(AssociationId=id)


def _inline(route: Mapping[str, Any]) -> dict[str, Any]:
    names = {**_INLINE_DESTINATIONS, **_INLINE_TARGETS}
    return {name: route[parameter] for name, parameter in names.items() if route.get(parameter)}
