"""`falaj local` as a user types it, in a project of its own.  Guards: wrong exit codes, a profile that leaks in."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.local.aws.server import AwsServer
from tests.support.moto_server import client, free_port


class Project:
    """A folder with the two files that the commands read."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, free_port()
        (root / "Pulumi.yaml").write_text("name: falaj\nruntime: python\nmain: stacks/\nstackConfigDir: config\n")
        (root / "stacks").mkdir()
        (root / "config").mkdir()
        url = f"http://127.0.0.1:{self.port}"
        (root / "config" / "Pulumi.local.yaml").write_text(f"config:\n  falaj:awsEndpointUrl: {url}\n")

    def falaj(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "falaj.cli.main", "local", *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
                "AWS_PROFILE": "mine",
            },
        )


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    yield Project(tmp_path)
    AwsServer(tmp_path / ".falaj" / "local").stop()


def test_account_is_started_seen_emptied_and_stopped(project: Project) -> None:
    started = project.falaj("start")
    assert started.returncode == 0, started.stderr
    assert started.stdout.startswith(f"running: http://127.0.0.1:{project.port} (pid ")
    assert project.falaj("start").stdout.startswith("already running")
    client(f"http://127.0.0.1:{project.port}", "sqs").create_queue(QueueName="jobs")

    seen = project.falaj("status", "--json")
    assert seen.returncode == 0, seen.stderr
    status = json.loads(seen.stdout)
    assert status["resources"] == {"SQS queues": 1}
    assert "SQS queues" in project.falaj("status").stdout

    asked = project.falaj("reset")
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    assert project.falaj("reset", "--yes").returncode == 0
    fresh = json.loads(project.falaj("status", "--json").stdout)
    assert (fresh["resources"], fresh["instance_id"] != status["instance_id"]) == ({}, True)

    assert project.falaj("stop").stdout == "stopped\n"
    assert project.falaj("stop").stdout == "was not running\n"
    gone = project.falaj("status", "--json")
    assert (gone.returncode, json.loads(gone.stdout)) == (1, {"running": False, "servers": {}})


def test_env_points_a_shell_at_the_account_and_away_from_profiles(project: Project) -> None:
    printed = project.falaj("env")
    assert printed.returncode == 0
    assert "not running" in printed.stderr
    shell = subprocess.run(
        [
            "bash",
            "-c",
            f'{printed.stdout}\necho "$AWS_ENDPOINT_URL $AWS_REGION $AWS_ACCESS_KEY_ID ${{AWS_PROFILE-unset}}"',
        ],
        capture_output=True,
        text=True,
        env={"AWS_PROFILE": "mine", "PATH": "/usr/bin:/bin"},
        check=True,
    )
    assert shell.stdout.split() == [f"http://127.0.0.1:{project.port}", "me-central-1", "falaj-local", "unset"]
    assert "PULUMI_CONFIG_PASSPHRASE" in printed.stdout


def test_port_in_use_is_refused_in_one_line(project: Project) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", project.port))
        other.listen()
        refused = project.falaj("start")
    assert refused.returncode == 1
    assert re.fullmatch(rf"error: port {project.port} on 127\.0\.0\.1 is in use by .+\n", refused.stderr)


def test_endpoint_beyond_this_machine_is_refused(project: Project) -> None:
    settings = project.root / "config" / "Pulumi.local.yaml"
    settings.write_text("config:\n  falaj:awsEndpointUrl: https://s3.amazonaws.com\n")
    refused = project.falaj("start")
    assert (refused.returncode, "falaj:awsEndpointUrl" in refused.stderr) == (2, True)


@pytest.mark.parametrize("port", ["80", "70000", "x"])
def test_unusable_port_is_bad_usage(project: Project, port: str) -> None:
    assert project.falaj("start", "--port", port).returncode == 2


def test_providers_are_served_until_interrupted(project: Project) -> None:
    import signal

    process = subprocess.Popen(
        [sys.executable, "-m", "falaj.cli.main", "local", "serve-providers"],
        cwd=project.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"export PULUMI_DEBUG_PROVIDERS=aws:(\d+),kubernetes:(\d+)\n", line)
        assert match, line
        with socket.create_connection(("127.0.0.1", int(match[1])), timeout=10):
            pass
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, errors) == (0, "stopped\n")


def test_servers_start_when_asked_for_and_stop_with_the_account() -> None:
    """In a folder of its own, which PostgreSQL's user can enter; pytest's belong to their owner alone."""
    import shutil
    import tempfile

    root = Path(tempfile.mkdtemp(prefix="falaj-cli-"))
    root.chmod(0o755)
    project = Project(root)
    try:
        assert "postgresql" not in project.falaj("start").stdout
        started = project.falaj("start", "--servers")
        assert re.search(r"^running: postgresql on 127\.0\.0\.1:\d+ \(pid \d+\)$", started.stdout, re.M), started.stderr
        servers = json.loads(project.falaj("status", "--json").stdout)["servers"]
        environment = project.falaj("env").stdout
        assert f"FALAJ_POSTGRES_DSN=postgresql://falaj@127.0.0.1:{servers['postgresql']['port']}/falaj" in environment
        assert f"FALAJ_ONLINE_STORE_ENDPOINT=127.0.0.1:{servers['valkey']['port']}" in environment
        assert project.falaj("start", "--servers").stdout.count("already running") == 3
        assert project.falaj("stop").stdout.splitlines() == ["stopped", "stopped: postgresql", "stopped: valkey"]
    finally:
        project.falaj("stop")
        shutil.rmtree(root)
