"""The failure guarded here is a doctor who says all is well."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from falaj.cli import doctor as module
from falaj.cli.doctor import doctor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def examine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the doctor in a bare copy of the project without tools, and returns (exit code, findings by topic)."""
    shutil.copy(ROOT / "Pulumi.yaml", tmp_path)
    shutil.copytree(ROOT / "stacks" / "config", tmp_path / "stacks" / "config")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    for name in [n for n in os.environ if n.startswith(("PULUMI_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(*arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
        done = CliRunner().invoke(doctor, [*arguments, "--json"])
        return done.exit_code, {finding["topic"]: finding for finding in json.loads(done.output)}

    return run


def test_the_local_stack_needs_nothing_but_the_environment(examine: Any) -> None:
    _, found = examine()
    for topic in ("engine", "python", "stack", "region", "state", "passphrase", "credentials"):
        assert found[topic]["status"] == "ok", found[topic]
    assert "mec1-az2 lost" in found["region"]["found"]


def test_a_cloud_stack_without_cli_passphrase_and_credentials_is_not_ready(examine: Any) -> None:
    code, found = examine("-s", "prod")
    assert code == 1
    assert {t for t, f in found.items() if f["status"] == "missing"} >= {"engine", "passphrase", "credentials"}
    assert all(found[topic]["advice"] for topic in ("engine", "passphrase", "credentials"))


def test_an_unknown_stack_names_the_known_ones(examine: Any) -> None:
    code, found = examine("-s", "nowhere")
    assert code == 1
    assert "dev, local, prod, staging" in found["stack"]["advice"]


def test_state_outside_the_country_is_a_finding(examine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://state?region=eu-west-1")
    _, found = examine("-s", "prod")
    assert found["state"]["status"] == "missing"


def test_a_held_lock_is_shown(examine: Any, tmp_path: Path) -> None:
    folder = tmp_path / ".falaj" / "state" / ".pulumi" / "locks" / "organization" / "falaj" / "local"
    folder.mkdir(parents=True)
    (folder / "x.json").write_text("{}")
    _, found = examine()
    assert found["lock"]["status"] == "note"
    assert "falaj cancel" in found["lock"]["advice"]


def test_an_unusable_setting_is_named(examine: Any, tmp_path: Path) -> None:
    path = tmp_path / "stacks" / "config" / "Pulumi.local.yaml"
    path.write_text(path.read_text().replace("falaj:blueprint: smb", "falaj:blueprint: smbb"))
    code, found = examine()
    assert code == 1
    assert "smbb" in found["stack"]["found"]
