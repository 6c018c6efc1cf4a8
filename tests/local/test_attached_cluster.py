"""Whether the stack `local` is applied to a control plane, rendered, or refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from falaj.engine.errors import EngineError
from falaj.local.attached_cluster import attached_cluster, blueprint_of


def test_without_a_control_plane_objects_are_rendered(tmp_path: Path) -> None:
    assert attached_cluster(tmp_path) is None


def test_one_that_was_taken_down_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    assert attached_cluster(tmp_path) is None


def test_one_that_has_ended_by_itself_is_an_error_that_says_how_to_go_on(tmp_path: Path) -> None:
    from falaj.cluster.ports import PortBook
    from falaj.cluster.processes import ProcessSet, Program

    directory = tmp_path / "cluster"
    directory.mkdir()
    PortBook(directory).choose(None, standing=set(), ended=set())
    processes = ProcessSet(directory)
    process = processes.start(Program("etcd", (sys.executable, "-c", "raise SystemExit('disk full')")))
    wait_for_end(process.pid)
    with pytest.raises(EngineError, match=r"does not run whole \(etcd .*falaj cluster up.*falaj cluster down"):
        attached_cluster(tmp_path)


def wait_for_end(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        subprocess.run(["tail", f"--pid={pid}", "-f", "/dev/null"], timeout=30, check=True)


@pytest.mark.parametrize("name", ["", None, "smbb"])
def test_a_stack_without_a_usable_blueprint_has_none(name: str | None) -> None:
    assert blueprint_of(name, {}) is None


def test_the_stack_s_overrides_count() -> None:
    blueprint = blueprint_of("smb", json.loads('{"network.cidr": "10.90.0.0/16"}'))
    assert blueprint is not None
    assert str(blueprint.network.cidr) == "10.90.0.0/16"
