"""What an Amazon Linux 2023 node is told at boot: nodeadm's NodeConfig inside MIME user data.

Pure.  EKS and Karpenter merge this document with the cluster's own details, so it holds only what differs from the
defaults.  Source: Amazon EKS AMI, nodeadm API reference ``node.eks.aws/v1alpha1``.
"""

from __future__ import annotations

import base64
import json

MAX_PODS = 110
"""Pods on one node: Kubernetes' own recommendation for nodes below 30 vCPU, reachable through prefix delegation."""
SHUTDOWN_GRACE_SECONDS = 90
"""Of the two minutes that a spot interruption leaves, how long pods may take to save their work."""
SHUTDOWN_GRACE_CRITICAL_SECONDS = 30
"""Part of it kept for critical pods, which go last (CNI, DNS)."""

_BOUNDARY = "falaj-node-config"


def node_config(*, instance_store_raid: bool) -> dict[str, object]:
    """Return the NodeConfig.  ``instance_store_raid`` stripes local NVMe disks for images and pod storage."""
    spec: dict[str, object] = {
        "kubelet": {
            "config": {
                "maxPods": MAX_PODS,
                "shutdownGracePeriod": f"{SHUTDOWN_GRACE_SECONDS}s",
                "shutdownGracePeriodCriticalPods": f"{SHUTDOWN_GRACE_CRITICAL_SECONDS}s",
            }
        }
    }
    if instance_store_raid:
        spec["instance"] = {"localStorage": {"strategy": "RAID0"}}
    return {"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": spec}


def user_data(config: dict[str, object]) -> str:
    """Return the user data of a launch template: ``mime_document`` in base64."""
    return base64.b64encode(mime_document(config).encode()).decode()


def mime_document(config: dict[str, object]) -> str:
    """Return a MIME document with one NodeConfig part (JSON is YAML), as Karpenter takes it."""
    return "\n".join(
        (
            "MIME-Version: 1.0",
            f'Content-Type: multipart/mixed; boundary="{_BOUNDARY}"',
            "",
            f"--{_BOUNDARY}",
            "Content-Type: application/node.eks.aws",
            "",
            json.dumps(config, sort_keys=True),
            "",
            f"--{_BOUNDARY}--",
            "",
        )
    )
