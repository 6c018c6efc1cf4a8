"""The cluster that the stack ``local`` is applied to: the control plane of `falaj cluster up`, where one runs.

Without one, Kubernetes objects are rendered to files.  A control plane that was started and is not whole is an error,
not a reason to render: the deployment would take every object for gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from falaj.engine.errors import EngineError

if TYPE_CHECKING:
    from blueprints import Blueprint
    from falaj.cluster.control_plane import ControlPlane

KUBECONFIG_KEY: Final = "falaj:kubeconfig"
"""Key of the stack's configuration; relative paths start from the project's folder (stacks/settings.py)."""
CLUSTER_DIRECTORY: Final = "cluster"


@dataclass(frozen=True)
class AttachedCluster:
    """A running control plane."""

    control_plane: ControlPlane
    endpoint_url: str

    def configuration(self, root: Path) -> Mapping[str, str]:
        """What the stack's configuration is overlaid with; ``root``: the project's folder."""
        return {KUBECONFIG_KEY: str(self.control_plane.layout.kubeconfig.relative_to(root.absolute()))}

    def ensure_system_nodes(self, blueprint: Blueprint) -> int:
        """Make the nodes that the blueprint's managed node groups would have; returns how many were missing.

        The emulated account has the groups but no machines; Karpenter makes every other node.
        Raises EngineError with the server's message.
        """
        from falaj.cluster.errors import ClusterError
        from falaj.cluster.managed_nodes import managed_nodes

        try:
            with self.control_plane.client() as client:
                missing = [
                    node
                    for node in managed_nodes(blueprint)
                    if client.find(f"/api/v1/nodes/{node['metadata']['name']}") is None
                ]
                for node in missing:
                    client.create("/api/v1/nodes", node)
        except ClusterError as error:
            raise EngineError(f"nodes of the managed node groups: {error}") from error
        return len(missing)


def attached_cluster(falaj_dir: Path) -> AttachedCluster | None:
    """The project's control plane; None where none was started.

    Raises EngineError, naming each process that ended and how, for one that was started and does not answer.
    """
    directory = falaj_dir / CLUSTER_DIRECTORY
    if not directory.is_dir():
        return None
    from falaj.cluster.control_plane import ControlPlane
    from falaj.cluster.errors import ClusterError

    control_plane = ControlPlane(directory)
    try:
        status = control_plane.status()
    except ClusterError as error:
        raise EngineError(f"the local control plane in {directory}: {error}") from error
    if status is None:
        return None
    if not status.ready:
        ended = "; ".join(f"{process.name} {process.note}" for process in status.processes if not process.alive)
        raise EngineError(
            f"the local control plane was started and does not run whole ({ended or 'it does not answer'}); "
            "run `falaj cluster up` to mend it, or `falaj cluster down` to render Kubernetes objects to files instead"
        )
    return AttachedCluster(control_plane, status.endpoint_url)


def blueprint_of(name: str | None, overrides: Mapping[str, Any]) -> Blueprint | None:
    """The blueprint of a stack's configuration; None where it names none that can be loaded: the program says why."""
    import blueprints
    from blueprints.errors import BlueprintError

    if not name:
        return None
    try:
        return blueprints.load(name, overrides)
    except (BlueprintError, ValueError):
        return None
