"""The pod that every workload of the platform starts from: Pod Security ``restricted``, and a little more.

Not root, the container runtime's seccomp profile, no capability, a root file system that nobody writes to, no token of
the Kubernetes API unless asked for, probes, requests and limits.  Settings come from ConfigMaps by ``envFrom``; secrets
are files that the secrets store's driver mounts, because an environment variable is seen by every child process and
every crash report.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from manifests.objects import LABEL_PREFIX, Manifest, labels, manifest
from manifests.scheduling import GPU_RESOURCE

USER_ID: Final = 65532
"""User and group of the images' processes; the number that distroless images call ``nonroot``."""
SCRATCH_PATH: Final = "/tmp"  # noqa: S108 - a volume of the pod's own
SHARED_MEMORY_PATH: Final = "/dev/shm"  # noqa: S108 - likewise
CHECKSUM_ANNOTATION: Final = f"{LABEL_PREFIX}/config-checksum"
"""Changes with the settings, so that pods are replaced: a process reads its environment once."""
SECRETS_PATH: Final = "/var/run/secrets/falaj"
SECRETS_STORE_API: Final = "secrets-store.csi.x-k8s.io/v1"
SECRETS_STORE_DRIVER: Final = "secrets-store.csi.k8s.io"

HTTP_PORT: Final = 8080
METRICS_PORT: Final = 9090
"""Ports of every service; named ``http`` and ``metrics``, and found by those names."""
LISTEN_ADDRESS: Final = "$(FALAJ_LISTEN_ADDRESS)"
"""The pod's own address, in a command; as a setting every process has it."""

DRAIN_SECONDS: Final = 10
"""A pod goes on serving this long after it was told to end: until every proxy has heard that it is gone."""
LIVENESS_PERIOD_SECONDS: Final = 10
READINESS_PERIOD_SECONDS: Final = 5
STARTUP_PERIOD_SECONDS: Final = 2

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_ABSOLUTE_PATH: Final = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")


@dataclass(frozen=True)
class Resources:
    """What a container asks for and may take.

    Its limits: memory ``memory_limit_mib`` (never below the request), cores ``cpu_limit_millicores``; 0 = as much as
    requested.  ``devices`` are extended resources such as ``vpc.amazonaws.com/efa``, whose requests are their limits.
    """

    cpu_millicores: int
    memory_mib: int
    cpu_limit_millicores: int = 0
    memory_limit_mib: int = 0
    gpus: int = 0
    devices: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("cpu", "memory"):
            unit = "millicores" if name == "cpu" else "mib"
            request, limit = getattr(self, f"{name}_{unit}"), getattr(self, f"{name}_limit_{unit}")
            if request < 1 or (limit and limit < request):
                raise ValueError(
                    f"{name}: request {request} {unit}, limit {limit or request}; give a request of at least 1 and a "
                    "limit that is not below it"
                )

    def requirements(self) -> dict[str, Any]:
        """The ``resources`` of a container."""
        devices = {name: str(count) for name, count in sorted(self.devices.items()) if count}
        if self.gpus:
            devices[GPU_RESOURCE] = str(self.gpus)
        return {
            "requests": {"cpu": f"{self.cpu_millicores}m", "memory": f"{self.memory_mib}Mi", **devices},
            "limits": {
                "cpu": f"{self.cpu_limit_millicores or self.cpu_millicores}m",
                "memory": f"{self.memory_limit_mib or self.memory_mib}Mi",
                **devices,
            },
        }


@dataclass(frozen=True)
class Probes:
    """Where the kubelet asks.  ``live``: the process is sound; ``ready``: it can answer; both paths on ``port``."""

    live: str = "/health/live"
    """Empty: it is sound if the port takes connections.  What asks a database has no place here: restarts mend none."""
    ready: str = "/health/ready"
    port: str = "http"
    startup_seconds: int = 60
    """How long a start may take before the container is restarted: imports, weights, first connections."""

    def fields(self) -> dict[str, Any]:
        """The three probes of a container."""
        return {
            "startupProbe": self._probe(
                self.live, STARTUP_PERIOD_SECONDS, max(1, self.startup_seconds // STARTUP_PERIOD_SECONDS)
            ),
            "livenessProbe": self._probe(self.live, LIVENESS_PERIOD_SECONDS, 3),
            "readinessProbe": self._probe(self.ready, READINESS_PERIOD_SECONDS, 2),
        }

    def _probe(self, path: str, period_seconds: int, failures: int) -> dict[str, Any]:
        asked = {"httpGet": {"path": path, "port": self.port}} if path else {"tcpSocket": {"port": self.port}}
        return {
            **asked,
            "periodSeconds": period_seconds,
            "timeoutSeconds": 2,
            "failureThreshold": failures,
        }


CONSUMER_PROBES: Final = Probes(live="/metrics", ready="/metrics", port="metrics")
"""Of a process that serves nobody: it is sound if its exporter answers."""


@dataclass(frozen=True)
class Container:
    """The one container of a pod.

    ``ports``: name -> number.  ``config``: ConfigMaps whose keys become environment variables.  ``environment``: plain
    values that are the same everywhere; never a secret.  ``files``: mount path -> name of a ConfigMap whose keys become
    files there, which the kubelet renews while the pod runs.
    """

    name: str
    image: str
    command: tuple[str, ...]
    resources: Resources
    arguments: tuple[str, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    config: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    probes: Probes | None = None
    drain_command: tuple[str, ...] = ()
    """Runs before the process is told to end; ``drain()`` for what serves."""


def drain() -> tuple[str, ...]:
    """Keeps a server answering while proxies take it off their lists."""
    return ("sleep", str(DRAIN_SECONDS))


def pod_template(
    container: Container,
    *,
    pod_labels: Mapping[str, str],
    service_account: str,
    scheduling: Mapping[str, Any],
    before: Sequence[Container] = (),
    spread: Sequence[Mapping[str, Any]] = (),
    config_checksum: Any = None,
    grace_seconds: int = 30,
    kubernetes_token: bool = False,
    secret_class: str = "",
    scratch_mib: int = 256,
    shared_memory_mib: int = 0,
    restart_policy: str = "",
    priority_class: str = "",
    annotations: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A hardened pod template: ``{"metadata": ..., "spec": ...}``.

    ``scheduling``: affinity and tolerations (``manifests.scheduling``).  ``before``: containers that run one after the
    other before it, on the same volumes.  ``grace_seconds``: from the signal to the
    kill; a spot node leaves 120.  ``kubernetes_token``: mounts the account's API token.  ``secret_class``: a
    SecretProviderClass whose secrets become files under ``SECRETS_PATH``.  ``scratch_mib``: size of ``/tmp``, which is
    the only place that can be written.  ``shared_memory_mib``: size of ``/dev/shm``, counted against the memory limit.
    """
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": SCRATCH_PATH}]
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {"sizeLimit": f"{scratch_mib}Mi"}}]
    if shared_memory_mib:
        mounts.append({"name": "shared-memory", "mountPath": SHARED_MEMORY_PATH})
        volumes.append(
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": f"{shared_memory_mib}Mi"}}
        )
    for path, config_map in sorted(container.files.items()):
        if not _ABSOLUTE_PATH.fullmatch(path):
            raise ValueError(
                f"mount path {path!r} of {container.name}: give an absolute path such as /etc/falaj/routes"
            )
        mounts.append({"name": config_map, "mountPath": path, "readOnly": True})
        volumes.append({"name": config_map, "configMap": {"name": config_map}})
    if secret_class:
        mounts.append({"name": "secrets", "mountPath": SECRETS_PATH, "readOnly": True})
        volumes.append(
            {
                "name": "secrets",
                "csi": {
                    "driver": SECRETS_STORE_DRIVER,
                    "readOnly": True,
                    "volumeAttributes": {"secretProviderClass": secret_class},
                },
            }
        )
    marks = {**(annotations or {}), **({CHECKSUM_ANNOTATION: config_checksum} if config_checksum is not None else {})}
    spec: dict[str, Any] = {
        "serviceAccountName": service_account,
        "automountServiceAccountToken": kubernetes_token,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": grace_seconds,
        "containers": [_container(container, mounts)],
        "volumes": volumes,
        **{key: value for key, value in scheduling.items() if value},
    }
    if before:
        spec["initContainers"] = [_container(each, mounts) for each in before]
    if spread:
        spec["topologySpreadConstraints"] = [dict(constraint) for constraint in spread]
    if restart_policy:
        spec["restartPolicy"] = restart_policy
    if priority_class:
        spec["priorityClassName"] = priority_class
    metadata: dict[str, Any] = {"labels": dict(pod_labels)}
    if marks:
        metadata["annotations"] = marks
    return {"metadata": metadata, "spec": spec}


def secret_provider_class(name: str, objects: Any, *, namespace: str, component: str, region: str) -> Manifest:
    """Secrets Manager's secrets as files, read with the pod's own Pod Identity role.

    ``objects``: the text of ``secret_objects``, or a value that becomes it once the ARNs are known.
    """
    return manifest(
        SECRETS_STORE_API,
        "SecretProviderClass",
        name,
        namespace=namespace,
        labels=labels(name, component),
        spec={"provider": "aws", "parameters": {"usePodIdentity": "true", "region": region, "objects": objects}},
    )


def secret_objects(arns: Mapping[str, str]) -> str:
    """What the AWS provider of the secrets store reads, as YAML (JSON is YAML): file name -> secret ARN.

    Raises ValueError for a file name that would leave the folder.
    """
    for name in arns:
        if not _FILE_NAME.fullmatch(name):
            raise ValueError(f"secret file {name!r}: allowed: letters, digits, dots, hyphens and underscores")
    return json.dumps(
        [{"objectName": arn, "objectType": "secretsmanager", "objectAlias": name} for name, arn in sorted(arns.items())]
    )


def _container(container: Container, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": container.name,
        "image": container.image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(container.command),
        "resources": container.resources.requirements(),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        "env": [
            # Servers bind the pod's own address: reachable for the cluster, and still refused by anything that only
            # trusts loopback.
            {"name": "FALAJ_LISTEN_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "HOME", "value": SCRATCH_PATH},
            *({"name": name, "value": value} for name, value in sorted(container.environment.items())),
        ],
        "volumeMounts": mounts,
    }
    if container.arguments:
        made["args"] = list(container.arguments)
    if container.ports:
        made["ports"] = [
            {"name": name, "containerPort": number, "protocol": "TCP"} for name, number in container.ports.items()
        ]
    if container.config:
        made["envFrom"] = [{"configMapRef": {"name": name}} for name in container.config]
    if container.probes:
        made |= container.probes.fields()
    if container.drain_command:
        made["lifecycle"] = {"preStop": {"exec": {"command": list(container.drain_command)}}}
    return made
