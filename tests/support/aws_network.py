"""The network that every fresh account has: its default VPC."""

from __future__ import annotations

from tests.support.moto_server import client


def default_subnets(endpoint_url: str) -> list[str]:
    """Ids of the default subnets, one per zone, in the order of the zones."""
    found = client(endpoint_url, "ec2").describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])
    return [subnet["SubnetId"] for subnet in sorted(found["Subnets"], key=lambda each: each["AvailabilityZone"])]


def default_vpc(endpoint_url: str) -> str:
    found = client(endpoint_url, "ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])
    return str(found["Vpcs"][0]["VpcId"])
