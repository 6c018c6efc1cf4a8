"""When an object has become what it was declared to be; pure.

The rules are those of `kubectl rollout status` and of pulumi-kubernetes (provider/pkg/await): a Job is ready when it
has completed, a claim for a volume is never waited for, since it may wait for its first pod.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from falaj.local.kubernetes.kinds import CRD, Kind
from falaj.local.kubernetes.manifests import Manifest


class Phase(enum.Enum):
    READY = "ready"
    WAITING = "waiting"
    FAILED = "failed"
    """It will not become ready without a change."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """``reasons`` say what is missing; the first is the summary."""

    phase: Phase
    reasons: tuple[str, ...] = ()


READY: Final = Readiness(Phase.READY)
_QUOTED: Final = re.compile(r'"[^"]*"')


def readiness(kind: Kind, live: Manifest) -> Readiness:
    """Whether a live object is ready.  Kinds that need no time are so at once."""
    judge = _JUDGES.get((kind.group, kind.name))
    if judge is None:
        return READY
    if kind.group == "apps":
        observed = _status(live).get("observedGeneration", 0)
        if observed < live.get("metadata", {}).get("generation", 0):
            return _waiting("its controller has not seen the change yet")
    return judge(live)


def is_awaited(kind: Kind) -> bool:
    return (kind.group, kind.name) in _JUDGES


def pod_selector(live: Manifest) -> str:
    """The label selector of the pods of a workload; empty when it has none of the simple form."""
    labels = (live.get("spec", {}).get("selector") or {}).get("matchLabels")
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) if isinstance(labels, Mapping) else ""


def pod_reasons(pod: Manifest) -> list[str]:
    """Why a pod does not run: what the scheduler or a container says."""
    name = pod.get("metadata", {}).get("name", "?")
    status = _status(pod)
    found = [
        f"pod {name}: {condition.get('message') or condition.get('reason')}"
        for condition in _conditions(pod)
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False"
    ]
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (container.get("state") or {}).get("waiting")
        ended = (container.get("lastState") or {}).get("terminated")
        if waiting and waiting.get("reason") not in ("ContainerCreating", "PodInitializing"):
            detail = f": {waiting['message']}" if waiting.get("message") else ""
            found.append(f"pod {name}, container {container.get('name')}: {waiting.get('reason')}{detail}")
        elif ended and ended.get("exitCode"):
            found.append(f"pod {name}, container {container.get('name')}: ended with exit code {ended['exitCode']}")
    return found


def refusals(events: Iterable[Manifest]) -> list[str]:
    """What the API server told a workload's controller that may not create a pod, such as a quota; each thing once.

    Every attempt is a pod of another name, so messages are compared without the name.
    """
    found: dict[str, str] = {}
    for event in events:
        if event.get("reason") == "FailedCreate":
            message = str(event.get("message", ""))
            found.setdefault(_QUOTED.sub("", message), message)
    return list(found.values())


def _deployment(live: Manifest) -> Readiness:
    spec, status = live.get("spec", {}), _status(live)
    if spec.get("paused"):
        return READY
    refused = [str(c.get("message")) for c in _conditions(live) if c.get("type") == "ReplicaFailure" and _holds(c)]
    for condition in _conditions(live):
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return Readiness(Phase.FAILED, (str(condition.get("message") or "progress deadline exceeded"), *refused))
    wanted = spec.get("replicas", 1)
    counts = {
        "updated": status.get("updatedReplicas", 0),
        "available": status.get("availableReplicas", 0),
    }
    missing = _missing(counts, wanted)
    old = status.get("replicas", 0) - counts["updated"]
    if not missing and old > 0:
        missing = f"{old} replicas of the previous revision are still there"
    return _waiting(missing, *refused) if missing else READY


def _stateful_set(live: Manifest) -> Readiness:
    spec, status = live.get("spec", {}), _status(live)
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return READY
    wanted = spec.get("replicas", 1)
    partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    missing = _missing({"ready": status.get("readyReplicas", 0)}, wanted)
    if not missing and status.get("currentRevision") != status.get("updateRevision"):
        missing = _missing({"updated": status.get("updatedReplicas", 0)}, max(wanted - partition, 0))
    return _waiting(missing) if missing else READY


def _daemon_set(live: Manifest) -> Readiness:
    if (live.get("spec", {}).get("updateStrategy") or {}).get("type") == "OnDelete":
        return READY
    status = _status(live)
    counts = {"updated": status.get("updatedNumberScheduled", 0), "available": status.get("numberAvailable", 0)}
    missing = _missing(counts, status.get("desiredNumberScheduled", 0))
    return _waiting(missing) if missing else READY


def _job(live: Manifest) -> Readiness:
    if live.get("spec", {}).get("suspend"):
        return READY  # somebody else starts it
    for condition in _conditions(live):
        if condition.get("type") == "Complete" and _holds(condition):
            return READY
        if condition.get("type") == "Failed" and _holds(condition):
            text = f"{condition.get('reason')}: {condition.get('message')}"
            return Readiness(Phase.FAILED, (text,))
    status = _status(live)
    counts = ", ".join(f"{status[key]} {key}" for key in ("active", "succeeded", "failed") if status.get(key))
    return _waiting(f"not completed ({counts or 'no pod yet'})")


def _pod(live: Manifest) -> Readiness:
    phase = _status(live).get("phase")
    if phase == "Succeeded" or any(c.get("type") == "Ready" and _holds(c) for c in _conditions(live)):
        return READY
    if phase == "Failed":
        return Readiness(Phase.FAILED, (str(_status(live).get("message") or "the pod failed"), *pod_reasons(live)))
    return _waiting("not ready", *pod_reasons(live))


def _crd(live: Manifest) -> Readiness:
    for condition in _conditions(live):
        if condition.get("type") == "NamesAccepted" and condition.get("status") == "False":
            return Readiness(Phase.FAILED, (str(condition.get("message")),))
    if any(c.get("type") == "Established" and _holds(c) for c in _conditions(live)):
        return READY
    return _waiting("not established yet")


_JUDGES: Final[Mapping[tuple[str, str], Callable[[Manifest], Readiness]]] = {
    ("", "Pod"): _pod,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("batch", "Job"): _job,
    CRD: _crd,
}


def _missing(counts: Mapping[str, int], wanted: int) -> str:
    short = [f"{count} of {wanted} replicas are {name}" for name, count in counts.items() if count < wanted]
    return ", ".join(short)


def _waiting(*reasons: str) -> Readiness:
    return Readiness(Phase.WAITING, reasons)


def _status(live: Manifest) -> dict[str, Any]:
    status = live.get("status")
    return status if isinstance(status, dict) else {}


def _conditions(live: Manifest) -> list[dict[str, Any]]:
    return [condition for condition in _status(live).get("conditions") or [] if isinstance(condition, dict)]


def _holds(condition: Mapping[str, Any]) -> bool:
    return condition.get("status") == "True"
