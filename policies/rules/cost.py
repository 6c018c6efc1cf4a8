"""What is bought: spot only for what survives it, types that the zones have, and a ceiling on all of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from policies.offerings import FAMILY_ZONES, GPU_FAMILIES, family
from policies.rules.workloads import DEPLOYMENT, STATEFUL_SET, Located, each_pod
from policies.verdict import Reference, Resource, Severity, Verdict, guarded, read, require_set, rule, violation

NODE_POOL: Final = "kubernetes:karpenter.sh/v1:NodePool"
NODE_GROUP: Final = "aws:eks/nodeGroup:NodeGroup"
BUDGET: Final = "aws:budgets/budget:Budget"
CONTINUITY: Final = Reference("UAE IA", "T9")
CAPACITY: Final = Reference("UAE IA", "T3.3.1")

INTERRUPTIBLE: Final = "falaj.dev/interruptible"
"""The taint of spot nodes, and what a pod tolerates that survives two minutes of notice."""
_CAPACITY_TYPE: Final = "karpenter.sh/capacity-type"
_INSTANCE_TYPE: Final = "node.kubernetes.io/instance-type"
_ZONE_ID: Final = "topology.k8s.aws/zone-id"
_GPU: Final = "nvidia.com/gpu"
_KEEPS_OFF: Final = ("NoSchedule", "NoExecute", "NO_SCHEDULE", "NO_EXECUTE")


@rule(
    "COST-001",
    severity=Severity.HIGH,
    types=[NODE_POOL, NODE_GROUP, STATEFUL_SET, DEPLOYMENT],
    references=(CONTINUITY,),
)
def nothing_stateful_is_on_spot(resource: Resource) -> Iterator[Verdict]:
    """Spot nodes are tainted, and nothing that keeps state tolerates the taint.

    Why: a spot node is gone two minutes after its notice, and a volume or a quorum with it.
    Fix: taint spot nodes falaj.dev/interruptible=true:NoSchedule; tolerate it only where a pod may end at any time.
    """
    if resource.type == NODE_POOL:
        yield from guarded(lambda: _spot_pool_is_tainted(resource))
    elif resource.type == NODE_GROUP:
        yield from guarded(lambda: _spot_group_is_tainted(resource))
    elif resource.type == STATEFUL_SET:
        yield from each_pod(resource, _stays_off_spot)
    else:
        yield from each_pod(resource, _stays_off_spot_with_a_volume)


@rule("COST-002", severity=Severity.HIGH, types=[NODE_POOL, NODE_GROUP], references=(CAPACITY,))
def instance_types_are_offered_where_they_are_asked_for(resource: Resource) -> Iterator[Verdict]:
    """Every instance type of a node pool is offered in the region and in one of the pool's zones.

    Why: a pool of a type that its zones lack is accepted and never makes a node; its pods wait for ever.
    Fix: choose types with `falaj blueprint recommend`, or drop the zones that lack them.
    """
    if resource.type == NODE_GROUP:
        yield from guarded(lambda: _offered(read(resource.props, "instanceTypes", default=[]), None, "instanceTypes"))
    else:
        yield from guarded(
            lambda: _offered(
                _values(resource, _INSTANCE_TYPE), _values(resource, _ZONE_ID), "spec.template.spec.requirements"
            )
        )


@rule("COST-003", severity=Severity.MEDIUM, types=[NODE_POOL, BUDGET], references=(CAPACITY,))
def spending_has_a_ceiling(resource: Resource) -> Iterator[Verdict]:
    """Node pools have limits, those with GPUs one on GPUs, and a budget tells somebody.

    Why: an autoscaler buys what pods ask for; one wrong number of replicas is a month's budget in an hour.
    Fix: set spec.limits cpu and memory, and nvidia.com/gpu for GPU types; give the budget notifications with
    subscribers.
    """
    if resource.type == NODE_POOL:
        yield from require_set(resource, "spec.limits.cpu", "Karpenter buys without end")
        yield from guarded(lambda: _gpus_are_limited(resource))
    else:
        yield from guarded(lambda: _somebody_is_told(resource))


def _values(resource: Resource, key: str) -> list[str] | None:
    """What a requirement admits; None where the pool does not say."""
    found: list[str] | None = None
    requirements = read(resource.props, "spec", "template", "spec", "requirements", default=[])
    for i in range(len(requirements)):
        if read(requirements, i, "key") == key and read(requirements, i, "operator") == "In":
            admitted = read(requirements, i, "values", default=[])
            values = [str(read(admitted, j)) for j in range(len(admitted))]
            found = values if found is None else [value for value in found if value in values]
    return found


def _spot_pool_is_tainted(resource: Resource) -> Verdict | None:
    capacity = _values(resource, _CAPACITY_TYPE)
    if capacity is not None and "spot" not in capacity:
        return None
    if _is_tainted(read(resource.props, "spec", "template", "spec", "taints", default=[])):
        return None
    what = "may be spot: it names no capacity type" if capacity is None else "is spot"
    return violation(f"the pool {what} and any pod lands on it; taint it {INTERRUPTIBLE}", "spec.template.spec.taints")


def _spot_group_is_tainted(resource: Resource) -> Verdict | None:
    if read(resource.props, "capacityType", default="ON_DEMAND") != "SPOT":
        return None
    if _is_tainted(read(resource.props, "taints", default=[])):
        return None
    return violation(f"the node group is spot and any pod lands on it; taint it {INTERRUPTIBLE}", "taints")


def _is_tainted(taints: Any) -> bool:
    return any(
        read(taints, i, "key") == INTERRUPTIBLE and read(taints, i, "effect") in _KEEPS_OFF for i in range(len(taints))
    )


def _stays_off_spot(pod: Located) -> Verdict | None:
    tolerations = pod.read("tolerations", default=[])
    for i in range(len(tolerations)):
        key, operator = pod.read("tolerations", i, "key"), pod.read("tolerations", i, "operator")
        if key == INTERRUPTIBLE or (key is None and operator == "Exists"):
            path = f"{pod.path}.tolerations[{i}]"
            return violation(f"{path} lets a pod that keeps state onto spot nodes", path)
    return None


def _stays_off_spot_with_a_volume(pod: Located) -> Verdict | None:
    volumes = pod.read("volumes", default=[])
    keeps = any(pod.read("volumes", i, "persistentVolumeClaim") is not None for i in range(len(volumes)))
    return _stays_off_spot(pod) if keeps else None


def _offered(types: list[str] | None, zones: list[str] | None, path: str) -> Verdict | None:
    for name in types or ():
        offered = FAMILY_ZONES.get(family(name))
        if offered is None:
            return violation(f"{name} is not offered in the region", path)
        if zones is not None and not offered & set(zones):
            return violation(f"{name} is offered in {', '.join(sorted(offered))}, not in {', '.join(zones)}", path)
    return None


def _gpus_are_limited(resource: Resource) -> Verdict | None:
    if not any(family(name) in GPU_FAMILIES for name in _values(resource, _INSTANCE_TYPE) or ()):
        return None
    if read(resource.props, "spec", "limits", _GPU) is not None:
        return None
    return violation(f"the pool has GPUs and no limit on them; set spec.limits.{_GPU}", "spec.limits")


def _somebody_is_told(resource: Resource) -> Verdict | None:
    notifications = read(resource.props, "notifications", default=[])
    for i in range(len(notifications)):
        for key in ("subscriberSnsTopicArns", "subscriberEmailAddresses"):
            if len(read(notifications, i, key, default=[])):
                return None
    return violation("nobody hears of the budget; give it notifications with subscribers", "notifications")
