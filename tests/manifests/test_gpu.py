"""A node whose device plugin is missing has no GPUs; one that is shared against its pool's word lets tenants see each
other's memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import blueprints
from blueprints.placement import place
from blueprints.schema import GpuSharing
from falaj.local.kubernetes.kinds import Kind
from falaj.local.kubernetes.manifests import Identity
from falaj.local.kubernetes.render import RenderBackend
from manifests.gpu import gpu_objects, plugin_configuration, profiles
from manifests.node_pools import node_pool_objects
from manifests.objects import Manifest, title
from manifests.scheduling import GPU_CONFIG_LABEL, pool_labels

IMAGE = "registry.example.org/nvidia/k8s-device-plugin@sha256:" + "0" * 64
SHARED = {
    "node_pools.gpu.gpu_sharing": {"strategy": "time_sliced", "replicas": 4},
    "node_pools.gpu-spot.gpu_sharing": {"strategy": "mps", "replicas": 3},
}


def made(overrides: dict[str, Any] | None = None, name: str = "smb") -> list[Manifest]:
    return gpu_objects(blueprints.load(name, overrides or {}), image=IMAGE)


def daemon_sets(objects: list[Manifest]) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == "DaemonSet"}


def configurations(objects: list[Manifest]) -> dict[str, Any]:
    (found,) = (each for each in objects if each["kind"] == "ConfigMap")
    return {profile: json.loads(text) for profile, text in found["data"].items()}


def pod_spec(daemon_set: Manifest) -> dict[str, Any]:
    found = daemon_set["spec"]["template"]["spec"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", ["smb", "enterprise"])
def test_whole_gpus_are_the_default_and_one_daemon_set_serves_all_pools(name: str) -> None:
    objects = made(name=name)
    assert set(daemon_sets(objects)) == {"nvidia-device-plugin-whole"}
    assert "sharing" not in configurations(objects)["whole"]


@pytest.mark.parametrize("overrides", [{}, SHARED])
def test_every_gpu_pool_finds_the_device_plugin_of_its_profile(overrides: dict[str, Any]) -> None:
    blueprint = blueprints.load("smb", overrides)
    selected = {
        pod_spec(found)["nodeSelector"][GPU_CONFIG_LABEL]
        for name, found in daemon_sets(made(overrides)).items()
        if name.startswith("nvidia-device-plugin-")
    }
    carried = {pool_labels(pool)[GPU_CONFIG_LABEL] for pool in blueprint.node_pools if pool.purpose == "gpu"}
    assert carried == selected == set(profiles(blueprint)) == set(configurations(made(overrides)))


def test_shared_gpus_keep_their_name_and_come_one_at_a_time() -> None:
    found = configurations(made(SHARED))
    shared = {"failRequestsGreaterThanOne": True, "renameByDefault": False}
    assert found["time-sliced-4"]["sharing"] == {
        "timeSlicing": {**shared, "resources": [{"name": "nvidia.com/gpu", "replicas": 4}]}
    }
    assert found["mps-3"]["sharing"] == {"mps": {**shared, "resources": [{"name": "nvidia.com/gpu", "replicas": 3}]}}


@pytest.mark.parametrize("name", ["smb", "enterprise"])
def test_official_schemas_accept_every_object(name: str, tmp_path: Path) -> None:
    """Node pools too, as far as that can be told without their definitions; a real API server has those
    (tests/cluster/test_node_pools.py)."""
    overrides = {f"node_pools.{pool}.gpu_sharing": {"strategy": "mps", "replicas": 3} for pool in ("gpu", "gpu-spot")}
    blueprint = blueprints.load(name, overrides)
    for each in [*gpu_objects(blueprint, image=IMAGE), *node_pool_objects(blueprint, place(blueprint))]:
        group, _, version = each["apiVersion"].rpartition("/")
        metadata = each["metadata"]
        identity = Identity(Kind(group, version, each["kind"]), metadata.get("namespace", ""), metadata["name"])
        assert list(RenderBackend(tmp_path).problems(identity, each)) == [], title(each)


def test_mig_is_off_in_every_profile() -> None:
    for sharing in (GpuSharing(), GpuSharing(strategy="mps", replicas=2)):
        assert plugin_configuration(sharing)["flags"]["migStrategy"] == "none"


def test_only_mps_brings_a_privileged_server() -> None:
    found = daemon_sets(made(SHARED))
    privileged = {
        name
        for name, each in found.items()
        for container in pod_spec(each)["containers"]
        if container["securityContext"].get("privileged")
    }
    assert privileged == {"nvidia-mps-server-mps-3"}
    assert pod_spec(found["nvidia-mps-server-mps-3"])["nodeSelector"] == {GPU_CONFIG_LABEL: "mps-3"}


def test_plugin_and_mps_server_share_the_same_folder() -> None:
    found = daemon_sets(made(SHARED))
    paths = [
        {v["hostPath"]["path"] for v in pod_spec(found[name])["volumes"] if v["name"].startswith("mps")}
        for name in ("nvidia-device-plugin-mps-3", "nvidia-mps-server-mps-3")
    ]
    assert paths[0] == paths[1] == {"/run/nvidia/mps", "/run/nvidia/mps/shm"}


def test_device_plugins_run_everywhere_without_a_token_or_rights() -> None:
    for found in daemon_sets(made(SHARED)).values():
        spec = pod_spec(found)
        assert spec["tolerations"] == [{"operator": "Exists"}]
        assert spec["automountServiceAccountToken"] is False
        assert {container["image"] for container in spec["containers"]} == {IMAGE}
        if found["metadata"]["name"].startswith("nvidia-device-plugin-"):
            (container,) = spec["containers"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_another_configuration_is_another_pod() -> None:
    def checksum(replicas: int) -> str:
        sharing = {"strategy": "time_sliced", "replicas": replicas}
        found = daemon_sets(made({"node_pools.gpu.gpu_sharing": sharing}))
        template = found[f"nvidia-device-plugin-time-sliced-{replicas}"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["falaj.dev/config-checksum"])

    assert checksum(4) == checksum(4) != checksum(2)


def test_a_blueprint_without_gpus_has_no_device_plugin() -> None:
    assert made({"node_pools.gpu": None, "node_pools.gpu-spot": None}) == []
