"""The charts of a blueprint in the order of their installation, with values: pure.

Charts stay close to their defaults.  What is set: every image from the account's registry, small requests, the system
nodes, and nothing that calls out of the region.  What a test adds up is what is installed (``chart_parts``).
"""

from __future__ import annotations

from typing import Any

from blueprints.region import catalogue
from blueprints.schema import Blueprint
from components.chart_parts import ChartParts, ChartRelease, resources
from components.endpoint_policies import EKS_IMAGE_ACCOUNTS
from components.versions import EFA_PLUGIN_VERSION, pin
from manifests.objects import OBSERVABILITY_NAMESPACE, SYSTEM_NAMESPACE
from manifests.observability.alerts import ALERTMANAGER_CONFIGURATION
from manifests.scheduling import (
    CAPACITY_LABEL,
    GANG_TAINT,
    GPU_TAINT,
    POOL_LABEL,
    PURPOSE_LABEL,
    SPOT_TAINT,
    ZONE_LABEL,
    toleration,
)

CERT_MANAGER_NAMESPACE = "cert-manager"
SELDON_NAMESPACE = "seldon-system"
TRAINER_NAMESPACE = "kubeflow-system"

PROMETHEUS_BASE_MIB = 128
PROMETHEUS_NODE_MIB = 8
"""Estimate: a node with its pods brings about 1,500 series at 60 s, and the head of Prometheus holds each in about
3 KiB, with half as much again for queries and rules."""
RETENTION_DAYS = 15
RETENTION_GIB = 10
"""Of one node, and more than fifteen days of it; what is older has been judged already."""

_SYSTEM = {PURPOSE_LABEL: "system"}
_EVERYWHERE = [{"operator": "Exists"}]
_PROVIDERS_FOLDER = "/var/run/secrets-store-csi-providers"


def chart_releases(
    blueprint: Blueprint, *, registry: str, cluster_name: Any, interruption_queue: Any = ""
) -> tuple[ChartRelease, ...]:
    """Return the charts of a blueprint, each after those that it needs.

    ``registry``: host and prefix of the account's repositories, as in ``manifests.images``.  ``interruption_queue``:
    name of the queue on which spot interruptions arrive.
    """
    made = _Maker(blueprint, registry)
    releases = [
        # Declares ServiceMonitor, of which the others bring some.
        made.prometheus(),
        ChartRelease("karpenter-crd", SYSTEM_NAMESPACE, {}),
        made.karpenter(cluster_name, interruption_queue),
        # Signs the certificates of the webhooks that follow.
        made.cert_manager(),
        made.secrets_store(),
        made.secrets_provider(),
        made.seldon(),
    ]
    if any(pool.purpose == "gpu" for pool in blueprint.node_pools):
        releases.append(made.dcgm_exporter())
    if has_fabric_adapters(blueprint):
        releases.append(made.efa_plugin())
    if wants_trainer(blueprint):
        releases.append(made.trainer())
    return tuple(releases)


def wants_trainer(blueprint: Blueprint) -> bool:
    """Whether Kubeflow Trainer is installed: where a job has several workers; a single one is an ordinary Job."""
    return blueprint.training.gpus_per_job > 1


def has_fabric_adapters(blueprint: Blueprint) -> bool:
    """Whether a GPU pool has nodes with EFA, which gangs ask for (``manifests.efa``)."""
    region = catalogue(blueprint.region)
    types = (name for pool in blueprint.node_pools if pool.purpose == "gpu" for name in pool.instance_types)
    return any(region.instance(name).efa for name in types)


class _Maker:
    def __init__(self, blueprint: Blueprint, registry: str) -> None:
        self._blueprint = blueprint
        self._redundant = blueprint.network.zone_count >= 3
        """Whether controllers run twice: where the loss of a zone may not stop them."""
        self._parts = ChartParts(
            registry, system_nodes=sum(pool.desired_nodes for pool in blueprint.node_pools if pool.purpose == "system")
        )

    # -- charts --------------------------------------------------------------------------------------------------------

    def karpenter(self, cluster_name: Any, interruption_queue: Any) -> ChartRelease:
        replicas = 2 if self._redundant else 1
        image = pin("image", "karpenter-controller")
        size = (1_000, 1_024) if self._redundant else (100, 192)
        return self._parts.release(
            "karpenter",
            SYSTEM_NAMESPACE,
            {
                "replicas": replicas,
                "nodeSelector": _SYSTEM,
                "serviceMonitor": {"enabled": True},
                "controller": {
                    "image": {**self._parts.image("karpenter-controller"), "digest": image.digest},
                    "resources": self._parts.ask("karpenter", *size, pods=replicas),
                },
                "settings": {
                    "clusterName": cluster_name,
                    "interruptionQueue": interruption_queue,
                    # The price list and IAM have no endpoint in the region, and no role of the platform may call the
                    # one; with this Karpenter does without both.
                    "isolatedVPC": True,
                    # A soft rule to spread is the scheduler's to follow: by default Karpenter buys a node for each
                    # replica to follow it (17 nodes where 5 hold the serving of enterprise, `falaj rehearse`).
                    "preferencePolicy": "Ignore",
                },
            },
        )

    def cert_manager(self) -> ChartRelease:
        replicas = 2 if self._redundant else 1
        parts = {
            "controller": self._parts.ask("cert-manager-controller", 10, 40, pods=replicas),
            "webhook": self._parts.ask("cert-manager-webhook", 5, 24, pods=replicas),
            "cainjector": self._parts.ask("cert-manager-cainjector", 10, 48, pods=replicas),
        }
        monitor = {"enabled": True, "servicemonitor": {"enabled": True}}
        return self._parts.release(
            "cert-manager",
            CERT_MANAGER_NAMESPACE,
            {
                "global": {"nodeSelector": _SYSTEM},
                "crds": {"enabled": True, "keep": True},
                "replicaCount": replicas,
                "image": self._parts.image("cert-manager-controller"),
                "resources": parts["controller"],
                "prometheus": monitor,
                # Named in the controller's arguments even where no issuer speaks ACME.
                "acmesolver": {"image": self._parts.image("cert-manager-acmesolver")},
                # Runs once to see that the other three answer, from one more image.
                "startupapicheck": {"enabled": False},
                **{
                    part: {
                        "replicaCount": replicas,
                        "image": self._parts.image(f"cert-manager-{part}"),
                        "resources": parts[part],
                    }
                    for part in ("webhook", "cainjector")
                },
            },
        )

    def secrets_store(self) -> ChartRelease:
        return self._parts.release(
            "secrets-store-csi-driver",
            SYSTEM_NAMESPACE,
            {
                # A secret that is also a Kubernetes Secret lies in etcd and is read by whoever may list Secrets.
                "syncSecret": {"enabled": False},
                "enableSecretRotation": True,
                "rotationPollInterval": "1h",
                "linux": {
                    "image": self._parts.image("secrets-store-driver"),
                    "crds": {"image": self._parts.image("secrets-store-driver-crds")},
                    "registrarImage": self._parts.image("csi-node-driver-registrar"),
                    "livenessProbeImage": self._parts.image("csi-livenessprobe"),
                    "driver": {"resources": self._parts.ask_per_node("secrets-store-driver", 10, 32)},
                    "registrar": {"resources": self._parts.ask_per_node("csi-node-driver-registrar", 5, 16)},
                    "livenessProbe": {"resources": self._parts.ask_per_node("csi-livenessprobe", 5, 16)},
                    "providersDir": _PROVIDERS_FOLDER,
                    "tolerations": _EVERYWHERE,
                },
            },
        )

    def secrets_provider(self) -> ChartRelease:
        return self._parts.release(
            "secrets-store-csi-driver-provider-aws",
            SYSTEM_NAMESPACE,
            {
                "image": self._parts.image("secrets-store-provider-aws"),
                "providerVolume": _PROVIDERS_FOLDER,
                "resources": self._parts.ask_per_node("secrets-store-provider-aws", 10, 32),
                "tolerations": _EVERYWHERE,
                # Installed before this one, from the mirror; the chart would fetch it from its own address.
                "secrets-store-csi-driver": {"install": False},
            },
        )

    def prometheus(self) -> ChartRelease:
        """Operator, Prometheus, Alertmanager and the exporters of nodes and objects; neither Grafana nor any rule."""
        absent = {"enabled": False}
        replicas = 2 if self._redundant else 1
        nodes = sum(pool.max_nodes for pool in self._blueprint.node_pools)
        memory_mib = PROMETHEUS_BASE_MIB + PROMETHEUS_NODE_MIB * nodes
        cpu_millicores = max(100, 4 * nodes)
        spread = {"podAntiAffinity": "hard" if self._redundant else "", "podAntiAffinityTopologyKey": ZONE_LABEL}
        everything = {
            f"{kind}SelectorNilUsesHelmValues": False
            for kind in ("podMonitor", "probe", "rule", "scrapeConfig", "serviceMonitor")
        }
        return self._parts.release(
            "kube-prometheus-stack",
            OBSERVABILITY_NAMESPACE,
            {
                "fullnameOverride": "platform",
                "cleanPrometheusOperatorObjectNames": True,
                "crds": {"enabled": True},
                "grafana": absent,
                "defaultRules": {"create": False},
                # EKS runs these and shows their metrics in CloudWatch; from a pod they are out of reach or very many.
                **dict.fromkeys(
                    ("kubeApiServer", "kubeControllerManager", "kubeEtcd", "kubeProxy", "kubeScheduler"), absent
                ),
                "prometheusOperator": {
                    "image": self._parts.split_image("prometheus-operator"),
                    "resources": self._parts.ask("prometheus-operator", 10, 48),
                    "nodeSelector": _SYSTEM,
                    # The namespace denies what comes from outside it, the API server too.  Rules are checked before
                    # they get here, by the parser of this Prometheus.
                    "admissionWebhooks": absent,
                    "tls": absent,
                    "prometheusConfigReloader": {
                        "image": self._parts.split_image("prometheus-config-reloader"),
                        "resources": self._parts.ask("prometheus-config-reloader", 5, 16, pods=2 * replicas),
                    },
                },
                "prometheus": {
                    "serviceAccount": {"name": "prometheus"},
                    "prometheusSpec": {
                        "image": self._parts.split_image("prometheus"),
                        "version": pin("image", "prometheus").version,
                        "replicas": replicas,
                        "resources": self._parts.ask("prometheus", cpu_millicores, memory_mib, pods=replicas, limit=3),
                        "scrapeInterval": "60s",
                        "evaluationInterval": "60s",
                        "retention": f"{RETENTION_DAYS}d",
                        "retentionSize": f"{int(0.85 * _volume_gib(nodes))}GiB",
                        "storageSpec": _volume_claim(_volume_gib(nodes)),
                        "nodeSelector": _SYSTEM,
                        "enableRemoteWriteReceiver": False,
                        **everything,
                        **spread,
                    },
                },
                "alertmanager": {
                    "serviceAccount": {"name": "alertmanager"},
                    "alertmanagerSpec": {
                        "image": self._parts.split_image("alertmanager"),
                        "version": pin("image", "alertmanager").version,
                        "replicas": replicas,
                        "resources": self._parts.ask("alertmanager", 5, 24, pods=replicas),
                        "storage": _volume_claim(1),
                        "nodeSelector": _SYSTEM,
                        "alertmanagerConfiguration": {"name": ALERTMANAGER_CONFIGURATION},
                        **spread,
                    },
                },
                "kube-state-metrics": {
                    "image": self._parts.split_image("kube-state-metrics"),
                    "resources": self._parts.ask("kube-state-metrics", 10, 40),
                    "nodeSelector": _SYSTEM,
                    "metricLabelsAllowlist": [
                        f"nodes=[{POOL_LABEL},{PURPOSE_LABEL},{CAPACITY_LABEL},{ZONE_LABEL},"
                        "node.kubernetes.io/instance-type,karpenter.sh/nodepool,karpenter.sh/capacity-type]"
                    ],
                },
                "prometheus-node-exporter": {
                    # It needs the node's network and files, which the namespace of the others forbids.
                    "namespaceOverride": SYSTEM_NAMESPACE,
                    "image": self._parts.split_image("node-exporter"),
                    "resources": self._parts.ask_per_node("node-exporter", 5, 24),
                    "tolerations": _EVERYWHERE,
                },
            },
        )

    def seldon(self) -> ChartRelease:
        cpu, memory = 50, 64
        self._parts.ask("seldon-core-operator", cpu, memory)
        return self._parts.release(
            "seldon-core-operator",
            SELDON_NAMESPACE,
            {
                "image": self._parts.split_image("seldon-core-operator"),
                "executor": {"image": self._parts.split_image("seldon-core-executor")},
                "manager": {
                    "cpuRequest": f"{cpu}m",
                    "cpuLimit": "500m",
                    "memoryRequest": f"{memory}Mi",
                    "memoryLimit": f"{4 * memory}Mi",
                },
                "certManager": {"enabled": True},
                "ambassador": {"enabled": False},
                "istio": {"enabled": False},
                "usageMetrics": {"enabled": False},
            },
        )

    def dcgm_exporter(self) -> ChartRelease:
        """Runs on GPU nodes alone, of which an idle platform has none."""
        return self._parts.release(
            "dcgm-exporter",
            SYSTEM_NAMESPACE,
            {
                "image": self._parts.image("dcgm-exporter"),
                "resources": resources(100, 256, limit=2),
                "nodeSelector": {PURPOSE_LABEL: "gpu"},
                "tolerations": [toleration(taint) for taint in (GPU_TAINT, SPOT_TAINT, GANG_TAINT)],
                # Read by a PodMonitor of the platform that keeps the labels of the pod that holds the GPU.
                "serviceMonitor": {"enabled": False},
            },
        )

    def efa_plugin(self) -> ChartRelease:
        """Without it no node offers an adapter, and a gang that asks for one waits for ever."""
        region = self._blueprint.region
        registry = f"{EKS_IMAGE_ACCOUNTS[region]}.dkr.ecr.{region}.amazonaws.com"
        return self._parts.release(
            "aws-efa-k8s-device-plugin",
            SYSTEM_NAMESPACE,
            {
                "image": {"repository": f"{registry}/eks/aws-efa-k8s-device-plugin", "tag": EFA_PLUGIN_VERSION},
                "resources": resources(10, 32, limit=4),
                "nodeSelector": {PURPOSE_LABEL: "gpu"},
                "tolerations": _EVERYWHERE,
            },
        )

    def trainer(self) -> ChartRelease:
        return self._parts.release(
            "kubeflow-trainer",
            TRAINER_NAMESPACE,
            {
                "image": self._parts.split_image("trainer-controller-manager"),
                "manager": {"nodeSelector": _SYSTEM, "resources": self._parts.ask("kubeflow-trainer", 50, 128)},
                "jobset": {
                    "install": True,
                    "image": self._parts.split_image("jobset"),
                    "controller": {"nodeSelector": _SYSTEM, "resources": self._parts.ask("jobset", 50, 128)},
                },
            },
        )


def _volume_gib(nodes: int) -> int:
    return RETENTION_GIB + nodes // 4


def _volume_claim(size_gib: int) -> dict[str, Any]:
    return {
        "volumeClaimTemplate": {
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": f"{size_gib}Gi"}},
            }
        }
    }
