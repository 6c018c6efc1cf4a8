"""Zero trust at the network's edge: nothing answers the internet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from policies.rules.encryption import BUCKETS
from policies.rules.pairs import satellites_of
from policies.verdict import (
    Reference,
    Resource,
    Severity,
    Verdict,
    guarded,
    read,
    require,
    rule,
    violation,
    with_stack_check,
)

EVERYWHERE = frozenset({"0.0.0.0/0", "::/0"})
NETWORK_CONTROLS = Reference("UAE IA", "T4.5.1")
CONNECTION_CONTROL = Reference("UAE IA", "T5.4.5")
PUBLIC_CONTENT = Reference("UAE IA", "T5.6.3")


@rule(
    "NET-001",
    severity=Severity.CRITICAL,
    types=["aws:eks/cluster:Cluster"],
    references=(CONNECTION_CONTROL, Reference("CIS EKS 1.8", "5.4.1")),
)
def cluster_endpoint_is_private(resource: Resource) -> Iterable[Verdict]:
    """The Kubernetes API is private, or open to named networks only.

    Why: an open endpoint invites probing and password guessing from any address.
    Fix: set vpcConfig.endpointPublicAccess=false, or list your networks in vpcConfig.publicAccessCidrs.
    """

    def check() -> Verdict | None:
        # AWS's own defaults: public access on, open to 0.0.0.0/0.
        if read(resource.props, "vpcConfig", "endpointPublicAccess", default=True) is False:
            return None
        networks = read(resource.props, "vpcConfig", "publicAccessCidrs", default=["0.0.0.0/0"])
        opened = sorted(EVERYWHERE & {read(networks, i) for i in range(len(networks))})
        if not opened:
            return None
        return violation(f"the API endpoint is open to {', '.join(opened)}", "vpcConfig.publicAccessCidrs")

    return guarded(check)


_INGRESS_RULE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
_LEGACY_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
_GROUPS = ("aws:ec2/securityGroup:SecurityGroup", "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup")
_RDS = ("aws:rds/instance:Instance", "aws:rds/clusterInstance:ClusterInstance")
_MSK = "aws:msk/cluster:Cluster"
_SUBNET = "aws:ec2/subnet:Subnet"


@rule(
    "NET-002",
    severity=Severity.CRITICAL,
    types=[_INGRESS_RULE, _LEGACY_RULE, *_GROUPS, *_RDS, _MSK, _SUBNET],
    references=(NETWORK_CONTROLS, Reference("CIS AWS 7.0", "6.3")),
)
def nothing_is_public(resource: Resource) -> Iterator[Verdict]:
    """No database, broker, subnet or security group lets the internet in.

    Why: what has a public address is scanned within minutes; the platform's services are reached from inside only.
    Fix: set publiclyAccessible=false, mapPublicIpOnLaunch=false, publicAccess DISABLED, or name networks in the rule.
    """
    if resource.type in _RDS:
        yield from require(resource, "publiclyAccessible", [False], "a database is private", default=False)
    elif resource.type == _SUBNET:
        yield from require(resource, "mapPublicIpOnLaunch", [False], "no instance gets a public address", default=False)
    elif resource.type == _MSK:
        path = "brokerNodeGroupInfo.connectivityInfo.publicAccess.type"
        yield from require(resource, path, ["DISABLED"], "brokers are private", default="DISABLED")
    elif resource.type == _INGRESS_RULE:
        yield from guarded(lambda: _closed(resource, [("cidrIpv4",), ("cidrIpv6",)]))
    elif resource.type == _LEGACY_RULE:
        yield from guarded(lambda: _closed_legacy(resource))
    else:
        yield from guarded(lambda: _closed_group(resource))


def _closed(resource: Resource, paths: Sequence[tuple[str, ...]]) -> Verdict | None:
    for path in paths:
        value = read(resource.props, *path)
        if value in EVERYWHERE:
            return violation(f"{'.'.join(path)} is {value}: it lets the internet in", path[-1])
    return None


def _closed_legacy(resource: Resource) -> Verdict | None:
    if read(resource.props, "type") != "ingress":
        return None
    return _no_open_network(resource.props, "")


def _closed_group(resource: Resource) -> Verdict | None:
    for i, one in enumerate(read(resource.props, "ingress", default=[])):
        if found := _no_open_network(one, f"ingress[{i}]."):
            return found
    return None


def _no_open_network(block: object, prefix: str) -> Verdict | None:
    for key in ("cidrBlocks", "ipv6CidrBlocks"):
        networks = read(block, key, default=[])
        for i in range(len(networks)):
            if (network := read(networks, i)) in EVERYWHERE:
                path = f"{prefix}{key}[{i}]"
                return violation(f"{path} is {network}: it lets the internet in", path)
    return None


_ACCESS_BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
_ACCOUNT_BLOCK = "aws:s3/accountPublicAccessBlock:AccountPublicAccessBlock"


@rule("NET-003", severity=Severity.CRITICAL, types=[_ACCESS_BLOCK, _ACCOUNT_BLOCK], references=(PUBLIC_CONTENT,))
def _public_access_block(resource: Resource) -> Iterator[Verdict]:
    """Every bucket blocks public access in all four ways.

    Why: one public object ACL or bucket policy is the commonest way to lose a data lake.
    Fix: add a public access block with blockPublicAcls, blockPublicPolicy, ignorePublicAcls, restrictPublicBuckets.
    """
    for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"):
        yield from require(resource, key, [True], "all four blocks belong together", default=False)


@with_stack_check(_public_access_block)
def buckets_block_public_access(resources: Sequence[Resource]) -> Iterator[Verdict]:
    yield from satellites_of(resources, BUCKETS, (_ACCESS_BLOCK,), "public access block")
