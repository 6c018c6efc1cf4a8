"""Amazon EC2: networks, their gateways and endpoints, security groups, flow logs and launch templates."""

from falaj.local.aws.services.ec2.endpoints import FlowLog, VpcEndpoint
from falaj.local.aws.services.ec2.gateways import Eip, InternetGateway, NatGateway
from falaj.local.aws.services.ec2.launch_template import LaunchTemplate
from falaj.local.aws.services.ec2.network import Subnet, Vpc
from falaj.local.aws.services.ec2.routing import Route, RouteTable, RouteTableAssociation
from falaj.local.aws.services.ec2.security_group import DefaultSecurityGroup, SecurityGroup

HANDLERS = (
    DefaultSecurityGroup,
    Eip,
    FlowLog,
    InternetGateway,
    LaunchTemplate,
    NatGateway,
    Route,
    RouteTable,
    RouteTableAssociation,
    SecurityGroup,
    Subnet,
    Vpc,
    VpcEndpoint,
)
