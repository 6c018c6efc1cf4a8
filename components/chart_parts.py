"""What the values of every chart are made of: images from the account's registry, and requests that are counted.

A request is stated once, in ``ChartParts.ask``, and ends both in a chart's values and in ``ChartRelease.requests``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from components.versions import mirrored_repository, pin


@dataclass(frozen=True)
class Request:
    """What the pods of one controller ask for together."""

    name: str
    pods: int
    cpu_millicores: int
    memory_mib: int


@dataclass(frozen=True)
class ChartRelease:
    """One chart of the catalogue in one namespace."""

    chart: str
    namespace: str
    values: Mapping[str, Any]
    requests: tuple[Request, ...] = ()


def total(requests: Iterable[Request]) -> tuple[int, int]:
    """Return (millicores, MiB) of some requests together."""
    listed = list(requests)
    return sum(one.pods * one.cpu_millicores for one in listed), sum(one.pods * one.memory_mib for one in listed)


class ChartParts:
    """Parts of values, one chart after the other: ``release`` closes a chart with what was asked for since the last.

    ``registry``: host and prefix of the account's repositories.  ``system_nodes``: nodes that are always there, on
    each of which a daemon's pod counts.
    """

    def __init__(self, registry: str, *, system_nodes: int) -> None:
        self._registry = registry
        self._system_nodes = system_nodes
        self._requests: list[Request] = []

    def release(self, chart: str, namespace: str, values: Mapping[str, Any]) -> ChartRelease:
        """The chart with its values and what was asked for in them."""
        requests, self._requests = tuple(self._requests), []
        return ChartRelease(chart, namespace, values, requests)

    def ask(self, name: str, cpu: int, memory: int, *, pods: int = 1, limit: int = 4) -> dict[str, Any]:
        """The resources of a container in ``pods`` pods: millicores, MiB, and memory's limit as a multiple of it."""
        self._requests.append(Request(name, pods, cpu, memory))
        return resources(cpu, memory, limit=limit)

    def ask_per_node(self, name: str, cpu: int, memory: int) -> dict[str, Any]:
        """``ask`` for a daemon."""
        return self.ask(name, cpu, memory, pods=self._system_nodes)

    def image(self, name: str) -> dict[str, str]:
        """The pinned image in the account's registry."""
        pinned = pin("image", name)
        return {"repository": mirrored_repository(self._registry, pinned), "tag": pinned.version}

    def split_image(self, name: str) -> dict[str, str]:
        """For charts that put the registry's host before the repository themselves."""
        pinned = pin("image", name)
        host, _, repository = mirrored_repository(self._registry, pinned).partition("/")
        return {"registry": host, "repository": repository, "tag": pinned.version}


def resources(cpu_millicores: int, memory_mib: int, *, limit: int) -> dict[str, Any]:
    """Requests, and ``limit`` times the memory as limit; processor time is not limited, only shared by requests."""
    return {
        "requests": {"cpu": f"{cpu_millicores}m", "memory": f"{memory_mib}Mi"},
        "limits": {"memory": f"{limit * memory_mib}Mi"},
    }
