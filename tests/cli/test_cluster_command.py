"""`falaj cluster` without a control plane.  Guards: a status that says all is well, usage that does something else."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from falaj.cli.cluster import BuildDisplay, _duration, group
from falaj.cli.main import main
from falaj.cluster.errors import BinariesError
from falaj.cluster.processes import ProcessSet, Program

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(ROOT / "Pulumi.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(group, list(arguments))


def test_status_of_nothing_is_exit_code_1(checkout: Path) -> None:
    done = call("status")
    assert (done.exit_code, done.output) == (1, "not running; `falaj cluster up` starts it\n")
    assert json.loads(call("status", "--json").output) == {"running": False}


def test_down_of_nothing_is_no_error_and_leaves_no_folder(checkout: Path) -> None:
    done = call("down")
    assert (done.exit_code, done.output) == (0, "was not running\n")
    assert not (checkout / ".falaj").exists()


def test_status_names_a_program_that_has_ended_with_its_last_lines(checkout: Path) -> None:
    folder = checkout / ".falaj" / "cluster"
    folder.mkdir(parents=True)
    (folder / "ports.json").write_text('{"api": 20001}')
    processes = ProcessSet(folder)
    program = Program("etcd", (sys.executable, "-S", "-c", "import sys; sys.exit('disk is full')"))
    process = processes.start(program)
    while process.alive:
        pass
    done = call("status", "--json")
    assert done.exit_code == 1
    found = json.loads(done.output)
    assert not found["ready"]
    (only,) = found["processes"]
    assert (only["name"], only["alive"], only["resident_bytes"]) == ("etcd", False, 0)
    assert "end of its log: disk is full" in only["note"]
    assert "not ready" in call("status").output
    assert call("down").output == "was not running\n"
    assert call("status").output.startswith("not running")


@pytest.mark.parametrize(
    "arguments",
    [["--user", "amal"], ["--output", "x"], ["--group", "team-a"], ["--group", "team-a", "--output", "x"]],
)
def test_kubeconfig_of_half_a_user_is_refused(checkout: Path, arguments: list[str]) -> None:
    done = call("kubeconfig", *arguments)
    assert done.exit_code == 2
    assert "--user and --output belong together" in done.output


@pytest.mark.parametrize("user", ["system:masters", "system:node:x", "", "x" * 65])
def test_kubeconfig_of_a_name_that_kubernetes_keeps_is_refused(
    checkout: Path, user: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["cluster", "kubeconfig", "--user", user, "--output", "x"])
    assert caught.value.code == 1
    assert "do not begin with `system:`" in capsys.readouterr().err
    assert not (checkout / "x").exists()


def test_kubeconfig_before_the_first_start_says_so(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call("kubeconfig")
    assert done.stdout == f"{checkout}/.falaj/cluster/kubeconfig\n"
    assert "not running" in done.stderr
    with pytest.raises(SystemExit):
        main(["cluster", "kubeconfig", "--user", "amal", "--output", "x"])
    assert "never started here" in capsys.readouterr().err


def test_up_that_cannot_get_its_programs_is_one_line(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BinariesError("etcd: not found, and there is no Go")

    monkeypatch.setattr("falaj.cluster.binaries.BinaryStore.ensure", fail)
    with pytest.raises(SystemExit) as caught:
        main(["cluster", "up"])
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: etcd: not found, and there is no Go\n"


@pytest.mark.parametrize("port", ["0", "80", "70000", "x"])
def test_port_out_of_range_is_refused(checkout: Path, port: str) -> None:
    assert call("up", "--port", port).exit_code == 2


def test_build_is_told_line_by_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with BuildDisplay() as display:
        display.waiting("etcd")
        display.started("etcd v3.6.16", 90)
        display.finished("etcd v3.6.16", 61.4)
        display.started("definitions", 0)
        display.finished("definitions", 1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "waiting for another process that builds etcd",
        "building etcd v3.6.16 (about 1 min 30 s the first time, on two cores)",
        "ready: etcd v3.6.16 in 1 min 1 s",
        "fetching definitions (moments)",
        "ready: definitions in 1 s",
    ]


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (525, "8 min 45 s")])
def test_duration_reads_well(seconds: float, text: str) -> None:
    assert _duration(seconds) == text
