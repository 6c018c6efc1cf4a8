"""The nodes that could serve one model within its latency target: on CPU, or on a GPU type that stands.

Pure.  The queueing behind the replicas is explained in ``sizing``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blueprints.errors import SizingError
from blueprints.region import Catalogue
from blueprints.sizing import Replicas, gpus_to_hold, replicas_for, replicas_per_node

CPU_NODE_TYPES = ("m7g.xlarge", "m7g.2xlarge", "m7g.4xlarge", "m7g.8xlarge")
GPU_NODE_TYPES = ("g6.xlarge", "g6.2xlarge", "g6.4xlarge", "g5.xlarge", "g6.12xlarge", "g6.48xlarge", "p5en.48xlarge")
"""g6e is left out: sources disagree on whether the region offers it (``Catalogue.conflicts``)."""
MIN_REPLICAS = 2
MIN_NODES = 2
"""Of CPU nodes: one answers while the other is taken back or drained."""


@dataclass(frozen=True)
class Serving:
    """One way to serve the model."""

    accelerator: str
    instance_type: str
    nodes: int
    replicas: Replicas

    @property
    def reason(self) -> str:
        what = f"{self.replicas.count} replicas on {self.accelerator.upper()}, {self.nodes} x {self.instance_type}"
        return f"{what}: {self.replicas.reason}"


def serving_options(
    requests_per_second: float,
    p99_target_ms: float,
    size_gib: float,
    *,
    small: bool,
    zones: Sequence[str],
    region: Catalogue,
) -> tuple[Serving, ...]:
    """Every way to serve the model in time on CPU and GPU nodes of ``zones``, at least one.

    ``small``: CPU nodes on spot, and no nodes of eight H200 (one costs fifty times a small platform).
    Raises SizingError, with the first and the last reason, if no type serves the model in time.
    """
    load = (requests_per_second, p99_target_ms, size_gib)
    failures: list[str] = []
    options = (*_on_cpu(load, small, zones, region, failures), *_on_gpu(load, small, zones, region, failures))
    if not options:
        raise SizingError(
            "; ".join(dict.fromkeys((failures[0], failures[-1]))) if failures else "no zone to serve from"
        )
    return options


def _on_cpu(
    load: tuple[float, float, float], small: bool, zones: Sequence[str], region: Catalogue, failures: list[str]
) -> Iterator[Serving]:
    try:
        replicas = replicas_for(*load, minimum=MIN_REPLICAS)
    except SizingError as error:
        failures.append(f"on CPU: {error}")
        return
    for name in CPU_NODE_TYPES:
        kind = region.instance(name)
        if not set(zones) & set(kind.zones):
            continue
        try:
            fit = replicas_per_node(replicas, kind.vcpu, kind.memory_gib)
        except SizingError as error:
            failures.append(f"on CPU: {error}")
            continue
        nodes = max(MIN_NODES, math.ceil(replicas.count / fit))
        yield Serving("cpu", name, nodes, replicas)


def _on_gpu(
    load: tuple[float, float, float], small: bool, zones: Sequence[str], region: Catalogue, failures: list[str]
) -> Iterator[Serving]:
    size_gib = load[2]
    for name in GPU_NODE_TYPES:
        kind = region.instance(name)
        if kind.gpu is None or kind.on_demand is None or not set(zones) & set(kind.zones):
            continue
        if small and kind.gpu.kind == "H200":
            continue
        gpus = gpus_to_hold(size_gib, kind.gpu.memory_gib)
        if gpus > kind.gpu.count:
            failures.append(
                f"on GPU: {size_gib:g} GiB of weights need {gpus} x {kind.gpu.kind}, and {name} has {kind.gpu.count}"
            )
            continue
        try:
            replicas = replicas_for(*load, "gpu", minimum=MIN_REPLICAS, gpus_each=gpus)
        except SizingError as error:
            failures.append(f"on GPU: {error}")
            continue
        nodes = math.ceil(replicas.count / (kind.gpu.count // gpus))
        yield Serving("gpu", name, nodes, replicas)
