"""What watch events add up to.  Guards: a pod counted twice, one that is gone counted at all, a price for nothing."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blueprints.region import catalogue
from falaj.rehearse.drills.spot_interruption import chosen
from falaj.rehearse.picture import picture, usd_per_hour
from falaj.rehearse.reasons import never_made, reasons, sentences
from falaj.rehearse.sightings import Node, Pod, Sightings, placed_over_time
from falaj.rehearse.workload import Workload
from tests.support.rehearsals import node_event, pod_event

REGION = catalogue("me-central-1")


def seen() -> Sightings:
    """Two nodes of four GPUs in two zones; a gang of two on each of them, and a pod that waits."""
    found = Sightings()
    for name, zone in (("a", "mec1-az1"), ("b", "mec1-az2")):
        found.saw_node("ADDED", node_event(name, "g6.12xlarge", zone, gpus=4), 1.0)
    for uid, group, node in (("p", "gang-1", "a"), ("q", "gang-1", "a"), ("r", "gang-2", "a"), ("s", "gang-2", "b")):
        found.saw_pod("ADDED", pod_event(uid, group=group), 1.0)
        found.saw_pod("MODIFIED", pod_event(uid, group=group, node=node, ready=True), 3.0)
    found.saw_pod("ADDED", pod_event("t", refusal="0/2 nodes are available: 2 Insufficient cpu."), 2.0)
    return found


GANGS = tuple(Workload(name, "training", 2, 1, (), gang=True) for name in ("gang-1", "gang-2"))


def test_pod_is_placed_when_it_is_first_ready() -> None:
    found = seen()
    found.saw_pod("MODIFIED", pod_event("p", group="gang-1", node="a", ready=True), 9.0)
    assert found.pods["p"].placed_at == 3.0


def test_pod_that_is_being_deleted_stands_no_more() -> None:
    found = seen()
    found.saw_pod("MODIFIED", pod_event("p", group="gang-1", node="a", ready=True, deleted=True), 4.0)
    assert found.placed_by_group() == {"gang-1": 1, "gang-2": 2}


def test_waiting_pod_keeps_the_schedulers_words_until_it_is_placed() -> None:
    found = seen()
    assert found.pods["t"].refusal.startswith("0/2 nodes")
    found.saw_pod("MODIFIED", pod_event("t", node="a", ready=True), 5.0)
    assert found.pods["t"].refusal == ""


def test_picture_counts_gpus_gangs_and_money() -> None:
    made = picture(seen(), REGION, GANGS)
    assert (made.nodes, made.gpus, made.gpus_held) == (2, 8, 4)
    assert made.gpu_packing_percent == 50
    assert (made.gangs, made.gangs_in_one_zone) == (2, 1)
    price = REGION.instance("g6.12xlarge").spot["mec1-az1"].value
    assert usd_per_hour(seen().nodes["a"], REGION) == price
    assert made.usd_per_hour == pytest.approx(made.training_usd_per_hour)


def test_node_is_empty_when_its_last_pod_is_gone() -> None:
    found = seen()
    assert found.empty_nodes() == []
    found.saw_pod("DELETED", pod_event("s", group="gang-2", node="b", ready=True), 5.0)
    assert [node.name for node in found.empty_nodes()] == ["b"]


def test_node_that_is_gone_costs_nothing() -> None:
    found = seen()
    found.saw_node("DELETED", node_event("a", "g6.12xlarge", "mec1-az1"), 5.0)
    assert picture(found, REGION, GANGS).nodes == 1


def test_pods_left_for_the_same_reason_are_one_group() -> None:
    waiting = [Pod(f"p{n}", "jobs", "training", 1, 0.0, refusal=f"0/{n} nodes are available") for n in range(5)]
    waiting.append(Pod("q", "gang-1", "training", 1, 0.0, refusal="node(s) had untolerated taint"))
    found = reasons(waiting, {})
    assert [(each.pods, each.groups) for each in found] == [(5, ("jobs",)), (1, ("gang-1",))]


def test_karpenters_message_is_cut_into_its_sentences_each_once() -> None:
    words = (
        "Failed to schedule pod, did not tolerate taint (taint=a:NoSchedule); "
        "did not tolerate taint (taint=a:NoSchedule); "
        "all available instance types exceed limits for nodepool (NodePool=cpu)"
    )
    assert sentences(words) == (
        "did not tolerate taint (taint=a:NoSchedule)",
        "all available instance types exceed limits for nodepool (NodePool=cpu)",
    )


def test_pod_that_its_controller_never_made_is_left_too() -> None:
    (reason,) = never_made(
        {"jobs": 3, "gang-1": 1}, [Pod("p", "jobs", "training", 1, 0.0), Pod("q", "gang-1", "x", 1, 0.0)]
    )
    assert (reason.pods, reason.groups) == (2, ("jobs",))


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100) | st.none()), max_size=400))
def test_timeline_ends_with_what_stands_and_is_never_long(lives: list[tuple[float, float | None]]) -> None:
    pods = [
        Pod(str(n), "g", "training", 0, 0.0, placed_at=start, gone_at=None if left is None else start + left)
        for n, (start, left) in enumerate(lives)
    ]
    found = placed_over_time(pods, 0.0, points=50)
    assert found[-1][1] == sum(1 for pod in pods if pod.gone_at is None) or any(pod.gone_at == 0.0 for pod in pods)
    assert len(found) <= 51
    assert [x for x, _ in found] == sorted(x for x, _ in found)


@functools.cache
def spot_nodes(count: int) -> tuple[Node, ...]:
    return tuple(Node(f"n{i}", "g6.12xlarge", "mec1-az1", "spot", "pool", f"c{i}", 4, float(i)) for i in range(count))


@given(st.integers(1, 60), st.floats(1, 100), st.integers(0, 5))
def test_interruption_takes_its_share_and_the_same_for_the_same_seed(count: int, percent: float, seed: int) -> None:
    nodes = list(spot_nodes(count))
    taken = chosen(nodes, percent, seed)
    assert max(1, count * percent / 100) <= len(taken) <= count * percent / 100 + 1
    assert [node.name for node in taken] == [node.name for node in chosen(list(reversed(nodes)), percent, seed)]


def test_without_spot_nodes_nothing_is_interrupted() -> None:
    assert chosen([], 30, 0) == []
