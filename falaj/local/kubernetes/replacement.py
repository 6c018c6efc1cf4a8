"""Which fields of an object cannot change in place, so that their change replaces it; pure.

The list is that of pulumi-kubernetes 4 (provider/pkg/provider/diff.go), so that both engines plan the same.  Fields
that it lacks and that the API server always refuses to change are added, and marked so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from falaj.engine.values import Properties
from falaj.local.kubernetes.kinds import CRD, Kind

_LABEL_SELECTOR = ("spec.selector",)
_STATEFUL_SET = (
    "spec.podManagementPolicy",
    "spec.revisionHistoryLimit",
    "spec.selector",
    "spec.serviceName",
    "spec.volumeClaimTemplates",
)
_ROLE_BINDING = ("roleRef",)
_VOLUME_SOURCES = (
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
)
_POD_FIELDS = (
    "affinity",
    "automountServiceAccountToken",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostname",
    "imagePullSecrets",
    "nodeName",
    "nodeSelector",
    "overhead",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "restartPolicy",
    "runtimeClassName",
    "schedulerName",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
    "volumes",
)
_CONTAINER_FIELDS = (
    "args",
    "command",
    "env",
    "image",
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resources",
    "securityContext",
    "stdin",
    "stdinOnce",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeDevices",
    "volumeMounts",
    "workingDir",
)

_FORCE_NEW: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("", "ConfigMap"): ("binaryData", "data"),
    ("", "PersistentVolume"): tuple(f"spec.{source}" for source in _VOLUME_SOURCES),
    ("", "PersistentVolumeClaim"): ("spec",),
    ("", "Pod"): (
        *(f"spec.{field}" for field in _POD_FIELDS),
        *(f"spec.{group}.{field}" for group in ("containers", "initContainers") for field in _CONTAINER_FIELDS),
    ),
    ("", "ResourceQuota"): ("spec.scopes",),
    ("", "Secret"): ("data", "stringData", "type"),
    ("", "Service"): ("spec.clusterIP",),
    ("apps", "DaemonSet"): _LABEL_SELECTOR,
    ("apps", "Deployment"): _LABEL_SELECTOR,
    ("apps", "ReplicaSet"): _LABEL_SELECTOR,  # added: the server refuses it
    ("apps", "StatefulSet"): _STATEFUL_SET,
    ("batch", "Job"): (
        "spec.completions",
        "spec.parallelism",
        "spec.selector",
        "spec.template",
        "spec.completionMode",  # added, with the rest: the server refuses to change them
        "spec.backoffLimitPerIndex",
        "spec.managedBy",
        "spec.podFailurePolicy",
        "spec.successPolicy",
    ),
    CRD: ("spec.group", "spec.names.kind", "spec.names.plural", "spec.scope"),  # added
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _ROLE_BINDING,
    ("rbac.authorization.k8s.io", "RoleBinding"): _ROLE_BINDING,
    ("scheduling.k8s.io", "PriorityClass"): ("preemptionPolicy", "value"),  # added
    ("storage.k8s.io", "StorageClass"): (
        "parameters",
        "provisioner",
        "reclaimPolicy",  # added, with the next
        "volumeBindingMode",
    ),
}

_DATA_HOLDERS: Final = frozenset({("", "ConfigMap"), ("", "Secret")})


def force_new_paths(
    kind: Kind, old_inputs: Properties, *, mutable_config_maps: bool, mutable_secrets: bool
) -> frozenset[str]:
    """Dotted paths, without list indices, whose change replaces an object of the kind.

    ConfigMaps and Secrets are replaced when their data changes, so that what uses them rolls over; with
    ``mutable_...`` only those marked ``immutable`` are.
    """
    key = (kind.group, kind.name)
    paths = {"metadata.name", "metadata.namespace", "kind", *_FORCE_NEW.get(key, ())}
    if key in _DATA_HOLDERS:
        immutable = old_inputs.get("immutable") is True
        mutable = mutable_config_maps if kind.name == "ConfigMap" else mutable_secrets
        if mutable and not immutable:
            paths -= {"binaryData", "data", "stringData"}
        if immutable:
            paths.add("immutable")  # it cannot be taken off
    return frozenset(paths)
