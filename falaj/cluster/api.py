"""A small client of the local API server: enough to set it up and to look at it.

One connection, kept open; one object for one thread.  Server-side apply is a PATCH, as in any client.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from falaj.cluster.errors import ApiError

FIELD_MANAGER: Final = "falaj-cluster"
_TIMEOUT_SECONDS: Final = 30.0
_PROBE_TIMEOUT_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Endpoint:
    """Where a server is and what a client shows it: two files, or None for a client without a name."""

    host: str
    port: int
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.authority else 'http'}://{self.host}:{self.port}"

    def connect(self, timeout_seconds: float) -> http.client.HTTPConnection:
        """A connection, not opened yet.  The server must prove that the cluster's own authority signed it."""
        if self.authority is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout_seconds)
        context = ssl.create_default_context(cafile=str(self.authority))
        if self.certificate is not None:
            context.load_cert_chain(str(self.certificate), str(self.key))
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout_seconds, context=context)


def answers(endpoint: Endpoint, path: str) -> bool:
    """Whether the server says 200 at ``path`` now."""
    connection = endpoint.connect(_PROBE_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class ApiClient:
    """Requests as one user.  Every method raises ApiError with the server's own message."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connection: http.client.HTTPConnection | None = None

    @property
    def endpoint(self) -> Endpoint:
        return self._endpoint

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, path: str) -> dict[str, Any]:
        return self.request("GET", path)

    def find(self, path: str) -> dict[str, Any] | None:
        """The object at ``path``, or None if there is none."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status == http.HTTPStatus.NOT_FOUND:
                return None
            raise

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self.request("POST", path, body)

    def apply(self, path: str, body: Mapping[str, Any], *, manager: str = FIELD_MANAGER) -> dict[str, Any]:
        """Server-side apply of the object at ``path``; takes fields over from others, for they are ours to set."""
        query = urlencode({"fieldManager": manager, "force": "true"})
        return self.request("PATCH", f"{path}?{query}", body, content_type="application/apply-patch+yaml")

    def delete(self, path: str) -> dict[str, Any]:
        return self.request("DELETE", path)

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, content_type: str = "application/json"
    ) -> dict[str, Any]:
        """One request.  A connection that the server closed while it was idle is opened again, once."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json"} | ({"Content-Type": content_type} if content is not None else {})
        for fresh in (self._connection is None, True):
            if self._connection is None:
                self._connection = self._endpoint.connect(_TIMEOUT_SECONDS)
            try:
                self._connection.request(method, path, content, headers)
                response = self._connection.getresponse()
                return _read(method, path, response.status, response.read())
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if fresh:
                    raise ApiError(
                        f"{method} {path}: no answer from {self._endpoint.url} ({error}); see `falaj cluster status`"
                    ) from error
        raise AssertionError("unreachable")

    def wait_for(
        self, path: str, wanted: Callable[[Mapping[str, Any]], bool], *, timeout_seconds: float, what: str
    ) -> dict[str, Any]:
        """The object at ``path`` as soon as ``wanted`` holds.  Raises ApiError, naming ``what``, when it never does."""
        deadline = time.monotonic() + timeout_seconds
        seen: dict[str, Any] | None = None
        while time.monotonic() < deadline:
            seen = self.find(path)
            if seen is not None and wanted(seen):
                return seen
            time.sleep(_POLL_SECONDS)
        state = "it does not exist" if seen is None else f"its status is {json.dumps(seen.get('status', {}))[:600]}"
        raise ApiError(f"{what} after {timeout_seconds:g} s: {state}")


def has_condition(kind: str, status: str = "True") -> Callable[[Mapping[str, Any]], bool]:
    """A test for ``wait_for``: whether the object's condition ``kind`` has ``status``."""

    def test(thing: Mapping[str, Any]) -> bool:
        conditions = (thing.get("status") or {}).get("conditions") or []
        return any(condition.get("type") == kind and condition.get("status") == status for condition in conditions)

    return test


def _read(method: str, path: str, status: int, content: bytes) -> dict[str, Any]:
    answer: Any = None
    with contextlib.suppress(ValueError):
        answer = json.loads(content)
    if status < http.HTTPStatus.BAD_REQUEST:
        return answer if isinstance(answer, dict) else {}
    known = answer if isinstance(answer, dict) else {}
    message = str(known.get("message") or content[:300].decode(errors="replace"))
    raise ApiError(f"{method} {path}: {message} ({status})", status=status, reason=str(known.get("reason", "")))
