"""The servers that the runtime talks to, real ones, started once per session on free ports and ended by their pid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from falaj.local.servers import kafka, postgresql, valkey
from runtime.settings import Settings
from tests.support.moto_server import REGION, client, free_port, running_account

START_TIMEOUT_SECONDS = 60
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Aws:
    """An emulated account, with a witness that shares no client with the product."""

    endpoint_url: str

    def client(self, service: str) -> Any:
        return client(self.endpoint_url, service)


@dataclass(frozen=True)
class Server:
    """One started program."""

    port: int
    pid: int


def start_program(
    command: tuple[str, ...], port: int, answers: Callable[[int], bool], log: Path
) -> subprocess.Popen[bytes]:
    """Starts ``command`` and returns once it answers on ``port``; fails with the end of its log otherwise."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise AssertionError(f"{command[0]} does not answer on {port}: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)
    return process


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    """Outside pytest's own folder, which only its owner may enter: PostgreSQL may run as another user."""
    directory = Path(tempfile.mkdtemp(prefix="falaj-tests-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def aws(server_directory: Path) -> Iterator[Aws]:
    """The emulated account of this session: ask for names of your own in it (``settings`` does)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        with running_account(server_directory / "aws") as endpoint_url:
            yield Aws(endpoint_url)


@pytest.fixture(scope="session")
def postgres_server(server_directory: Path) -> Iterator[Server]:
    data = server_directory / "postgresql"
    postgresql.initialise(data)
    port = free_port()
    process = start_program(
        postgresql.command(data, port), port, postgresql.answers, server_directory / "postgresql.log"
    )
    yield Server(port, process.pid)
    end(process, signal.SIGINT)


@pytest.fixture
def postgres_dsn(postgres_server: Server) -> str:
    """An empty database of its own for this test."""
    import psycopg

    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgresql.dsn(postgres_server.port), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload, unused-ignore]
    return postgresql.dsn(postgres_server.port, name)


@pytest.fixture(scope="session")
def valkey_server(server_directory: Path) -> Iterator[Server]:
    data = server_directory / "valkey"
    data.mkdir()
    port = free_port()
    process = start_program(valkey.command(data, port), port, valkey.answers, server_directory / "valkey.log")
    yield Server(port, process.pid)
    end(process)


@pytest.fixture
def valkey_endpoint(valkey_server: Server) -> str:
    """``host:port`` of an online store that is empty at the start of this test."""
    import valkey as valkey_client

    with valkey_client.Valkey(host="127.0.0.1", port=valkey_server.port) as connection:
        connection.flushall()
    return valkey.endpoint(valkey_server.port)


@pytest.fixture(scope="session")
def kafka_server(server_directory: Path) -> Iterator[Server]:
    """A broker; skips where Kafka was never fetched."""
    archives = ROOT / ".falaj" / "tools" / f"kafka-{kafka.VERSION}"
    if not archives.is_dir() or shutil.which("java") is None:
        pytest.skip("Kafka is not here: `falaj local start --kafka` fetches it, and needs Java and Maven")
    port = free_port()
    prepared = kafka.prepare(archives, server_directory / "kafka", port, free_port())
    log = server_directory / "kafka.log"
    process = start_program(kafka.command(archives, prepared), port, kafka.answers, log)
    yield Server(port, process.pid)
    end(process)


@pytest.fixture
def kafka_settings(settings: Settings, kafka_server: Server) -> Settings:
    """``settings`` with a topic of four partitions of its own, that exists."""
    from confluent_kafka.admin import AdminClient, NewTopic

    topic = f"events-{uuid.uuid4().hex[:10]}"
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{kafka_server.port}"})
    admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(timeout=30)
    endpoint = f"127.0.0.1:{kafka_server.port}/{topic}"
    return settings.model_copy(update={"stream_engine": "kafka", "stream_endpoint": endpoint})


@pytest.fixture
def settings(aws: Aws, tmp_path: Path) -> Settings:
    """Settings with buckets, a stream of two shards and a dead-letter queue of its own; the catalogue is SQLite.

    For more, copy: ``settings.model_copy(update={"postgres_dsn": postgres_dsn})``.
    """
    own = uuid.uuid4().hex[:10]
    buckets = {kind: f"falaj-{kind}-{own}" for kind in ("lake", "feature", "model")}
    s3 = aws.client("s3")
    for bucket in buckets.values():
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    kinesis = aws.client("kinesis")
    kinesis.create_stream(StreamName=f"events-{own}", ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(StreamName=f"events-{own}", WaiterConfig={"Delay": 1})
    queue = aws.client("sqs").create_queue(QueueName=f"dead-letters-{own}")["QueueUrl"]
    return Settings(
        aws_region=REGION,
        aws_endpoint_url=aws.endpoint_url,
        lake_bucket=buckets["lake"],
        feature_bucket=buckets["feature"],
        model_bucket=buckets["model"],
        catalog_uri=f"sqlite:///{tmp_path}/catalog.db",
        stream_engine="kinesis",
        stream_endpoint=f"events-{own}",
        dead_letter_queue_url=queue,
        tenant="tests",
    )


def environment(settings: Settings) -> dict[str, str]:
    """What a child process needs in its environment to have ``settings``."""
    values = {f"FALAJ_{name.upper()}": str(value) for name, value in settings.model_dump().items() if value != ""}
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "AWS_EC2_METADATA_DISABLED": "true", **values}


__all__ = [
    "Aws",
    "Server",
    "aws",
    "end",
    "environment",
    "kafka_server",
    "kafka_settings",
    "postgres_dsn",
    "postgres_server",
    "server_directory",
    "settings",
    "start_program",
    "valkey_endpoint",
    "valkey_server",
]
