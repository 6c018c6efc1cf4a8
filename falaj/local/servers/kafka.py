"""Apache Kafka from its Maven artifacts: one broker that is its own controller (KRaft), on 127.0.0.1.

It needs Java, and Maven once, to fetch 46 archives (43 MB).  Maven asks wherever this machine's own settings send it.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Final

from falaj.local.servers.errors import LocalServerError, NotInstalledError

VERSION: Final = "4.1.0"
SCALA: Final = "2.13"
SLF4J: Final = "1.7.36"
JAVA_MINIMUM: Final = 17
ARCHIVES_SHA256: Final = "defd8523665b9074bf5486e51fe91862ce7d7b704147ee109ec8d845548c7da9"
"""Over the lines ``<sha256>  <file name>`` of all archives in the order of their names: what was fetched is what was
tried, whoever served it."""

HEAP_MIB: Final = 512
FETCH_TIMEOUT_SECONDS: Final = 600
FORMAT_TIMEOUT_SECONDS: Final = 120
PROBE_TIMEOUT_SECONDS: Final = 1.0
PARTITIONS: Final = 4

_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_PROJECT: Final = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>falaj</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_{SCALA}</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>{SLF4J}</version>
    </dependency>
  </dependencies>
</project>
"""

_API_VERSIONS_REQUEST: Final = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""Length, ApiVersions, version 0, correlation id 1, no client id: any broker answers it."""


def java() -> str:
    """The path of a Java that is new enough.  Raises NotInstalledError."""
    found = shutil.which("java")
    if found is None:
        raise NotInstalledError(f"Kafka needs Java {JAVA_MINIMUM} or newer, and there is no `java` on PATH")
    printed = subprocess.run([found, "-version"], capture_output=True, text=True, check=False, timeout=60).stderr
    match = re.search(r'version "(\d+)', printed)
    if match is None or int(match[1]) < JAVA_MINIMUM:
        raise NotInstalledError(
            f"Kafka needs Java {JAVA_MINIMUM} or newer; {found} is {printed.strip()[:60] or 'silent'}"
        )
    return found


def install(directory: Path) -> Path:
    """The folder of Kafka's archives under ``directory``, fetched with Maven unless it is there.

    Raises NotInstalledError without Java or Maven, LocalServerError when Maven cannot fetch them or they are not those
    that this version was tried with.
    """
    archives = directory / f"kafka-{VERSION}"
    if archives.is_dir():
        return archives
    java()
    maven = shutil.which("mvn")
    if maven is None:
        raise NotInstalledError(f"Kafka {VERSION} has to be fetched once with Maven, and there is no `mvn` on PATH")
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".kafka-") as work:
        project, fetched = Path(work) / "pom.xml", Path(work) / "archives"
        project.write_text(_PROJECT, encoding="utf-8")
        command = [
            maven,
            "-B",
            "-q",
            "-f",
            str(project),
            _PLUGIN,
            "-DincludeScope=runtime",
            f"-DoutputDirectory={fetched}",
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=FETCH_TIMEOUT_SECONDS, cwd=work
            )
        except subprocess.TimeoutExpired:
            raise LocalServerError(f"Maven did not fetch Kafka {VERSION} in {FETCH_TIMEOUT_SECONDS} s") from None
        if done.returncode:
            reason = next((line for line in done.stdout.splitlines() if "ERROR" in line), "it gave no reason")
            raise LocalServerError(f"Maven cannot fetch Kafka {VERSION}: {reason.replace('[ERROR]', '').strip()[:300]}")
        if (digest := digest_of(fetched)) != ARCHIVES_SHA256:
            raise LocalServerError(
                f"Maven fetched other archives for Kafka {VERSION} than this version was tried with (digest {digest}); "
                "see what your repository serves"
            )
        fetched.rename(archives)
    return archives


def digest_of(archives: Path) -> str:
    """One digest for a folder of archives (see ARCHIVES_SHA256)."""
    lines = [
        f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n"
        for archive in sorted(archives.glob("*.jar"))
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def prepare(archives: Path, data: Path, port: int, controller_port: int) -> Path:
    """Writes the broker's settings and formats its log directory unless it is; returns the settings' path."""
    data.mkdir(parents=True, exist_ok=True)
    settings, logs = data / "server.properties", data / "logs"
    values = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(logs),
        "num.partitions": str(PARTITIONS),
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
    }
    settings.write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")
    if not (logs / "meta.properties").exists():
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        done = subprocess.run(
            [*_java_command(archives), "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(settings)],
            capture_output=True,
            text=True,
            check=False,
            timeout=FORMAT_TIMEOUT_SECONDS,
        )
        if done.returncode:
            shutil.rmtree(logs, ignore_errors=True)
            raise LocalServerError(f"Kafka cannot format {logs}: {(done.stderr or done.stdout).strip()[-300:]}")
    return settings


def command(archives: Path, settings: Path) -> tuple[str, ...]:
    """What runs the broker in the foreground."""
    return (*_java_command(archives), "kafka.Kafka", str(settings))


def answers(port: int) -> bool:
    """Whether a broker speaks on ``port``."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PROBE_TIMEOUT_SECONDS) as probe:
            probe.settimeout(PROBE_TIMEOUT_SECONDS)
            probe.sendall(_API_VERSIONS_REQUEST)
            header = probe.recv(8)
    except OSError:
        return False
    return len(header) == 8 and struct.unpack(">ii", header)[1] == 1


def _java_command(archives: Path) -> tuple[str, ...]:
    return (
        java(),
        f"-Xmx{HEAP_MIB}m",
        "-XX:+UseSerialGC",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Djava.net.preferIPv4Stack=true",
        "-cp",
        f"{archives}/*",
    )
