"""What a killed deployment had already created, so that it can be taken back.

A create is one or more API calls.  If the engine dies between the first of them and its own save, the account holds a
resource that no state knows: the next `up` would make a second one.  Therefore each call of a create names the resource
it works for, and the account's process remembers the answers, in the same moment in which the resource comes to be.
After a crash the create is run again in replay: answers that are known are given again, the rest is carried out.  That
yields the resource's id, whatever its type, and with it the resource can be deleted.

The client side (``recording``, ``replaying``, ``annotate``) runs in the deployment, ``Journal`` in the account's own
process.
"""

from __future__ import annotations

import contextvars
import hashlib
import json
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

JOURNAL_PATH: Final = "/_falaj/creations/"
"""``GET JOURNAL_PATH + key`` answers ``{"calls": N}``: how many calls of that create were answered."""

MAX_ANSWER_BYTES: Final = 1_048_576
"""Answers of creates are a few kilobytes; a larger one is not kept, and its call would be carried out again."""

_HEADER: Final = "X-Falaj-Creation"


@dataclass
class _Creation:
    key: str
    mode: str  # record | replay
    calls: int = field(default=0)


_current: contextvars.ContextVar[_Creation | None] = contextvars.ContextVar("creation", default=None)


def creation_key(urn: str) -> str:
    """The name of a resource's create in headers and addresses: URNs may hold any character."""
    return hashlib.sha256(urn.encode()).hexdigest()[:32]


def recording(urn: str) -> AbstractContextManager[None]:
    """Within this context every API call belongs to a fresh create of ``urn``."""
    return _creating(_Creation(creation_key(urn), "record"))


def replaying(urn: str) -> AbstractContextManager[None]:
    """Within this context every API call repeats the last create of ``urn``."""
    return _creating(_Creation(creation_key(urn), "replay"))


@contextmanager
def _creating(creation: _Creation) -> Iterator[None]:
    token = _current.set(creation)
    try:
        yield
    finally:
        _current.reset(token)


def calls_of_last_create(endpoint_url: str, urn: str) -> int:
    """How many calls of the last create of ``urn`` the account answered; 0 when it knows of none, or is another run."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{endpoint_url}{JOURNAL_PATH}{creation_key(urn)}", timeout=10) as response:
            return int(json.loads(response.read(4096))["calls"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def annotate(request: Any, event_name: str, **_: Any) -> None:
    """A botocore ``before-send`` hook: names the create, the call's place in it and its operation."""
    creation = _current.get()
    if creation is not None:
        operation = event_name.rsplit(".", 1)[-1]
        request.headers[_HEADER] = f"{creation.key} {creation.mode} {creation.calls} {operation}"
        creation.calls += 1


Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_Answer = tuple[str, list[tuple[str, str]], bytes]


class Journal:
    """WSGI middleware that keeps the answers of creates.  In memory: it ends with the account it speaks of."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._answers: dict[str, dict[tuple[int, str], _Answer]] = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith(JOURNAL_PATH):
            return self._tell(path.removeprefix(JOURNAL_PATH), start_response)
        header = environ.get("HTTP_X_FALAJ_CREATION", "")
        parts = header.split(" ")
        if len(parts) != 4 or not parts[2].isdigit():
            return self._application(environ, start_response)
        key, mode, place, operation = parts[0], parts[1], int(parts[2]), parts[3]
        if mode == "replay":
            with self._lock:
                known = self._answers.get(key, {}).get((place, operation))
            if known is not None:
                start_response(known[0], known[1])
                return [known[2]]
        elif place == 0:
            with self._lock:
                self._answers[key] = {}
        return self._carry_out(environ, start_response, key, (place, operation))

    def _carry_out(
        self, environ: dict[str, Any], start_response: Callable[..., Any], key: str, call: tuple[int, str]
    ) -> Iterable[bytes]:
        begun: list[tuple[str, list[tuple[str, str]]]] = []

        def begin(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            begun.append((status, list(headers)))

        body = b"".join(self._application(environ, begin))
        status, headers = begun[-1]
        if status.startswith("2") and len(body) <= MAX_ANSWER_BYTES:
            with self._lock:
                self._answers.setdefault(key, {})[call] = (status, headers, body)
        start_response(status, headers)
        return [body]

    def _tell(self, key: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            count = len(self._answers.get(key, {}))
        body = json.dumps({"calls": count}).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]
