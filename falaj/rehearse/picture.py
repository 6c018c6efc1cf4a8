"""What stands at one moment: nodes, GPUs, gangs, money.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from blueprints.region import Catalogue
from falaj.rehearse.sightings import Node, Pod, Sightings
from falaj.rehearse.workload import SERVING, TRAINING, Workload


@dataclass(frozen=True)
class NodeGroup:
    """Nodes that are alike.  ``usd_per_hour``: of all of them; 0 where the catalogue has no price."""

    pool: str
    instance_type: str
    zone: str
    capacity: str
    nodes: int
    gpus: int
    usd_per_hour: float


@dataclass(frozen=True)
class Picture:
    """The cluster at one moment."""

    node_groups: tuple[NodeGroup, ...]
    pods: dict[str, int]
    """Standing pods by role."""
    gpus: int
    """Of the standing nodes."""
    gpus_held: int
    """By standing pods."""
    serving_gpus_held: int
    training_usd_per_hour: float
    """Cost of the nodes that hold training pods, shared by GPU where others stand on them too."""
    gangs: int
    """Gangs all of whose workers stand."""
    gangs_in_one_zone: int

    @property
    def nodes(self) -> int:
        return sum(group.nodes for group in self.node_groups)

    @property
    def usd_per_hour(self) -> float:
        return sum(group.usd_per_hour for group in self.node_groups)

    @property
    def gpu_packing_percent(self) -> float | None:
        """Share of the GPUs that pods hold; None without a GPU."""
        return 100 * self.gpus_held / self.gpus if self.gpus else None


def picture(sightings: Sightings, region: Catalogue, workloads: Sequence[Workload]) -> Picture:
    """The cluster as it was last seen."""
    nodes = {node.name: node for node in sightings.standing_nodes()}
    pods = [pod for pod in sightings.standing_pods() if pod.node in nodes]
    whole, together = _gangs(pods, nodes, workloads)
    return Picture(
        node_groups=tuple(_groups(nodes.values(), region)),
        pods=dict(sorted(Counter(pod.role for pod in pods).items())),
        gpus=sum(node.gpus for node in nodes.values()),
        gpus_held=sum(pod.gpus for pod in pods),
        serving_gpus_held=sum(pod.gpus for pod in pods if pod.role == SERVING),
        training_usd_per_hour=_training_usd_per_hour(pods, nodes, region),
        gangs=whole,
        gangs_in_one_zone=together,
    )


def usd_per_hour(node: Node, region: Catalogue) -> float:
    """The catalogue's price of a node; 0 where it has none."""
    kind = region.instance_types.get(node.instance_type)
    if kind is None:
        return 0.0
    price = kind.spot.get(node.zone) if node.capacity == "spot" else kind.on_demand
    return price.value if price is not None else 0.0


def _groups(nodes: Iterable[Node], region: Catalogue) -> list[NodeGroup]:
    alike: dict[tuple[str, str, str, str], list[Node]] = {}
    for node in nodes:
        alike.setdefault((node.pool, node.instance_type, node.zone, node.capacity), []).append(node)
    return [
        NodeGroup(*key, len(found), sum(each.gpus for each in found), sum(usd_per_hour(each, region) for each in found))
        for key, found in sorted(alike.items())
    ]


def _gangs(pods: Iterable[Pod], nodes: dict[str, Node], workloads: Iterable[Workload]) -> tuple[int, int]:
    zones: dict[str, list[str]] = {}
    for pod in pods:
        zones.setdefault(pod.group, []).append(nodes[pod.node].zone)
    whole = [zones[each.group] for each in workloads if each.gang and len(zones.get(each.group, ())) >= each.pods]
    return len(whole), sum(1 for found in whole if len(set(found)) == 1)


def _training_usd_per_hour(pods: Iterable[Pod], nodes: dict[str, Node], region: Catalogue) -> float:
    held: dict[str, Counter[str]] = {}
    for pod in pods:
        if pod.gpus:
            held.setdefault(pod.node, Counter())[pod.role] += pod.gpus
    return sum(
        usd_per_hour(nodes[name], region) * roles[TRAINING] / roles.total() for name, roles in sorted(held.items())
    )
