"""A collector of OpenLineage events: ``POST /api/v1/lineage`` into the store.  An ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from runtime.errors import InputError
from runtime.lineage.events import MOST_EVENT_BYTES, from_json
from runtime.lineage.store import LineageStore
from runtime.lineage.transports import DeliveryError

PATH: Final = "/api/v1/lineage"
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Collector:
    """``GET /health/ready`` answers 200 while the store does."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, text = await self._answer(scope["method"], scope["path"], receive)
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": text.encode()})

    async def _answer(self, method: str, path: str, receive: Receive) -> tuple[int, str]:
        try:
            if (method, path) == ("GET", "/health/ready"):
                await asyncio.to_thread(self._with_store, lambda store: None)
                return 200, "ready"
            if (method, path) != ("POST", PATH):
                return 404, f"POST {PATH} or GET /health/ready"
            event = from_json(await _body(receive))
            await asyncio.to_thread(self._with_store, lambda store: store.add(event))
        except InputError as error:
            return 400, str(error)
        except DeliveryError:
            return 503, "the lineage store does not answer; try again"
        return 201, ""

    def _with_store(self, action: Callable[[LineageStore], None]) -> None:
        with LineageStore.open(self._dsn) as store:
            action(store)


async def _body(receive: Receive) -> bytes:
    """Raises InputError as soon as more comes than an event may have."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MOST_EVENT_BYTES:
            raise InputError(f"more than {MOST_EVENT_BYTES} bytes")
        if not message.get("more_body"):
            return bytes(body)
