"""``falaj rehearse`` before anything is started.  Guards: bad input that costs minutes, errors without a way out."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from falaj.cli import main as entry
from falaj.cluster import binaries


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: falaj\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(entry.cli, ["rehearse", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--blueprint", "enterprize"), "enterprise"),
        (("--blueprint", "enterprise", "--gpus", "1"), "--gpus 1: serving alone takes 4; allowed: 4 to 2,000"),
        (("--gpus", "5000"), "--gpus 5000: allowed: "),
        (("--drill", "storm"), "--drill storm: no such drill; allowed: scale-from-zero"),
        (("--lose-zone", "mec1-az1"), "--lose-zone mec1-az1: node_pools."),
        (("--lose-zone", "eu-west-1a"), "not in use by smb; allowed: mec1-az1, mec1-az3"),
        (("--set", "node_pools.gpu-spot.instance_types=[g6e.24xlarge]"), "node_pools.gpu-spot: no node can come"),
        (("--set", "network.zone_conditions={mec1-az1: lost}"), "mec1-az1"),
        (("--html", "nowhere/page.html"), "no folder nowhere; make it first"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(project: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert result.output.count("\n") <= 8
    assert not (project / ".falaj").exists()


def test_without_programs_it_says_of_each_way_why_it_leads_nowhere(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FALAJ_CACHE_DIR", str(project / "cache"))
    monkeypatch.setenv("PATH", str(project))
    monkeypatch.setattr(binaries, "find_go", lambda: None)
    with pytest.raises(SystemExit) as stopped:
        entry.main(["rehearse"])
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert "PATH" in said and "Go" in said and "cache" in said


def test_ending_what_does_not_run_says_so(project: Path) -> None:
    result = run("--end")
    assert result.exit_code == 0
    assert "was not running" in result.output
