"""The client of the API server, against a small real one.  Guards: a lost reason, silence taken for an answer."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from falaj.cluster.api import ApiClient, Endpoint, answers, has_condition
from falaj.cluster.errors import ApiError


class Server(ThreadingHTTPServer):
    """Answers from ``script``: path -> list of (status, body), the last of which is repeated."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: dict[str, list[tuple[int, Any]]] = {}
        self.seen: list[tuple[str, str, str | None, Any]] = []
        self.hang_up_after = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.seen.append((self.command, self.path, self.headers.get("Content-Type"), body))
        answers = self.server.script.get(
            self.path.partition("?")[0], [(404, {"reason": "NotFound", "message": "gone"})]
        )
        status, content = answers.pop(0) if len(answers) > 1 else answers[0]
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        if len(self.server.seen) == self.server.hang_up_after:
            self.close_connection = True  # as a server does with an idle connection: without telling the client

    do_GET = do_POST = do_PATCH = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def client(server: Server) -> Iterator[ApiClient]:
    with ApiClient(Endpoint("127.0.0.1", server.server_address[1])) as made:
        yield made


def test_error_carries_the_server_s_message_status_and_reason(server: Server, client: ApiClient) -> None:
    server.script["/x"] = [(403, {"message": 'pods is forbidden: User "amal"', "reason": "Forbidden"})]
    with pytest.raises(ApiError, match=r'^POST /x: pods is forbidden: User "amal" \(403\)$') as caught:
        client.create("/x", {})
    assert (caught.value.status, caught.value.reason) == (403, "Forbidden")


def test_error_that_is_not_json_is_shown_as_it_is(server: Server, client: ApiClient) -> None:
    server.script["/x"] = [(502, b"bad gateway")]
    with pytest.raises(ApiError, match=r"bad gateway \(502\)"):
        client.get("/x")


def test_object_that_is_not_there_is_none_and_other_errors_stay(server: Server, client: ApiClient) -> None:
    assert client.find("/nothing") is None
    server.script["/x"] = [(500, {"message": "broken"})]
    with pytest.raises(ApiError, match="broken"):
        client.find("/x")


def test_apply_is_server_side_with_a_field_manager(server: Server, client: ApiClient) -> None:
    server.script["/x"] = [(200, {})]
    client.apply("/x", {"kind": "Thing"})
    assert server.seen == [
        ("PATCH", "/x?fieldManager=falaj-cluster&force=true", "application/apply-patch+yaml", {"kind": "Thing"})
    ]


def test_connection_that_the_server_closed_is_opened_again(server: Server, client: ApiClient) -> None:
    server.script["/x"] = [(200, {"n": 1})]
    server.hang_up_after = 1
    assert [client.get("/x"), client.get("/x")] == [{"n": 1}, {"n": 1}]
    assert len(server.seen) == 2


def test_nobody_there_is_said_with_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(
        ApiError, match=rf"GET /x: no answer from http://127\.0\.0\.1:{port} .*cluster status"
    ) as caught:
        ApiClient(Endpoint("127.0.0.1", port)).get("/x")
    assert caught.value.status == 0
    assert not answers(Endpoint("127.0.0.1", port), "/readyz")


def test_only_ok_counts_as_an_answer(server: Server) -> None:
    endpoint = Endpoint("127.0.0.1", server.server_address[1])
    server.script["/readyz"] = [(500, {})]
    assert not answers(endpoint, "/readyz")
    server.script["/readyz"] = [(200, {})]
    assert answers(endpoint, "/readyz")


def test_wait_ends_when_the_condition_holds(server: Server, client: ApiClient) -> None:
    def thing(status: str) -> dict[str, Any]:
        return {"status": {"conditions": [{"type": "Ready", "status": status}]}}

    server.script["/x"] = [(404, {"message": "gone"}), (200, {}), (200, thing("False")), (200, thing("True"))]
    seen = client.wait_for("/x", has_condition("Ready"), timeout_seconds=30, what="x is not ready")
    assert seen == thing("True")


def test_wait_that_ends_without_says_what_was_seen(server: Server, client: ApiClient) -> None:
    server.script["/x"] = [(200, {"status": {"phase": "Pending"}})]
    with pytest.raises(ApiError, match=r'x is not ready after 0\.2 s: its status is \{"phase": "Pending"\}'):
        client.wait_for("/x", has_condition("Ready"), timeout_seconds=0.2, what="x is not ready")
    with pytest.raises(ApiError, match=r"y is not there after .* it does not exist"):
        client.wait_for("/y", has_condition("Ready"), timeout_seconds=0.1, what="y is not there")
