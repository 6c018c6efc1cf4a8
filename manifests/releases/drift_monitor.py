"""The drift monitor: compares the predictions that stream by with the data that the models were trained on."""

from __future__ import annotations

from typing import Final

from blueprints.schema import Blueprint
from manifests.images import Images
from manifests.objects import Manifest
from manifests.releases.service import Inputs, Service, service_manifests
from manifests.releases.sizes import DRIFT_MONITOR, service_sizes

COMPONENT: Final = "monitoring"


def drift_monitor(blueprint: Blueprint, images_at_hand: Images, inputs: Inputs) -> list[Manifest]:
    """The monitor.  Its windows are kept in the lake, so that a restart goes on where it stopped."""
    service = Service(
        name=DRIFT_MONITOR,
        component=COMPONENT,
        command=("python", "-m", "runtime", "drift", "watch"),
        size=service_sizes(blueprint)[DRIFT_MONITOR],
        serves=False,
        scratch_mib=1_024,
    )
    return service_manifests(blueprint, service, images_at_hand, inputs)
