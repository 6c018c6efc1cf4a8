"""What a blueprint costs in a month, item by item, in USD and AED, with the source of every price.

Pure.  Node pools are counted at ``desired_nodes``; training GPU-hours are counted as hours of the cheapest GPU pool
that holds the job, not as nodes that stand idle.  Quantities nobody can know beforehand (log volume, requests to S3)
are stated as constants below, with their reason.  Every total has a low and a high end: prices that are estimates
carry the spread of the ratio they come from, assumed ones 25 %, and spot may cost as much as on demand.  Tax is not
included.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

from blueprints.placement import Placement, place, region_of
from blueprints.prices import node_price, scaled_figure, training_pool
from blueprints.region import Catalogue, Figure, Kind
from blueprints.schema import Blueprint

HOURS_PER_MONTH = 730
"""365 x 24 / 12, as AWS bills are usually quoted."""
SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600
_GIB = 2**30

INTERFACE_ENDPOINTS = {"nat": 6, "firewall": 18}
"""Interface endpoints in each zone, by kind of egress: what carries data or credentials, or all AWS traffic of a
private cluster (``components.endpoint_policies``).  Gateway endpoints (S3, DynamoDB) are free."""
EGRESS_GIB_PER_NODE = 20
"""Through the NAT gateway or the firewall: packages and images not yet mirrored.  Assumed."""
LOG_GIB_BASE, LOG_GIB_PER_NODE = 5.0, 1.5
"""Five control-plane log types; flow logs and pod logs of a node.  Assumed from quiet clusters."""
LOG_COMPRESSION = 0.15
"""Stored size of a log byte (CloudWatch Logs pricing page: gzip level 6, typically 15 %)."""
KMS_REQUESTS_PER_KEY = 200_000
"""Data keys for S3 (one for each bucket key period), EBS, streams and secrets.  Assumed."""
S3_WRITES_PER_GIB = 20
"""New objects of about 50 MiB.  Assumed."""
TRAIL_DATA_EVENTS_PER_GIB = 40
CONFIG_ITEMS_BASE, CONFIG_ITEMS_PER_NODE = 800, 60
SECURITY_CHECKS = 12_000
"""About 400 controls and resources checked daily.  Assumed."""
ONLINE_WRITES_PER_EVENT = 0.1
"""One online feature row written for every ten events, after aggregation.  Assumed."""
ONLINE_SHARE_OF_DATA = 0.01
BACKUP_DAILY_CHANGE = 0.02
"""Share of a database that changes in a day, kept for every day of retention.  Assumed."""
AURORA_IO_PER_GIB = 400_000
RESPONSE_KIB = 8
"""Request and response of one prediction.  Assumed."""
IMAGE_GIB_PER_REPOSITORY = 10
ASSUMED_SPREAD = 0.25


@dataclass(frozen=True)
class Item:
    """One line of the bill: ``quantity`` of ``figure.unit`` without its "USD per"."""

    group: str
    name: str
    quantity: float
    figure: Figure

    @property
    def expected_usd(self) -> float:
        return self.quantity * self.figure.value

    @property
    def low_usd(self) -> float:
        return self.quantity * self.figure.low

    @property
    def high_usd(self) -> float:
        return self.quantity * self.figure.high


@dataclass(frozen=True)
class Cost:
    """A month's bill."""

    items: tuple[Item, ...]
    budget_usd: float
    aed_per_usd: Figure

    @property
    def expected_usd(self) -> float:
        return sum(item.expected_usd for item in self.items)

    @property
    def low_usd(self) -> float:
        return sum(item.low_usd for item in self.items)

    @property
    def high_usd(self) -> float:
        return sum(item.high_usd for item in self.items)

    @property
    def usd_per_month(self) -> float:
        """The expected total."""
        return self.expected_usd

    @property
    def aed_per_month(self) -> float:
        return self.aed(self.expected_usd)

    @property
    def measured_share(self) -> float:
        """Share of the expected total whose price was read for this region."""
        read = sum(item.expected_usd for item in self.items if item.figure.kind is Kind.MEASURED)
        return read / self.expected_usd if self.expected_usd else 0.0

    def aed(self, usd: float) -> float:
        return usd * self.aed_per_usd.value

    def groups(self) -> dict[str, float]:
        """Expected USD by group, in the order of the items."""
        totals: dict[str, float] = {}
        for item in self.items:
            totals[item.group] = totals.get(item.group, 0.0) + item.expected_usd
        return totals

    @property
    def within_budget(self) -> bool:
        return self.expected_usd <= self.budget_usd

    def verdict(self) -> str:
        """One sentence that compares the bill with the budget."""
        budget = f"USD {self.budget_usd:,.0f} (AED {self.aed(self.budget_usd):,.0f})"
        if not self.within_budget:
            over = self.expected_usd - self.budget_usd
            return f"over the budget of {budget} by USD {over:,.0f} (AED {self.aed(over):,.0f}) a month"
        if self.high_usd > self.budget_usd:
            return f"within the budget of {budget} as expected, over it if every price is at its high end"
        return f"within the budget of {budget}, also if every price is at its high end"


def estimate(blueprint: Blueprint, region: Catalogue | None = None, placement: Placement | None = None) -> Cost:
    """Price a blueprint.  Raises a PlacementError if it cannot stand, CatalogueError if something has no price."""
    region = region or region_of(blueprint)
    placement = placement or place(blueprint, region)
    bill = _Bill(blueprint, region, placement)
    items = tuple(item for item in bill.items() if item.quantity > 0)
    return Cost(items, blueprint.budget.usd_per_month, region.figure("aed_per_usd"))


class _Bill:
    """Walks a blueprint once, group by group."""

    def __init__(self, blueprint: Blueprint, region: Catalogue, placement: Placement) -> None:
        self._blueprint = blueprint
        self._region = region
        self._placement = placement
        self._zones = len(placement.zones)
        self._nodes = sum(pool.desired_nodes for pool in blueprint.node_pools)
        self._event_gib = blueprint.data.events_per_second * blueprint.data.event_bytes * SECONDS_PER_MONTH / _GIB

    def items(self) -> Iterator[Item]:
        yield from self._compute()
        yield from self._network()
        yield from self._storage()
        yield from self._database()
        yield from self._online_store()
        yield from self._streaming()
        yield from self._security()
        yield from self._observability()

    def _item(self, group: str, name: str, quantity: float, figure: str | Figure) -> Item:
        found = self._region.figure(figure) if isinstance(figure, str) else figure
        if found.kind is Kind.ASSUMED and found.low == found.high:
            low, high = found.value * (1 - ASSUMED_SPREAD), found.value * (1 + ASSUMED_SPREAD)
            found = dataclasses.replace(found, low=low, high=high)
        return Item(group, name, quantity, found)

    def _compute(self) -> Iterator[Item]:
        yield self._item("compute", "EKS control plane", HOURS_PER_MONTH, "eks_cluster")
        for pool in self._blueprint.node_pools:
            if pool.desired_nodes:
                price = node_price(pool, self._placement.pools[pool.name].zones, self._region)
                name = f"{pool.name}: {pool.desired_nodes} x {pool.instance_types[0]} {pool.capacity.replace('_', ' ')}"
                yield self._item("compute", name, pool.desired_nodes * HOURS_PER_MONTH, price)
        if found := training_pool(self._blueprint, self._region, self._placement):
            pool, hours, price = found
            gpu_hours = self._blueprint.training.gpu_hours_per_month
            yield self._item("compute", f"training: {gpu_hours:,.0f} GPU-hours on {pool.name}", hours, price)
        volumes = sum(pool.desired_nodes * pool.volume_gib for pool in self._blueprint.node_pools)
        yield self._item("compute", "node volumes (gp3)", volumes, "ebs_gp3")

    def _network(self) -> Iterator[Item]:
        egress = EGRESS_GIB_PER_NODE * self._nodes
        if self._blueprint.network.egress == "firewall":
            hours = self._zones * HOURS_PER_MONTH
            yield self._item("network", f"firewall endpoints ({self._zones}, NAT included)", hours, "firewall_endpoint")
            yield self._item("network", "firewall data", egress, "firewall_data")
            yield self._item("network", "NAT addresses", hours, "public_ipv4")
        else:
            yield self._item("network", "NAT gateway", HOURS_PER_MONTH, "nat_gateway")
            yield self._item("network", "NAT data", egress, "nat_data")
            yield self._item("network", "NAT address", HOURS_PER_MONTH, "public_ipv4")
        yield self._item("network", "internet out", egress * 0.1, "internet_out")
        endpoints = INTERFACE_ENDPOINTS[self._blueprint.network.egress]
        name = f"interface endpoints ({endpoints} x {self._zones} zones)"
        yield self._item("network", name, endpoints * self._zones * HOURS_PER_MONTH, "interface_endpoint")
        requests = sum(model.requests_per_second for model in self._blueprint.models)
        served_gib = requests * RESPONSE_KIB * 1024 * SECONDS_PER_MONTH / _GIB
        crossing = (1 - 1 / self._zones) * (served_gib + self._event_gib)
        yield self._item("network", "traffic between zones", crossing, "cross_zone_data")

    def _storage(self) -> Iterator[Item]:
        data = self._blueprint.data
        stored = data.stored_gib + data.growth_gib_per_month
        yield self._item("storage", f"S3, {stored:,.0f} GiB", stored, "s3_standard")
        yield self._item("storage", "S3 writes", data.growth_gib_per_month * S3_WRITES_PER_GIB / 1000, "s3_requests")
        images = len(self._blueprint.registry.repositories) * IMAGE_GIB_PER_REPOSITORY
        yield self._item("storage", "ECR images", images, "ecr_storage")
        kept = self._blueprint.postgres.storage_gib * (
            1 + BACKUP_DAILY_CHANGE * self._blueprint.backup.daily_retention_days
        )
        yield self._item("storage", "backups", kept, "backup_storage")

    def _database(self) -> Iterator[Item]:
        postgres = self._blueprint.postgres
        price = scaled_figure(self._region, postgres.instance_class, postgres.engine)
        name = f"PostgreSQL ({postgres.engine}), {postgres.instances} x {postgres.instance_class}"
        yield self._item("database", name, postgres.instances * HOURS_PER_MONTH, price)
        if postgres.engine == "aurora":
            yield self._item("database", "Aurora storage", postgres.storage_gib, "aurora_storage")
            yield self._item("database", "Aurora requests", postgres.storage_gib * AURORA_IO_PER_GIB / 1e6, "aurora_io")
        else:
            yield self._item("database", "RDS storage", postgres.storage_gib * postgres.instances, "rds_storage")

    def _online_store(self) -> Iterator[Item]:
        store, data = self._blueprint.online_store, self._blueprint.data
        if store.engine == "valkey":
            nodes = store.shards * (1 + store.replicas_per_shard)
            price = scaled_figure(self._region, store.node_type, "valkey")
            yield self._item("online features", f"Valkey, {nodes} x {store.node_type}", nodes * HOURS_PER_MONTH, price)
            return
        reads = data.online_feature_reads_per_second * SECONDS_PER_MONTH * 0.5
        writes = data.events_per_second * ONLINE_WRITES_PER_EVENT * SECONDS_PER_MONTH
        yield self._item("online features", "DynamoDB reads", reads / 1e6, "dynamodb_read")
        yield self._item("online features", "DynamoDB writes", writes / 1e6, "dynamodb_write")
        yield self._item(
            "online features", "DynamoDB storage", data.stored_gib * ONLINE_SHARE_OF_DATA, "dynamodb_storage"
        )

    def _streaming(self) -> Iterator[Item]:
        streaming, data = self._blueprint.streaming, self._blueprint.data
        if streaming.engine == "msk":
            price = scaled_figure(self._region, streaming.broker_type, "msk")
            name = f"MSK, {streaming.brokers} x {streaming.broker_type}"
            yield self._item("streaming", name, streaming.brokers * HOURS_PER_MONTH, price)
            yield self._item("streaming", "MSK volumes", streaming.brokers * streaming.broker_volume_gib, "msk_storage")
            return
        units = data.events_per_second * math.ceil(data.event_bytes / 25_600) * SECONDS_PER_MONTH / 1e6
        if streaming.shards:
            hours = streaming.shards * HOURS_PER_MONTH
            yield self._item("streaming", f"Kinesis shards ({streaming.shards})", hours, "kinesis_shard")
            yield self._item("streaming", "Kinesis writes", units, "kinesis_put")
            if streaming.retention_hours > 24:
                yield self._item("streaming", "Kinesis retention", hours, "kinesis_retention")
            return
        yield self._item("streaming", "Kinesis on demand", HOURS_PER_MONTH, "kinesis_stream")
        yield self._item("streaming", "Kinesis data in", self._event_gib, "kinesis_in")
        yield self._item("streaming", "Kinesis data out", self._event_gib, "kinesis_out")

    def _security(self) -> Iterator[Item]:
        blueprint = self._blueprint
        keys = len(blueprint.data_domains) + len(blueprint.tenants)
        # One more signs model packages; how often it does counts for nothing.
        yield self._item("security", f"KMS keys ({keys + 1})", keys + 1, "kms_key")
        yield self._item("security", "KMS requests", keys * KMS_REQUESTS_PER_KEY / 10_000, "kms_requests")
        yield self._item("security", "secrets", 3 + len(blueprint.tenants), "secret")
        stored = blueprint.data.stored_gib + blueprint.data.growth_gib_per_month
        events = stored * TRAIL_DATA_EVENTS_PER_GIB / 100_000
        yield self._item("security", "CloudTrail data events", events, "trail_data_events")
        if blueprint.audit.guardduty:
            vcpu = sum(
                pool.desired_nodes * self._region.instance(pool.instance_types[0]).vcpu for pool in blueprint.node_pools
            )
            yield self._item("security", "GuardDuty events", 1 + self._nodes * 0.2, "guardduty_events")
            yield self._item("security", "GuardDuty flow logs", self._nodes * LOG_GIB_PER_NODE, "guardduty_flow")
            yield self._item("security", "GuardDuty runtime", vcpu, "guardduty_vcpu")
        if blueprint.audit.config_recorder:
            items = CONFIG_ITEMS_BASE + CONFIG_ITEMS_PER_NODE * self._nodes
            yield self._item("security", "Config items", items, "config_item")
        if blueprint.audit.security_hub:
            yield self._item("security", "Security Hub checks", SECURITY_CHECKS, "security_hub_check")

    def _observability(self) -> Iterator[Item]:
        ingested = LOG_GIB_BASE + LOG_GIB_PER_NODE * self._nodes
        months = self._blueprint.cluster.log_retention_days / 30.4
        yield self._item("observability", "logs ingested", ingested, "logs_ingest")
        yield self._item("observability", "logs kept", ingested * months * LOG_COMPRESSION, "logs_store")
        yield self._item("observability", "alarms", 12 + 4 * len(self._blueprint.node_pools), "metric_alarm")
