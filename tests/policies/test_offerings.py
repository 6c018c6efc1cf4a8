"""Policies import nothing of ours, so they hold a copy of what the region offers; a stale copy refuses what works."""

from __future__ import annotations

from blueprints.region import catalogue
from policies.offerings import FAMILY_ZONES, GPU_FAMILIES, family


def test_offerings_are_those_of_the_region_catalogue() -> None:
    found: dict[str, set[str]] = {}
    for kind in catalogue("me-central-1").instance_types.values():
        found.setdefault(family(kind.name), set()).update(kind.zones)
    assert {name: set(zones) for name, zones in FAMILY_ZONES.items()} == found


def test_gpu_families_are_those_with_gpus() -> None:
    kinds = catalogue("me-central-1").instance_types.values()
    assert {family(kind.name) for kind in kinds if kind.gpu} == GPU_FAMILIES
