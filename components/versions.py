"""Every version that a component pins, in one place, with where it was read and when.

A version hidden in a component changes with the component; one left out changes by itself.  Here an upgrade is one line
in a diff.  The authority for an account is ``aws eks describe-addon-versions --kubernetes-version V``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, Literal


class UnsupportedVersionError(ValueError):
    """A version for which nothing is pinned here; the text lists those that are."""


ADDON_VERSIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        # Defaults of describe-addon-versions as published on 2026-10-02 (vpc-cni, coredns, kube-proxy, pod identity);
        # EBS CSI and metrics-server as run on 1.35 clusters, read 2026-11-23.
        "1.35": MappingProxyType(
            {
                "aws-ebs-csi-driver": "v1.64.0-eksbuild.1",
                "coredns": "v1.13.2-eksbuild.31",
                "eks-pod-identity-agent": "v1.3.10-eksbuild.3",
                "kube-proxy": "v1.35.3-eksbuild.29",
                "metrics-server": "v0.9.0-eksbuild.6",
                "snapshot-controller": "v8.4.0-eksbuild.1",
                "vpc-cni": "v1.22.4-eksbuild.3",
            }
        ),
        # Read 2026-11-23 from configurations of running 1.34 clusters; the EKS guide lists kube-proxy v1.34.6.
        "1.34": MappingProxyType(
            {
                "aws-ebs-csi-driver": "v1.63.0-eksbuild.1",
                "coredns": "v1.13.2-eksbuild.11",
                "eks-pod-identity-agent": "v1.3.10-eksbuild.3",
                "kube-proxy": "v1.34.6-eksbuild.25",
                "metrics-server": "v0.9.0-eksbuild.6",
                "snapshot-controller": "v8.4.0-eksbuild.1",
                "vpc-cni": "v1.22.4-eksbuild.3",
            }
        ),
    }
)
"""Kubernetes minor -> EKS add-on -> version."""

NODE_IMAGE = "al2023@v20260903"
"""Alias of the image of Karpenter's nodes: Amazon Linux 2023 for EKS, and its release.  Source: releases of
awslabs/amazon-eks-ami, which build every alias for Kubernetes 1.33 to 1.36, read 2026-11-23."""

EFA_PLUGIN_VERSION = "v0.5.20"
"""Image of the EFA device plugin in AWS's registry of the region.  Source: values of its chart v0.5.30 in
aws/eks-charts, read 2026-11-23."""

VALKEY_VERSION = "8.1"
"""ElastiCache for Valkey engine version.  Source: ElastiCache user guide, supported engines, read 2026-11-23."""
VALKEY_PARAMETER_FAMILY = "valkey8"
"""Family of the Valkey 8.x parameter groups (same page)."""


def addon_versions(kubernetes_version: str) -> Mapping[str, str]:
    """Return add-on -> version for a Kubernetes minor such as ``1.35``.  Raises UnsupportedVersionError."""
    try:
        return ADDON_VERSIONS[kubernetes_version]
    except KeyError:
        known = ", ".join(sorted(ADDON_VERSIONS))
        raise UnsupportedVersionError(
            f"cluster.kubernetes_version: no add-on versions are pinned for {kubernetes_version}; "
            f"use one of {known}, or add a row to components/versions.py"
        ) from None


def postgres_parameter_family(engine: str, version: str) -> str:
    """Return the parameter group family, e.g. ``postgres17`` or ``aurora-postgresql17``.

    ``engine`` is the blueprint's ``rds`` or ``aurora``; ``version`` ``17`` or ``17.5``.
    Raises UnsupportedVersionError below 15, where ``rds.force_ssl`` is off by default and IAM roles differ.
    """
    major = version.split(".", 1)[0]
    if not major.isdigit() or int(major) < 15:
        raise UnsupportedVersionError(
            f'postgres.version: "{version}" is not supported; give PostgreSQL 15 or newer, e.g. "17"'
        )
    return f"postgres{major}" if engine == "rds" else f"aurora-postgresql{major}"


@dataclass(frozen=True)
class Pin:
    """One thing that the platform installs on a cluster, and where its version was read.

    ``path``: below the account's registry, after the prefix of ``origin`` (empty for EKS add-ons, which AWS serves).
    ``digest``: of the image or chart, empty where none could be read; the registry then keeps the tag immutable.
    """

    name: str
    kind: Literal["addon", "chart", "image"]
    version: str
    source: str
    """``owner/repository`` of the project."""
    licence: str
    """SPDX expression of the project's licence."""
    read: date
    origin: Literal["aws", "ecr-public", "kubernetes", "mirror"]
    """``ecr-public`` and ``kubernetes`` arrive by pull-through; ``mirror`` is copied or built by hand."""
    path: str = ""
    digest: str = ""
    architectures: tuple[str, ...] = ("amd64", "arm64")
    """For which the project publishes an image."""
    built: tuple[str, ...] = ()
    """For which it is built from the tag's source, into the mirror, since the project publishes none."""
    note: str = ""

    @property
    def runs_on(self) -> frozenset[str]:
        """Architectures of the nodes that can run the image as the account's registry has it."""
        return frozenset((*self.architectures, *self.built))


PERMITTED_LICENCES = frozenset({"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "PostgreSQL"})
"""Licences of what is installed by default: none of them asks for anything of a service that is offered to others."""

MIRROR_PREFIX = "mirror"
"""Repositories of what is copied or built, beside those of the pull-through upstreams."""

_READ = date(2026, 11, 23)

_ADDON_SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "aws-ebs-csi-driver": "kubernetes-sigs/aws-ebs-csi-driver",
        "coredns": "coredns/coredns",
        "eks-pod-identity-agent": "aws/eks-pod-identity-agent",
        "kube-proxy": "kubernetes/kubernetes",
        "metrics-server": "kubernetes-sigs/metrics-server",
        "snapshot-controller": "kubernetes-csi/external-snapshotter",
        "vpc-cni": "aws/amazon-vpc-cni-k8s",
    }
)
"""EKS add-on -> project that it is built from; every one is Apache-2.0."""


def _chart(name: str, version: str, source: str, path: str, **more: Any) -> Pin:
    return Pin(name, "chart", version, source, "Apache-2.0", _READ, more.pop("origin", "mirror"), path, **more)


def _image(name: str, version: str, source: str, path: str, **more: Any) -> Pin:
    return Pin(name, "image", version, source, "Apache-2.0", _READ, more.pop("origin", "mirror"), path, **more)


_KARPENTER = "aws/karpenter-provider-aws"
_CERT_MANAGER = "cert-manager/cert-manager"
_CHARTS = "prometheus-community/helm-charts"
_OPERATOR = "prometheus-operator/prometheus-operator"
_SECRETS = "kubernetes-sigs/secrets-store-csi-driver"
_SECRETS_AWS = "aws/secrets-store-csi-driver-provider-aws"
_SELDON = "SeldonIO/seldon-core"
_TRAINER = "kubeflow/trainer"
_NVIDIA_TERMS = "the image also carries NVIDIA's libraries under NVIDIA's own terms; read them before mirroring"
_AMD64_ONLY: Mapping[str, Any] = MappingProxyType(
    {
        "architectures": ("amd64",),
        "built": ("arm64",),
        "note": "published for amd64 alone; the platform's nodes are arm64, so the image is built from the tag's "
        "source",
    }
)

CATALOGUE: tuple[Pin, ...] = (
    # Same minor as the resource definitions in tools/manifests; the digest stands in the chart of release 1.15.1.
    _chart("karpenter-crd", "1.14.1", _KARPENTER, "karpenter/karpenter-crd", origin="ecr-public"),
    _chart("karpenter", "1.14.1", _KARPENTER, "karpenter/karpenter", origin="ecr-public"),
    _image(
        "karpenter-controller",
        "1.14.1",
        _KARPENTER,
        "karpenter/controller",
        origin="ecr-public",
        digest="sha256:723130949e4cab989461ff07d1be4cd781d63515432494641b33c235f300ae23",
    ),
    _chart("cert-manager", "v1.21.2", _CERT_MANAGER, "jetstack/charts/cert-manager"),
    *(
        _image(f"cert-manager-{part}", "v1.21.2", _CERT_MANAGER, f"jetstack/cert-manager-{part}")
        for part in ("controller", "webhook", "cainjector", "acmesolver")
    ),
    # The chart's release that carries operator 0.85.0, whose resource definitions tools/manifests pins.
    _chart("kube-prometheus-stack", "77.4.0", _CHARTS, "prometheus-community/charts/kube-prometheus-stack"),
    _image("prometheus-operator", "v0.85.0", _OPERATOR, "prometheus-operator/prometheus-operator"),
    _image("prometheus-config-reloader", "v0.85.0", _OPERATOR, "prometheus-operator/prometheus-config-reloader"),
    # tools/promql checks the rules with the code of this very release (Go numbers 3.16.0 as v0.316.0).
    _image("prometheus", "v3.16.0", "prometheus/prometheus", "prometheus/prometheus"),
    _image("alertmanager", "v0.34.2", "prometheus/alertmanager", "prometheus/alertmanager"),
    _image("node-exporter", "v1.12.1", "prometheus/node_exporter", "prometheus/node-exporter"),
    _image(
        "kube-state-metrics",
        "v2.17.0",
        "kubernetes/kube-state-metrics",
        "kube-state-metrics/kube-state-metrics",
        origin="kubernetes",
    ),
    _chart("secrets-store-csi-driver", "1.6.0", _SECRETS, "charts/secrets-store-csi-driver"),
    _image("secrets-store-driver", "v1.6.0", _SECRETS, "csi-secrets-store/driver", origin="kubernetes"),
    _image("secrets-store-driver-crds", "v1.6.0", _SECRETS, "csi-secrets-store/driver-crds", origin="kubernetes"),
    _image(
        "csi-node-driver-registrar",
        "v2.16.0",
        "kubernetes-csi/node-driver-registrar",
        "sig-storage/csi-node-driver-registrar",
        origin="kubernetes",
    ),
    _image(
        "csi-livenessprobe",
        "v2.18.0",
        "kubernetes-csi/livenessprobe",
        "sig-storage/livenessprobe",
        origin="kubernetes",
    ),
    _chart(
        "secrets-store-csi-driver-provider-aws", "2.2.0", _SECRETS_AWS, "charts/secrets-store-csi-driver-provider-aws"
    ),
    _image(
        "secrets-store-provider-aws",
        "2.2.0",
        _SECRETS_AWS,
        "aws-secrets-manager/secrets-store-csi-driver-provider-aws",
        origin="ecr-public",
    ),
    # The digest stands in the operator bundle of NVIDIA's GPU operator 26.3.3, which brings this release.
    _image(
        "nvidia-device-plugin",
        "v0.19.3",
        "NVIDIA/k8s-device-plugin",
        "nvidia/k8s-device-plugin",
        digest="sha256:25cc340fe6fd53c101e16fc452f503e7a92c219c64a80ed5381784b522dbbf77",
        note=_NVIDIA_TERMS,
    ),
    _chart(
        "aws-efa-k8s-device-plugin",
        "v0.5.30",
        "aws/eks-charts",
        "eks-charts/aws-efa-k8s-device-plugin",
        note="its image is AWS's own, from AWS's registry in the region, as those of EKS add-ons are",
    ),
    _chart("dcgm-exporter", "4.8.3", "NVIDIA/dcgm-exporter", "nvidia/charts/dcgm-exporter"),
    _image(
        "dcgm-exporter",
        "4.6.0-4.8.3-distroless",
        "NVIDIA/dcgm-exporter",
        "nvidia/dcgm-exporter",
        note=_NVIDIA_TERMS,
    ),
    # 1.17.1 is the last release under Apache-2.0: from 1.18 on it is Business Source and may not be pinned here.
    _chart("seldon-core-operator", "1.17.1", _SELDON, "seldonio/charts/seldon-core-operator"),
    _image("seldon-core-operator", "1.17.1", _SELDON, "seldonio/seldon-core-operator", **_AMD64_ONLY),
    _image("seldon-core-executor", "1.17.1", _SELDON, "seldonio/seldon-core-executor", **_AMD64_ONLY),
    _chart("kubeflow-trainer", "2.0.0", _TRAINER, "kubeflow/charts/kubeflow-trainer"),
    _image("trainer-controller-manager", "v2.0.0", _TRAINER, "kubeflow/trainer/trainer-controller-manager"),
    _image("jobset", "v0.8.2", "kubernetes-sigs/jobset", "jobset/jobset", origin="kubernetes"),
)
"""Every chart and image of others that the platform installs.  Sources: the projects' releases and chart values as they
stood on the day read; Go module lists for Karpenter, cert-manager, Prometheus, Alertmanager, node exporter, Trainer."""


def catalogue(kubernetes_version: str) -> tuple[Pin, ...]:
    """Return every EKS add-on of a Kubernetes minor, and every chart and image.  Raises UnsupportedVersionError."""
    addons = (
        Pin(name, "addon", version, _ADDON_SOURCES[name], "Apache-2.0", _READ, "aws")
        for name, version in sorted(addon_versions(kubernetes_version).items())
    )
    return (*addons, *CATALOGUE)


def pin(kind: Literal["chart", "image"], name: str) -> Pin:
    """Return a chart or image of the catalogue.  Raises UnsupportedVersionError for one that is not in it."""
    for found in CATALOGUE:
        if (found.kind, found.name) == (kind, name):
            return found
    known = ", ".join(sorted(found.name for found in CATALOGUE if found.kind == kind))
    raise UnsupportedVersionError(f'{kind} "{name}" is not in the catalogue; use one of {known}, or add a row')


def mirrored_repository(prefix: str, pinned: Pin) -> str:
    """Return the repository of a chart or image in the account's registry, such as ``falaj-dev/mirror/jetstack/...``.

    ``prefix`` is ``components.registry.repository_prefix``.
    """
    return f"{prefix}/{MIRROR_PREFIX if pinned.origin == 'mirror' else pinned.origin}/{pinned.path}"
