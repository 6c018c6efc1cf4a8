"""VPC endpoints and flow logs."""

from __future__ import annotations

from typing import Any, Final

from falaj.engine.provider import ProviderError
from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import Outputs, Update
from falaj.local.aws.services.ec2.resource import Ec2Resource, retag, tagged
from falaj.local.aws.shapes import observed, request, tag_map

_GATEWAY: Final = "Gateway"
"""The type of an endpoint that does not say which (EC2, CreateVpcEndpoint)."""


class VpcEndpoint(Ec2Resource):
    type = "aws:ec2/vpcEndpoint:VpcEndpoint"
    force_new = frozenset({"vpcId", "serviceName", "vpcEndpointType", "serviceRegion", "resourceConfigurationArn"})
    json_inputs = frozenset({"policy"})
    unordered = frozenset({"subnetIds", "securityGroupIds", "routeTableIds"})

    _members = (
        ("subnetIds", "AddSubnetIds", "RemoveSubnetIds"),
        ("securityGroupIds", "AddSecurityGroupIds", "RemoveSecurityGroupIds"),
        ("routeTableIds", "AddRouteTableIds", "RemoveRouteTableIds"),
    )

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        parameters = request(
            inputs,
            {
                "vpcId": "VpcId",
                "serviceName": "ServiceName",
                "policy": "PolicyDocument",
                "subnetIds": "SubnetIds",
                "securityGroupIds": "SecurityGroupIds",
                "routeTableIds": "RouteTableIds",
            },
        )
        parameters["VpcEndpointType"] = inputs.get("vpcEndpointType") or _GATEWAY  # moto cannot delete one without
        # Gateways have no private DNS; for the others AWS assumes none unless asked, moto the contrary.
        parameters["PrivateDnsEnabled"] = bool(inputs.get("privateDnsEnabled"))
        endpoint = aws.client("ec2").create_vpc_endpoint(**parameters, **tagged("vpc-endpoint", inputs))["VpcEndpoint"]
        return endpoint["VpcEndpointId"], self._outputs(aws, endpoint)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        endpoint = aws.client("ec2").describe_vpc_endpoints(VpcEndpointIds=[id])["VpcEndpoints"][0]
        if endpoint["State"].lower() in ("deleting", "deleted"):
            return None
        state = {
            **self._outputs(aws, endpoint),
            **observed(
                endpoint, {"vpcId": "VpcId", "serviceName": "ServiceName", "vpcEndpointType": "VpcEndpointType"}
            ),
            "subnetIds": endpoint.get("SubnetIds", []),
            "routeTableIds": endpoint.get("RouteTableIds", []),
            "securityGroupIds": [group["GroupId"] for group in endpoint.get("Groups", ())],
            "privateDnsEnabled": endpoint.get("PrivateDnsEnabled", False),
            "tagsAll": tag_map(endpoint.get("Tags")),
        }
        if endpoint.get("PolicyDocument"):
            state["policy"] = endpoint["PolicyDocument"]
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        parameters: dict[str, Any] = {}
        for name, add, remove in self._members:
            old, new = set(update.old.get(name) or ()), set(update.new.get(name) or ())
            if new - old:
                parameters[add] = sorted(new - old)
            if old - new:
                parameters[remove] = sorted(old - new)
        if update.has("policy"):
            policy = update.new.get("policy")
            parameters.update({"PolicyDocument": policy} if policy else {"ResetPolicy": True})
        if update.has("privateDnsEnabled") and update.new.get("vpcEndpointType", _GATEWAY) != _GATEWAY:
            parameters["PrivateDnsEnabled"] = bool(update.new.get("privateDnsEnabled"))
        if parameters:
            aws.client("ec2").modify_vpc_endpoint(VpcEndpointId=id, **parameters)
        self._reroute(aws, id, update.outputs.get("prefixListId"), parameters)
        retag(aws, id, update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("ec2").delete_vpc_endpoints(VpcEndpointIds=[id])

    @staticmethod
    def _reroute(aws: Aws, id: str, prefix_list_id: str | None, parameters: dict[str, Any]) -> None:
        """The routes that AWS keeps in the tables of a gateway endpoint; moto does so in creation and deletion only."""
        if prefix_list_id is None:
            return
        ec2 = aws.client("ec2")
        for table_id in parameters.get("RemoveRouteTableIds", ()):
            ec2.delete_route(RouteTableId=table_id, DestinationPrefixListId=prefix_list_id)
        for table_id in parameters.get("AddRouteTableIds", ()):
            ec2.create_route(RouteTableId=table_id, DestinationPrefixListId=prefix_list_id, GatewayId=id)

    @staticmethod
    def _outputs(aws: Aws, endpoint: dict[str, Any]) -> Outputs:
        names = {"dnsName": "DnsName", "hostedZoneId": "HostedZoneId"}
        state: Outputs = {
            "arn": aws.arn("ec2", f"vpc-endpoint/{endpoint['VpcEndpointId']}"),
            "ownerId": aws.account_id,
            "state": "available",
            "requesterManaged": False,
            "dnsEntries": [observed(entry, names) for entry in endpoint.get("DnsEntries", ())],
            "networkInterfaceIds": endpoint.get("NetworkInterfaceIds", []),
            "cidrBlocks": [],
        }
        if endpoint.get("VpcEndpointType") == _GATEWAY:
            filters = [{"Name": "prefix-list-name", "Values": [endpoint["ServiceName"]]}]
            lists = aws.client("ec2").describe_managed_prefix_lists(Filters=filters)["PrefixLists"]
            if lists:
                state["prefixListId"] = lists[0]["PrefixListId"]
        return state


class FlowLog(Ec2Resource):
    type = "aws:ec2/flowLog:FlowLog"
    force_new = frozenset(
        {
            "deliverCrossAccountRole",
            "destinationOptions",
            "eniId",
            "iamRoleArn",
            "logDestination",
            "logDestinationType",
            "logFormat",
            "maxAggregationInterval",
            "subnetId",
            "trafficType",
            "transitGatewayAttachmentId",
            "transitGatewayId",
            "vpcId",
        }
    )

    _kinds = (("vpcId", "VPC"), ("subnetId", "Subnet"), ("eniId", "NetworkInterface"))

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        resource = next(((kind, inputs[name]) for name, kind in self._kinds if inputs.get(name)), None)
        if resource is None:
            raise ProviderError("a flow log needs one of vpcId, subnetId, eniId")
        parameters = request(
            inputs,
            {
                "trafficType": "TrafficType",
                "logDestinationType": "LogDestinationType",
                "logFormat": "LogFormat",
                "maxAggregationInterval": "MaxAggregationInterval",
                "iamRoleArn": "DeliverLogsPermissionArn",
            },
        )
        if inputs.get("logDestinationType", "cloud-watch-logs") == "cloud-watch-logs":
            # moto knows the group by its name alone.
            parameters["LogGroupName"] = inputs["logDestination"].split(":log-group:")[-1].removesuffix(":*")
        else:
            parameters["LogDestination"] = inputs["logDestination"]
        answer = aws.client("ec2").create_flow_logs(
            ResourceType=resource[0], ResourceIds=[resource[1]], **parameters, **tagged("vpc-flow-log", inputs)
        )
        for failure in answer.get("Unsuccessful", ()):
            raise ProviderError(failure["Error"]["Message"])
        id = answer["FlowLogIds"][0]
        return id, {"arn": aws.arn("ec2", f"vpc-flow-log/{id}")}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        for log in aws.client("ec2").describe_flow_logs(FlowLogIds=[id])["FlowLogs"]:
            state = {
                "arn": aws.arn("ec2", f"vpc-flow-log/{id}"),
                **observed(
                    log,
                    {
                        "trafficType": "TrafficType",
                        "logDestinationType": "LogDestinationType",
                        "logFormat": "LogFormat",
                        "maxAggregationInterval": "MaxAggregationInterval",
                        "iamRoleArn": "DeliverLogsPermissionArn",
                    },
                ),
                "tagsAll": tag_map(log.get("Tags")),
            }
            for name, _ in self._kinds:
                if name in inputs:
                    state[name] = log["ResourceId"]
            if log.get("LogDestination"):
                state["logDestination"] = log["LogDestination"]
            return state
        return None

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        retag(aws, id, update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("ec2").delete_flow_logs(FlowLogIds=[id])
