"""Writes ``<region>.json`` from ``<region>.source.yaml`` and the offerings that moto carries.

Run by hand when either changes::

    python -m blueprints.region.build

Nothing imports this module: the programs read the JSON.  A test rebuilds it and compares.
"""

from __future__ import annotations

import gzip
import json
import statistics
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

_HERE = Path(__file__).parent
_MIB_PER_GIB = 1024


def build(region: str) -> dict[str, Any]:
    """Join the hand-kept source with the recorded instance types; see ``catalogue.py`` for the shape."""
    source = yaml.safe_load((_HERE / f"{region}.source.yaml").read_text(encoding="utf-8"))
    types = _instance_types(region)
    _add_prices(types, source)
    return {
        **{key: source[key] for key in ("region", "country", "name", "sources", "zones", "conflicts")},
        "ratios": source["ratios"],
        "figures": {name: _service_figure(entry, source["ratios"]) for name, entry in source["service_prices"].items()},
        "services": {
            name: {
                "title": entry.get("title", name),
                "present": entry["present"],
                "substitute": entry.get("substitute", ""),
            }
            for name, entry in source["services"].items()
        },
        "instance_types": dict(sorted(types.items())),
    }


def render(region: str) -> str:
    """The exact text of the JSON file."""
    return json.dumps(build(region), indent=None, separators=(",", ":"), sort_keys=True) + "\n"


def _recorded(name: str) -> Any:
    packed = resources.files("moto").joinpath("ec2", "resources", *name.split("/")).read_bytes()
    return json.loads(gzip.decompress(packed))


def _instance_types(region: str) -> dict[str, dict[str, Any]]:
    described = _recorded("instance_types.json.gz")
    types: dict[str, dict[str, Any]] = {}
    for row in _recorded(f"instance_type_offerings/availability-zone-id/{region}.json.gz"):
        name = row["InstanceType"]
        entry = types.setdefault(name, _describe(described[name]))
        entry["zones"] = sorted({*entry["zones"], row["Location"]})
    return types


def _describe(info: dict[str, Any]) -> dict[str, Any]:
    network = info["NetworkInfo"]
    entry: dict[str, Any] = {
        "vcpu": info["VCpuInfo"]["DefaultVCpus"],
        "memory_gib": info["MemoryInfo"]["SizeInMiB"] / _MIB_PER_GIB,
        "architecture": info["ProcessorInfo"]["SupportedArchitectures"][-1],
        "bare_metal": info["BareMetal"],
        "network": network["NetworkPerformance"],
        "efa": network["EfaSupported"],
        "interfaces": network["MaximumNetworkInterfaces"],
        "addresses_per_interface": network["Ipv4AddressesPerInterface"],
        "zones": [],
    }
    if gpus := info.get("GpuInfo", {}).get("Gpus"):
        entry["gpu"] = {
            "kind": gpus[0]["Name"],
            "count": gpus[0]["Count"],
            "memory_gib": round(gpus[0]["MemoryInfo"]["SizeInMiB"] / _MIB_PER_GIB, 2),
        }
    return entry


def _add_prices(types: dict[str, dict[str, Any]], source: dict[str, Any]) -> None:
    measured = source["instance_prices"]
    for name, entry in types.items():
        entry["on_demand"] = _on_demand(name, types, source)
        entry["spot"] = _spot(name, entry, source, measured)
        if (savings := source["spot_savings"].get(name)) is not None:
            entry["interruptions"] = savings["interruptions"]


def _figure(value: float, kind: str, source: str, note: str = "", low: float = 0, high: float = 0) -> dict[str, Any]:
    return {
        "value": round(value, 6),
        "low": round(low or value, 6),
        "high": round(high or value, 6),
        "unit": "USD per hour",
        "kind": kind,
        "source": source,
        "note": note,
    }


def _on_demand(name: str, types: dict[str, dict[str, Any]], source: dict[str, Any]) -> dict[str, Any] | None:
    """Best first: the type's own row, its own us-east-1 price, a sibling's row, a sibling's us-east-1 price,
    nothing."""
    measured, ratio = source["instance_prices"], source["ratios"]["ec2"]
    if name in measured:
        return _figure(measured[name][0], "measured", "skypilot")
    for origin, prices in source["us_east_1_prices"].items():
        if name in prices:
            return _from_us(prices[name], origin, ratio, f"us-east-1 {prices[name]} x {ratio['value']}")
    if "gpu" in types[name] or types[name]["bare_metal"]:
        return None
    family = name.split(".")[0] + "."
    read = [sibling for sibling in measured if sibling.startswith(family) and not types[sibling]["bare_metal"]]
    if read:
        # The largest row carries the fewest digits lost to rounding (m7g.medium is listed as 0.05, a quarter of
        # 0.2001).
        sibling = max(read, key=lambda other: types[other]["vcpu"])
        value = measured[sibling][0] * types[name]["vcpu"] / types[sibling]["vcpu"]
        return _figure(value, "estimate", "skypilot", f"in proportion to {sibling}")
    for origin, prices in source["us_east_1_prices"].items():
        for sibling, price in prices.items():
            if sibling.startswith(family):
                value = price * types[name]["vcpu"] / types[sibling]["vcpu"]
                return _from_us(value, origin, ratio, f"us-east-1 {sibling} in proportion x {ratio['value']}")
    return None


def _from_us(price: float, origin: str, ratio: dict[str, Any], note: str) -> dict[str, Any]:
    return _figure(
        price * ratio["value"], "estimate", origin, note, low=price * ratio["low"], high=price * ratio["high"]
    )


def _spot(
    name: str, entry: dict[str, Any], source: dict[str, Any], measured: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """A spot figure per zone.  The high end is always the on-demand price: spot never costs more, and may cost as
    much."""
    on_demand = entry["on_demand"]
    if on_demand is None:
        return {}
    read = measured.get(name, [0, {}])[1]
    family = name.split(".")[0] + "."
    siblings = [
        1 - spot / measured[other][0]
        for other in measured
        if other.startswith(family)
        for spot in measured[other][1].values()
    ]
    figures = {}
    for zone in entry["zones"]:
        if zone in read:
            figures[zone] = _figure(read[zone], "measured", "skypilot", high=on_demand["value"])
            continue
        if name in source["spot_savings"]:
            discount, kind, origin, note = source["spot_savings"][name]["percent"] / 100, "estimate", "spot_advisor", ""
        elif siblings:
            discount, kind, origin = statistics.median(siblings), "estimate", "skypilot"
            note = f"median discount of {family[:-1]} rows"
        else:
            ratio = source["ratios"]["spot_discount"]
            discount, kind, origin, note = ratio["value"], "assumed", ratio["source"], ratio["note"]
        value = on_demand["value"] * (1 - discount)
        figures[zone] = _figure(value, kind, origin, note or f"{discount:.0%} off on demand", high=on_demand["high"])
    return figures


def _service_figure(entry: dict[str, Any], ratios: dict[str, Any]) -> dict[str, Any]:
    if "value" in entry:
        figure = _figure(entry["value"], entry["kind"], entry["source"], entry.get("note", ""))
    else:
        ratio = ratios["services"]
        base = entry["us_east_1"]
        note = f"us-east-1 {base} x {ratio['value']}" + (f"; {entry['note']}" if "note" in entry else "")
        figure = _from_us(base, entry["source"], ratio, note)
    return {**figure, "unit": entry["unit"]}


if __name__ == "__main__":
    for path in sorted(_HERE.glob("*.source.yaml")):
        target = path.name.removesuffix(".source.yaml")
        (_HERE / f"{target}.json").write_text(render(target), encoding="utf-8")
