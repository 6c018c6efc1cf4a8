"""Who may open a connection to a data store: one security group, one source, named ports."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi_aws import ec2, vpc

from components.base import PlatformComponent


def client_access_group(
    component: PlatformComponent,
    name: str,
    *,
    description: str,
    vpc_id: pulumi.Input[str],
    source_group_id: pulumi.Input[str],
    ports: Sequence[int],
) -> ec2.SecurityGroup:
    """Return a security group that admits ``source_group_id`` on ``ports`` and lets nothing out."""
    group = ec2.SecurityGroup(f"{name}-group", description=description, vpc_id=vpc_id, opts=component.child_opts())
    for port in ports:
        suffix = f"-{port}" if len(ports) > 1 else ""
        vpc.SecurityGroupIngressRule(
            f"{name}-from-nodes{suffix}",
            security_group_id=group.id,
            referenced_security_group_id=source_group_id,
            description="From the cluster's nodes",
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            opts=component.child_opts(),
        )
    return group
