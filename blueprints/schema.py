"""What a blueprint states: who uses the platform, for what, under which law and budget, and the sizes that follow.

Pure data: frozen pydantic models, unknown keys refused, units in field names.  A blueprint is loaded from
``blueprint.yaml`` by ``blueprints.load`` and may be overridden key by key by the stack's configuration.  Checks that
need the region catalogue (instance types per zone, zone conditions) live in ``blueprints.placement``.
"""

from __future__ import annotations

import enum
from ipaddress import IPv4Network
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from blueprints.fields import LOG_RETENTION_DAYS as LOG_RETENTION_DAYS
from blueprints.fields import Domain, Email, KubernetesVersion, LogRetentionDays, Name, RoleArn, ZoneId
from blueprints.node_pools import GpuSharing as GpuSharing
from blueprints.node_pools import NodePool as NodePool
from blueprints.node_pools import Taint as Taint
from blueprints.spec import Spec as Spec
from blueprints.spec import check_unique


class LegalProfile(enum.StrEnum):
    """Which bodies of law attach to the data; decides which controls apply."""

    ONSHORE_PRIVATE = "onshore_private"
    CBUAE = "cbuae"
    HEALTH = "health"
    GOVERNMENT = "government"
    CRITICAL_INFRASTRUCTURE = "critical_infrastructure"
    DIFC = "difc"
    ADGM = "adgm"


class DataClass(enum.StrEnum):
    """How bad a leak would be, in rising order."""

    PUBLIC = "public"
    INTERNAL = "internal"
    PERSONAL = "personal"
    RESTRICTED = "restricted"


class DataDomain(Spec):
    """One body of data with one owner and one customer managed key."""

    name: Literal["lake", "feature", "model", "audit", "platform"]
    data_class: DataClass
    retention_days: int = Field(ge=1, le=36_500)
    object_lock_days: int = Field(default=0, ge=0, le=36_500)
    """Days that nobody, the account's root included, can delete an object; 0 = no object lock."""

    @model_validator(mode="after")
    def _lock_ends_before_retention(self) -> Self:
        if self.object_lock_days > self.retention_days:
            raise ValueError(
                f"object_lock_days={self.object_lock_days} exceeds retention_days={self.retention_days}; objects could "
                "not be deleted when their time is over: raise retention_days or lower object_lock_days"
            )
        return self


class Tenant(Spec):
    """A team with its own namespace, role, key, quota and bucket prefix."""

    name: Name
    owner_email: Email
    data_class: DataClass
    gpu_quota: int = Field(ge=0)
    cpu_quota_vcpu: int = Field(ge=1)
    memory_quota_gib: int = Field(ge=1)
    storage_quota_gib: int = Field(default=1_024, ge=1)
    """Of all volumes together that its pods claim; objects in buckets are not counted."""
    queue_priority: Literal["serving", "training", "batch"] = "training"
    """The highest of the shared priority classes that its pods may have."""
    engineer_role_arns: tuple[RoleArn, ...] = ()
    """IAM roles of the people who build and run its jobs."""
    viewer_role_arns: tuple[RoleArn, ...] = ()
    """IAM roles of the people who may look: states and events, neither logs nor secrets."""


class ServedModel(Spec):
    """A model that will be served, as its owner describes the load."""

    name: Name
    requests_per_second: float = Field(gt=0, le=1_000_000)
    p99_target_ms: float = Field(gt=0)
    size_gib: float = Field(gt=0, le=2_000)
    accelerator: Literal["cpu", "gpu"] = "cpu"


class Training(Spec):
    """What training asks for in a month."""

    gpu_hours_per_month: float = Field(ge=0)
    gpus_per_job: int = Field(ge=0)
    gpu_memory_gib_per_gpu: float = Field(ge=0)
    checkpoint_interval_minutes: float = Field(gt=0)


class DataVolume(Spec):
    """How much data is kept and how fast it comes in."""

    stored_gib: float = Field(gt=0)
    growth_gib_per_month: float = Field(ge=0)
    events_per_second: float = Field(ge=0)
    event_bytes: int = Field(default=1_024, gt=0, le=1_048_576)
    online_feature_reads_per_second: float = Field(default=0, ge=0)


class Budget(Spec):
    """Money for a month, and who hears of it."""

    usd_per_month: float = Field(gt=0)
    alert_percentages: tuple[Annotated[int, Field(ge=1, le=1_000)], ...] = (50, 80, 100)
    notify_emails: tuple[Email, ...] = ()


class Network(Spec):
    """The VPC.  Address blocks are reserved for every zone of the region: subnets keep theirs when a zone returns."""

    cidr: IPv4Network
    zone_count: int = Field(ge=2, le=3)
    """How many zones to use; zones marked lost get no subnet, so fewer may come out (never fewer than two)."""
    egress: Literal["nat", "firewall"]
    """nat: one gateway in the best zone.  firewall: a gateway and a Network Firewall endpoint per zone, allow-list."""
    egress_allowed_domains: tuple[Domain, ...] = ()
    flow_log_retention_days: LogRetentionDays
    zone_conditions: dict[ZoneId, Literal["ok", "unknown", "impaired", "lost"]] = Field(default_factory=dict)
    """What is known of a zone today, over the region catalogue: ``{mec1-az2: ok}`` once it is back."""

    @field_validator("cidr")
    @classmethod
    def _private_vpc_block(cls, cidr: IPv4Network) -> IPv4Network:
        if not 16 <= cidr.prefixlen <= 28:
            raise ValueError(f"given {cidr}; AWS allows a VPC of /16 to /28; use a /16")
        if not cidr.is_private:
            raise ValueError(f"given {cidr}; allowed: a private block (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16)")
        return cidr

    @model_validator(mode="after")
    def _firewall_has_an_allow_list(self) -> Self:
        if self.egress == "firewall" and not self.egress_allowed_domains:
            raise ValueError("egress=firewall needs egress_allowed_domains; name the domains that may be reached")
        if self.egress == "nat" and self.egress_allowed_domains:
            raise ValueError("egress=nat does not filter domains; drop egress_allowed_domains or set egress=firewall")
        return self


class Endpoint(Spec):
    """Who may reach the Kubernetes API.  Empty ``public_cidrs``: private only."""

    public_cidrs: tuple[IPv4Network, ...] = ()

    @field_validator("public_cidrs")
    @classmethod
    def _named_offices_only(cls, cidrs: tuple[IPv4Network, ...]) -> tuple[IPv4Network, ...]:
        for cidr in cidrs:
            if cidr.prefixlen < 16:
                raise ValueError(
                    f"given {cidr}; allowed: blocks of /16 or smaller that you own; name your offices' blocks"
                )
        return cidrs


class Cluster(Spec):
    kubernetes_version: KubernetesVersion
    endpoint: Endpoint = Endpoint()
    log_retention_days: LogRetentionDays
    admin_role_arns: tuple[RoleArn, ...] = ()
    """IAM roles that get cluster administration through access entries."""
    deletion_protection: bool = True


class Postgres(Spec):
    """MLflow, Feast registry and lineage store."""

    engine: Literal["rds", "aurora"]
    version: str
    instance_class: str
    instances: int = Field(ge=1, le=15)
    """rds: 1 = single zone, 2 = Multi-AZ.  aurora: number of cluster instances."""
    storage_gib: int = Field(ge=20)
    backup_retention_days: int = Field(ge=1, le=35)

    @model_validator(mode="after")
    def _instances_fit_engine(self) -> Self:
        if not self.instance_class.startswith("db."):
            raise ValueError(f"instance_class={self.instance_class!r}; allowed: db.FAMILY.SIZE, e.g. db.m6g.large")
        if self.engine == "rds" and self.instances > 2:
            raise ValueError(
                f"instances={self.instances} with engine=rds; allowed: 1, or 2 for Multi-AZ; or set engine=aurora"
            )
        return self


class OnlineStore(Spec):
    """Where online features are read from."""

    engine: Literal["dynamodb", "valkey"]
    node_type: str = ""
    replicas_per_shard: int = Field(default=0, ge=0, le=5)
    shards: int = Field(default=1, ge=1, le=500)

    @model_validator(mode="after")
    def _engine_has_its_keys(self) -> Self:
        if self.engine == "valkey" and not self.node_type.startswith("cache."):
            raise ValueError(
                f"engine=valkey with node_type={self.node_type!r}; allowed: cache.FAMILY.SIZE, e.g. cache.r5.large"
            )
        if self.engine == "dynamodb" and (self.node_type or self.replicas_per_shard or self.shards != 1):
            raise ValueError("engine=dynamodb has no nodes; drop node_type, replicas_per_shard and shards")
        return self


class Streaming(Spec):
    """kinesis: ``shards`` on demand if 0.  msk: ``brokers`` over the usable zones."""

    engine: Literal["kinesis", "msk"]
    shards: int = Field(default=0, ge=0)
    kafka_version: str = ""
    broker_type: str = ""
    brokers: int = Field(default=0, ge=0)
    broker_volume_gib: int = Field(default=0, ge=0)
    retention_hours: int = Field(default=24, ge=24, le=8_760)

    @model_validator(mode="after")
    def _engine_has_its_keys(self) -> Self:
        if self.engine == "kinesis":
            if self.kafka_version or self.broker_type or self.brokers or self.broker_volume_gib:
                raise ValueError(
                    "engine=kinesis has no brokers; drop kafka_version and the broker keys, or set engine=msk"
                )
            return self
        missing = [
            key for key in ("kafka_version", "broker_type", "brokers", "broker_volume_gib") if not getattr(self, key)
        ]
        if missing:
            raise ValueError(f"engine=msk needs {', '.join(missing)}; give them a value")
        if self.shards:
            raise ValueError("engine=msk has no shards; drop shards, or set engine=kinesis")
        if not self.broker_type.startswith("kafka."):
            raise ValueError(f"broker_type={self.broker_type!r}; allowed: kafka.FAMILY.SIZE, e.g. kafka.m5.large")
        return self


class Registry(Spec):
    repositories: tuple[str, ...]
    pull_through: tuple[Literal["ecr-public", "kubernetes"], ...] = ()
    """Upstreams mirrored into the in-region registry on first pull."""
    keep_untagged_days: int = Field(default=14, ge=1)


class Audit(Spec):
    trail_retention_days: int = Field(ge=365)
    guardduty: bool
    config_recorder: bool
    security_hub: bool


class Backup(Spec):
    daily_retention_days: int = Field(ge=7, le=36_500)
    vault_lock_min_days: int = Field(ge=1)
    vault_lock_max_days: int = Field(ge=1)
    in_country_copy_target: str = ""
    """Name of the second in-country copy outside AWS (documented in the runbook); empty = none declared."""

    @model_validator(mode="after")
    def _retention_fits_the_lock(self) -> Self:
        if not self.vault_lock_min_days <= self.daily_retention_days <= self.vault_lock_max_days:
            raise ValueError(
                f"daily_retention_days={self.daily_retention_days} is outside vault_lock_min_days="
                f"{self.vault_lock_min_days} to vault_lock_max_days={self.vault_lock_max_days}; the locked vault would "
                "refuse every backup: set it between them"
            )
        return self


class Rehearsal(Spec):
    """What `falaj rehearse` holds the blueprint to: with simulated nodes, so without the minutes that machines take."""

    placement_seconds: float = Field(default=120, gt=0)
    """Until every pod of the ask runs: from no node, and again at a burst."""
    recovery_seconds: float = Field(default=120, gt=0)
    """Until serving is whole again after nodes or a zone went away."""
    gpu_packing_percent: float = Field(default=75, ge=0, le=100)
    """Least share of the GPUs of standing nodes that pods hold once all is placed."""
    pending_pods: int = Field(default=0, ge=0)
    """Most pods that may be left without a place."""
    burst_factor: float = Field(default=10, ge=1, le=1_000)
    """How many times the models' requests/s a burst brings."""
    spot_interrupted_percent: float = Field(default=30, gt=0, le=100)
    """Share of the spot nodes that an interruption takes back at once."""
    usd_per_month: float | None = Field(default=None, gt=0)
    """Most that a month may cost at the rehearsed prices; None: the budget."""


class Blueprint(Spec):
    """A whole platform, sized.  See ``blueprints/README`` of each blueprint for what it is good for."""

    name: Name
    title: str
    description: str
    region: str
    owner: str
    cost_centre: str
    legal_profiles: tuple[LegalProfile, ...] = Field(min_length=1)
    tenants: tuple[Tenant, ...] = Field(min_length=1, max_length=40)
    """At most as many as a bucket policy can name with their keys (S3 user guide, bucket policies: 20 KB)."""
    models: tuple[ServedModel, ...] = ()
    training: Training
    data: DataVolume
    budget: Budget
    data_domains: tuple[DataDomain, ...]
    network: Network
    cluster: Cluster
    node_pools: tuple[NodePool, ...] = Field(min_length=1)
    postgres: Postgres
    online_store: OnlineStore
    streaming: Streaming
    registry: Registry
    audit: Audit
    backup: Backup
    rehearsal: Rehearsal = Rehearsal()

    @model_validator(mode="after")
    def _names_arecheck_unique(self) -> Self:
        for what, entries in (
            ("tenants", self.tenants),
            ("models", self.models),
            ("node_pools", self.node_pools),
            ("data_domains", self.data_domains),
        ):
            check_unique((entry.name for entry in entries), what)
        return self

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if not any(pool.purpose == "system" for pool in self.node_pools):
            raise ValueError("node_pools: none has purpose=system; add one, on demand, for the platform's own pods")
        if any(model.accelerator == "gpu" for model in self.models) and not any(
            pool.purpose == "gpu" for pool in self.node_pools
        ):
            raise ValueError("models: one has accelerator=gpu and no node pool has purpose=gpu; add a GPU pool")
        if "audit" not in {domain.name for domain in self.data_domains}:
            raise ValueError("data_domains: no 'audit'; trails and logs need a domain with a key of their own")
        return self
