"""What was seen of pods and nodes, and when: a small record for each, built from watch events.  Pure.

Times are seconds of a monotonic clock when the event came in: the API's own timestamps have whole seconds only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from falaj.rehearse.workload import GROUP_LABEL, ROLE_LABEL
from manifests.scheduling import GPU_RESOURCE, POOL_LABEL, ZONE_LABEL

_NODE_POOL: Final = "karpenter.sh/nodepool"
_CAPACITY: Final = "karpenter.sh/capacity-type"
_TYPE: Final = "node.kubernetes.io/instance-type"
_HOST: Final = "kubernetes.io/hostname"
"""The kwok provider names a node's claim there."""
_DELETED: Final = "DELETED"


@dataclass(slots=True)
class Pod:
    """One pod.  ``placed_at``: when it was first seen ready on a node; ``gone_at``: when it was being deleted."""

    name: str
    group: str
    role: str
    gpus: int
    created_at: float
    placed_at: float | None = None
    gone_at: float | None = None
    node: str = ""
    refusal: str = ""
    """The scheduler's own words, while it finds no node."""

    @property
    def stands(self) -> bool:
        return self.placed_at is not None and self.gone_at is None

    @property
    def waits(self) -> bool:
        return self.placed_at is None and self.gone_at is None


@dataclass(slots=True)
class Node:
    """One node.  ``claim``: its NodeClaim; "" for a node that Karpenter did not make."""

    name: str
    instance_type: str
    zone: str
    capacity: str
    pool: str
    claim: str
    gpus: int
    created_at: float
    gone_at: float | None = None


@dataclass
class Sightings:
    """Everything seen so far, by uid; what is gone stays, marked as gone."""

    pods: dict[str, Pod] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    changed_at: float = 0.0
    """When a pod was last placed or lost, or a node came or went."""

    def saw_pod(self, event: str, seen: Mapping[str, Any], now: float) -> None:
        metadata, status = seen["metadata"], seen.get("status") or {}
        labels = metadata.get("labels") or {}
        pod = self.pods.get(metadata["uid"])
        if pod is None:
            role, group = labels.get(ROLE_LABEL, ""), labels.get(GROUP_LABEL, "")
            pod = Pod(metadata["name"], group, role, _gpus_of(seen), now)
            self.pods[metadata["uid"]] = pod
            self.changed_at = now
        pod.node = (seen.get("spec") or {}).get("nodeName") or pod.node
        conditions = {each["type"]: each for each in status.get("conditions") or ()}
        if pod.placed_at is None and (conditions.get("Ready") or {}).get("status") == "True":
            pod.placed_at, pod.refusal = now, ""
            self.changed_at = now
        if pod.placed_at is None and (conditions.get("PodScheduled") or {}).get("status") == "False":
            pod.refusal = str(conditions["PodScheduled"].get("message") or "")
        finished = status.get("phase") in ("Succeeded", "Failed")
        if pod.gone_at is None and (event == _DELETED or metadata.get("deletionTimestamp") or finished):
            pod.gone_at = now
            self.changed_at = now

    def saw_node(self, event: str, seen: Mapping[str, Any], now: float) -> None:
        metadata = seen["metadata"]
        labels = metadata.get("labels") or {}
        node = self.nodes.get(metadata["uid"])
        if node is None:
            node = Node(
                name=metadata["name"],
                instance_type=labels.get(_TYPE, ""),
                zone=labels.get(ZONE_LABEL, ""),
                capacity=labels.get(_CAPACITY, "on-demand"),
                pool=labels.get(_NODE_POOL) or labels.get(POOL_LABEL, ""),
                claim=labels.get(_HOST, "") if _NODE_POOL in labels else "",
                gpus=int(((seen.get("status") or {}).get("allocatable") or {}).get(GPU_RESOURCE, 0)),
                created_at=now,
            )
            self.nodes[metadata["uid"]] = node
            self.changed_at = now
        if node.gone_at is None and event == _DELETED:
            node.gone_at = now
            self.changed_at = now

    def standing_nodes(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.gone_at is None]

    def empty_nodes(self) -> list[Node]:
        """Nodes of Karpenter's that hold no pod."""
        held = {pod.node for pod in self.pods.values() if pod.gone_at is None}
        return [node for node in self.standing_nodes() if node.claim and node.name not in held]

    def standing_pods(self) -> list[Pod]:
        return [pod for pod in self.pods.values() if pod.stands]

    def waiting_pods(self) -> list[Pod]:
        return [pod for pod in self.pods.values() if pod.waits]

    def placed_by_group(self) -> Counter[str]:
        return Counter(pod.group for pod in self.pods.values() if pod.stands)


def placed_over_time(pods: Iterable[Pod], since: float, points: int = 200) -> list[tuple[float, int]]:
    """How many pods stood, at moments since ``since``: steps thinned to about ``points``, the first and last kept."""
    changes = sorted(_changes(pods, since))
    standing, made = 0, [(0.0, 0)]
    for moment, step in changes:
        standing += step
        if made[-1][0] == moment:
            made[-1] = (moment, standing)
        else:
            made.append((moment, standing))
    if len(made) <= points:
        return made
    return [*(made[number * len(made) // points] for number in range(points)), made[-1]]


def _changes(pods: Iterable[Pod], since: float) -> Iterator[tuple[float, int]]:
    for pod in pods:
        if pod.placed_at is None:
            continue
        if pod.gone_at is None or pod.gone_at > since:
            yield (max(0.0, round(pod.placed_at - since, 2)), 1)
            if pod.gone_at is not None:
                yield (max(0.0, round(pod.gone_at - since, 2)), -1)


def _gpus_of(seen: Mapping[str, Any]) -> int:
    containers = (seen.get("spec") or {}).get("containers") or ()
    return sum(int(((each.get("resources") or {}).get("limits") or {}).get(GPU_RESOURCE, 0)) for each in containers)
