"""Pairs of resources: a bucket and the satellites that configure it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from policies.verdict import COMPLIANT, UNKNOWN, Resource, Verdict, violation


def satellites_of(
    resources: Sequence[Resource], owners: tuple[str, ...], satellites: tuple[str, ...], what: str
) -> Iterator[Verdict]:
    """One verdict for each owner: does a satellite's ``bucket`` point to it?

    The link is read from the property's dependencies first, because in a preview the bucket's name is not known yet.
    """
    linked: set[str] = set()
    named: set[str] = set()
    for resource in resources:
        if resource.type in satellites:
            linked.update(resource.property_dependencies.get("bucket", ()))
            name = resource.props.get("bucket")
            if name and name is not UNKNOWN:
                named.add(name)
    for resource in resources:
        if resource.type in owners:
            name = resource.props.get("bucket")
            if resource.urn in linked or (name is not UNKNOWN and name in named):
                yield Verdict(COMPLIANT.status, urn=resource.urn)
            else:
                yield violation(f"no {what} in the stack names this bucket", urn=resource.urn)
