"""What every service of the platform is made of: account, settings, Deployment, Service, budget, autoscaler.

One description (``Service``) becomes the same objects for each of them, so that a rule such as "no service without a
disruption budget" is kept in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from blueprints.schema import Blueprint
from blueprints.sizing import TARGET_UTILISATION
from manifests import images, priorities
from manifests.images import Images
from manifests.network_policies import TENANT_FACING
from manifests.objects import PLATFORM_NAMESPACE, Manifest, labels, manifest, selector
from manifests.pods import (
    CONSUMER_PROBES,
    DRAIN_SECONDS,
    HTTP_PORT,
    METRICS_PORT,
    Container,
    Probes,
    drain,
    pod_template,
    secret_provider_class,
)
from manifests.releases.sizes import ServiceSize, survives_a_zone
from manifests.scheduling import interruptible, on_demand, spread_over_zones

CONTRACT: Final = "project:CONTRACT"
FEATURES: Final = "project:FEATURES"
"""What the platform image knows of a team's project: data contract and feature views of its module ``project``."""
SERVE_GRACE_SECONDS: Final = DRAIN_SECONDS + 20
"""From the signal to the kill: the drain, and the longest request."""
CONSUME_GRACE_SECONDS: Final = 60
"""Enough to finish and record a micro-batch."""
_SERVER_PROBES: Final = Probes()


@dataclass(frozen=True)
class Inputs:
    """What only a deployment knows of a service; every value is put in its place and never looked into.

    ``settings``: environment variable -> value, none of them secret.  ``checksum``: changes with the settings.
    ``secrets``: text of ``manifests.pods.secret_objects``, None for a service that needs none.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    checksum: Any = None
    secrets: Any = None


@dataclass(frozen=True)
class Service:
    """A long-running service: one container, any number of replicas."""

    name: str
    component: str
    command: tuple[str, ...]
    size: ServiceSize
    numbered: bool = False
    """Whether replicas share work by number: a StatefulSet without volumes, whose pods know theirs as ``POD_INDEX``."""
    serves: bool = True
    """Whether it answers HTTP; otherwise it consumes a queue or a stream and is probed at its exporter."""
    tenant_facing: bool = False
    """Whether pods of tenants may call it."""
    probes: Probes = _SERVER_PROBES
    files: Mapping[str, str] = field(default_factory=dict)
    """Mount path -> ConfigMap whose keys become files that are renewed while the pod runs."""
    kubernetes_token: bool = False
    priority_class: str = priorities.PLATFORM_CRITICAL
    scratch_mib: int = 256


def service_manifests(blueprint: Blueprint, service: Service, images_at_hand: Images, inputs: Inputs) -> list[Manifest]:
    """The objects of a service, in the order in which they can be applied.  Raises ImageError without a digest."""
    marks = labels(service.name, service.component)
    made = [service_account(service.name, service.component)]
    if inputs.settings:
        made.append(config_map(service.name, service.component, inputs.settings))
    if inputs.secrets is not None:
        made.append(
            secret_provider_class(
                service.name,
                inputs.secrets,
                namespace=PLATFORM_NAMESPACE,
                component=service.component,
                region=blueprint.region,
            )
        )
    if service.serves:
        made.append(_network_service(service, marks))
    made.append(_workload(blueprint, service, images_at_hand, inputs, marks))
    if service.size.replicas > 1:
        made.append(disruption_budget(service.name, service.component))
    if service.size.scales:
        made.append(_autoscaler(service, marks))
    return made


def service_account(name: str, component: str) -> Manifest:
    """The account whose name Pod Identity knows (``components.workloads``); its token is mounted nowhere by itself."""
    return manifest(
        "v1",
        "ServiceAccount",
        name,
        namespace=PLATFORM_NAMESPACE,
        labels=labels(name, component),
        automountServiceAccountToken=False,
    )


def config_map(name: str, component: str, data: Mapping[str, Any]) -> Manifest:
    """Settings or files."""
    return manifest(
        "v1",
        "ConfigMap",
        name,
        namespace=PLATFORM_NAMESPACE,
        labels=labels(name, component),
        data=dict(sorted(data.items())),
    )


def disruption_budget(name: str, component: str) -> Manifest:
    """One replica may be moved at a time; one that is not ready may always be."""
    return manifest(
        "policy/v1",
        "PodDisruptionBudget",
        name,
        namespace=PLATFORM_NAMESPACE,
        labels=labels(name, component),
        spec={
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector(name)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    )


def scheduled_job(
    name: str,
    component: str,
    image: str,
    *,
    command: tuple[str, ...],
    before: tuple[str, ...] = (),
    size: ServiceSize,
    schedule: str,
    account: str,
    inputs: Inputs,
    deadline_seconds: int,
    config: tuple[str, ...] = (),
    scratch_mib: int = 4_096,
) -> Manifest:
    """A job that a clock starts (``schedule``: cron, UTC), one run at a time; it stands being moved to another node.

    ``before``: a command that must have succeeded first.
    """
    container = Container(
        name=name,
        image=image,
        command=command,
        resources=size.resources,
        ports={"metrics": METRICS_PORT},
        config=config,
        environment={"FALAJ_METRICS_PORT": str(METRICS_PORT)},
    )
    first = replace(container, name=f"{name}-first", command=before, ports={})
    template = pod_template(
        container,
        before=[first] if before else [],
        pod_labels=labels(name, component),
        service_account=account,
        scheduling=interruptible(),
        config_checksum=inputs.checksum,
        grace_seconds=CONSUME_GRACE_SECONDS,
        scratch_mib=scratch_mib,
        restart_policy="Never",
        priority_class=priorities.BATCH,
    )
    return manifest(
        "batch/v1",
        "CronJob",
        name,
        namespace=PLATFORM_NAMESPACE,
        labels=labels(name, component),
        spec={
            "schedule": schedule,
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            # A controller that was away for long must not start yesterday's runs one after the other.
            "startingDeadlineSeconds": 600,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "metadata": {"labels": labels(name, component)},
                "spec": {
                    "activeDeadlineSeconds": deadline_seconds,
                    "backoffLimit": 3,
                    "podFailurePolicy": {
                        "rules": [
                            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
                        ]
                    },
                    "ttlSecondsAfterFinished": 86_400,
                    "template": template,
                },
            },
        },
    )


def _workload(
    blueprint: Blueprint, service: Service, images_at_hand: Images, inputs: Inputs, marks: Mapping[str, str]
) -> Manifest:
    match = selector(service.name)
    container = Container(
        name=service.name,
        image=images_at_hand.reference(images.PLATFORM),
        command=service.command,
        resources=service.size.resources,
        ports={"http": HTTP_PORT, "metrics": METRICS_PORT} if service.serves else {"metrics": METRICS_PORT},
        config=(service.name,) if inputs.settings else (),
        environment={"FALAJ_METRICS_PORT": str(METRICS_PORT)},
        files=service.files,
        probes=service.probes if service.serves else CONSUMER_PROBES,
        drain_command=drain() if service.serves else (),
    )
    template = pod_template(
        container,
        pod_labels={**marks, **(TENANT_FACING if service.tenant_facing else {})},
        service_account=service.name,
        scheduling=on_demand(),
        spread=spread_over_zones(match, hard=survives_a_zone(blueprint) and service.size.replicas > 1),
        config_checksum=inputs.checksum,
        grace_seconds=SERVE_GRACE_SECONDS if service.serves else CONSUME_GRACE_SECONDS,
        kubernetes_token=service.kubernetes_token,
        secret_class=service.name if inputs.secrets is not None else "",
        scratch_mib=service.scratch_mib,
        priority_class=service.priority_class,
    )
    spec: dict[str, Any] = {
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": match},
        "template": template,
    }
    if not service.size.scales:
        # Otherwise the number belongs to the autoscaler, whose least is what the size says.
        spec["replicas"] = service.size.replicas
    if service.numbered:
        spec |= {"serviceName": service.name, "podManagementPolicy": "Parallel"}
        # First in the list: the command refers to it.
        number = {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}}
        template["spec"]["containers"][0]["env"].insert(0, {"name": "POD_INDEX", "valueFrom": number})
    else:
        spec |= {"progressDeadlineSeconds": 600, "strategy": _strategy(service)}
    kind = "StatefulSet" if service.numbered else "Deployment"
    return manifest("apps/v1", kind, service.name, namespace=PLATFORM_NAMESPACE, labels=marks, spec=spec)


def _strategy(service: Service) -> dict[str, Any]:
    """A server is replaced before it ends, a consumer after: two readers of one stream would fence each other off."""
    if not service.serves:
        return {"type": "Recreate"}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def _network_service(service: Service, marks: Mapping[str, str]) -> Manifest:
    return manifest(
        "v1",
        "Service",
        service.name,
        namespace=PLATFORM_NAMESPACE,
        labels=marks,
        spec={
            "type": "ClusterIP",
            "selector": selector(service.name),
            "ports": [{"name": "http", "port": HTTP_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    )


def _autoscaler(service: Service, marks: Mapping[str, str]) -> Manifest:
    target = {"type": "Utilization", "averageUtilization": round(TARGET_UTILISATION * 100)}
    return manifest(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        service.name,
        namespace=PLATFORM_NAMESPACE,
        labels=marks,
        spec={
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": service.name},
            "minReplicas": service.size.replicas,
            "maxReplicas": service.size.most_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            # Up at once, down after five quiet minutes: a load that swings would otherwise move pods all day.
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
        },
    )
