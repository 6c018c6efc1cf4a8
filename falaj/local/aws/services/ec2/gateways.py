"""Ways out of a VPC: internet gateways, elastic addresses and NAT gateways."""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import Outputs, Update
from falaj.local.aws.services.ec2.resource import Ec2Resource, retag, tagged
from falaj.local.aws.shapes import observed, request, tag_map


class InternetGateway(Ec2Resource):
    type = "aws:ec2/internetGateway:InternetGateway"

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        gateway = aws.client("ec2").create_internet_gateway(**tagged("internet-gateway", inputs))["InternetGateway"]
        return gateway["InternetGatewayId"], self._outputs(aws, gateway["InternetGatewayId"])

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        if inputs.get("vpcId"):
            aws.client("ec2").attach_internet_gateway(InternetGatewayId=id, VpcId=inputs["vpcId"])

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        gateway = aws.client("ec2").describe_internet_gateways(InternetGatewayIds=[id])["InternetGateways"][0]
        attached = [attachment["VpcId"] for attachment in gateway.get("Attachments", ())]
        return {
            **self._outputs(aws, id),
            "vpcId": attached[0] if attached else None,
            "tagsAll": tag_map(gateway.get("Tags")),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        ec2 = aws.client("ec2")
        if update.has("vpcId"):
            self._detach(aws, id)
            if update.new.get("vpcId"):
                ec2.attach_internet_gateway(InternetGatewayId=id, VpcId=update.new["vpcId"])
        retag(aws, id, update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        self._detach(aws, id)
        aws.client("ec2").delete_internet_gateway(InternetGatewayId=id)

    @staticmethod
    def _detach(aws: Aws, id: str) -> None:
        ec2 = aws.client("ec2")
        gateway = ec2.describe_internet_gateways(InternetGatewayIds=[id])["InternetGateways"][0]
        for attachment in gateway.get("Attachments", ()):
            ec2.detach_internet_gateway(InternetGatewayId=id, VpcId=attachment["VpcId"])

    @staticmethod
    def _outputs(aws: Aws, id: str) -> Outputs:
        return {"arn": aws.arn("ec2", f"internet-gateway/{id}"), "ownerId": aws.account_id}


class Eip(Ec2Resource):
    type = "aws:ec2/eip:Eip"
    force_new = frozenset({"domain", "address", "publicIpv4Pool", "networkBorderGroup", "customerOwnedIpv4Pool"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        parameters = request(inputs, {"address": "Address", "networkBorderGroup": "NetworkBorderGroup"})
        domain = inputs.get("domain") or "vpc"
        address = aws.client("ec2").allocate_address(Domain=domain, **parameters, **tagged("elastic-ip", inputs))
        return address["AllocationId"], self._outputs(aws, address)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        address = aws.client("ec2").describe_addresses(AllocationIds=[id])["Addresses"][0]
        return {**self._outputs(aws, address), "tagsAll": tag_map(address.get("Tags"))}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("ec2").release_address(AllocationId=id)

    @staticmethod
    def _outputs(aws: Aws, address: dict[str, Any]) -> Outputs:
        names = {
            "allocationId": "AllocationId",
            "publicIp": "PublicIp",
            "domain": "Domain",
            "associationId": "AssociationId",
            "privateIp": "PrivateIpAddress",
        }
        dashed = address["PublicIp"].replace(".", "-")
        return {
            **observed(address, names),
            "arn": aws.arn("ec2", f"elastic-ip/{address['AllocationId']}"),
            "publicDns": f"ec2-{dashed}.{aws.region}.compute.amazonaws.com",
        }


class NatGateway(Ec2Resource):
    type = "aws:ec2/natGateway:NatGateway"
    force_new = frozenset({"allocationId", "connectivityType", "privateIp", "subnetId", "vpcId", "availabilityMode"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        parameters = request(
            inputs,
            {
                "subnetId": "SubnetId",
                "allocationId": "AllocationId",
                "connectivityType": "ConnectivityType",
                "privateIp": "PrivateIpAddress",
            },
        )
        gateway = aws.client("ec2").create_nat_gateway(**parameters, **tagged("natgateway", inputs))["NatGateway"]
        return gateway["NatGatewayId"], self._outputs(gateway)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        for gateway in aws.client("ec2").describe_nat_gateways(NatGatewayIds=[id])["NatGateways"]:
            if gateway["State"] not in ("deleting", "deleted", "failed"):
                return {**self._outputs(gateway), "tagsAll": tag_map(gateway.get("Tags"))}
        return None

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        ec2 = aws.client("ec2")
        if self.read(aws, id, inputs, outputs) is None:
            return  # moto fails on a gateway that it does not know
        ec2.delete_nat_gateway(NatGatewayId=id)
        # AWS takes the address off a deleted gateway and removes its interface; moto leaves both, so that no other
        # gateway could ever have the address.
        allocation_id = inputs.get("allocationId")
        if allocation_id:
            for address in ec2.describe_addresses(AllocationIds=[allocation_id])["Addresses"]:
                if address.get("AssociationId"):
                    ec2.disassociate_address(AssociationId=address["AssociationId"])
        if interface_id := outputs.get("networkInterfaceId"):
            ec2.delete_network_interface(NetworkInterfaceId=interface_id)

    @staticmethod
    def _outputs(gateway: dict[str, Any]) -> Outputs:
        state = observed(gateway, {"subnetId": "SubnetId", "connectivityType": "ConnectivityType"})
        for address in gateway.get("NatGatewayAddresses", ())[:1]:
            names = {
                "allocationId": "AllocationId",
                "publicIp": "PublicIp",
                "privateIp": "PrivateIp",
                "networkInterfaceId": "NetworkInterfaceId",
                "associationId": "AssociationId",
            }
            state.update(observed(address, names))
        return state
