"""Who waits for whom when nodes are short: the four priority classes that everything on the platform shares.

Four, because each is a promise that people can remember: the platform's own services, then answers to live requests,
then training, then whatever can wait.  A tenant's pods get at most the class that its blueprint entry names.
"""

from __future__ import annotations

from typing import Final

from manifests.objects import Manifest, labels, manifest

PLATFORM_CRITICAL: Final = "falaj-platform-critical"
"""What others cannot work without: registry of models, feature server, the stack's controllers."""
SERVING: Final = "falaj-serving"
"""Answers live requests."""
TRAINING: Final = "falaj-training"
"""Takes nodes from batch work, never from serving."""
BATCH: Final = "falaj-batch"
"""Waits for free nodes and takes none from anybody; what names no class has this one."""

QUEUE_CLASSES: Final = (BATCH, TRAINING, SERVING)
"""The classes that a tenant may be given, lowest first; ``Tenant.queue_priority`` names the last part."""
SYSTEM_CLASSES: Final = ("system-cluster-critical", "system-node-critical")
"""Kubernetes' own, which any namespace may use unless a quota says otherwise."""

_VALUES: Final = {PLATFORM_CRITICAL: 1_000_000, SERVING: 100_000, TRAINING: 10_000, BATCH: 1_000}
_DESCRIPTIONS: Final = {
    PLATFORM_CRITICAL: "Platform services that others cannot work without",
    SERVING: "Answers live requests",
    TRAINING: "Training: takes nodes from batch work only",
    BATCH: "Waits for free nodes, takes none from anybody; the default",
}


def priority_classes() -> list[Manifest]:
    """The four classes, highest first."""
    return [
        manifest(
            "scheduling.k8s.io/v1",
            "PriorityClass",
            name,
            labels=labels(name, "tenancy"),
            value=value,
            description=_DESCRIPTIONS[name],
            globalDefault=name == BATCH,
            preemptionPolicy="Never" if name == BATCH else "PreemptLowerPriority",
        )
        for name, value in _VALUES.items()
    ]


def queue_class(queue_priority: str) -> str:
    """The class of a tenant's ``queue_priority``: ``training`` is ``falaj-training``."""
    return next(name for name in QUEUE_CLASSES if name.endswith(f"-{queue_priority}"))


def classes_above(queue_priority: str) -> tuple[str, ...]:
    """Every class that a tenant with this ``queue_priority`` may not use, Kubernetes' own among them, sorted."""
    above = QUEUE_CLASSES[QUEUE_CLASSES.index(queue_class(queue_priority)) + 1 :]
    return tuple(sorted((*above, PLATFORM_CRITICAL, *SYSTEM_CLASSES)))
