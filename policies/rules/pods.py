"""What a pod may be: confined to itself, of an image that cannot change, and with a known appetite."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from policies.rules.workloads import (
    DAEMON_SET,
    DEPLOYMENT,
    POD_PATHS,
    STATEFUL_SET,
    Located,
    containers,
    each_container,
    each_pod,
)
from policies.verdict import (
    COMPLIANT,
    Reference,
    Resource,
    Severity,
    Unverified,
    Verdict,
    guarded,
    read,
    rule,
    unverified,
    violation,
    with_stack_check,
)

NAMESPACE: Final = "kubernetes:core/v1:Namespace"
POD_SECURITY: Final = "pod-security.kubernetes.io"
SECURE_OPERATION: Final = Reference("UAE IA", "T3.2.1")
CAPACITY: Final = Reference("UAE IA", "T3.3.1")
INTEGRITY: Final = Reference("UAE IA", "T7.3.3")

SYSTEM_NAMESPACE: Final = "kube-system"
DEVICE_PLUGINS_FOLDER: Final = "/var/lib/kubelet/device-plugins"
"""Where a device plugin shows its socket.  Source: Kubernetes, Device Plugins, device plugin registration."""

_SHARED_WITH_THE_NODE: Final = ("hostNetwork", "hostPID", "hostIPC")
_MODES: Final = ("enforce", "warn")
_SECCOMP: Final = ("RuntimeDefault", "Localhost")


@rule(
    "K8S-001",
    severity=Severity.HIGH,
    types=[*POD_PATHS, NAMESPACE],
    references=(SECURE_OPERATION, Reference("CIS EKS 1.8", "4.2.1-5")),
)
def pods_are_restricted(resource: Resource) -> Iterator[Verdict]:
    """Pods meet the Pod Security Standard restricted, with a read-only root, and namespaces enforce it.

    Why: a pod that is root or shares something with its node is one bug away from every other pod on that node.
    Fix: run as non-root with seccomp RuntimeDefault, drop ALL, no privileges, nothing of the host, a read-only root
    file system; label the namespace pod-security.kubernetes.io/enforce=restricted (one for controllers of others may
    enforce baseline and warn of restricted).  A device plugin in kube-system may be root and open the kubelet's folder
    of device plugins, which belongs to root, and nothing else of the host; any other node agent needs an exemption.
    """
    if resource.type == NAMESPACE:
        yield from guarded(lambda: _enforces(resource))
        return
    confined = () if _is_device_plugin(resource) else (_shares_nothing, _not_root)
    yield from each_pod(resource, *confined, _seccomp)
    yield from each_container(resource, _unprivileged, _capabilities, _read_only_root, _no_host_ports)


def _enforces(resource: Resource) -> Verdict | None:
    enforced, warned = (read(resource.props, "metadata", "labels", f"{POD_SECURITY}/{mode}") for mode in _MODES)
    if enforced == "restricted" or (enforced == "baseline" and warned == "restricted"):
        return None
    message = f"the label {POD_SECURITY}/enforce is {enforced or 'not set'}, must be restricted (or baseline with warn"
    return violation(f"{message}=restricted, for controllers of others)", "metadata.labels")


def _is_device_plugin(resource: Resource) -> bool:
    """Whether a DaemonSet of the system opens the device plugins' folder of the node, and nothing else of the host."""
    if resource.type != DAEMON_SET:
        return False
    try:
        pod = read(resource.props, "spec", "template", "spec", default={})
        volumes = read(pod, "volumes", default=[])
        opened = [read(volumes, i, "hostPath", "path") for i in range(len(volumes)) if read(volumes, i, "hostPath")]
        shares = any(read(pod, key, default=False) for key in _SHARED_WITH_THE_NODE)
        namespace = read(resource.props, "metadata", "namespace", default="")
    except Unverified:
        return False  # the checks of any other pod say what is not known
    return namespace == SYSTEM_NAMESPACE and opened == [DEVICE_PLUGINS_FOLDER] and not shares


def _shares_nothing(pod: Located) -> Verdict | None:
    for key in _SHARED_WITH_THE_NODE:
        if pod.read(key):
            return violation(f"{pod.path}.{key} is true: the pod shares it with the node", f"{pod.path}.{key}")
    volumes = pod.read("volumes", default=[])
    for i in range(len(volumes)):
        if pod.read("volumes", i, "hostPath") is not None:
            path = f"{pod.path}.volumes[{i}].hostPath"
            return violation(f"{path} opens the node's file system", path)
    return None


def _not_root(pod: Located) -> Verdict | None:
    return _pod_or_containers(pod, ("runAsNonRoot",), lambda value: value is True, "runAsNonRoot must be true") or (
        _pod_or_containers(pod, ("runAsUser",), lambda value: value != 0, "runAsUser is 0, which is root")
    )


def _seccomp(pod: Located) -> Verdict | None:
    wanted = f"seccompProfile.type must be {' or '.join(_SECCOMP)}"
    return _pod_or_containers(pod, ("seccompProfile", "type"), lambda value: value in _SECCOMP, wanted)


def _pod_or_containers(pod: Located, key: tuple[str, ...], holds: Callable[[Any], bool], wanted: str) -> Verdict | None:
    """Whether a field of the security context holds in every container; one that it does not set is the pod's."""
    common = pod.read("securityContext", *key)
    for container in containers(pod):
        own = container.read("securityContext", *key)
        if not holds(common if own is None else own):
            path = f"{container.path}.securityContext.{'.'.join(key)}"
            return violation(f"{path}: {wanted}, there or for the whole pod", path)
    return None


def _unprivileged(container: Located) -> Verdict | None:
    if container.read("securityContext", "privileged"):
        return _violated(container, "privileged", "is true: the container is root on the node")
    if container.read("securityContext", "allowPrivilegeEscalation") is not False:
        return _violated(container, "allowPrivilegeEscalation", "must be false")
    return None


def _capabilities(container: Located) -> Verdict | None:
    if "ALL" not in list(container.read("securityContext", "capabilities", "drop", default=[])):
        return _violated(container, "capabilities.drop", "must contain ALL")
    added = set(container.read("securityContext", "capabilities", "add", default=[])) - {"NET_BIND_SERVICE"}
    if added:
        return _violated(container, "capabilities.add", f"adds {', '.join(sorted(map(str, added)))}")
    return None


def _read_only_root(container: Located) -> Verdict | None:
    if container.read("securityContext", "readOnlyRootFilesystem") is True:
        return None
    return _violated(container, "readOnlyRootFilesystem", "must be true: give what it writes an emptyDir")


def _no_host_ports(container: Located) -> Verdict | None:
    ports = container.read("ports", default=[])
    for i in range(len(ports)):
        if container.read("ports", i, "hostPort"):
            path = f"{container.path}.ports[{i}].hostPort"
            return violation(f"{path} opens a port of the node", path)
    return None


def _violated(container: Located, key: str, problem: str) -> Verdict:
    path = f"{container.path}.securityContext.{key}"
    return violation(f"{path} {problem}", path)


_BY_DIGEST: Final = re.compile(r"@sha256:[0-9a-f]{64}$")


@rule(
    "K8S-004",
    severity=Severity.HIGH,
    types=[*POD_PATHS],
    references=(Reference("UAE IA", "T7.8"), INTEGRITY, Reference("CIS EKS 1.8", "5.1.1")),
)
def images_are_pinned_by_digest(resource: Resource) -> Iterator[Verdict]:
    """Container images are named by digest.

    Why: a tag can be pushed again, and what runs is then no longer what was scanned and approved.
    Fix: name the image as REGISTRY/REPOSITORY@sha256:DIGEST; `aws ecr describe-images` prints the digest.
    """

    def pinned(container: Located) -> Verdict | None:
        image = container.read("image", default="")
        if _BY_DIGEST.search(str(image)):
            return None
        path = f"{container.path}.image"
        return violation(f'{path} is "{image}"; allowed: an image with @sha256: and 64 hexadecimal digits', path)

    yield from each_container(resource, pinned)


_BUDGET: Final = "kubernetes:policy/v1:PodDisruptionBudget"
_AUTOSCALER: Final = "kubernetes:autoscaling/v2:HorizontalPodAutoscaler"
_PROBED: Final = (DEPLOYMENT, STATEFUL_SET)
_NEEDED: Final = (("requests", "cpu"), ("requests", "memory"), ("limits", "memory"))


@rule(
    "K8S-005",
    severity=Severity.MEDIUM,
    types=[*POD_PATHS],
    references=(CAPACITY, Reference("CIS Kubernetes 1.10", "5.6")),
)
def _appetite(resource: Resource) -> Iterator[Verdict]:
    """Containers state requests and limits, services are probed, and several replicas have a disruption budget.

    Why: without requests a node is filled until it kills somebody, without probes traffic goes to what is not ready,
    and without a budget one drain of a node takes down all replicas at once.
    Fix: set requests.cpu, requests.memory and limits.memory, readinessProbe and livenessProbe, and add a
    PodDisruptionBudget that selects the pods.
    """

    def stated(container: Located) -> Verdict | None:
        missing = [".".join(key) for key in _NEEDED if container.read("resources", *key) is None]
        if not missing:
            return None
        path = f"{container.path}.resources"
        return violation(f"{path} lacks {', '.join(missing)}", path)

    def probed(container: Located) -> Verdict | None:
        missing = [key for key in ("readinessProbe", "livenessProbe") if container.read(key) is None]
        if not missing:
            return None
        return violation(f"{container.path} lacks {', '.join(missing)}", container.path)

    yield from each_container(resource, stated, kinds=("initContainers", "containers"))
    if resource.type in _PROBED:
        yield from each_container(resource, probed, kinds=("containers",))


@with_stack_check(_appetite)
def services_have_known_appetites_and_budgets(resources: Sequence[Resource]) -> Iterator[Verdict]:
    budgets = [resource for resource in resources if resource.type == _BUDGET]
    floors = _autoscaled(resources)
    for resource in resources:
        if resource.type not in _PROBED:
            continue
        try:
            verdict = _budgeted(resource, budgets, floors)
        except Unverified as unknown:
            yield unverified(unknown.path, resource.urn)
            continue
        if verdict is not None:
            yield Verdict(verdict.status, verdict.message, verdict.path, resource.urn)


def _budgeted(resource: Resource, budgets: Sequence[Resource], floors: Mapping[tuple[str, str], int]) -> Verdict | None:
    """None for one that may be down for a moment: a single replica is, whatever a budget says."""
    metadata = resource.props.get("metadata") or {}
    place = str(read(metadata, "namespace", default="")), str(read(metadata, "name", default=""))
    replicas = max(read(resource.props, "spec", "replicas", default=1), floors.get(place, 0))
    if replicas <= 1:
        return None
    pod_labels = read(resource.props, "spec", "template", "metadata", "labels", default={})
    for budget in budgets:
        if read(budget.props, "metadata", "namespace", default="") != place[0]:
            continue
        wanted = read(budget.props, "spec", "selector", "matchLabels", default={})
        if wanted and all(read(pod_labels, key) == read(wanted, key) for key in wanted):
            return COMPLIANT
    return violation(f"{replicas} replicas and no PodDisruptionBudget in {place[0] or 'default'} selects their pods")


def _autoscaled(resources: Sequence[Resource]) -> dict[tuple[str, str], int]:
    """(namespace, name) of what an autoscaler scales -> the fewest replicas that it leaves."""
    found: dict[tuple[str, str], int] = {}
    for resource in resources:
        if resource.type != _AUTOSCALER:
            continue
        try:
            namespace = read(resource.props, "metadata", "namespace", default="")
            target = read(resource.props, "spec", "scaleTargetRef", "name", default="")
            floor = read(resource.props, "spec", "minReplicas", default=1)
        except Unverified:
            continue
        found[str(namespace), str(target)] = floor
    return found
