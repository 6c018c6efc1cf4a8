"""What is bought, by name, and what each rule says of it: more fixtures of test_rules.py."""

from __future__ import annotations

from typing import Any

from policies.verdict import UNKNOWN
from tests.policies.cases import BUCKET, C, Case, N, U, V

POOL, GROUP, BUDGET = "kubernetes:karpenter.sh/v1:NodePool", "aws:eks/nodeGroup:NodeGroup", "aws:budgets/budget:Budget"
STATEFUL_SET, DEPLOYMENT = "kubernetes:apps/v1:StatefulSet", "kubernetes:apps/v1:Deployment"
TAINT = {"key": "falaj.dev/interruptible", "value": "true", "effect": "NoSchedule"}
STANDS = {"key": "falaj.dev/interruptible", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}


def pool(
    *,
    capacity: Any = ("spot",),
    types: Any = ("g6.xlarge",),
    zones: Any = ("mec1-az1",),
    taints: Any = (TAINT,),
    limits: Any = None,
) -> dict[str, Any]:
    """A spot pool of GPUs with nothing to object to; a requirement that is None is left out."""
    wanted = {
        "karpenter.sh/capacity-type": capacity,
        "node.kubernetes.io/instance-type": types,
        "topology.k8s.aws/zone-id": zones,
    }
    requirements = [
        {"key": key, "operator": "In", "values": values if values is UNKNOWN else list(values)}
        for key, values in wanted.items()
        if values is not None
    ]
    limited = {"cpu": "16", "memory": "64Gi", "nvidia.com/gpu": "4"} if limits is None else limits
    template = {"spec": {"requirements": requirements, "taints": taints if taints is UNKNOWN else list(taints)}}
    return {"spec": {"limits": limited, "template": template}}


def workload(*, tolerations: Any = (), volumes: Any = ()) -> dict[str, Any]:
    spec = {
        "tolerations": tolerations if tolerations is UNKNOWN else list(tolerations),
        "volumes": list(volumes),
        "containers": [{"name": "main"}],
    }
    return {"spec": {"template": {"spec": spec}}}


def budget(**subscribers: Any) -> dict[str, Any]:
    return {"notifications": [{"threshold": 80, **subscribers}]}


COST_CASES = [
    Case("COST-001", "spot-pool-tainted", POOL, pool(), C),
    Case("COST-001", "spot-pool-open", POOL, pool(taints=()), V),
    Case("COST-001", "spot-pool-prefers", POOL, pool(taints=({**TAINT, "effect": "PreferNoSchedule"},)), V),
    Case("COST-001", "on-demand-pool-open", POOL, pool(capacity=("on-demand",), taints=()), C),
    Case("COST-001", "pool-of-either-open", POOL, pool(capacity=("on-demand", "spot"), taints=()), V),
    Case("COST-001", "pool-without-capacity-type", POOL, pool(capacity=None, taints=()), V),
    Case("COST-001", "pool-capacity-unknown", POOL, pool(capacity=UNKNOWN), U),
    Case("COST-001", "spot-group-open", GROUP, {"capacityType": "SPOT"}, V),
    Case(
        "COST-001",
        "spot-group-tainted",
        GROUP,
        {"capacityType": "SPOT", "taints": [{**TAINT, "effect": "NO_SCHEDULE"}]},
        C,
    ),
    Case("COST-001", "on-demand-group", GROUP, {"capacityType": "ON_DEMAND"}, C),
    Case("COST-001", "group-capacity-unknown", GROUP, {"capacityType": UNKNOWN}, U),
    Case("COST-001", "stateful-set-on-demand", STATEFUL_SET, workload(), C),
    Case("COST-001", "stateful-set-on-spot", STATEFUL_SET, workload(tolerations=(STANDS,)), V),
    Case("COST-001", "stateful-set-anywhere", STATEFUL_SET, workload(tolerations=({"operator": "Exists"},)), V),
    Case("COST-001", "stateful-set-unknown", STATEFUL_SET, workload(tolerations=UNKNOWN), U),
    Case("COST-001", "deployment-on-spot", DEPLOYMENT, workload(tolerations=(STANDS,)), C),
    Case(
        "COST-001", "deployment-with-a-volume-on-spot", DEPLOYMENT, workload(tolerations=(STANDS,), volumes=(CLAIM,)), V
    ),
    Case("COST-001", "bucket", BUCKET, {}, N),
    Case("COST-002", "offered-in-its-zone", POOL, pool(), C),
    Case("COST-002", "not-in-its-zone", POOL, pool(zones=("mec1-az3",)), V),
    Case("COST-002", "in-one-of-its-zones", POOL, pool(zones=("mec1-az1", "mec1-az3")), C),
    Case(
        "COST-002", "one-of-two-types-missing", POOL, pool(types=("p5en.48xlarge", "g6.xlarge"), zones=("mec1-az3",)), V
    ),
    Case("COST-002", "not-in-the-region", POOL, pool(types=("p4d.24xlarge",)), V),
    Case("COST-002", "any-zone", POOL, pool(zones=None), C),
    Case("COST-002", "zones-unknown", POOL, pool(zones=UNKNOWN), U),
    Case("COST-002", "group-offered", GROUP, {"instanceTypes": ["m7g.xlarge"]}, C),
    Case("COST-002", "group-not-offered", GROUP, {"instanceTypes": ["t3.large"]}, V),
    Case("COST-002", "group-unknown", GROUP, {"instanceTypes": UNKNOWN}, U),
    Case("COST-002", "bucket", BUCKET, {}, N),
    Case("COST-003", "limited", POOL, pool(), C),
    Case("COST-003", "without-limits", POOL, pool(limits={}), V),
    Case("COST-003", "gpus-without-limit", POOL, pool(limits={"cpu": "16"}), V),
    Case("COST-003", "cpu-pool-limited", POOL, pool(types=("m7g.xlarge",), limits={"cpu": "16"}), C),
    Case("COST-003", "limits-unknown", POOL, pool(limits=UNKNOWN), U),
    Case("COST-003", "budget-with-a-topic", BUDGET, budget(subscriberSnsTopicArns=["arn"]), C),
    Case("COST-003", "budget-with-an-address", BUDGET, budget(subscriberEmailAddresses=["finops@example.com"]), C),
    Case("COST-003", "budget-that-nobody-hears-of", BUDGET, budget(), V),
    Case("COST-003", "budget-without-notifications", BUDGET, {}, V),
    Case("COST-003", "bucket", BUCKET, {}, N),
]
