"""Online reads: the fast path against Feast's Python server, on the same values in the same Valkey.

    .venv/runtime/bin/python benchmarks/online_features.py [--requests 300] [--rounds 5] [--json] [--most-ratio 0.34]

The feature views of the flights example are computed from the whole data set and materialised once.  Feast's server is
stock: its own Redis store, one worker, the registry in a local file that never expires, no access log.  Ours is one
process too.  Both answer the same JSON to the same client over one kept connection; before anything is timed their
answers are compared value by value.  The servers take turns of ``--requests`` requests, ``--rounds`` times, so that
what else the machine does meets both.

In-process reads (``FeatureStore.get_online_features`` against ``OnlineReader.get``) are measured the same way.
``--most-ratio`` sets the exit code: 1 when our p99 is more than that share of Feast's in the first case.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

SERVICE: Final = "late_arrival_v1"
AS_OF: Final = datetime(2013, 9, 1, tzinfo=UTC)
WARM_UP_REQUESTS: Final = 50
SEED: Final = 5


@dataclass(frozen=True)
class Case:
    """What is asked for: rows per request, a service or references."""

    name: str
    rows: int
    service: bool


CASES: Final = (
    Case("1 row, 46 features, 7 views, on-demand", 1, True),
    Case("1 row, 10 features, 1 view", 1, False),
    Case("100 rows, 46 features, 7 views, on-demand", 100, True),
)


@dataclass(frozen=True)
class Result:
    """Milliseconds."""

    case: str
    how: str
    requests: int
    feast_p50: float
    feast_p99: float
    own_p50: float
    own_p99: float

    @property
    def p99_ratio(self) -> float:
        return self.own_p99 / self.feast_p99


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--most-ratio", type=float, default=0.0, help="0: do not judge")
    options = parser.parse_args(argv)
    if not 1 <= options.requests <= 100_000 or not 1 <= options.rounds <= 100:
        parser.error("--requests takes 1 to 100000, --rounds 1 to 100")
    warnings.simplefilter("ignore")
    with ExitStack() as stack:
        bench = _Bench(stack, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="falaj-benchmark-"))))
        results = [bench.over_http(case, options.requests, options.rounds) for case in CASES]
        results += [bench.in_process(case, options.requests, options.rounds) for case in CASES]
    if options.json:
        for result in results:
            print(json.dumps({**asdict(result), "p99_ratio": round(result.p99_ratio, 4)}))
    else:
        _print(results)
    return 1 if options.most_ratio and results[0].p99_ratio > options.most_ratio else 0


class _Bench:
    """Valkey, an emulated account, both servers and the data, all ended with ``stack``."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        from examples.flights.features import PROJECT
        from runtime.features.declaration import declare
        from runtime.features.feast_server import running_repository
        from runtime.features.materialise import materialise
        from runtime.features.snapshots import compute_snapshot
        from runtime.settings import Settings
        from tests.support.curated_flights import curated_tables
        from tests.support.ride_project import FrameTables

        tables = curated_tables()
        self._examples = PROJECT.examples.build(tables)
        settings = Settings(
            aws_endpoint_url=stack.enter_context(_account()),
            feature_bucket=f"benchmark-{uuid.uuid4().hex[:8]}",
            online_store_endpoint=stack.enter_context(_valkey(directory)),
        )
        from runtime.aws import client

        client(settings, "s3").create_bucket(
            Bucket=settings.feature_bucket, CreateBucketConfiguration={"LocationConstraint": settings.aws_region}
        )
        declared = declare(PROJECT, directory)
        self._references = declared.catalogue.service(SERVICE)
        snapshot = compute_snapshot(settings, PROJECT, declared.catalogue, FrameTables(tables))
        generation = materialise(settings, declared, snapshot, as_of=AS_OF).generation
        self._feast = _stock_feast(settings, declared, generation, directory)
        environment = {"PYTHONPATH": str(ROOT), "FALAJ_ONLINE_STORE_ENDPOINT": settings.online_store_endpoint}
        self._feast_port, self._own_port = _free_port(), _free_port()
        stack.enter_context(running_repository(directory, port=self._feast_port, environment=environment))
        stack.enter_context(_own_server(self._own_port, environment))
        from runtime.features.online import open_reader

        self._reader = open_reader(settings, PROJECT.name)
        self._random = random.Random(SEED)

    def over_http(self, case: Case, requests: int, rounds: int) -> Result:
        bodies = [self._body(case) for _ in range(50)]
        feast, own = (_poster(port) for port in (self._feast_port, self._own_port))
        for body in bodies[:5]:
            if _by_name(feast(body)) != _by_name(own(body)):
                raise SystemExit(f"{case.name}: the servers do not answer alike")
        return _measure(case, "HTTP", bodies, feast, own, requests, rounds)

    def in_process(self, case: Case, requests: int, rounds: int) -> Result:
        from runtime.features.feast_store import quiet_feast

        asked = [json.loads(self._body(case))["entities"] for _ in range(50)]
        features = self._references if case.service else self._references[:10]
        service = self._feast.get_feature_service(SERVICE) if case.service else list(features)

        def feast(entities: dict[str, list[Any]]) -> Any:
            return self._feast.get_online_features(features=service, entity_rows=entities).to_dict()

        def own(entities: dict[str, list[Any]]) -> Any:
            return self._reader.get(SERVICE if case.service else features, entities).to_dict()

        with quiet_feast():
            for entities in asked[:5]:
                if feast(entities) != own(entities):
                    raise SystemExit(f"{case.name}: the libraries do not answer alike")
            return _measure(case, "in process", asked, feast, own, requests, rounds)

    def _body(self, case: Case) -> bytes:
        rows = self._examples[[self._random.randrange(self._examples.height) for _ in range(case.rows)]]
        keys = ["carrier", "origin", "dest", "tailnum"] if case.service else ["carrier"]
        columns = [*keys, "scheduled_departure_seconds", "distance_miles"] if case.service else keys
        asked: dict[str, Any] = (
            {"feature_service": SERVICE} if case.service else {"features": list(self._references[:10])}
        )
        return json.dumps({**asked, "entities": {name: rows[name].to_list() for name in columns}}).encode()


def _measure(
    case: Case,
    how: str,
    inputs: Sequence[Any],
    feast: Callable[[Any], Any],
    own: Callable[[Any], Any],
    requests: int,
    rounds: int,
) -> Result:
    times: dict[str, list[float]] = {"feast": [], "own": []}
    for turn in range(rounds):
        for name, ask in (("feast", feast), ("own", own)) if turn % 2 == 0 else (("own", own), ("feast", feast)):
            for index in range(-WARM_UP_REQUESTS if turn == 0 else -1, requests):
                begin = time.perf_counter()
                ask(inputs[index % len(inputs)])
                if index >= 0:
                    times[name].append((time.perf_counter() - begin) * 1000)
    for taken in times.values():
        taken.sort()
    count = len(times["own"])
    at = [int(count * share) for share in (0.5, 0.99)]
    return Result(case.name, how, count, *(times[name][index] for name in ("feast", "own") for index in at))


def _poster(port: int) -> Callable[[bytes], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def post(body: bytes) -> bytes:
        try:
            connection.request("POST", "/get-online-features", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
            # Closed by the server while the other one had its turn; the first request of a turn is not timed.
            connection.close()
            return post(body)
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"port {port} answered {answer.status}: {content[:500]!r}")
        return content

    return post


def _by_name(content: bytes) -> dict[str, Any]:
    document = json.loads(content)
    return dict(zip(document["metadata"]["feature_names"], document["results"], strict=True))


def _stock_feast(settings: Any, declared: Any, generation: int, directory: Path) -> Any:
    """Feast as its documentation has it, on the keys of the generation; writes the repository for its server."""
    from feast import FeatureStore, RepoConfig

    from runtime.features.feast_store import quiet_feast
    from runtime.features.generations import physical_project

    config = {
        "project": physical_project(declared.catalogue.project, generation),
        "provider": "local",
        "registry": {"registry_type": "file", "path": str(directory / "registry.db"), "cache_ttl_seconds": 0},
        "online_store": {"type": "redis", "connection_string": settings.online_store_endpoint},
        "offline_store": {"type": "dask"},
        "entity_key_serialization_version": 3,
    }
    (directory / "feature_store.yaml").write_text(json.dumps(config))
    with quiet_feast():
        store = FeatureStore(config=RepoConfig(**config))
        store.apply(list(declared.objects))
    return store


@contextmanager
def _own_server(port: int, environment: dict[str, str]) -> Iterator[None]:
    command = [sys.executable, "-m", "runtime", "features", "serve", "--project", "examples.flights.features:PROJECT"]
    process = subprocess.Popen([*command, "--port", str(port)], env={**os.environ, **environment}, cwd=ROOT)
    try:
        _wait_for(port, process)
        yield
    finally:
        process.terminate()
        process.wait(timeout=15)


@contextmanager
def _valkey(directory: Path) -> Iterator[str]:
    from falaj.local.servers import valkey

    port, data = _free_port(), directory / "valkey"
    data.mkdir()
    process = subprocess.Popen(valkey.command(data, port), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        _wait_for(port, process)
        yield valkey.endpoint(port)
    finally:
        process.terminate()
        process.wait(timeout=15)


@contextmanager
def _account() -> Iterator[str]:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=_free_port(), verbose=False)
    server.start()
    try:
        yield f"http://127.0.0.1:{server._port}"
    finally:
        server.stop()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"nothing answers on port {port}") from None
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _print(results: Sequence[Result]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Online feature reads, milliseconds", title_justify="left")
    for column in ("case", "how", "requests", "Feast p50", "Feast p99", "own p50", "own p99", "own / Feast, p99"):
        table.add_column(column, justify="left" if column in ("case", "how") else "right")
    for result in results:
        times = (result.feast_p50, result.feast_p99, result.own_p50, result.own_p99)
        table.add_row(
            result.case,
            result.how,
            str(result.requests),
            *(f"{taken:.2f}" for taken in times),
            f"{result.p99_ratio:.2f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
