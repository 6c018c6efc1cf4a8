"""Rehearsals on the real scheduler and the real Karpenter.  Guards the drills' promises, which only they can keep."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from blueprints import load
from falaj.cluster.control_plane import ControlPlane
from falaj.rehearse.drills import DRILLS
from falaj.rehearse.errors import AskError, StageError
from falaj.rehearse.plan import Plan, plan, zone_to_lose
from falaj.rehearse.rehearsal import choose, rehearse
from falaj.rehearse.report import DrillReport, Report
from falaj.rehearse.stage import Stage
from tests.support.control_plane import built

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(1200)]


UNHURRIED = {"rehearsal.placement_seconds": 600, "rehearsal.recovery_seconds": 600}
"""Whether it comes out right is asked here; how fast, by benchmarks/rehearsal.py on a machine at rest."""


def quiet(what: str, standing: int, wanted: int, nodes: int) -> None:
    """Nobody looks."""


def stage(directory: Path, planned: Plan, *, keep: bool = False) -> Stage:
    zone = zone_to_lose(planned, None)
    return Stage(ControlPlane(directory), built(), planned, zone_to_lose=zone, keep=keep, progress=quiet)


def rehearsed(directory: Path, planned: Plan) -> Iterator[Report]:
    with stage(directory, planned) as opened:
        yield rehearse(opened, choose(()), start_seconds=0.0)


@pytest.fixture(scope="module")
def smb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    yield from rehearsed(tmp_path_factory.mktemp("smb"), plan(load("smb", UNHURRIED)))


@pytest.fixture(scope="module")
def enterprise(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    yield from rehearsed(tmp_path_factory.mktemp("enterprise"), plan(load("enterprise", UNHURRIED), gpus=16))


def drill_of(report: Report, name: str) -> DrillReport:
    return next(each for each in report.drills if each.name == name)


def misses(drill: DrillReport) -> list[str]:
    return [f"{each.target}: {each.got}, wanted {each.wanted}" for each in drill.verdicts if not each.passed] + [
        f"{reason.pods} of {reason.groups}: {reason.words}" for reason in drill.pending
    ]


@pytest.mark.parametrize("name", DRILLS)
def test_smb_passes(smb: Report, name: str) -> None:
    assert misses(drill_of(smb, name)) == []


@pytest.mark.long
@pytest.mark.parametrize("name", DRILLS)
def test_enterprise_with_16_gpus_passes(enterprise: Report, name: str) -> None:
    assert misses(drill_of(enterprise, name)) == []


@pytest.mark.long
def test_gang_starts_in_one_zone(enterprise: Report) -> None:
    after = drill_of(enterprise, "scale-from-zero").after
    assert (after.gangs, after.gangs_in_one_zone) == (1, 1)


@pytest.mark.long
def test_lost_zone_is_empty_and_serving_stands_elsewhere(enterprise: Report) -> None:
    drill = drill_of(enterprise, "zone-loss")
    assert {group.zone for group in drill.before.node_groups} == {"mec1-az1", "mec1-az3"}
    assert {group.zone for group in drill.after.node_groups} == {"mec1-az1"}
    assert drill.after.pods["serving"] == drill.before.pods["serving"]


@pytest.mark.long
def test_no_pool_grows_past_its_nodes(enterprise: Report) -> None:
    """Upstream's simulated nodes are counted at what was asked of them; ours at what they have."""
    most = {pool.name: pool.max_nodes for pool in load("enterprise").node_pools}
    for drill in enterprise.drills:
        counts: dict[str, int] = {}
        for group in drill.after.node_groups:
            counts[group.pool] = counts.get(group.pool, 0) + group.nodes
        assert {name: count for name, count in counts.items() if count > most[name]} == {}


@pytest.mark.long
def test_interruption_takes_spot_nodes_back_and_their_pods_stand_again(enterprise: Report) -> None:
    drill = drill_of(enterprise, "spot-interruption")
    assert drill.placement is not None and drill.placement.pods >= 1
    assert drill.after.pods == drill.before.pods


def test_consolidation_takes_nodes_away(smb: Report) -> None:
    drill = drill_of(smb, "consolidation")
    assert drill.after.nodes < drill.before.nodes


def test_ask_beyond_a_pools_limit_is_left_pending_with_the_limit_named(tmp_path: Path) -> None:
    small = {"max_nodes": 1, "min_nodes": 0, "desired_nodes": 0}
    changes = {f"node_pools.gpu-spot.{key}": value for key, value in small.items()}
    changes |= {f"node_pools.gpu.{key}": value for key, value in small.items()}
    planned = plan(load("smb", {**changes, **UNHURRIED, "training.gpu_hours_per_month": 3000}))
    assert planned.training_gpus > 2
    with stage(tmp_path / "c", planned) as opened:
        report = rehearse(opened, ("scale-from-zero",), start_seconds=0.0)
    (drill,) = report.drills
    assert not report.passed
    left = [each for each in drill.pending if each.groups == ("jobs",)]
    assert sum(each.pods for each in left) == planned.training_gpus - 2
    for reason in left:
        assert "exceed limits for nodepool (NodePool=gpu-spot)" in reason.words
        assert "Insufficient nvidia.com/gpu" in reason.scheduler


def test_control_plane_that_stays_is_cleared_for_the_next_rehearsal(tmp_path: Path) -> None:
    planned = plan(load("smb", UNHURRIED))
    directory = tmp_path / "c"
    try:
        with stage(directory, planned, keep=True) as opened:
            first = rehearse(opened, ("scale-from-zero",), start_seconds=0.0)
            before = ControlPlane(directory).status()
        with stage(directory, planned) as opened:
            again = rehearse(opened, ("scale-from-zero",), start_seconds=0.0)
            after = ControlPlane(directory).status()
    finally:
        ControlPlane(directory).down(purge=True)
    assert before is not None and after is not None
    assert [process.pid for process in before.processes] == [process.pid for process in after.processes]
    assert first.passed and again.passed
    assert again.drills[0].before.nodes == 1, "only the system node was there"


def test_killed_api_server_is_reported_and_nothing_is_left_running(tmp_path: Path) -> None:
    directory = tmp_path / "c"
    with (
        pytest.raises(StageError, match=r"kube-apiserver .*has ended by signal 9"),
        stage(directory, plan(load("smb", UNHURRIED))) as opened,
    ):
        status = ControlPlane(directory).status()
        assert status is not None
        victim = next(process.pid for process in status.processes if process.name == "kube-apiserver")
        opened.ask()
        os.kill(victim, signal.SIGKILL)
        opened.wait_until_whole("the end", timeout_seconds=60)
    assert ControlPlane(directory).status() is None


def test_second_rehearsal_in_a_directory_is_refused_while_one_runs(tmp_path: Path) -> None:
    planned = plan(load("smb", UNHURRIED))
    with (
        stage(tmp_path / "c", planned),
        pytest.raises(AskError, match=rf"another rehearsal runs there \(pid {os.getpid()}\)"),
        stage(tmp_path / "c", planned),
    ):
        pass
