"""The server's life.  Guards: killing a foreign process, two accounts on one port, trusting a stale record."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.local.aws.server import AwsServer, PortInUseError, ServerError
from tests.support.moto_server import client, free_port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AwsServer]:
    made = AwsServer(tmp_path / "local", port=free_port())
    yield made
    made.stop()


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_started_server_is_found_by_another_object_and_ends_on_stop(server: AwsServer, tmp_path: Path) -> None:
    instance = server.start()
    other = AwsServer(tmp_path / "local", port=server.port)
    assert other.start() == instance
    assert client(instance.endpoint_url, "sts").get_caller_identity()["Account"] == "123456789012"
    assert other.stop()
    assert not listening(server.port)
    assert server.running() is None
    assert not server.stop()


def test_start_without_waiting_becomes_ready(server: AwsServer) -> None:
    instance = server.start(wait=False)
    assert server.wait_ready() == instance
    assert listening(server.port)


def test_reset_empties_the_account_and_changes_its_id(server: AwsServer) -> None:
    first = server.start()
    client(first.endpoint_url, "sqs").create_queue(QueueName="before")
    second = server.reset()
    assert second.port == first.port
    assert second.instance_id != first.instance_id
    assert "QueueUrls" not in client(second.endpoint_url, "sqs").list_queues()


def test_record_is_for_its_owner_alone(server: AwsServer) -> None:
    server.start(wait=False)
    assert stat.S_IMODE(server.record_path.stat().st_mode) == 0o600


def test_server_survives_the_process_that_started_it(tmp_path: Path) -> None:
    directory, port = tmp_path / "local", free_port()
    script = "import sys; from pathlib import Path; from falaj.local.aws.server import AwsServer; "
    script += "AwsServer(Path(sys.argv[1]), port=int(sys.argv[2])).start()"
    subprocess.run([sys.executable, "-c", script, str(directory), str(port)], check=True)
    server = AwsServer(directory, port=port)
    try:
        assert server.running() is not None
        assert listening(port)
    finally:
        assert server.stop()
    assert not listening(port)


def test_record_of_a_dead_process_counts_for_nothing(server: AwsServer) -> None:
    instance = server.start()
    os.kill(instance.pid, 9)
    with pytest.raises(ServerError, match="not running"):
        while True:  # ends as soon as the process is gone, within wait_ready's own limit
            server.wait_ready(timeout_seconds=5)
    assert server.start().instance_id != instance.instance_id


def test_process_id_taken_by_another_program_is_not_touched(server: AwsServer, tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        record = {"instance_id": "0123456789abcdef", "pid": stranger.pid, "port": server.port, "log": ""}
        server.record_path.parent.mkdir(parents=True)
        server.record_path.write_text(json.dumps(record))
        assert server.running() is None
        assert not server.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"instance_id": 1, "pid": 2, "port": 3, "log": 4}'])
def test_unreadable_record_counts_for_nothing(server: AwsServer, text: str) -> None:
    server.record_path.parent.mkdir(parents=True)
    server.record_path.write_text(text)
    assert server.running() is None


def test_port_of_another_program_is_refused_by_name(server: AwsServer) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.port))
        other.listen()
        with pytest.raises(PortInUseError, match=rf"port {server.port} .* in use by .*{os.getpid()}.*--port N"):
            server.start()
    assert not server.record_path.exists()


def test_port_of_another_directory_is_refused_by_name(server: AwsServer, tmp_path: Path) -> None:
    server.start()
    with pytest.raises(PortInUseError, match="the emulated AWS account of another directory"):
        AwsServer(tmp_path / "elsewhere", port=server.port).start()


def test_running_on_another_port_is_said(server: AwsServer, tmp_path: Path) -> None:
    instance = server.start()
    with pytest.raises(ServerError, match=f"runs on port {instance.port} already"):
        AwsServer(tmp_path / "local", port=free_port()).start()
