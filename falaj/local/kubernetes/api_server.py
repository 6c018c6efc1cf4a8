"""Requests to a Kubernetes API server: JSON over one pool of connections, bounded retries, errors one can act on."""

from __future__ import annotations

import base64
import json
import os
import ssl
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import urllib3
from urllib3.exceptions import HTTPError, SSLError

from falaj.engine.provider import ProviderError
from falaj.local.kubernetes.kinds import Kind
from falaj.local.kubernetes.kubeconfig import Connection
from falaj.local.kubernetes.manifests import Identity, Manifest

APPLY: Final = "application/apply-patch+yaml"  # of which JSON is a part
_JSON: Final = "application/json"
_MOST_BYTES: Final = 64 * 1024 * 1024
_CONNECTIONS: Final = 16
_CONNECT_SECONDS: Final = 5.0
_READ_SECONDS: Final = 65.0  # an API server ends requests after 60
_DELAYS_SECONDS: Final = (0.1, 0.3, 0.9, 2.0, 3.0)
"""Between attempts; every request here means the same when it arrives twice."""

_PASSING: Final = frozenset({429, 502, 503, 504})
_PASSING_INTERNAL_ERRORS: Final = ("etcdserver", "webhook", "timed out", "connection")
"""Words of internal errors that may pass.  One that does not: a manifest that the server can make no sense of."""


class UnreachableError(ProviderError):
    """No API server answers at the address."""


class ApiError(ProviderError):
    """The API server refused a request.  ``details`` is that part of its Status object."""

    def __init__(self, status: int, reason: str, message: str, details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.status, self.reason, self.details = status, reason, details


@dataclass(frozen=True, slots=True)
class ApiResource:
    """Where the objects of a kind lie."""

    prefix: str
    plural: str
    namespaced: bool

    def path(self, identity: Identity) -> str:
        scope = f"/namespaces/{quote(identity.namespace or 'default', safe='')}" if self.namespaced else ""
        return f"{self.prefix}{scope}/{self.plural}/{quote(identity.name, safe='')}"


class ApiServer:
    """One API server.  Threads share it.  ``cancelled`` ends waiting between attempts."""

    def __init__(self, connection: Connection, cancelled: threading.Event) -> None:
        """Raises ProviderError for certificates that cannot be used."""
        self.address = connection.server
        self._cancelled = cancelled
        self._headers = {"Accept": _JSON, "User-Agent": "falaj-local-kubernetes", **_authorization(connection)}
        self._pool = urllib3.PoolManager(
            maxsize=_CONNECTIONS,
            block=True,
            retries=False,
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            **_tls(connection),
        )
        self._served: dict[str, dict[str, ApiResource]] = {}
        self._given_up = False  # all attempts of one request failed, and nothing was answered since
        self._lock = threading.Lock()

    # -- objects -------------------------------------------------------------------------------------------------------

    def get(self, resource: ApiResource, identity: Identity) -> Manifest | None:
        try:
            return self.request("GET", resource.path(identity))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def apply(
        self,
        resource: ApiResource,
        identity: Identity,
        manifest: Manifest,
        field_manager: str,
        *,
        force: bool,
        dry_run: bool,
    ) -> Manifest:
        """Server-side apply.  A field that the API does not have is an error, never dropped in silence."""
        query = {"fieldManager": field_manager, "force": str(force).lower(), "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        return self.request("PATCH", resource.path(identity), query, manifest, APPLY)

    def delete(self, resource: ApiResource, identity: Identity, propagation: str) -> Manifest | None:
        """None when there is no such object (any more)."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        try:
            return self.request("DELETE", resource.path(identity), body=options)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, path: str, **query: str) -> list[Manifest]:
        items = self.request("GET", path, query).get("items")
        return items if isinstance(items, list) else []

    def resource(self, kind: Kind, *, fresh: bool = False) -> ApiResource | None:
        """Where objects of the kind lie; None when the server does not serve it.  ``fresh`` asks the server again."""
        with self._lock:
            known = {} if fresh else self._served.get(kind.api_version, {})
        if kind.name not in known:
            known = self._discovered(kind)
            with self._lock:
                self._served[kind.api_version] = known
        return known.get(kind.name)

    def _discovered(self, kind: Kind) -> dict[str, ApiResource]:
        prefix = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
        try:
            listed = self.request("GET", prefix).get("resources") or []
        except ApiError as error:
            if error.status == 404:
                return {}
            raise
        return {
            entry["kind"]: ApiResource(prefix, entry["name"], bool(entry["namespaced"]))
            for entry in listed
            if "/" not in entry["name"]  # the others are parts such as pods/log
        }

    # -- requests ------------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
    ) -> dict[str, Any]:
        """The JSON object that the server answers.

        Raises ApiError, UnreachableError, and ProviderError when cancelled.

        What may pass (overload, a server that restarts, a lost connection) is tried again, six times in all.  A server
        that one request has given up on is not waited for by the next ones: a hundred objects to delete from a control
        plane that is down are one wait, not a hundred.
        """
        url = f"{self.address}{path}{'?' + urlencode(query) if query else ''}"
        headers = {**self._headers, **({"Content-Type": content_type} if body is not None else {})}
        content = json.dumps(body, ensure_ascii=False).encode() if body is not None else None
        for delay in (*_DELAYS_SECONDS, None):
            self._stop_if_cancelled()
            try:
                status, answer, wait = self._send(method, url, headers, content)
            except SSLError as error:
                raise UnreachableError(
                    f"the API server at {self.address} cannot be trusted: {_reason(error)}"
                ) from error
            except HTTPError as error:
                if delay is None or self._given_up:
                    self._given_up = True
                    raise UnreachableError(self._unreachable(error)) from error
                self._cancelled.wait(delay)
                continue
            self._given_up = False
            if status < 400:
                return answer
            if delay is None or not _may_pass(status, answer):
                raise _refused(status, answer)
            self._cancelled.wait(max(delay, wait))
        raise AssertionError("the last attempt returns or raises")

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> tuple[int, dict[str, Any], float]:
        response = self._pool.request(
            method, url, headers=headers, body=content, redirect=False, preload_content=False, decode_content=True
        )
        data = response.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            response.close()
            raise ProviderError(f"the API server at {self.address} answered more than {_MOST_BYTES} bytes")
        response.release_conn()
        retry_after = response.headers.get("Retry-After", "")
        wait = min(float(retry_after), _DELAYS_SECONDS[-1]) if retry_after.isdigit() else 0.0
        try:
            answer = json.loads(data) if data else {}
        except ValueError:
            answer = {"message": data[:200].decode(errors="replace")}
        return response.status, answer if isinstance(answer, dict) else {}, wait

    def _unreachable(self, error: HTTPError) -> str:
        return f"no API server answers at {self.address} ({_reason(error)}); start it with `falaj cluster up`"

    def _stop_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise ProviderError("provider kubernetes: cancelled by the user")


def _may_pass(status: int, answer: Mapping[str, Any]) -> bool:
    if status == 409:  # somebody wrote in between; a conflict over fields stays one
        return not (answer.get("details") or {}).get("causes") and answer.get("reason") == "Conflict"
    if status == 403:  # the controller that admits objects to a new namespace is not there yet
        return "not yet ready to handle request" in str(answer.get("message"))
    if status == 500:
        return any(word in str(answer.get("message")) for word in _PASSING_INTERNAL_ERRORS)
    return status in _PASSING


def _refused(status: int, answer: Mapping[str, Any]) -> ApiError:
    details = answer.get("details")
    message = " ".join(str(answer.get("message") or f"HTTP status {status}").split())
    return ApiError(status, str(answer.get("reason") or ""), message, details if isinstance(details, dict) else {})


def _reason(error: Exception) -> str:
    """The innermost cause; what urllib3 wraps around it names objects in memory."""
    reason: BaseException = getattr(error, "reason", None) or error
    while reason.__cause__ is not None:
        reason = reason.__cause__
    if isinstance(reason, OSError) and reason.errno and not isinstance(reason, ssl.SSLError):
        return os.strerror(reason.errno)
    text = " ".join(str(reason).split())
    return text.rpartition(">: ")[2] or type(reason).__name__


def _authorization(connection: Connection) -> dict[str, str]:
    if connection.token:
        return {"Authorization": f"Bearer {connection.token}"}
    if connection.username:
        pair = base64.b64encode(f"{connection.username}:{connection.password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {}


def _tls(connection: Connection) -> dict[str, Any]:
    if not connection.server.startswith("https:"):
        return {}
    try:
        authority = connection.certificate_authority.decode("ascii") or None
        context = ssl.create_default_context(cadata=authority)
        if connection.skip_tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if connection.client_certificate:
            with _pem_file(connection.client_certificate, connection.client_key) as path:
                context.load_cert_chain(path)
    except (ssl.SSLError, ValueError) as error:
        raise ProviderError(f"the certificates for {connection.server} cannot be used: {error}") from error
    options: dict[str, Any] = {"ssl_context": context}
    if connection.tls_server_name:
        options |= {"server_hostname": connection.tls_server_name, "assert_hostname": connection.tls_server_name}
    return options


@contextmanager
def _pem_file(certificate: bytes, key: bytes) -> Iterator[str]:
    """ssl reads client certificates from files alone: one that only we can read, for a moment."""
    with tempfile.NamedTemporaryFile(prefix="falaj-", suffix=".pem") as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        yield file.name
