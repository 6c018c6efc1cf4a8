"""Where the pods of a resource are: in its own spec, in a template, or several templates deep in a custom resource."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from policies.verdict import Resource, Unverified, Verdict, guarded, read, unverified

DEPLOYMENT: Final = "kubernetes:apps/v1:Deployment"
STATEFUL_SET: Final = "kubernetes:apps/v1:StatefulSet"
DAEMON_SET: Final = "kubernetes:apps/v1:DaemonSet"
SELDON_DEPLOYMENT: Final = "kubernetes:machinelearning.seldon.io/v1:SeldonDeployment"
_RUNTIME: Final = "kubernetes:trainer.kubeflow.org/v1alpha1"

_TEMPLATE: Final = ("spec", "template", "spec")
_JOB_TEMPLATE: Final = ("spec", "jobTemplate", *_TEMPLATE)

ANY: Final = -1
"""Every element of a list."""

POD_PATHS: Final[dict[str, tuple[str | int, ...]]] = {
    DEPLOYMENT: _TEMPLATE,
    STATEFUL_SET: _TEMPLATE,
    DAEMON_SET: _TEMPLATE,
    "kubernetes:apps/v1:ReplicaSet": _TEMPLATE,
    "kubernetes:batch/v1:Job": _TEMPLATE,
    "kubernetes:batch/v1:CronJob": _JOB_TEMPLATE,
    "kubernetes:core/v1:Pod": ("spec",),
    SELDON_DEPLOYMENT: ("spec", "predictors", ANY, "componentSpecs", ANY, "spec"),
    f"{_RUNTIME}:ClusterTrainingRuntime": ("spec", "template", "spec", "replicatedJobs", ANY, "template", *_TEMPLATE),
    f"{_RUNTIME}:TrainingRuntime": ("spec", "template", "spec", "replicatedJobs", ANY, "template", *_TEMPLATE),
}
"""Type -> path of its pods' specs."""

CONTAINER_KINDS: Final = ("initContainers", "containers", "ephemeralContainers")


@dataclass(frozen=True, slots=True)
class Located:
    """A part of a resource and where it is: ``spec.template.spec.containers[0]``."""

    path: str
    value: Any

    def read(self, *path: str | int, default: Any = None) -> Any:
        """The value at ``path`` below.  Raises Unverified, with the whole path, at an unknown part."""
        try:
            return read(self.value, *path, default=default)
        except Unverified as unknown:
            raise Unverified(f"{self.path}.{unknown.path}" if unknown.path else self.path) from None


def pods(resource: Resource) -> list[Located]:
    """The specs of the pods that a resource makes.  Raises Unverified where a part of the way is not known."""
    return list(_walk(Located("", resource.props), POD_PATHS[resource.type]))


def containers(pod: Located, kinds: tuple[str, ...] = CONTAINER_KINDS) -> list[Located]:
    """The containers of a pod, those that come first among them.  Raises Unverified."""
    found = []
    for kind in kinds:
        listed = pod.read(kind, default=[])
        found += [Located(f"{pod.path}.{kind}[{i}]", pod.read(kind, i)) for i in range(len(listed))]
    return found


def each_pod(resource: Resource, *checks: Callable[[Located], Verdict | None]) -> Iterator[Verdict]:
    """Verdicts of the checks on every pod; what one check cannot know leaves the others answered."""
    yield from _each(lambda: pods(resource), checks)


def each_container(
    resource: Resource, *checks: Callable[[Located], Verdict | None], kinds: tuple[str, ...] = CONTAINER_KINDS
) -> Iterator[Verdict]:
    """Verdicts of the checks on every container of every pod."""
    yield from _each(lambda: [found for pod in pods(resource) for found in containers(pod, kinds)], checks)


def _each(
    parts: Callable[[], list[Located]], checks: tuple[Callable[[Located], Verdict | None], ...]
) -> Iterator[Verdict]:
    try:
        found = parts()
    except Unverified as unknown:
        yield unverified(unknown.path)
        return
    for part in found:
        for check in checks:
            yield from guarded(lambda check=check, part=part: check(part))  # type: ignore[misc]


def _walk(at: Located, path: tuple[str | int, ...]) -> Iterator[Located]:
    if not path:
        yield at
        return
    step, rest = path[0], path[1:]
    if step == ANY:
        for i in range(len(at.value)):
            yield from _walk(Located(f"{at.path}[{i}]", read(at.value, i)), rest)
        return
    value = at.read(step)
    if value is not None:
        yield from _walk(Located(f"{at.path}.{step}" if at.path else str(step), value), rest)
