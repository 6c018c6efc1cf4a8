"""NVIDIA's device plugin on the GPU nodes, in the profiles of the blueprint's pools."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from blueprints.schema import Blueprint
from components.kubernetes_objects import KubernetesComponent
from components.versions import mirrored_repository, pin
from manifests.gpu import gpu_objects, profiles


class GpuDevicePlugin(KubernetesComponent):
    """The device plugin.

    Children: a ConfigMap with the profiles, and per profile a DaemonSet (two with MPS); none without GPU pools.
    ``registry``: host and prefix of the account's repositories.
    """

    profiles: Sequence[str]

    def __init__(
        self,
        name: str,
        blueprint: Blueprint,
        *,
        registry: str,
        depends_on: Sequence[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        pinned = pin("image", "nvidia-device-plugin")
        repository = mirrored_repository(registry, pinned)
        reference = f"{repository}@{pinned.digest}" if pinned.digest else f"{repository}:{pinned.version}"
        super().__init__("falaj:kubernetes:GpuDevicePlugin", name, opts)
        self.resources = self.declare_all(gpu_objects(blueprint, image=reference), depends_on=depends_on)
        self.profiles = list(profiles(blueprint))
        self.register_declared_outputs()
