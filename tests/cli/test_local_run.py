"""`falaj local run` leaves the local environment as it found it, whatever becomes of the command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.moto_server import free_port

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local-run")]


@pytest.fixture(scope="module")
def project() -> Iterator[Path]:
    """Outside pytest's own folder, which only its owner may enter: PostgreSQL may run as another user."""
    directory = Path(tempfile.mkdtemp(prefix="falaj-run-"))
    directory.chmod(0o755)
    (directory / "stacks").mkdir()
    (directory / "Pulumi.yaml").write_text("name: falaj\nruntime: python\nmain: stacks/\n")
    (directory / "Pulumi.local.yaml").write_text(
        f"config:\n  falaj:awsEndpointUrl: http://127.0.0.1:{free_port()}\n", encoding="utf-8"
    )
    yield directory
    falaj(directory, "stop")
    shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def _nothing_runs(project: Path) -> None:
    falaj(project, "stop")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "falaj.cli.main", "local", *arguments]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FALAJ_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


def falaj(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=project, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )


def running(project: Path) -> set[str]:
    state = json.loads(falaj(project, "status", "--json").stdout)
    return set(state["servers"]) | ({"account"} if state["running"] else set())


def test_a_command_gets_the_servers_and_their_settings_and_nothing_is_left(project: Path) -> None:
    script = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('FALAJ_')}))"
    done = falaj(project, "run", "--", sys.executable, "-c", f"{script}; raise SystemExit(5)")
    assert done.returncode == 5, done.stderr
    given = json.loads(done.stdout)
    assert given["FALAJ_AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert given["FALAJ_POSTGRES_DSN"].startswith("postgresql://")
    assert given["FALAJ_ONLINE_STORE_ENDPOINT"].startswith("127.0.0.1:")
    assert running(project) == set()


def test_what_ran_before_goes_on(project: Path) -> None:
    falaj(project, "start")
    done = falaj(project, "run", "--", "true")
    assert done.returncode == 0, done.stderr
    assert running(project) == {"account"}


def test_keep_leaves_everything_running(project: Path) -> None:
    assert falaj(project, "run", "--keep", "--", "true").returncode == 0
    assert running(project) == {"account", "postgresql", "valkey"}


def test_a_command_that_does_not_exist_is_one_line_and_nothing_is_left(project: Path) -> None:
    done = falaj(project, "run", "--", "no-such-command")
    assert done.returncode == 2
    assert "no-such-command: cannot be started" in done.stderr
    assert "Traceback" not in done.stderr
    assert running(project) == set()


def test_the_command_is_told_to_end_and_nothing_is_left(project: Path, tmp_path: Path) -> None:
    began = tmp_path / "began"
    script = f"import pathlib, time; pathlib.Path({str(began)!r}).touch(); time.sleep(600)"
    process = subprocess.Popen(
        command("run", "--", sys.executable, "-c", script), cwd=project, env=environment(), stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not began.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert running(project) == set()
