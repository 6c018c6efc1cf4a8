"""The failures guarded here: the embedded engine near a real stack, and a passphrase taken from the wrong place."""

from __future__ import annotations

from pathlib import Path

import pytest

from falaj.cli import project
from falaj.cli.official import pulumi_arguments
from falaj.cli.project import ProjectPaths, choose_engine, find_project, passphrase_for
from falaj.engine.errors import ConfigError, UnsupportedError


@pytest.fixture
def no_cli(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project.shutil, "which", lambda name: None)


@pytest.fixture
def with_cli(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project.shutil, "which", lambda name: f"/somewhere/{name}")


@pytest.mark.usefixtures("no_cli")
def test_without_the_cli_the_local_stack_uses_the_embedded_engine() -> None:
    assert choose_engine("auto", "local") == "embedded"


@pytest.mark.usefixtures("no_cli")
@pytest.mark.parametrize("requested", ["auto", "embedded"])
def test_the_embedded_engine_refuses_every_other_stack(requested: str) -> None:
    with pytest.raises(UnsupportedError, match=r"stack `prod`.*install the Pulumi CLI"):
        choose_engine(requested, "prod")


@pytest.mark.usefixtures("with_cli")
def test_the_cli_is_preferred_where_it_is_installed() -> None:
    assert choose_engine("auto", "local") == "pulumi"
    assert choose_engine("embedded", "local") == "embedded"


@pytest.mark.usefixtures("no_cli")
def test_asking_for_a_missing_cli_says_what_to_do() -> None:
    with pytest.raises(UnsupportedError, match="no `pulumi` on PATH"):
        choose_engine("pulumi", "local")


def test_an_empty_passphrase_is_a_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "")
    assert passphrase_for("dev") == ""


def test_only_the_local_stack_has_a_passphrase_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE_FILE", raising=False)
    assert passphrase_for("local") == "falaj-local"
    assert passphrase_for("dev") is None


def test_a_passphrase_file_is_trimmed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("word\n")
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(tmp_path / "pw"))
    assert passphrase_for("dev") == "word"


def test_a_missing_passphrase_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="absent"):
        passphrase_for("dev")


def test_the_project_is_found_from_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: x\nruntime: python\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_project(tmp_path / "a" / "b").root == tmp_path


def test_no_project_is_an_error_that_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path)):
        find_project(tmp_path)


def test_the_official_cli_gets_the_same_packs_and_flags(tmp_path: Path) -> None:
    arguments = {"parallel": 4, "yes": True, "targets": ("urn:x",), "policy_packs": ("more",), "message": "why"}
    line = pulumi_arguments(ProjectPaths(tmp_path), "up", "dev", arguments)
    assert line[:4] == ["pulumi", "up", "--stack", "dev"]
    assert line[line.index("--target") + 1] == "urn:x"
    packs = [line[i + 1] for i, word in enumerate(line) if word == "--policy-pack"]
    assert packs == [str(tmp_path / "policies" / "packs" / "baseline"), "more"]
    assert {"--yes", "--skip-preview"} <= set(line)


def test_a_destroy_by_the_official_cli_runs_no_policy_pack(tmp_path: Path) -> None:
    line = pulumi_arguments(ProjectPaths(tmp_path), "destroy", "dev", {"parallel": 4, "yes": True})
    assert "--policy-pack" not in line
