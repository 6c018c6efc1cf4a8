"""What a region offers, where, at what price and in what condition; every figure says where it was read and when.

The data is ``<region>.json`` beside this file (written by ``build.py``).  It says what is *offered*: capacity is never
claimed, and ``falaj doctor`` may lay what it saw in a live account over it (``Catalogue.with_conditions``).
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blueprints.errors import CatalogueError, RegionNotAllowedError, UnknownInstanceTypeError, suggestion

COUNTRY = "AE"
"""ISO 3166 code of the country that data may not leave."""

_DATA = Path(__file__).parent


class Kind(enum.StrEnum):
    """How far a figure can be trusted."""

    MEASURED = "measured"
    """Read for this region."""
    ESTIMATE = "estimate"
    """Another region's or size's figure times a ratio that was measured, or a price said to be the same everywhere."""
    ASSUMED = "assumed"
    """No source in this region; stated so that a total can be formed."""


class Condition(enum.StrEnum):
    """The state of a zone, best first."""

    OK = "ok"
    UNKNOWN = "unknown"
    IMPAIRED = "impaired"
    LOST = "lost"


@dataclass(frozen=True)
class Source:
    title: str
    date: str


@dataclass(frozen=True)
class Figure:
    """A number with its range, unit, kind and source."""

    value: float
    low: float
    high: float
    unit: str
    kind: Kind
    source: Source
    note: str = ""


@dataclass(frozen=True)
class Zone:
    zone_id: str
    """``mec1-az1``: the same physical zone in every account, unlike the letter."""
    condition: Condition
    note: str
    source: Source


@dataclass(frozen=True)
class Gpu:
    kind: str
    count: int
    memory_gib: float
    """Of one GPU, as the instance reports it (an L4 of 24 GB shows 22.35 GiB)."""


@dataclass(frozen=True)
class InstanceType:
    name: str
    vcpu: int
    memory_gib: float
    architecture: str
    """``arm64`` or ``x86_64``."""
    bare_metal: bool
    network: str
    efa: bool
    interfaces: int
    addresses_per_interface: int
    zones: tuple[str, ...]
    """Zone ids where it is offered, lost ones included."""
    gpu: Gpu | None
    on_demand: Figure | None
    """USD an hour; None where no source gives a price."""
    spot: Mapping[str, Figure]
    """USD an hour by zone id; the high end is the on-demand price."""
    interruptions: str = ""
    """Share of instances taken back in a month when last published; empty if unknown."""

    @property
    def max_pods(self) -> int:
        """Pods a node can address without prefix delegation.

        Source: Amazon EKS AMI, eni-max-pods: interfaces x (addresses - 1) + 2.
        """
        return self.interfaces * (self.addresses_per_interface - 1) + 2


@dataclass(frozen=True)
class Service:
    name: str
    title: str
    present: bool
    substitute: str
    """What the platform uses instead where the service is absent."""


@dataclass(frozen=True)
class Catalogue:
    """One region.  Zones are in order of their id."""

    region: str
    country: str
    name: str
    zones: tuple[Zone, ...]
    services: Mapping[str, Service]
    figures: Mapping[str, Figure]
    instance_types: Mapping[str, InstanceType]
    sources: Mapping[str, Source]
    conflicts: tuple[str, ...]

    def zone(self, zone_id: str) -> Zone:
        """Raises CatalogueError if the region has no such zone."""
        for zone in self.zones:
            if zone.zone_id == zone_id:
                return zone
        known = ", ".join(zone.zone_id for zone in self.zones)
        raise CatalogueError(f"zone {zone_id!r} is not in {self.region}; allowed: {known}")

    def instance(self, name: str) -> InstanceType:
        """Raises UnknownInstanceTypeError if the region does not offer it in any zone."""
        if name in self.instance_types:
            return self.instance_types[name]
        family = name.partition(".")[0]
        sizes = [other for other in self.instance_types if other.startswith(f"{family}.")]
        if sizes:
            hint = f"{family} comes as {', '.join(sorted(sizes, key=lambda size: self.instance_types[size].vcpu))}"
        else:
            gpu = sorted({other.partition(".")[0] for other, kind in self.instance_types.items() if kind.gpu})
            hint = f"GPU families of the region: {', '.join(gpu)}{suggestion(name, self.instance_types)}"
        raise UnknownInstanceTypeError(f"instance type {name!r} is not offered in {self.region}; {hint}")

    def figure(self, name: str) -> Figure:
        """Raises CatalogueError if nothing is known under that name."""
        if name in self.figures:
            return self.figures[name]
        raise CatalogueError(
            f"no price for {name!r} in {self.region}; add it to {self.region}.source.yaml with its source"
        )

    def with_conditions(self, conditions: Mapping[str, Condition], source: Source) -> Catalogue:
        """The same region with other zone conditions, as seen in a live account or wished for in a drill."""
        for zone_id in conditions:
            self.zone(zone_id)
        zones = tuple(
            dataclasses.replace(zone, condition=conditions[zone.zone_id], source=source, note="")
            if zone.zone_id in conditions
            else zone
            for zone in self.zones
        )
        return dataclasses.replace(self, zones=zones)


def regions() -> tuple[str, ...]:
    """Regions with a catalogue."""
    return tuple(sorted(path.stem for path in _DATA.glob("*.json")))


@functools.cache
def catalogue(region: str) -> Catalogue:
    """Load the catalogue of ``region`` (about 10 ms, then kept).  Raises RegionNotAllowedError outside the UAE."""
    if region not in regions():
        raise RegionNotAllowedError(
            f"region {region!r} is not in the UAE or has no catalogue; allowed: {', '.join(regions())} "
            "(data of the platform stays in the country, and Falaj knows no other region there)"
        )
    data: dict[str, Any] = json.loads((_DATA / f"{region}.json").read_text(encoding="utf-8"))
    sources = {key: Source(**entry) for key, entry in data["sources"].items()}
    return Catalogue(
        region=data["region"],
        country=data["country"],
        name=data["name"],
        zones=tuple(_zone(entry, sources) for entry in data["zones"]),
        services={name: Service(name=name, **entry) for name, entry in data["services"].items()},
        figures={name: _figure(entry, sources) for name, entry in data["figures"].items()},
        instance_types={name: _instance(name, entry, sources) for name, entry in data["instance_types"].items()},
        sources=sources,
        conflicts=tuple(data["conflicts"]),
    )


def _zone(entry: Mapping[str, Any], sources: Mapping[str, Source]) -> Zone:
    return Zone(entry["zone_id"], Condition(entry["condition"]), entry["note"], sources[entry["source"]])


def _figure(entry: Mapping[str, Any], sources: Mapping[str, Source]) -> Figure:
    return Figure(
        entry["value"],
        entry["low"],
        entry["high"],
        entry["unit"],
        Kind(entry["kind"]),
        sources[entry["source"]],
        entry["note"],
    )


def _instance(name: str, entry: Mapping[str, Any], sources: Mapping[str, Source]) -> InstanceType:
    on_demand = entry["on_demand"]
    return InstanceType(
        name=name,
        vcpu=entry["vcpu"],
        memory_gib=entry["memory_gib"],
        architecture=entry["architecture"],
        bare_metal=entry["bare_metal"],
        network=entry["network"],
        efa=entry["efa"],
        interfaces=entry["interfaces"],
        addresses_per_interface=entry["addresses_per_interface"],
        zones=tuple(entry["zones"]),
        gpu=Gpu(**entry["gpu"]) if "gpu" in entry else None,
        on_demand=_figure(on_demand, sources) if on_demand else None,
        spot={zone: _figure(figure, sources) for zone, figure in entry["spot"].items()},
        interruptions=entry.get("interruptions", ""),
    )
