"""Elastic Fabric Adapters: how many an instance type has, and under which name a pod asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from blueprints.region import InstanceType

EFA_RESOURCE: Final = "vpc.amazonaws.com/efa"
"""What the EFA device plugin offers, and Karpenter counts with."""

_MORE_THAN_ONE: Final[Mapping[str, int]] = {
    "c6in.32xlarge": 2,
    "c6in.metal": 2,
    "c8gn.48xlarge": 2,
    "g6e.24xlarge": 2,
    "g6e.48xlarge": 4,
    "p5en.48xlarge": 16,
}
"""Source: EC2 DescribeInstanceTypes, ``MaximumEfaInterfaces``, as recorded in moto 5.2."""


def efa_interfaces(kind: InstanceType) -> int:
    """Interfaces of a node of this type; 0 without EFA."""
    return _MORE_THAN_ONE.get(kind.name, 1) if kind.efa else 0
