"""A small server that speaks as much of the Kubernetes API as the error paths of a client need.

It stores what is applied and answers what a test scripts; it judges nothing.  What a real API server decides is tested
on a real one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

KINDS: dict[str, list[dict[str, Any]]] = {
    "/api/v1": [
        {"name": "configmaps", "kind": "ConfigMap", "namespaced": True},
        {"name": "namespaces", "kind": "Namespace", "namespaced": False},
        {"name": "pods", "kind": "Pod", "namespaced": True},
        {"name": "pods/log", "kind": "Pod", "namespaced": True},
        {"name": "secrets", "kind": "Secret", "namespaced": True},
    ],
    "/apis/apps/v1": [{"name": "deployments", "kind": "Deployment", "namespaced": True}],
}


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Answer:
    """``body`` is sent as JSON, bytes as they are; ``drop`` closes the connection instead."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False


def status(code: int, reason: str, message: str, **details: Any) -> Answer:
    """A Status object, as the API server refuses with."""
    body = {
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }
    return Answer(code, body)


class FakeApi:
    """``script`` holds, by method and path, answers that come before the ordinary ones, one for each request."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.script: dict[tuple[str, str], list[Answer]] = {}
        self.requests: list[Request] = []
        self.kinds = {prefix: list(kinds) for prefix, kinds in KINDS.items()}
        self.lock = threading.Lock()
        self.url = ""
        self.closed = False

    def kubeconfig(self, token: str = "correct-horse") -> str:
        return yaml.safe_dump(
            {
                "current-context": "fake",
                "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
                "users": [{"name": "fake", "user": {"token": token}}],
            }
        )

    def sent(self, method: str) -> list[Request]:
        return [request for request in self.requests if request.method == method]

    def answer(self, request: Request) -> Answer:
        with self.lock:
            self.requests.append(request)
            scripted = self.script.get((request.method, request.path))
            if scripted:
                return scripted.pop(0)
            if request.path in self.kinds:
                return Answer(body={"kind": "APIResourceList", "resources": self.kinds[request.path]})
            return self._ordinary(request)

    def _ordinary(self, request: Request) -> Answer:
        found = self.objects.get(request.path)
        if request.method == "PATCH":
            made = {**(found or {}), **request.body}
            manager = {"manager": request.query["fieldManager"], "operation": "Apply"}
            own = {"uid": (found or {}).get("metadata", {}).get("uid", "uid-1"), "managedFields": [manager]}
            made["metadata"] = {**request.body["metadata"], **own}
            if "dryRun" not in request.query:
                self.objects[request.path] = made
            return Answer(200 if found else 201, made)
        if request.method == "GET" and request.path.rsplit("/", 1)[-1] == "pods":
            return Answer(body={"kind": "PodList", "items": []})
        if found is None:
            return status(404, "NotFound", f"{request.path} not found")
        if request.method == "DELETE":
            del self.objects[request.path]
        return Answer(body=found)


@contextmanager
def serving_api() -> Iterator[FakeApi]:
    """A server on a free port of 127.0.0.1 until the end of the block."""
    api = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            answer = api.answer(Request(self.command, parts.path, query, dict(self.headers), body))
            if answer.drop or api.closed:
                self.close_connection = True
                self.connection.close()
                return
            content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body or {}).encode()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(content)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PATCH = do_DELETE = do_POST = handle_any

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.closed = True  # for connections that are kept open
        server.shutdown()
        thread.join()
        server.server_close()
