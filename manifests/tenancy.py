"""A tenant on Kubernetes: one entry of the blueprint becomes a namespace that can hold only what the entry allows.

Everything that keeps tenants apart is here or in the two files beside it: Pod Security, quotas, limits and identities
here, connections in ``network_policies``, people's rights in ``rbac``.  The platform's own namespaces are made the same
way, without quotas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from blueprints.schema import Blueprint, Tenant
from manifests.admission import tenant_admission
from manifests.network_policies import (
    Surroundings,
    observability_policies,
    platform_policies,
    tenant_policies,
)
from manifests.objects import (
    LABEL_PREFIX,
    OBSERVABILITY_NAMESPACE,
    PLATFORM_NAMESPACE,
    TENANT_LABEL,
    Manifest,
    labels,
    manifest,
    tenant_namespace,
)
from manifests.priorities import classes_above, priority_classes
from manifests.rbac import AUTOMATION_ACCOUNT, cluster_roles, tenant_bindings
from manifests.scheduling import GPU_RESOURCE

WORKBENCH_ACCOUNT: Final = "workbench"
"""Service account of a tenant's notebooks and jobs; its Pod Identity role reaches the tenant's bucket prefixes."""

SETTINGS: Final = "tenant-settings"
"""ConfigMap with the names that a tenant's job needs; read by ``envFrom``."""
BUCKETS: Final = ("feature", "lake", "model")
"""Domains in whose bucket a tenant has a prefix."""

QUOTA: Final = "tenant-quota"
RESERVED_PRIORITIES: Final = "reserved-priorities"
LIMITS: Final = "tenant-limits"

PODS_PER_VCPU: Final = 4
DEFAULT_REQUESTS: Final = {"cpu": "250m", "memory": "1Gi", "ephemeral-storage": "1Gi"}
DEFAULT_LIMITS: Final = {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "10Gi"}
"""For a container that says nothing.  Memory is limited to what is requested: a node that runs out of it kills
somebody else's pod.  A quarter of a vCPU each, so the quota of pods and the quota of CPU end together."""
CPU_LIMIT_PER_REQUEST: Final = 4
"""How far CPU may be overcommitted: it is shared in proportion when it is short, and nobody is killed for it."""
LARGEST_JOB_COUNT: Final = 1_000
"""Jobs at a time, finished ones included: a loop that creates them would otherwise fill the control plane's store."""


def tenancy(blueprint: Blueprint, around: Surroundings, *, registry: str) -> list[Manifest]:
    """Every object of the tenancy, in an order in which they can be created: what the cluster shares, then namespaces.

    ``registry``: host and prefix of the account's repositories, the only source of tenants' images.
    """
    version = blueprint.cluster.kubernetes_version
    tenants = sorted(blueprint.tenants, key=lambda tenant: tenant.name)
    return [
        *priority_classes(),
        *cluster_roles(tenants),
        *tenant_admission(registry),
        platform_namespace(PLATFORM_NAMESPACE, version),
        *platform_policies(around),
        platform_namespace(OBSERVABILITY_NAMESPACE, version),
        *observability_policies(around),
        *(made for tenant in tenants for made in tenant_objects(tenant, around, kubernetes_version=version)),
    ]


def tenant_objects(tenant: Tenant, around: Surroundings, *, kubernetes_version: str) -> list[Manifest]:
    """One tenant's objects, its namespace first."""
    namespace = tenant_namespace(tenant.name)
    return [
        _namespace(tenant, kubernetes_version),
        *tenant_policies(namespace, around),
        _quota(tenant),
        _reserved_priorities(tenant),
        _limits(tenant),
        _account(namespace, WORKBENCH_ACCOUNT),
        _account(namespace, AUTOMATION_ACCOUNT),
        *tenant_bindings(tenant),
    ]


def tenant_settings(tenant: Tenant, *, region: str, buckets: Mapping[str, Any], key_arn: Any) -> Manifest:
    """Where a tenant's data is and the key that it must name when it writes, under the names that the runtime reads.

    ``buckets``: domain -> name; of those in ``BUCKETS`` only.
    """
    return manifest(
        "v1",
        "ConfigMap",
        SETTINGS,
        namespace=tenant_namespace(tenant.name),
        labels=labels(SETTINGS, "tenancy"),
        data={
            "AWS_REGION": region,
            "FALAJ_AWS_REGION": region,
            "FALAJ_KMS_KEY_ARN": key_arn,
            "FALAJ_TENANT_PREFIX": tenant_prefix(tenant.name),
            **{f"FALAJ_{domain.upper()}_BUCKET": buckets[domain] for domain in BUCKETS},
        },
    )


def tenant_prefix(tenant: str) -> str:
    """The prefix under which a tenant's objects lie in every bucket.

    It ends with a slash, or the tenant ``risk`` would reach the objects of ``risk-2``.
    """
    return f"tenants/{tenant}/"


def platform_namespace(name: str, kubernetes_version: str) -> Manifest:
    """A namespace of the platform's own services.  What needs the node itself belongs into ``kube-system``."""
    return manifest("v1", "Namespace", name, labels=labels(name, "tenancy") | pod_security(kubernetes_version))


def pod_security(kubernetes_version: str) -> dict[str, str]:
    """Labels that enforce, audit and warn of the standard ``restricted`` as of one Kubernetes version.

    The version is pinned, so that an upgrade of the control plane cannot start to refuse pods that ran before.
    """
    prefix = "pod-security.kubernetes.io"
    return {
        f"{prefix}/{mode}{suffix}": value
        for mode in ("enforce", "audit", "warn")
        for suffix, value in (("", "restricted"), ("-version", f"v{kubernetes_version}"))
    }


def _namespace(tenant: Tenant, kubernetes_version: str) -> Manifest:
    return manifest(
        "v1",
        "Namespace",
        tenant_namespace(tenant.name),
        labels=labels(tenant_namespace(tenant.name), "tenancy", data_class=tenant.data_class.value)
        | {TENANT_LABEL: tenant.name}
        | pod_security(kubernetes_version),
        # A label cannot hold an address.
        annotations={f"{LABEL_PREFIX}/owner": tenant.owner_email},
    )


def _quota(tenant: Tenant) -> Manifest:
    cpu, memory, storage = tenant.cpu_quota_vcpu, f"{tenant.memory_quota_gib}Gi", f"{tenant.storage_quota_gib}Gi"
    return manifest(
        "v1",
        "ResourceQuota",
        QUOTA,
        namespace=tenant_namespace(tenant.name),
        labels=labels(QUOTA, "tenancy"),
        spec={
            "hard": {
                "requests.cpu": str(cpu),
                "limits.cpu": str(cpu * CPU_LIMIT_PER_REQUEST),
                "requests.memory": memory,
                "limits.memory": memory,
                f"requests.{GPU_RESOURCE}": str(tenant.gpu_quota),
                "pods": str(cpu * PODS_PER_VCPU),
                "count/jobs.batch": str(LARGEST_JOB_COUNT),
                "requests.storage": storage,
                # Both open a port of the network to a pod that nobody else decided to open.
                "services.loadbalancers": "0",
                "services.nodeports": "0",
            }
        },
    )


def _reserved_priorities(tenant: Tenant) -> Manifest:
    """No pod of the tenant may push aside what is more urgent than the tenant's own class."""
    expression = {
        "scopeName": "PriorityClass",
        "operator": "In",
        "values": list(classes_above(tenant.queue_priority)),
    }
    return manifest(
        "v1",
        "ResourceQuota",
        RESERVED_PRIORITIES,
        namespace=tenant_namespace(tenant.name),
        labels=labels(RESERVED_PRIORITIES, "tenancy"),
        spec={"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [expression]}},
    )


def _limits(tenant: Tenant) -> Manifest:
    claim = {
        "type": "PersistentVolumeClaim",
        "min": {"storage": "1Gi"},
        "max": {"storage": f"{tenant.storage_quota_gib}Gi"},
    }
    container = {"type": "Container", "defaultRequest": dict(DEFAULT_REQUESTS), "default": dict(DEFAULT_LIMITS)}
    return manifest(
        "v1",
        "LimitRange",
        LIMITS,
        namespace=tenant_namespace(tenant.name),
        labels=labels(LIMITS, "tenancy"),
        spec={"limits": [container, claim]},
    )


def _account(namespace: str, name: str) -> Manifest:
    """A service account whose pods get no token of the Kubernetes API unless they ask for one themselves."""
    return manifest(
        "v1",
        "ServiceAccount",
        name,
        namespace=namespace,
        labels=labels(name, "tenancy"),
        automountServiceAccountToken=False,
    )
