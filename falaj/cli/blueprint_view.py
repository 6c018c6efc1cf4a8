"""How blueprints, their differences and recommendations are shown, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

import blueprints
from blueprints.cost import estimate
from blueprints.placement import Placement, place
from blueprints.recommend import Outcome, Recommendation
from blueprints.region import Catalogue
from blueprints.schema import Blueprint, NodePool
from falaj.cli.blueprint_tables import columns_table, open_console, print_line
from falaj.cli.cost_view import cost_json

_ABSENT = "-"
_PROSE = ("name", "title", "description")
"""Keys that say nothing when two blueprints are compared."""
_PARTS_SHOWN = 3


# -- list ------------------------------------------------------------------


def summaries() -> list[dict[str, Any]]:
    """One row for each blueprint: size and monthly cost."""
    rows = []
    for name in blueprints.names():
        blueprint = blueprints.load(name)
        placement = place(blueprint)
        bill = estimate(blueprint, placement=placement)
        rows.append(
            {
                "name": name,
                "title": blueprint.title,
                "zones": list(placement.zones),
                "nodes": sum(pool.desired_nodes for pool in blueprint.node_pools),
                "max_gpus": sum(
                    pool.max_nodes * placement.pools[pool.name].gpus_per_node for pool in blueprint.node_pools
                ),
                "tenants": len(blueprint.tenants),
                "usd_per_month": round(bill.usd_per_month, 2),
                "aed_per_month": round(bill.aed_per_month, 2),
                "description": blueprint.description,
            }
        )
    return rows


def print_summaries(rows: Sequence[Mapping[str, Any]]) -> None:
    console = open_console()
    right = ("nodes", "max GPUs", "tenants", "USD/month", "AED/month")
    table = columns_table("blueprint", "zones", *right, right=right)
    for row in rows:
        numbers = (row["nodes"], row["max_gpus"], row["tenants"], row["usd_per_month"], row["aed_per_month"])
        table.add_row(row["name"], str(len(row["zones"])), *(f"{number:,.0f}" for number in numbers))
    console.print(table)
    for row in rows:
        console.print(Text.assemble((f"{row['name']}: ", "bold"), row["description"]))
    console.print("\nNext: falaj blueprint cost NAME, or falaj blueprint recommend --help", style="dim")


# -- show ------------------------------------------------------------------


def placement_json(placement: Placement, region: Catalogue) -> dict[str, Any]:
    """The placement with each zone's condition and source."""
    return {
        "zones": [
            {
                "zone_id": zone.zone_id,
                "condition": str(zone.condition),
                "used": zone.zone_id in placement.zones,
                "source": zone.source.title,
                "date": zone.source.date,
            }
            for zone in region.zones
        ],
        "node_pools": {
            name: {"zones": list(pool.zones), "architecture": pool.architecture, "gpus_per_node": pool.gpus_per_node}
            for name, pool in placement.pools.items()
        },
        "warnings": list(placement.warnings),
    }


def print_blueprint(blueprint: Blueprint, placement: Placement, region: Catalogue) -> None:
    console = open_console()
    console.print(Text.assemble((f"{blueprint.name}  ", "bold"), blueprint.title))
    console.print(f"{blueprint.description}\n")
    zones = ", ".join(f"{zone.zone_id} {zone.condition}" for zone in region.zones)
    endpoint = ", ".join(map(str, blueprint.cluster.endpoint.public_cidrs)) or "private only"
    print_line(console, "region", f"{region.name}, {region.region}: {zones}")
    print_line(
        console,
        "network",
        f"{blueprint.network.cidr}, egress {blueprint.network.egress}, in {', '.join(placement.zones)}",
    )
    print_line(console, "cluster", f"Kubernetes {blueprint.cluster.kubernetes_version}, API {endpoint}")
    print_line(console, "law", ", ".join(str(profile) for profile in blueprint.legal_profiles))
    print_line(console, "tenants", ", ".join(tenant.name for tenant in blueprint.tenants))
    print_line(console, "database", _database(blueprint))
    print_line(console, "features", _online_store(blueprint))
    print_line(console, "streaming", _streaming(blueprint))
    print_line(console, "budget", f"USD {blueprint.budget.usd_per_month:,.0f} a month")
    console.print(pools_table(blueprint.node_pools, placement))
    for warning in placement.warnings:
        console.print(Text.assemble(("warning: ", "yellow"), warning))


def pools_table(pools: Sequence[NodePool], placement: Placement) -> Table:
    right = ("min", "now", "max", "GPUs")
    table = columns_table("pool", "capacity", "instance types", *right, "zones", right=right, fold=("instance types",))
    for pool in pools:
        placed = placement.pools[pool.name]
        table.add_row(
            pool.name,
            pool.capacity.replace("_", " "),
            "\n".join(pool.instance_types),
            str(pool.min_nodes),
            str(pool.desired_nodes),
            str(pool.max_nodes),
            str(placed.gpus_per_node * pool.max_nodes or _ABSENT),
            "\n".join(placed.zones),
        )
    return table


def _database(blueprint: Blueprint) -> str:
    postgres = blueprint.postgres
    return (
        f"PostgreSQL {postgres.version} on {postgres.engine}, {postgres.instances} x {postgres.instance_class}, "
        f"{postgres.storage_gib:,} GiB"
    )


def _online_store(blueprint: Blueprint) -> str:
    store = blueprint.online_store
    if store.engine == "dynamodb":
        return "DynamoDB on demand"
    return f"Valkey, {store.shards} shards x {1 + store.replicas_per_shard} {store.node_type}"


def _streaming(blueprint: Blueprint) -> str:
    streaming = blueprint.streaming
    if streaming.engine == "kinesis":
        shards = "1 shard" if streaming.shards == 1 else f"{streaming.shards} shards"
        return f"Kinesis, {shards}" if streaming.shards else "Kinesis on demand"
    return (
        f"MSK {streaming.kafka_version}, {streaming.brokers} x {streaming.broker_type}, "
        f"{streaming.broker_volume_gib:,} GiB each"
    )


# -- diff ------------------------------------------------------------------


def differences(first: object, second: object, path: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted key, first, second) wherever two dumped blueprints differ; list entries go by their name."""
    first, second = _by_name(first), _by_name(second)
    if isinstance(first, dict) and isinstance(second, dict):
        rows = []
        for key in [*first, *(key for key in second if key not in first)]:
            rows += differences(first.get(key), second.get(key), f"{path}.{key}" if path else str(key))
        return rows
    return [] if first == second else [(path, first, second)]


def _by_name(value: object) -> object:
    if isinstance(value, list) and value and all(isinstance(entry, dict) and "name" in entry for entry in value):
        return {entry["name"]: {key: item for key, item in entry.items() if key != "name"} for entry in value}
    return value


def print_differences(first: str, second: str, changes: Sequence[tuple[str, Any, Any]], costs: Sequence[float]) -> None:
    console = open_console()
    if not changes:
        console.print(f"{first} and {second} do not differ")
        return
    table = columns_table("key", first, second, fold=(first, second))
    table.columns[0].no_wrap = True
    section = ""
    for key, before, after in changes:
        head, _, rest = key.partition(".")
        if head in _PROSE:
            continue
        if rest and head != section:
            table.add_row(Text(head, style="bold"), "", "")
        section = head
        table.add_row(f"  {rest}" if rest else Text(head, style="bold"), _value(before), _value(after))
    console.print(table)
    console.print(f"cost a month: {first} USD {costs[0]:,.0f}, {second} USD {costs[1]:,.0f}")


def _value(value: Any) -> str:
    if value is None or value in ([], {}, ""):
        return _ABSENT
    if isinstance(value, dict):
        # A part that only one side has: enough of it to be recognised.
        return ", ".join(_value(item) for item in list(value.values())[:_PARTS_SHOWN])
    if isinstance(value, list):
        return ", ".join(_value(item) for item in value)
    return f"{value:,.10g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


# -- recommend -------------------------------------------------------------


def recommendation_json(answer: Recommendation, changes: Sequence[str]) -> dict[str, Any]:
    """The whole answer; ``overrides`` is what to put under ``falaj:overrides`` of the stack."""
    document: dict[str, Any] = {
        "outcome": str(answer.outcome),
        "statement": answer.statement,
        "blueprint": answer.name if answer.blueprint else None,
        "reasons": list(answer.reasons),
        "suggestions": list(changes),
        "overrides": dict(answer.overrides),
    }
    if answer.blueprint and answer.placement and answer.replicas and answer.cost:
        document["serving"] = {
            "accelerator": answer.accelerator,
            "replicas": answer.replicas.count,
            "vcpu_each": answer.replicas.vcpu_each,
            "memory_gib_each": round(answer.replicas.memory_gib_each, 2),
            "gpus_each": answer.replicas.gpus_each,
            "utilisation": round(answer.replicas.utilisation, 4),
        }
        document["node_pools"] = [
            {**pool.model_dump(mode="json"), "zones": list(answer.placement.pools[pool.name].zones)}
            for pool in answer.blueprint.node_pools
        ]
        document["storage"] = answer.blueprint.data.model_dump(mode="json")
        document["cost"] = cost_json(answer.name, answer.cost)
    return document


def print_recommendation(answer: Recommendation, changes: Sequence[str]) -> None:
    console = open_console()
    style = {Outcome.FITS: "green", Outcome.OVER_BUDGET: "yellow", Outcome.IMPOSSIBLE: "red"}[answer.outcome]
    label = {Outcome.FITS: "fits", Outcome.OVER_BUDGET: "over budget", Outcome.IMPOSSIBLE: "cannot be supplied"}
    headline = answer.name if answer.blueprint else "no blueprint"
    console.print(Text.assemble((f"{headline}  ", "bold"), (label[answer.outcome], style)))
    console.print(answer.statement)
    for reason in answer.reasons:
        console.print(f"  because {reason}")
    for change in changes:
        console.print(Text.assemble(("  instead ", "bold"), change))
    if not (answer.blueprint and answer.placement and answer.cost and answer.replicas):
        return
    replicas = answer.replicas
    console.print()
    per = f"{replicas.gpus_each} GPU" if replicas.gpus_each else f"{replicas.vcpu_each:g} vCPU"
    print_line(
        console,
        "serving",
        f"{replicas.count} replicas of {per}, {replicas.memory_gib_each:.1f} GiB, {replicas.utilisation:.0%} busy",
    )
    data = answer.blueprint.data
    print_line(
        console, "storage", f"{data.stored_gib:,.0f} GiB now, {data.growth_gib_per_month:,.0f} GiB more each month"
    )
    print_line(console, "database", _database(answer.blueprint))
    print_line(console, "features", _online_store(answer.blueprint))
    print_line(console, "streaming", _streaming(answer.blueprint))
    used = [pool for pool in answer.blueprint.node_pools if pool.desired_nodes or _trains(answer, pool)]
    console.print(pools_table(used, answer.placement))
    table = columns_table("group", "USD", "AED", right=("USD", "AED"))
    for group, total in answer.cost.groups().items():
        table.add_row(group, f"{total:,.0f}", f"{answer.cost.aed(total):,.0f}")
    table.add_section()
    table.add_row("expected", f"{answer.cost.usd_per_month:,.0f}", f"{answer.cost.aed_per_month:,.0f}")
    ends = (answer.cost.low_usd, answer.cost.high_usd)
    table.add_row(
        "low to high",
        " to ".join(f"{usd:,.0f}" for usd in ends),
        " to ".join(f"{answer.cost.aed(usd):,.0f}" for usd in ends),
    )
    console.print(table)
    console.print("The overrides for the stack: add --json", style="dim")


def _trains(answer: Recommendation, pool: NodePool) -> bool:
    wants = answer.blueprint is not None and answer.blueprint.training.gpu_hours_per_month > 0
    return wants and pool.purpose == "gpu" and pool.labels.get("falaj.dev/workload") != "inference"
