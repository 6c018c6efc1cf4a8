"""Every version that a component pins, in one place, with where it was read and when.

A version hidden in a component changes with the component; one left out changes by itself.  Here an upgrade is one line
in a diff.  The authority for an account is ``aws eks describe-addon-versions --kubernetes-version V``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


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
