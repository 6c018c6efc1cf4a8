"""Who may use what: the service accounts of the platform and of its tenants, matched to the stores that exist."""

from __future__ import annotations

import pulumi

from components.identity import Identity
from components.workloads import observability_workloads, platform_workloads, tenant_key, tenant_workloads
from stacks.account import Account
from stacks.compute import Compute
from stacks.data import Data
from stacks.foundation import Foundation
from stacks.governance import Governance
from stacks.settings import StackSettings


def build_workloads(
    settings: StackSettings,
    account: Account,
    foundation: Foundation,
    compute: Compute,
    data: Data,
    governance: Governance,
) -> Identity:
    """Declare the roles of every service account, and the CI role where one is configured."""
    blueprint = settings.blueprint
    return Identity(
        "identity",
        [*platform_workloads(blueprint), *observability_workloads(), *tenant_workloads(blueprint.tenants)],
        environment=account.environment,
        boundary_arn=foundation.boundary.arn,
        cluster_name=compute.cluster.cluster_name,
        cluster_ready=compute.cluster.resource,
        resource_arns=resource_arns(account, foundation, data, governance),
        ci=settings.continuous_integration,
        repository_arns=list(compute.registry.repository_arns.values()),
        opts=account.options,
    )


def resource_arns(
    account: Account, foundation: Foundation, data: Data, governance: Governance
) -> dict[str, pulumi.Input[str]]:
    """Return the ARN behind every resource key of ``components.workloads`` that this platform has."""
    environment = account.environment
    arns: dict[str, pulumi.Input[str]] = {
        "bus": data.events.bus_arn,
        "catalogue": environment.arn("glue", "catalog"),
        "catalogue-databases": environment.arn("glue", f"database/{environment.catalogue_prefix}*"),
        "catalogue-tables": environment.arn("glue", f"table/{environment.catalogue_prefix}*/*"),
        "database": data.postgres.resource_id.apply(
            lambda resource_id: environment.arn("rds-db", f"dbuser:{resource_id}")
        ),
        "online-store": data.online_store.arn,
        "secret:postgres-admin": data.postgres.master_secret_arn,
        "stream": data.streaming.arn,
        "topic:alerts": governance.audit.alerts_topic_arn,
    }
    for domain, arn in foundation.storage.bucket_arns.items():
        arns[f"bucket:{domain}"] = arn
    for domain, arn in foundation.encryption.key_arns.items():
        arns[f"key:{domain}"] = arn
    arns["key:signing"] = foundation.signing.key_arn
    for tenant, arn in foundation.tenant_keys.key_arns.items():
        arns[tenant_key(tenant)] = arn
    for queue, arn in data.events.queue_arns.items():
        arns[f"queue:{queue}"] = arn
    arns["queue:stream-dead-letters"] = data.events.stream_dead_letter_queue_arn
    optional = {
        "groups": data.streaming.groups_arn,
        "online-reader": data.online_store.reader_arn,
        "online-writer": data.online_store.writer_arn,
        "topics": data.streaming.topics_arn,
    }
    arns.update({key: arn for key, arn in optional.items() if arn is not None})
    return arns
