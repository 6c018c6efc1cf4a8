"""`falaj ml` is the runtime's own command line, with this machine's settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from falaj.cli.ml import environment
from falaj.cli.project import ProjectPaths

ECHO = """#!/bin/sh
exec {python} -c 'import json, os, sys
print(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]))
sys.exit(5)' "$@"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: falaj\nruntime: python\nmain: stacks/\n")
    return tmp_path


def falaj(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "falaj.cli.main", "ml", *arguments]
    given = {**os.environ, **variables}
    return subprocess.run(command, cwd=project, env=given, capture_output=True, text=True, timeout=60, check=False)


def test_without_its_environment_it_says_how_to_make_it(project: Path) -> None:
    done = falaj(project, "lineage", "show", "model:m@1")
    assert done.returncode == 1
    assert "`make runtime` makes it" in done.stderr
    assert "Traceback" not in done.stderr


def test_arguments_exit_code_and_settings_are_passed_on_as_they_are(project: Path) -> None:
    python = project / ".venv" / "runtime" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(ECHO.format(python=sys.executable))
    python.chmod(0o755)
    (project / "below").mkdir()
    done = falaj(project / "below", "train", "run", "--help", "-x", FALAJ_TENANT="risk")
    assert done.returncode == 5
    arguments, folder, variables = json.loads(done.stdout)
    assert arguments == ["-m", "runtime", "train", "run", "--help", "-x"]
    assert folder == str(project)
    assert variables["FALAJ_TENANT"] == "risk"


def test_settings_of_one_s_own_stay_as_they_are(project: Path) -> None:
    given = {"FALAJ_AWS_ENDPOINT_URL": "", "AWS_PROFILE": "mine"}
    assert environment(ProjectPaths(project), given) == given


def test_where_no_account_runs_nothing_is_added(project: Path) -> None:
    assert environment(ProjectPaths(project), {"AWS_PROFILE": "mine"}) == {"AWS_PROFILE": "mine"}
