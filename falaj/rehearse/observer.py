"""Watches the API server and keeps ``Sightings`` up to date.

Two watches, each on a connection and a thread of its own: nothing is polled and no list is read, so looking at 2,000
pods costs what their changes cost.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from falaj.cluster.api import Endpoint
from falaj.rehearse.errors import StageError
from falaj.rehearse.sightings import Sightings

_CONNECT_SECONDS: Final = 10.0
_WATCH_SECONDS: Final = 3600
_MOST_ENDINGS: Final = 5
"""Watches that end one after the other without an event between them before that is a failure."""
Saw = Callable[[str, Mapping[str, Any], float], None]


class Observer:
    """Use as a context; ``sightings`` may be read while ``lock`` is held."""

    def __init__(self, endpoint: Endpoint, namespace: str) -> None:
        self.sightings = Sightings()
        self.lock = threading.RLock()
        self._endpoint = endpoint
        self._failure = ""
        self._closed = False
        self._sockets: dict[str, socket.socket] = {}
        watched = {
            f"/api/v1/namespaces/{namespace}/pods": self.sightings.saw_pod,
            "/api/v1/nodes": self.sightings.saw_node,
        }
        self._threads = [
            threading.Thread(target=self._follow, args=(path, saw), daemon=True, name=f"watch {path}")
            for path, saw in watched.items()
        ]

    def __enter__(self) -> Observer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        for opened in list(self._sockets.values()):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)  # wakes its thread out of the read
        for thread in self._threads:
            thread.join(_CONNECT_SECONDS)

    def raise_if_blind(self) -> None:
        """Raises StageError when a watch has ended: what was seen since is not the whole."""
        if self._failure:
            raise StageError(self._failure)

    def _follow(self, path: str, saw: Saw) -> None:
        """Watches until closed.  A watch that the server ends, as it does to a slow reader, goes on where it was."""
        version, endings = "", 0
        while not self._closed:
            try:
                for event in self._events(path, version):
                    version = event["object"]["metadata"]["resourceVersion"]
                    with self.lock:
                        saw(event["type"], event["object"], time.monotonic())
                    endings = 0
                endings += 1
                if endings > _MOST_ENDINGS:
                    raise http.client.HTTPException("the server ends it at once")
            except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
                self._failure = f"watch of {path}: {error}"
                return

    def _events(self, path: str, version: str) -> Iterator[Mapping[str, Any]]:
        connection = self._endpoint.connect(_CONNECT_SECONDS)
        query = f"watch=true&timeoutSeconds={_WATCH_SECONDS}" + (f"&resourceVersion={version}" if version else "")
        try:
            connection.request("GET", f"{path}?{query}", headers={"Accept": "application/json"})
            socket_of = connection.sock
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                text = response.read(300).decode(errors="replace")
                raise http.client.HTTPException(f"answer {response.status}: {text}")
            socket_of.settimeout(None)  # a quiet cluster is no failure
            self._sockets[path] = socket_of
            for line in response:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise http.client.HTTPException(str(event["object"].get("message")))
                yield event
        finally:
            connection.close()
