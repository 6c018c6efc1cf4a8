"""Lineage: collects what every step announces, and answers what was made from what."""

from __future__ import annotations

from typing import Final

from blueprints.schema import Blueprint
from manifests.images import Images
from manifests.objects import PLATFORM_NAMESPACE, Manifest
from manifests.pods import HTTP_PORT, LISTEN_ADDRESS, Probes
from manifests.releases.service import Inputs, Service, service_manifests
from manifests.releases.sizes import LINEAGE, service_sizes

COMPONENT: Final = "lineage"
URL: Final = f"http://{LINEAGE}.{PLATFORM_NAMESPACE}.svc:{HTTP_PORT}"
"""Where jobs send OpenLineage events."""


def lineage(blueprint: Blueprint, images_at_hand: Images, inputs: Inputs) -> list[Manifest]:
    """The collector.  Several may read the queue: an event that arrives twice is stored once."""
    service = Service(
        name=LINEAGE,
        component=COMPONENT,
        command=("python", "-m", "runtime", "lineage", "serve", "--host", LISTEN_ADDRESS, "--port", str(HTTP_PORT)),
        size=service_sizes(blueprint)[LINEAGE],
        tenant_facing=True,
        # Whether it is ready depends on its database, whether it lives does not.
        probes=Probes(live="", ready="/health/ready"),
    )
    return service_manifests(blueprint, service, images_at_hand, inputs)
