"""Both servers must give the same answers; a bad request gets a clear error and a status, never a stack trace."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from runtime.features import feast_server
from runtime.features.declaration import Declaration
from runtime.features.errors import OnlineStoreError
from runtime.features.materialise import Materialisation, materialise
from runtime.features.server import MAX_BODY_BYTES
from runtime.features.snapshots import Snapshot
from runtime.settings import Settings
from tests.support.moto_server import free_port
from tests.support.ride_project import SERVICE, at
from tests.support.runtime_servers import ROOT, end, environment

ENTITIES = {"driver_id": [0, 77], "zone": ["z0", "nowhere"], "city": ["dubai", "x"], "distance_km": [30.0, 1.5]}


@pytest.fixture
def live(online: Settings, declared: Declaration, snapshot: Snapshot) -> Materialisation:
    return materialise(online, declared, snapshot, as_of=at(48))


@contextmanager
def serving(settings: Settings) -> Iterator[int]:
    """Our server as a process of its own, which needs no Feast; the port on which it answers."""
    port, address = free_port(), settings.listen_address
    command = [sys.executable, "-m", "runtime", "features", "serve", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--project", "tests.support.ride_project:RIDES"],
        env=environment(settings),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    deadline = time.monotonic() + 60
    try:
        while not answers(address, port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(process.stderr.read().decode()[-2000:])
            time.sleep(0.02)
        yield port
    finally:
        end(process)
        process.stderr.close()


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def fast_port(online: Settings) -> Iterator[int]:
    with serving(online) as port:
        yield port


def post(port: int, body: bytes) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/get-online-features", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def by_name(document: dict[str, Any]) -> dict[str, Any]:
    assert set(document) == {"metadata", "results"}
    return dict(zip(document["metadata"]["feature_names"], document["results"], strict=True))


@pytest.mark.slow
def test_the_two_servers_answer_alike(
    online: Settings, declared: Declaration, live: Materialisation, fast_port: int
) -> None:
    bodies = [
        {"feature_service": SERVICE, "entities": ENTITIES},
        {
            "features": ["driver_stats_v1:last_request", "driver_stats_v1:last_rating"],
            "entities": {"driver_id": [0, 1, 7]},
        },
        {
            "features": ["zone_prices_v2:price"],
            "entities": {"zone": ["z0"], "city": ["dubai"]},
            "full_feature_names": True,
        },
    ]
    port = free_port()
    with feast_server.running(online, declared, port=port, environment=environment(online)):
        theirs = [feast_server.ask(port, body) for body in bodies]
        with pytest.raises(OnlineStoreError, match="answered"):
            feast_server.ask(port, {"features": ["driver_stats_v9:rides"], "entities": {"driver_id": [0]}})
    ours = [feast_server.ask(fast_port, body) for body in bodies]
    assert [by_name(document) for document in ours] == [by_name(document) for document in theirs]


BAD_REQUESTS = [
    (b"", 422, "request body"),
    (b"{", 422, "request body"),
    (b"[]", 422, "request body"),
    (b'{"features": ["x_v1:y"]}', 422, "entities"),
    (b'{"entities": {"driver_id": [{"a": 1}]}}', 422, "request body"),
    (b'{"entities": {}, "features": []}', 404, "no features asked for"),
    (b'{"entities": {}, "features": ["x_v1:y"], "feature_service": "s"}', 422, "not for both"),
    (b'{"entities": {"driver_id": [1]}, "features": ["driver_stats_v7:rides"]}', 404, "has no version 7"),
    (b'{"entities": {"driver_id": [1]}, "feature_service": "fare_v9"}', 404, "fare_v9"),
    (b'{"entities": {"driver_id": ["1"]}, "features": ["driver_stats_v1:rides"]}', 422, "takes whole numbers"),
    (b'{"entities": {"driver_id": [' + b"1," * 1000 + b'1]}, "features": ["driver_stats_v1:rides"]}', 422, "1001"),
    (b" " * (MAX_BODY_BYTES + 1), 422, "is over"),
]


def test_a_bad_request_gets_a_clear_answer(live: Materialisation, fast_port: int) -> None:
    for body, status, detail in BAD_REQUESTS:
        found, document = post(fast_port, body)
        assert (found, set(document)) == (status, {"detail"}), body[:80]
        assert detail in document["detail"]
        assert "Traceback" not in document["detail"]


def test_requests_are_counted_by_what_became_of_them(live: Materialisation, fast_port: int) -> None:
    for _ in range(2):
        assert post(fast_port, json.dumps({"feature_service": SERVICE, "entities": ENTITIES}).encode())[0] == 200
    for body, *_ in BAD_REQUESTS:
        post(fast_port, body)
    counted = get(fast_port, "/metrics")[1].splitlines()
    by_status = [status for _, status, _ in BAD_REQUESTS]
    numbers = {"ok": 2, "unknown": by_status.count(404), "refused": by_status.count(422), "error": 0}
    for outcome, number in numbers.items():
        assert f'falaj_features_requests_total{{outcome="{outcome}"}} {number}.0' in counted
    assert f"falaj_features_request_seconds_count {sum(numbers.values())}.0" in counted


def test_health_metrics_and_other_paths(live: Materialisation, fast_port: int) -> None:
    assert get(fast_port, "/health") == (200, "{}")
    assert get(fast_port, "/nothing")[0] == 404
    assert post(fast_port, json.dumps({"feature_service": SERVICE, "entities": ENTITIES}).encode())[0] == 200
    status, text = get(fast_port, "/metrics")
    assert status == 200
    assert 'falaj_features_online_rows_total{project="rides",view="driver_stats_v1"} 2.0' in text
    assert 'falaj_features_online_missing_rows_total{project="rides",view="driver_stats_v1"} 1.0' in text


def test_a_store_without_the_project_is_no_healthy_server(online: Settings, fast_port: int) -> None:
    status, text = get(fast_port, "/health")
    assert status == 503
    assert "no live generation" in text
    assert post(fast_port, json.dumps({"feature_service": SERVICE, "entities": ENTITIES}).encode())[0] == 503
    assert 'falaj_features_requests_total{outcome="error"} 1.0' in get(fast_port, "/metrics")[1]


def test_a_store_that_is_away_is_said_and_counted(online: Settings) -> None:
    away = online.model_copy(update={"online_store_endpoint": f"127.0.0.1:{free_port()}"})
    with serving(away) as port:
        status, document = post(port, json.dumps({"feature_service": SERVICE, "entities": ENTITIES}).encode())
        assert (status, set(document)) == (503, {"detail"})
        assert "the online store does not answer" in document["detail"]
        assert get(port, "/health")[0] == 503
        assert 'falaj_features_requests_total{outcome="error"} 1.0' in get(port, "/metrics")[1]


def test_the_server_follows_a_flip(
    online: Settings, declared: Declaration, snapshot: Snapshot, live: Materialisation, fast_port: int
) -> None:
    body = json.dumps({"features": ["driver_stats_v1:rides"], "entities": {"driver_id": [0]}}).encode()
    before = by_name(post(fast_port, body)[1])["rides"]["values"]
    materialise(online, declared, snapshot, as_of=at(12), keep_previous=0)
    assert (before, by_name(post(fast_port, body)[1])["rides"]["values"]) == ([9], [3])


def test_server_and_metrics_listen_on_loopback_unless_told_otherwise_and_then_there_alone(
    online: Settings, live: Materialisation
) -> None:
    assert online.listen_address == "127.0.0.1"
    # Another address of this machine, as a pod's is: every 127/8 address is one on Linux.
    elsewhere = online.model_copy(update={"listen_address": "127.0.0.2", "metrics_port": free_port()})
    with serving(elsewhere) as port:
        assert answers("127.0.0.2", elsewhere.metrics_port)
        assert not answers("127.0.0.1", port)
        assert not answers("127.0.0.1", elsewhere.metrics_port)
