"""The control plane of a rehearsal and what stands on it.  The only file here that changes anything."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from blueprints.region import Catalogue
from falaj.cluster.binaries import Binaries
from falaj.cluster.control_plane import ControlPlane, Options
from falaj.cluster.errors import ApiError
from falaj.rehearse.errors import AskError, StageError
from falaj.rehearse.kinds import folder_for, folder_of
from falaj.rehearse.observer import Observer
from falaj.rehearse.plan import Plan
from falaj.rehearse.pools import pool_objects, system_nodes
from falaj.rehearse.sightings import Node, Sightings
from falaj.rehearse.workload import NAMESPACE, Workload, workloads
from manifests.objects import Manifest, manifest
from manifests.priorities import priority_classes

_LOOK_SECONDS: Final = 0.1
_ASKERS: Final = 4
"""Clients that ask side by side: the sooner all is asked, the fewer rounds Karpenter takes to buy for it."""
_HEAP_GROWTH_PERCENT: Final = 400
_ALIVE_SECONDS: Final = 2.0
_LEAST_PATIENCE_SECONDS: Final = 60.0
_CLEAR_SECONDS: Final = 90.0
_QUIET_SECONDS: Final = 15.0
"""Without a pod placed or a node made for so long, Karpenter is asked whether it has given up on what waits."""
_ORPHANED: Final = {
    "phase": "Failed",
    "conditions": [
        {"type": "Ready", "status": "False", "reason": "NodeNotReady"},
        {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": "the node is gone"},
    ],
}
"""What the controllers of nodes and of orphaned pods write, some minutes after a node is gone."""
_MERGE: Final = "application/merge-patch+json"
_MERGE_BY_KEY: Final = "application/strategic-merge-patch+json"
_NOW: Final = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
_LEFT_OUT_STAGES: Final = frozenset({"pod-complete", "node-heartbeat"})
"""kwok would call a Job's pod finished the moment it runs, and give its GPUs back.  Heartbeats say nothing of a node
without a machine, and those of 300 nodes are a fifth of the work that a rehearsal is."""
_TERMINATES_WORKERS: Final = Path(__file__).parent / "pod-terminate.yaml"


@dataclass(frozen=True)
class Refusal:
    """What Karpenter said of a pod that it finds no node for."""

    pod: str
    words: str


Progress = Callable[[str, int, int, int], None]
"""Told what is waited for, how many pods stand, how many are wanted, and how many nodes there are."""


class Stage:
    """A rehearsal's cluster.  Use as a context; ends the control plane unless ``keep``."""

    def __init__(
        self,
        plane: ControlPlane,
        binaries: Binaries,
        planned: Plan,
        *,
        zone_to_lose: str | None,
        keep: bool,
        progress: Progress,
    ) -> None:
        # kwok would delete a pod that was evicted without the phase that a kubelet gives it, and a Job waits for it.
        stages = (*(path for path in binaries.stages if path.stem not in _LEFT_OUT_STAGES), _TERMINATES_WORKERS)
        self._binaries = dataclasses.replace(binaries, stages=stages)
        self._plane = plane
        self._keep = keep
        self._progress = progress
        self._looked_at = 0.0
        self._closing = contextlib.ExitStack()
        self.planned = planned
        self.workloads: tuple[Workload, ...] = workloads(planned)
        self.zone_to_lose = zone_to_lose
        self.patience_seconds = _patience(planned)
        self.wanted: dict[str, int] = {}
        """Pods that should stand, by group."""

    def __enter__(self) -> Stage:
        try:
            self._closing.enter_context(_only_one(self._plane.directory))
            self._closing.callback(self._end)
            self._start()
            self._client = self._closing.enter_context(self._plane.client())
            self._lay_out()
            self._observer = self._closing.enter_context(Observer(self._client.endpoint, NAMESPACE))
            self._wait_until_seen(len(system_nodes(self.planned)))
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if isinstance(error, ApiError | StageError):
                self._raise_if_broken()  # which program ended, and how, says more than that nobody answers
        finally:
            self._closing.close()

    # -- what drills do ------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Asks for every workload of the plan."""
        self.wanted |= {workload.group: workload.pods for workload in self.workloads}
        made = [each for workload in self.workloads for each in workload.manifests]
        with ThreadPoolExecutor(_ASKERS) as askers:
            for done in [askers.submit(self._create, made[number::_ASKERS]) for number in range(_ASKERS)]:
                done.result()

    def scale(self, group: str, pods: int) -> None:
        """Gives a serving workload that many replicas."""
        path = f"{folder_of('Deployment', NAMESPACE)}/{group}"
        self._patch(path, {"spec": {"replicas": pods}})
        self.wanted[group] = pods

    def finish(self, group: str) -> None:
        """Ends a job, as if its work were done."""
        self._client.request("DELETE", f"{folder_of('Job', NAMESPACE)}/{group}", _NOW)
        self.wanted.pop(group, None)

    def interrupt(self, nodes: Iterable[Node]) -> None:
        """Takes nodes back as a spot interruption does: Karpenter's own answer to one is to delete the NodeClaim."""
        for node in nodes:
            self._client.request("DELETE", f"{folder_of('NodeClaim')}/{node.claim}")

    def learn(self, region: Catalogue) -> None:
        """Starts Karpenter anew with what ``region`` offers; the rest goes on."""
        # Nobody reads the audit log of a rehearsal, and its pods live for minutes: time is worth more than memory.
        self._plane.up(self._binaries, Options(region=region, audit=False, heap_growth_percent=_HEAP_GROWTH_PERCENT))

    def take_away(self, nodes: Collection[Node]) -> int:
        """The machines are gone at once, and the pods on them; returns how many pods."""
        names = {node.name for node in nodes}
        with self.seen() as sightings:
            pods = [pod.name for pod in sightings.pods.values() if pod.gone_at is None and pod.node in names]
        for node in nodes:
            self._remove(f"{folder_of('Node')}/{node.name}")
            if node.claim:
                self._remove(f"{folder_of('NodeClaim')}/{node.claim}")
        for name in pods:
            path = f"{folder_of('Pod', NAMESPACE)}/{name}"
            with contextlib.suppress(ApiError):
                self._patch(f"{path}/status", {"status": _ORPHANED}, _MERGE_BY_KEY)  # a Job waits for the phase
            self._remove(path, finalizers=False)
        return len(pods)

    def stand_system_nodes(self, zones: tuple[str, ...]) -> None:
        """What the managed node group does when a zone is gone or back: its nodes stand in ``zones``."""
        with self.seen() as sightings:
            there = {node.name for node in sightings.standing_nodes()}
        for made in system_nodes(self.planned, zones):
            if made["metadata"]["name"] not in there:
                self._client.create(folder_of("Node"), made)

    def restore(self) -> None:
        """The region and the system nodes as the blueprint has them."""
        self.learn(self.planned.region)
        self.stand_system_nodes(())

    def let_consolidate(self, after: str) -> None:
        """Lets Karpenter take nodes away ``after`` a time (``Never``: no more), without the budgets of production."""
        for pool in self._client.get(folder_of("NodePool"))["items"]:
            disruption = {"consolidateAfter": after, "budgets": [{"nodes": "100%"}]}
            self._patch(f"{folder_of('NodePool')}/{pool['metadata']['name']}", {"spec": {"disruption": disruption}})

    def wait_until_whole(
        self, what: str, *, timeout_seconds: float, and_also: Callable[[Sightings], bool] | None = None
    ) -> bool:
        """Waits until every group stands, or time is up, or Karpenter has refused all that still waits."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            with self.seen() as sightings:
                placed = sightings.placed_by_group()
                whole = all(placed[group] >= pods for group, pods in self.wanted.items())
                whole = whole and not sightings.waiting_pods() and (and_also is None or and_also(sightings))
                quiet = time.monotonic() - sightings.changed_at
                self._tell(what, sightings)
            if whole:
                return True
            if quiet > _QUIET_SECONDS and self._given_up():
                return False
            time.sleep(_LOOK_SECONDS)
        return False

    def wait_until_settled(self, what: str, *, quiet_seconds: float, timeout_seconds: float) -> bool:
        """Waits until no node of Karpenter's is empty and nothing has changed for ``quiet_seconds``.

        False when time is up before.
        """
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            with self.seen() as sightings:
                self._tell(what, sightings)
                quiet = time.monotonic() - sightings.changed_at
                if quiet > quiet_seconds and not sightings.empty_nodes():
                    return True
            time.sleep(_LOOK_SECONDS)
        return False

    @contextlib.contextmanager
    def seen(self) -> Iterator[Sightings]:
        """What stands now, held still.  Raises StageError when the control plane is not whole any more."""
        now = time.monotonic()
        if now - self._looked_at > _ALIVE_SECONDS:
            self._looked_at = now
            self._raise_if_broken()
        self._observer.raise_if_blind()
        with self._observer.lock:
            yield self._observer.sightings

    def refusals(self) -> list[Refusal]:
        """What Karpenter said of the pods that wait now."""
        with self.seen() as sightings:
            waiting = {pod.name for pod in sightings.waiting_pods()}
        query = urlencode({"fieldSelector": "reason=FailedScheduling,reportingComponent=karpenter", "limit": 2000})
        events = self._client.get(f"{folder_of('Event', NAMESPACE)}?{query}").get("items") or []
        said = {str(each["involvedObject"]["name"]): str(each.get("message", "")) for each in events}
        return [Refusal(name, words) for name, words in sorted(said.items()) if name in waiting]

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _create(self, manifests: Iterable[Manifest]) -> None:
        with self._plane.client() as client:
            for made in manifests:
                client.create(folder_for(made), made)

    def _start(self) -> None:
        found = self._plane.status()
        if found is not None and not found.ready:
            self._plane.down(purge=True)  # half a control plane of an earlier rehearsal: nothing on it is worth keeping
        self.learn(self.planned.region)

    def _end(self) -> None:
        if not self._keep:
            self._plane.down(purge=True)

    def _lay_out(self) -> None:
        self._clear()
        self._client.create(folder_of("Namespace"), manifest("v1", "Namespace", NAMESPACE))
        account = f"{folder_of('Namespace')}/{NAMESPACE}/serviceaccounts/default"
        self._client.wait_for(account, lambda _: True, timeout_seconds=30, what="the namespace has no service account")
        for made in (*priority_classes(), *pool_objects(self.planned), *system_nodes(self.planned)):
            self._client.create(folder_for(made), made)

    def _wait_until_seen(self, nodes: int) -> None:
        """The watch has caught up when it has told of the nodes that were laid out."""
        deadline = time.monotonic() + _CLEAR_SECONDS
        while time.monotonic() < deadline:
            with self.seen() as sightings:
                if len(sightings.standing_nodes()) >= nodes:
                    return
            time.sleep(_LOOK_SECONDS)
        raise StageError(f"the watch told of fewer than {nodes} nodes within {_CLEAR_SECONDS:g} s")

    def _clear(self) -> None:
        """Takes away what an earlier rehearsal left standing."""
        if self._client.find(f"{folder_of('Namespace')}/{NAMESPACE}") is None:
            return
        for kind in ("NodePool", "Job", "Deployment", "Pod", "PodDisruptionBudget"):
            self._client.request("DELETE", folder_of(kind, NAMESPACE), _NOW)
        for kind in ("NodePool", "NodeClaim", "Node"):
            for left in self._client.get(folder_of(kind))["items"]:
                self._remove(f"{folder_of(kind)}/{left['metadata']['name']}")
        self._client.request("DELETE", folder_of("KWOKNodeClass"))
        for made in priority_classes():
            self._remove(f"{folder_for(made)}/{made['metadata']['name']}")
        self._client.request("DELETE", f"{folder_of('Namespace')}/{NAMESPACE}", _NOW)
        deadline = time.monotonic() + _CLEAR_SECONDS
        while self._client.find(f"{folder_of('Namespace')}/{NAMESPACE}") is not None:
            if time.monotonic() > deadline:
                raise StageError(
                    f"namespace {NAMESPACE} of an earlier rehearsal does not go away; end its control plane with "
                    "`falaj rehearse --end`"
                )
            time.sleep(_LOOK_SECONDS)

    def _remove(self, path: str, *, finalizers: bool = True) -> None:
        """Deletes an object now, whatever its finalizers would like to do first."""
        if finalizers:
            with contextlib.suppress(ApiError):
                self._patch(path, {"metadata": {"finalizers": None}})
        try:
            self._client.request("DELETE", path, _NOW)
        except ApiError as error:
            if error.status != 404:
                raise

    def _patch(self, path: str, body: Mapping[str, Any], content_type: str = _MERGE) -> None:
        self._client.request("PATCH", path, body, content_type=content_type)

    def _tell(self, what: str, sightings: Sightings) -> None:
        placed = sightings.placed_by_group()
        standing = sum(min(placed[group], pods) for group, pods in self.wanted.items())
        self._progress(what, standing, sum(self.wanted.values()), len(sightings.standing_nodes()))

    def _given_up(self) -> bool:
        with self.seen() as sightings:
            waiting = {pod.name for pod in sightings.waiting_pods()}
        return bool(waiting) and waiting <= {each.pod for each in self.refusals()}

    def _raise_if_broken(self) -> None:
        found = self._plane.status()
        ended = [] if found is None else [process.note for process in found.processes if not process.alive]
        if found is None or ended:
            how = "; ".join(ended) or "it was taken down"
            raise StageError(f"the control plane broke down in the middle of the rehearsal: {how}")


def _patience(planned: Plan) -> float:
    """How long a drill waits: past its target, so that a report can say by how much it was missed."""
    targets = planned.blueprint.rehearsal
    return max(_LEAST_PATIENCE_SECONDS, 2 * max(targets.placement_seconds, targets.recovery_seconds))


@contextlib.contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """One rehearsal at a time in a directory; the lock ends with its holder."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / "rehearsal.lock").open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise AskError(
                f"{directory}: another rehearsal runs there (pid {handle.read().strip() or 'unknown'}); wait for it"
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
