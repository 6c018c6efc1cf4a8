"""NVIDIA's device plugin: what makes a node's GPUs a resource that pods ask for, whole or shared.

One profile for each way in which a blueprint's pools divide their GPUs (``GpuSharing``): ``whole``, ``time-sliced-N``
and ``mps-N``.  A pool's nodes carry its name in the label ``nvidia.com/device-plugin.config``, and one DaemonSet for
each profile finds them by it.  NVIDIA's chart has a single DaemonSet with a sidecar that watches the label of its node,
so that it may change; the label of a pool's nodes never does, and without the sidecar nothing here needs a token.

Shared GPUs keep the name ``nvidia.com/gpu``: under another, Karpenter would not know which nodes to make for them.  It
counts a new node with its GPUs whole, so a burst makes more shared nodes than it fills; consolidation takes them back.

No MIG: the region's A10G, L4 and L40S cannot do it (NVIDIA MIG user guide, supported GPUs), and the H200s that can are
for jobs that fill eight of them.

Sources: k8s-device-plugin 0.19, README ("Shared access to GPUs") and deployments/helm.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from blueprints.schema import Blueprint, GpuSharing
from manifests.objects import LABEL_PREFIX, SYSTEM_NAMESPACE, Manifest, labels, manifest, selector
from manifests.scheduling import GPU_CONFIG_LABEL, GPU_RESOURCE, gpu_profile

NAME: Final = "nvidia-device-plugin"
MPS_NAME: Final = "nvidia-mps-server"
CONFIG_CHECKSUM: Final = f"{LABEL_PREFIX}/config-checksum"
"""On the pods, so that another configuration is another pod."""

_CONFIG_FILE: Final = "/config/config.yaml"
_DEVICE_PLUGINS: Final = "/var/lib/kubelet/device-plugins"
_MPS_ROOT: Final = "/run/nvidia/mps"
_SHARING_KEYS: Final = {"time_sliced": "timeSlicing", "mps": "mps"}


def profiles(blueprint: Blueprint) -> dict[str, GpuSharing]:
    """Profile -> how it shares, of every GPU pool of a blueprint, by name."""
    pools = (pool for pool in blueprint.node_pools if pool.purpose == "gpu")
    return dict(sorted({gpu_profile(pool): pool.gpu_sharing for pool in pools}.items()))


def gpu_objects(blueprint: Blueprint, *, image: Any) -> list[Manifest]:
    """The configuration, then the DaemonSets of each profile; nothing for a blueprint without GPUs.

    ``image``: reference of the device plugin's image, which also holds the control daemon of MPS.
    """
    wanted = profiles(blueprint)
    if not wanted:
        return []
    made = [
        manifest(
            "v1",
            "ConfigMap",
            NAME,
            namespace=SYSTEM_NAMESPACE,
            labels=labels(NAME, "gpu"),
            data={profile: _configuration(sharing) for profile, sharing in wanted.items()},
        )
    ]
    for profile, sharing in wanted.items():
        made.append(_device_plugin(profile, sharing, image))
        if sharing.strategy == "mps":
            made.append(_mps_server(profile, sharing, image))
    return made


def plugin_configuration(sharing: GpuSharing) -> dict[str, Any]:
    """The device plugin's configuration file."""
    made: dict[str, Any] = {"version": "v1", "flags": {"migStrategy": "none", "failOnInitError": True}}
    if sharing.strategy != "whole":
        made["sharing"] = {
            _SHARING_KEYS[sharing.strategy]: {
                # Two shares may be of one GPU, and are then no faster than one: who asks for two is told so.
                "failRequestsGreaterThanOne": True,
                "renameByDefault": False,
                "resources": [{"name": GPU_RESOURCE, "replicas": sharing.replicas}],
            }
        }
    return made


def _configuration(sharing: GpuSharing) -> str:
    return json.dumps(plugin_configuration(sharing), indent=2, sort_keys=True) + "\n"


def _device_plugin(profile: str, sharing: GpuSharing, image: Any) -> Manifest:
    shared_memory = sharing.strategy == "mps"
    mounts = [{"name": "device-plugins", "mountPath": _DEVICE_PLUGINS}]
    volumes = [{"name": "device-plugins", "hostPath": {"path": _DEVICE_PLUGINS, "type": "Directory"}}]
    environment = _environment()
    if shared_memory:
        mounts += _mps_mounts()
        volumes += _mps_volumes()
        environment["MPS_ROOT"] = _MPS_ROOT
    container = {
        "name": "device-plugin",
        "image": image,
        "command": ["nvidia-device-plugin"],
        "env": _variables(environment),
        "resources": _resources("20m", "64Mi"),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [*mounts, _CONFIG_MOUNT],
    }
    return _daemon_set(f"{NAME}-{profile}", profile, sharing, volumes, containers=[container])


def _mps_server(profile: str, sharing: GpuSharing, image: Any) -> Manifest:
    """The process through which the pods of a node share its GPUs.

    It is privileged, as NVIDIA ships it: it mounts the memory that its clients share, and sets the mode of the GPUs.
    """
    privileged = {"privileged": True}
    resources = _resources("20m", "128Mi")
    mount = {
        "name": "shared-memory",
        "image": image,
        "command": ["mps-control-daemon", "mount-shm"],
        "resources": resources,
        "securityContext": privileged,
        "volumeMounts": [{"name": "mps-root", "mountPath": "/mps", "mountPropagation": "Bidirectional"}],
    }
    server = {
        "name": "mps-server",
        "image": image,
        "command": ["mps-control-daemon"],
        "env": _variables(_environment()),
        "resources": resources,
        "securityContext": privileged,
        "volumeMounts": [*_mps_mounts(), _CONFIG_MOUNT],
    }
    name = f"{MPS_NAME}-{profile}"
    return _daemon_set(name, profile, sharing, _mps_volumes(), containers=[server], initContainers=[mount])


_CONFIG_MOUNT: Final = {"name": "config", "mountPath": "/config", "readOnly": True}


def _environment() -> dict[str, str]:
    return {
        "CONFIG_FILE": _CONFIG_FILE,
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
        "NVIDIA_VISIBLE_DEVICES": "all",
    }


def _variables(environment: dict[str, str]) -> list[dict[str, Any]]:
    node = {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    return [node, *({"name": name, "value": value} for name, value in sorted(environment.items()))]


def _resources(cpu: str, memory: str) -> dict[str, Any]:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def _mps_mounts() -> list[dict[str, Any]]:
    return [{"name": "mps-shm", "mountPath": "/dev/shm"}, {"name": "mps-root", "mountPath": "/mps"}]  # noqa: S108


def _mps_volumes() -> list[dict[str, Any]]:
    return [
        {"name": "mps-root", "hostPath": {"path": _MPS_ROOT, "type": "DirectoryOrCreate"}},
        {"name": "mps-shm", "hostPath": {"path": f"{_MPS_ROOT}/shm"}},
    ]


def _daemon_set(
    name: str, profile: str, sharing: GpuSharing, volumes: Sequence[dict[str, Any]], **containers: Any
) -> Manifest:
    checksum = hashlib.sha256(_configuration(sharing).encode()).hexdigest()[:16]
    config = {"name": NAME, "items": [{"key": profile, "path": "config.yaml"}]}
    return manifest(
        "apps/v1",
        "DaemonSet",
        name,
        namespace=SYSTEM_NAMESPACE,
        labels=labels(name, "gpu"),
        spec={
            "selector": {"matchLabels": selector(name)},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
            "template": {
                "metadata": {"labels": labels(name, "gpu"), "annotations": {CONFIG_CHECKSUM: checksum}},
                "spec": {
                    "automountServiceAccountToken": False,
                    "priorityClassName": "system-node-critical",
                    "nodeSelector": {GPU_CONFIG_LABEL: profile},
                    "tolerations": [{"operator": "Exists"}],
                    **containers,
                    "volumes": [*volumes, {"name": "config", "configMap": config}],
                },
            },
        },
    )
