"""Residency: data, copies and keys stay in the UAE.

Legal references are those of the design's control catalogue: Federal Decree-Law 45/2021 (PDPL), Federal Law 2/2019
(health), the Central Bank's Consumer Protection Standards and Outsourcing Regulation, and the UAE IA standards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from policies.residency import PULL_THROUGH_UPSTREAMS, UAE_REGIONS, arn_region, image_is_in_country
from policies.rules.workloads import POD_PATHS, Located, each_container
from policies.verdict import (
    COMPLIANT,
    NOT_APPLICABLE,
    UNKNOWN,
    Reference,
    Resource,
    Severity,
    Unverified,
    Verdict,
    guarded,
    read,
    require,
    rule,
    unverified,
    violation,
    with_stack_check,
)

HEALTH = Reference("Federal Law 2/2019 (health ICT)", "Art. 13")
BANKING = Reference("CBUAE Consumer Protection Standards", "6.1.6.3")
OUTSOURCING = Reference("CBUAE Outsourcing Regulation C 14/2021", "Art. 6")
CLOUD_AGREEMENTS = Reference("UAE IA", "T6.3.2")
KEY_MANAGEMENT = Reference("UAE IA", "T7.4.2")
SUPPLY_CHAIN = Reference("UAE IA", "T7.8")

_ALLOWED = ", ".join(sorted(UAE_REGIONS))


@rule(
    "RES-001",
    severity=Severity.CRITICAL,
    types=["pulumi:providers:aws"],
    references=(HEALTH, BANKING, OUTSOURCING, CLOUD_AGREEMENTS),
)
def provider_region_is_in_the_uae(resource: Resource) -> Iterable[Verdict]:
    """Every AWS provider names a region in the UAE.

    Why: a provider without a region takes it from whoever runs the deployment, and data lands wherever that is.
    Fix: give the provider region="me-central-1".
    """

    def check() -> Verdict | None:
        region = read(resource.props, "region")
        if region in UAE_REGIONS:
            return None
        given = f'region is "{region}"' if region else "region is not set"
        return violation(f"{given}; allowed: {_ALLOWED}", "region")

    return guarded(check)


@rule("RES-002", severity=Severity.CRITICAL, types=["aws:*"], references=(HEALTH, BANKING, CLOUD_AGREEMENTS))
def resources_stay_in_the_uae(resource: Resource) -> Iterator[Verdict]:
    """No resource overrides its provider's region with one outside the UAE.

    Why: most AWS resource types take a region of their own, which passes by every check of the provider.
    Fix: remove the resource's region, or use a provider whose region is in the UAE.
    """

    def check() -> Verdict | None:
        own = read(resource.props, "region")
        if own:
            return None if own in UAE_REGIONS else violation(f'region is "{own}"; allowed: {_ALLOWED}', "region")
        if resource.provider is None:
            raise Unverified("the provider's region")
        region = read(resource.provider, "region")
        if region in UAE_REGIONS:
            return None
        return violation(f'its provider\'s region is "{region or "not set"}"; allowed: {_ALLOWED}', "region")

    yield from guarded(check)


_REPLICATION_TYPES = (
    "aws:s3/bucketReplicationConfig:BucketReplicationConfig",
    "aws:s3/bucket:Bucket",
    "aws:s3/bucketV2:BucketV2",
)
_BUCKET_TYPES = _REPLICATION_TYPES[1:]


@rule("RES-003", severity=Severity.CRITICAL, types=_REPLICATION_TYPES, references=(HEALTH, BANKING))
def _replication(resource: Resource) -> Iterable[Verdict]:
    """Buckets replicate only to buckets that are proven to lie in the UAE.

    Why: replication copies every object, silently and for ever; a foreign copy is a transfer out of the country.
    Fix: replicate to a bucket of this stack in the UAE, or remove the replication.
    """
    return [NOT_APPLICABLE] if not _destinations(resource) else [COMPLIANT]


@with_stack_check(_replication)
def replication_stays_in_the_uae(resources: Sequence[Resource]) -> Iterator[Verdict]:
    buckets = {r.urn: r for r in resources if r.type in _BUCKET_TYPES}
    by_arn = {f"arn:aws:s3:::{read_quietly(r, 'bucket')}": r for r in buckets.values()}
    for resource in resources:
        if resource.type not in _REPLICATION_TYPES:
            continue
        for path, key, arn in _destinations(resource):
            targets = [by_arn[arn]] if arn in by_arn else []
            if not targets and arn is UNKNOWN:
                linked = resource.property_dependencies.get(key, ())
                targets = [buckets[urn] for urn in linked if urn in buckets and urn != resource.urn]
            if not targets:
                if arn is UNKNOWN:
                    yield unverified(path, resource.urn)
                else:
                    message = f"{path} is {arn}, which is no bucket of this stack: its country is not proven"
                    yield violation(message, path, resource.urn)
            for target in targets:
                region = _region_of(target)
                if region is UNKNOWN:
                    yield unverified(f"the region of {target.name}", resource.urn)
                elif region not in UAE_REGIONS:
                    message = f"{path} is the bucket {target.name} in {region}; allowed: {_ALLOWED}"
                    yield violation(message, path, resource.urn)
                else:
                    yield Verdict(COMPLIANT.status, urn=resource.urn)


def _destinations(resource: Resource) -> list[tuple[str, str, Any]]:
    """(path, top-level key, destination ARN or UNKNOWN) of every replication rule."""
    key = "rules" if resource.type == _REPLICATION_TYPES[0] else "replicationConfiguration"
    block = resource.props.get(key)
    if block is UNKNOWN:
        return [(key, key, UNKNOWN)]
    found = []
    rules = block if key == "rules" else (block or {}).get("rules") or []
    if rules is UNKNOWN:
        return [(f"{key}.rules", key, UNKNOWN)]
    for i, one in enumerate(rules or []):
        try:
            arn: Any = read(one, "destination", "bucket", default="")
        except Unverified:
            arn = UNKNOWN
        found.append((f"{key}[{i}].destination.bucket", key, arn))
    return found


def read_quietly(resource: Resource, key: str) -> Any:
    """A property, or None when it is missing or unknown."""
    value = resource.props.get(key)
    return None if value is UNKNOWN else value


def _region_of(resource: Resource) -> Any:
    own = resource.props.get("region")
    if own:
        return own
    return (resource.provider or {}).get("region", UNKNOWN) if resource.provider is not None else UNKNOWN


_REPLICA_KEYS = ("aws:kms/replicaKey:ReplicaKey", "aws:kms/replicaExternalKey:ReplicaExternalKey")


@rule(
    "RES-004",
    severity=Severity.CRITICAL,
    types=["aws:kms/key:Key", "aws:kms/externalKey:ExternalKey", *_REPLICA_KEYS],
    references=(HEALTH, KEY_MANAGEMENT),
)
def keys_never_leave_the_region(resource: Resource) -> Iterator[Verdict]:
    """KMS keys are single-Region keys.

    Why: the material of a multi-Region key can be replicated abroad with one call, and with it all it protects.
    Fix: set multiRegion=false (a multi-Region key cannot be changed: create a new one and re-encrypt).
    """
    if resource.type in _REPLICA_KEYS:
        yield violation("a replica key copies key material between Regions")
    else:
        yield from require(resource, "multiRegion", [False], "key material must stay in the region", default=False)


_PULL_THROUGH = "aws:ecr/pullThroughCacheRule:PullThroughCacheRule"
_ECR_REPLICATION = "aws:ecr/replicationConfiguration:ReplicationConfiguration"


@rule(
    "RES-014",
    severity=Severity.HIGH,
    types=[*POD_PATHS, _PULL_THROUGH, _ECR_REPLICATION],
    references=(SUPPLY_CHAIN, Reference("CIS EKS 1.8", "5.1.4")),
)
def images_come_from_a_registry_in_the_uae(resource: Resource) -> Iterator[Verdict]:
    """Container images are pulled from a registry in the UAE, and mirrored only from named upstreams.

    Why: a foreign registry sees what runs where, can go away or be tampered with, and fails when the border does.
    Fix: push or mirror the image to the stack's ECR registry in me-central-1 and name it there.
    """
    if resource.type == _PULL_THROUGH:
        allowed = sorted(PULL_THROUGH_UPSTREAMS)
        yield from require(resource, "upstreamRegistryUrl", allowed, "mirror only from upstreams that were reviewed")
        return
    if resource.type == _ECR_REPLICATION:
        yield from guarded(lambda: _foreign_replication(resource))
        return
    yield from each_container(resource, _foreign_image)


def _foreign_image(container: Located) -> Verdict | None:
    image = container.read("image", default="")
    if image_is_in_country(str(image)):
        return None
    where = f"{container.path}.image"
    return violation(f'{where} is "{image}"; allowed: an ECR registry in {_ALLOWED}', where)


def _foreign_replication(resource: Resource) -> Verdict | None:
    rules = read(resource.props, "replicationConfiguration", "rules", default=[])
    for i, one in enumerate(rules):
        for j, destination in enumerate(read(one, "destinations", default=[])):
            region = read(destination, "region", default="")
            if region not in UAE_REGIONS:
                where = f"replicationConfiguration.rules[{i}].destinations[{j}].region"
                return violation(f'{where} is "{region}"; allowed: {_ALLOWED}', where)
    return None


__all__ = [
    "arn_region",
    "images_come_from_a_registry_in_the_uae",
    "keys_never_leave_the_region",
    "provider_region_is_in_the_uae",
    "replication_stays_in_the_uae",
    "resources_stay_in_the_uae",
]
