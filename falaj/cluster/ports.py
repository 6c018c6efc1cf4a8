"""The ports of a cluster: chosen once, written down, and kept at later starts, so that kubeconfigs stay good."""

from __future__ import annotations

import json
import time
from collections.abc import Set
from pathlib import Path
from typing import Final

from falaj.cluster.certificates import write_private
from falaj.cluster.configuration import (
    API_SERVER,
    CONTROLLER_MANAGER,
    ETCD,
    KARPENTER,
    KWOK,
    PORTS,
    SCHEDULER,
)
from falaj.cluster.errors import ClusterError, PortInUseError
from falaj.local import process_table

OWNERS: Final = {
    "api": API_SERVER,
    "etcd": ETCD,
    "etcd-peer": ETCD,
    "controller-manager": CONTROLLER_MANAGER,
    "scheduler": SCHEDULER,
    "kwok": KWOK,
    "karpenter": KARPENTER,
    "karpenter-metrics": KARPENTER,
}
"""Port -> the program that listens on it."""

_RELEASE_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.02


class PortBook:
    """The ports written down in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "ports.json"

    def known(self) -> dict[str, int]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
            return {name: int(known[name]) for name in PORTS if name in known}
        except (OSError, ValueError, TypeError):
            return {}

    def port(self, name: str) -> int:
        """Raises ClusterError when nothing is written down."""
        try:
            return self.known()[name]
        except KeyError as error:
            raise ClusterError("the control plane was never started here; `falaj cluster up` starts it") from error

    def choose(self, asked: int | None, *, standing: Set[str], ended: Set[str]) -> dict[str, int]:
        """A port for each of PORTS: the one asked for (of the API server), that of last time, or else a free one.

        ``standing`` are the programs that run, whose ports are theirs; ``ended`` those that ended on their own, whose
        ports the system may hold for a moment longer than their process.  Raises PortInUseError when the port asked for
        is taken, ClusterError when the API server runs on another.
        """
        known = self.known()
        if API_SERVER in standing and asked not in (None, known.get("api")):
            raise ClusterError(
                f"the control plane runs on port {known.get('api')} already, not on {asked}; end it first with "
                "`falaj cluster down` (its data stays)"
            )
        chosen: dict[str, int] = {}
        for name in PORTS:
            wanted = (asked if name == "api" else None) or known.get(name)
            patience = _RELEASE_SECONDS if OWNERS[name] in ended else 0.0
            if wanted is not None and (OWNERS[name] in standing or _comes_free(wanted, patience)):
                chosen[name] = wanted
            elif name == "api" and asked is not None:
                raise PortInUseError(
                    f"port {asked} on 127.0.0.1 is in use by {process_table.holder(asked)}; end that program, or leave "
                    "--port out to have a free one chosen"
                )
            else:
                chosen[name] = process_table.free_port({*chosen.values(), *known.values()})
        write_private(self._path, (json.dumps(chosen, indent=1) + "\n").encode())
        return chosen


def _comes_free(port: int, patience_seconds: float) -> bool:
    deadline = time.monotonic() + patience_seconds
    while not process_table.can_bind(port):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
