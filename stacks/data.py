"""Where the platform's own data lives and moves: PostgreSQL, the online store, the event stream, platform events."""

from __future__ import annotations

from dataclasses import dataclass

from components.databases import Postgres
from components.events import PlatformEvents
from components.online_store import OnlineStore
from components.streaming import Streaming
from stacks.account import Account
from stacks.compute import Compute
from stacks.foundation import Foundation
from stacks.settings import StackSettings


@dataclass(frozen=True)
class Data:
    postgres: Postgres
    online_store: OnlineStore
    streaming: Streaming
    events: PlatformEvents


def build_data(settings: StackSettings, account: Account, foundation: Foundation, compute: Compute) -> Data:
    """Declare the stores; each admits connections from the cluster's nodes only."""
    blueprint, environment = settings.blueprint, account.environment
    keys, domains, network = foundation.encryption.key_arns, foundation.domains, foundation.network
    subnet_ids = [network.data_subnet_ids[zone] for zone in sorted(network.data_subnet_ids)]
    nodes = compute.cluster.node_security_group_id
    retention = blueprint.cluster.log_retention_days
    protect = settings.protect_data_stores
    return Data(
        postgres=Postgres(
            "postgres",
            blueprint.postgres,
            environment=environment,
            domain=domains["platform"],
            vpc_id=network.vpc_id,
            subnet_ids=subnet_ids,
            client_security_group_id=nodes,
            key_arn=keys["platform"],
            log_retention=retention,
            protect=protect,
            opts=account.options,
        ),
        online_store=OnlineStore(
            "online-store",
            blueprint.online_store,
            environment=environment,
            domain=domains["feature"],
            vpc_id=network.vpc_id,
            subnet_ids=subnet_ids,
            client_security_group_id=nodes,
            key_arn=keys["feature"],
            log_key_arn=keys["platform"],
            log_retention=retention,
            protect=protect,
            opts=account.options,
        ),
        streaming=Streaming(
            "streaming",
            blueprint.streaming,
            environment=environment,
            domain=domains["lake"],
            vpc_id=network.vpc_id,
            subnet_ids=subnet_ids,
            client_security_group_id=nodes,
            key_arn=keys["lake"],
            log_key_arn=keys["platform"],
            log_retention=retention,
            protect=protect,
            opts=account.options,
        ),
        events=PlatformEvents(
            "events",
            environment=environment,
            lake_bucket=environment.bucket_name("lake"),
            key_arn=keys["platform"],
            opts=account.options,
        ),
    )
