"""What a blueprint states: who uses the platform, for what, under which law and budget, and the sizes that follow.

Pure data: frozen pydantic models, unknown keys refused, units in field names.  A blueprint is loaded from
``blueprint.yaml`` by ``blueprints.load`` and may be overridden key by key by the stack's configuration.  Checks that need
the region catalogue (instance types per zone, zone conditions) live in ``blueprints.placement``.
"""

from __future__ import annotations

import enum
from ipaddress import IPv4Network
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$")]
"""Lower-case letters, digits and inner hyphens, at most 32 characters: valid in bucket, role and Kubernetes names."""


class Spec(BaseModel):
    """Base of all parts of a blueprint."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_enum_values=False)


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


class Tenant(Spec):
    """A team with its own namespace, role, quota and bucket prefix."""

    name: Name
    owner_email: str
    data_class: DataClass
    gpu_quota: int = Field(ge=0)
    cpu_quota_vcpu: int = Field(ge=1)
    memory_quota_gib: int = Field(ge=1)


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
    alert_percentages: tuple[int, ...] = (50, 80, 100)
    notify_emails: tuple[str, ...] = ()


class Network(Spec):
    """The VPC.  Address blocks are reserved for every zone of the region, so that subnets keep theirs when a zone returns."""

    cidr: IPv4Network
    zone_count: int = Field(ge=2, le=3)
    """How many zones to use; zones marked lost get no subnet, so fewer may come out (never fewer than two)."""
    egress: Literal["nat", "firewall"]
    """nat: one gateway in the best zone.  firewall: a gateway and a Network Firewall endpoint per zone, allow-list only."""
    egress_allowed_domains: tuple[str, ...] = ()
    flow_log_retention_days: int = Field(ge=1, le=3_653)


class Endpoint(Spec):
    """Who may reach the Kubernetes API.  Empty ``public_cidrs``: private only."""

    public_cidrs: tuple[IPv4Network, ...] = ()


class Cluster(Spec):
    kubernetes_version: Annotated[str, StringConstraints(pattern=r"^1\.\d{2}$")]
    endpoint: Endpoint = Endpoint()
    log_retention_days: int = Field(ge=1, le=3_653)
    admin_role_arns: tuple[str, ...] = ()
    """IAM roles that get cluster administration through access entries."""
    deletion_protection: bool = True


class Taint(Spec):
    key: str
    value: str
    effect: Literal["NO_SCHEDULE", "NO_EXECUTE", "PREFER_NO_SCHEDULE"]


class NodePool(Spec):
    """A managed node group.  ``system`` carries the platform's own pods and is never spot."""

    name: Name
    purpose: Literal["system", "cpu", "gpu"]
    capacity: Literal["on_demand", "spot"]
    instance_types: tuple[str, ...] = Field(min_length=1)
    min_nodes: int = Field(ge=0)
    desired_nodes: int = Field(ge=0)
    max_nodes: int = Field(ge=1)
    volume_gib: int = Field(ge=20, le=16_384)
    labels: dict[str, str] = Field(default_factory=dict)
    taints: tuple[Taint, ...] = ()


class Postgres(Spec):
    """MLflow, Feast registry and lineage store."""

    engine: Literal["rds", "aurora"]
    version: str
    instance_class: str
    instances: int = Field(ge=1, le=15)
    """rds: 1 = single zone, 2 = Multi-AZ.  aurora: number of cluster instances."""
    storage_gib: int = Field(ge=20)
    backup_retention_days: int = Field(ge=1, le=35)


class OnlineStore(Spec):
    """Where online features are read from."""

    engine: Literal["dynamodb", "valkey"]
    node_type: str = ""
    replicas_per_shard: int = Field(default=0, ge=0, le=5)
    shards: int = Field(default=1, ge=1, le=500)


class Streaming(Spec):
    """kinesis: ``shards`` on demand if 0.  msk: ``brokers`` over the usable zones."""

    engine: Literal["kinesis", "msk"]
    shards: int = Field(default=0, ge=0)
    kafka_version: str = ""
    broker_type: str = ""
    brokers: int = Field(default=0, ge=0)
    broker_volume_gib: int = Field(default=0, ge=0)
    retention_hours: int = Field(default=24, ge=24, le=8_760)


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


class Blueprint(Spec):
    """A whole platform, sized.  See ``blueprints/README`` of each blueprint for what it is good for."""

    name: Name
    title: str
    description: str
    region: str
    owner: str
    cost_centre: str
    legal_profiles: tuple[LegalProfile, ...] = Field(min_length=1)
    tenants: tuple[Tenant, ...] = Field(min_length=1)
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
