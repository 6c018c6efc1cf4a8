"""A blueprint's pools of nodes: what they are for, of which types, how many, and how their GPUs are shared."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from blueprints.fields import Name, ZoneId
from blueprints.spec import Spec, check_unique


class Taint(Spec):
    key: str
    value: str
    effect: Literal["NO_SCHEDULE", "NO_EXECUTE", "PREFER_NO_SCHEDULE"]


class GpuSharing(Spec):
    """How the pods of one GPU node share its GPUs.

    ``time_sliced``: pods take turns, and nothing keeps one out of another's memory.  ``mps``: they run side by side,
    each with an equal part of the memory and of the threads.  MIG, which separates them in hardware, is not on offer:
    the region's A10G, L4 and L40S cannot do it (NVIDIA MIG user guide, supported GPUs), and its H200s come only by
    eight, for jobs that fill them.
    """

    strategy: Literal["whole", "time_sliced", "mps"] = "whole"
    replicas: int = Field(default=1, ge=1, le=48)
    """Pods for each GPU; 1 unless shared.  At most 48: clients of one MPS server (NVIDIA MPS guide, from Volta on)."""

    @model_validator(mode="after")
    def _shared_among_several(self) -> Self:
        if self.strategy == "whole" and self.replicas != 1:
            raise ValueError(
                f"replicas={self.replicas} with strategy=whole; a whole GPU goes to one pod: drop replicas, or set "
                "strategy=time_sliced or mps"
            )
        if self.strategy != "whole" and self.replicas < 2:
            raise ValueError(f"strategy={self.strategy} with replicas=1 shares nothing; set replicas=2 or more")
        return self


class NodePool(Spec):
    """A set of like nodes.

    ``system`` is a managed node group of ``min_nodes`` to ``max_nodes``, carries the platform's own pods (Karpenter
    among them) and is never spot.  Any other pool is Karpenter's: it starts from zero, grows with the pods that ask for
    it up to ``max_nodes``, and ``desired_nodes`` is what the bill counts with.
    """

    name: Name
    purpose: Literal["system", "cpu", "gpu"]
    capacity: Literal["on_demand", "spot"]
    instance_types: tuple[str, ...] = Field(min_length=1)
    min_nodes: int = Field(default=0, ge=0)
    desired_nodes: int = Field(ge=0)
    max_nodes: int = Field(ge=1)
    volume_gib: int = Field(ge=20, le=16_384)
    gpu_sharing: GpuSharing = GpuSharing()
    labels: dict[str, str] = Field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    zones: tuple[ZoneId, ...] = ()
    """Zone ids to keep to; empty = every zone in use where all of ``instance_types`` are offered."""

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if self.min_nodes > self.max_nodes:
            raise ValueError(
                f"min_nodes={self.min_nodes} exceeds max_nodes={self.max_nodes}; raise max_nodes or lower min_nodes"
            )
        if not self.min_nodes <= self.desired_nodes <= self.max_nodes:
            raise ValueError(
                f"desired_nodes={self.desired_nodes} is outside min_nodes={self.min_nodes} to "
                f"max_nodes={self.max_nodes}; set it between them"
            )
        check_unique(self.instance_types, "instance type")
        return self

    @model_validator(mode="after")
    def _purpose_fits(self) -> Self:
        if self.purpose == "system" and self.capacity == "spot":
            raise ValueError(
                "purpose=system on spot; the platform's own pods must not be taken back: set capacity=on_demand"
            )
        if self.purpose == "system" and self.min_nodes < 1:
            raise ValueError(
                "purpose=system with min_nodes=0; the cluster needs a node for its own pods: set min_nodes=1"
            )
        if self.purpose != "system" and self.min_nodes:
            raise ValueError(
                f"purpose={self.purpose} with min_nodes={self.min_nodes}; Karpenter's pools start from zero: set "
                "min_nodes=0, and replicas of what runs there to hold nodes"
            )
        if self.purpose != "gpu" and self.gpu_sharing.strategy != "whole":
            raise ValueError(f"purpose={self.purpose} has no GPU to share; drop gpu_sharing or set purpose=gpu")
        if self.gpu_sharing.strategy != "whole" and any(taint.key == "falaj.dev/gang" for taint in self.taints):
            raise ValueError(
                f"gpu_sharing.strategy={self.gpu_sharing.strategy} on nodes of gangs; the slowest share would hold "
                "up the whole gang: drop gpu_sharing"
            )
        if self.purpose == "gpu" and not any(taint.key == "nvidia.com/gpu" for taint in self.taints):
            raise ValueError(
                "purpose=gpu without the taint nvidia.com/gpu; other pods would hold GPU nodes: add "
                "{key: nvidia.com/gpu, value: 'true', effect: NO_SCHEDULE}"
            )
        return self
