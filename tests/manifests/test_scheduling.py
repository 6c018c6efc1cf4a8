"""A pod that tolerates too little never runs; one that tolerates too much lands where it may be taken back."""

from __future__ import annotations

from typing import Any

import pytest

import blueprints
from blueprints.schema import NodePool
from manifests import scheduling
from manifests.scheduling import interruptible, is_gang, on_demand, on_gpu, pool_labels, pool_taints


def admitted(scheduled: dict[str, Any], name: str = "enterprise") -> set[str]:
    """Pools whose labels and taints let a pod in, judged as the scheduler does."""
    return {pool.name for pool in blueprints.load(name).node_pools if _admits(pool, scheduled)}


def _admits(pool: NodePool, scheduled: dict[str, Any]) -> bool:
    tolerated = {(each["key"], each["value"]) for each in scheduled["tolerations"]}
    if any((taint.key, taint.value) not in tolerated for taint in pool_taints(pool)):
        return False
    if "affinity" not in scheduled:
        return True
    required = scheduled["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = required["nodeSelectorTerms"]
    labels = pool_labels(pool)
    return all(labels.get(each["key"]) in each["values"] for each in term["matchExpressions"])


@pytest.mark.parametrize(
    ("scheduled", "pools"),
    [
        (on_demand(), {"system", "cpu"}),
        (interruptible(), {"system", "cpu", "cpu-spot"}),
        (on_gpu(spot=False), {"gpu", "gpu-training"}),
        (on_gpu(spot=True), {"gpu", "gpu-training", "gpu-spot"}),
        (on_gpu(spot=False, workload="inference"), {"gpu"}),
        (on_gpu(spot=True, workload="training"), {"gpu-training", "gpu-spot"}),
        (on_gpu(spot=False, gang=True), {"training-gang"}),
    ],
)
def test_pods_are_admitted_where_they_belong(scheduled: dict[str, Any], pools: set[str]) -> None:
    assert admitted(scheduled) == pools


def test_gangs_are_admitted_only_where_the_blueprint_has_nodes_for_them() -> None:
    for name in ("smb", "enterprise"):
        assert bool(admitted(on_gpu(spot=False, gang=True), name)) is any(
            map(is_gang, blueprints.load(name).node_pools)
        )


def test_no_label_of_the_blueprint_is_lost() -> None:
    for pool in blueprints.load("enterprise").node_pools:
        assert pool.labels.items() <= pool_labels(pool).items()


def test_a_taint_of_the_blueprint_is_not_doubled() -> None:
    for pool in blueprints.load("enterprise").node_pools:
        keys = [taint.key for taint in pool_taints(pool)]
        assert len(keys) == len(set(keys))


@pytest.mark.parametrize("hard", [True, False])
def test_spreading_counts_only_pods_of_the_same_roll_out(hard: bool) -> None:
    zones, hosts = scheduling.spread_over_zones({"app": "x"}, hard=hard)
    assert zones["whenUnsatisfiable"] == ("DoNotSchedule" if hard else "ScheduleAnyway")
    assert hosts["whenUnsatisfiable"] == "ScheduleAnyway"
    assert zones["matchLabelKeys"] == ["pod-template-hash"]
