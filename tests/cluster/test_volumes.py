"""A volume stands in one zone, and so does what uses it: seen on the real scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from falaj.cluster.api import ApiClient
from falaj.cluster.kwok import fake_node
from manifests.scheduling import ZONE_LABEL
from tests.support.control_plane import namespace, pod, running

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(120)]

SIZE = {"storage": "10Gi"}


def volume_in(client: ApiClient, zone: str, claims: str) -> dict[str, Any]:
    """A claim bound to a volume of ``zone``, as the EBS driver leaves them; returns the pod's part of it."""
    affinity = {"nodeSelectorTerms": [{"matchExpressions": [{"key": ZONE_LABEL, "operator": "In", "values": [zone]}]}]}
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    csi = {"driver": "ebs.csi.aws.com", "volumeHandle": f"vol-{zone}"}
    client.create(
        "/api/v1/persistentvolumes",
        {
            "metadata": {"name": zone},
            "spec": {**common, "capacity": SIZE, "csi": csi, "nodeAffinity": {"required": affinity}},
        },
    )
    client.create(
        claims, {"metadata": {"name": zone}, "spec": {**common, "volumeName": zone, "resources": {"requests": SIZE}}}
    )
    client.wait_for(
        f"{claims}/{zone}", lambda claim: claim["status"]["phase"] == "Bound", timeout_seconds=30, what="never bound"
    )
    return {"name": "data", "persistentVolumeClaim": {"claimName": zone}}


def test_a_pod_waits_for_the_zone_of_its_volume_and_the_scheduler_says_so(tmp_path: Path) -> None:
    def told(found: Mapping[str, Any]) -> bool:
        return any(each["type"] == "PodScheduled" for each in found["status"].get("conditions", ()))

    with running(tmp_path) as (plane, _), plane.client() as client:
        for zone in ("mec1-az1", "mec1-az3"):
            client.create("/api/v1/nodes", fake_node(zone, labels={ZONE_LABEL: zone}))
        path = namespace(client, "observability")
        claims = f"{path}/persistentvolumeclaims"
        for zone in ("mec1-az3", "mec1-az2"):
            client.create(f"{path}/pods", pod(f"in-{zone}", volumes=[volume_in(client, zone, claims)]))
        placed = client.wait_for(f"{path}/pods/in-mec1-az3", told, timeout_seconds=30, what="never looked at")
        waiting = client.wait_for(f"{path}/pods/in-mec1-az2", told, timeout_seconds=30, what="never looked at")
    assert placed["spec"]["nodeName"] == "mec1-az3"
    (why,) = (each for each in waiting["status"]["conditions"] if each["type"] == "PodScheduled")
    assert (why["status"], why["reason"]) == ("False", "Unschedulable")
    assert "2 node(s) didn't match PersistentVolume's node affinity" in why["message"]
