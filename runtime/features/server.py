"""The feature server of the fast read path: bare ASGI, the requests and answers of Feast's own server.

POST /get-online-features   {"feature_service": "late_arrival_v1"} or {"features": ["view_v1:feature", ...]},
                            "entities": {column: [values]}, "full_feature_names": false
GET  /health                200 once the project has a live generation
GET  /metrics               Prometheus
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from runtime import metrics
from runtime.errors import FalajError
from runtime.features.encoding import Scalar
from runtime.features.errors import OnlineStoreAwayError, OnlineStoreError, RequestError, UnknownFeatureError
from runtime.features.monitoring import export
from runtime.features.online import PRESENT, Answer, OnlineFeatures, Reading, ReadSession, Steps, Timestamp

if TYPE_CHECKING:
    from runtime.settings import Settings

MAX_BODY_BYTES: Final = 1024 * 1024
LATENCY_BUCKETS_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class OnlineRequest(msgspec.Struct):
    """Body of a request, as Feast's server takes it."""

    entities: dict[str, list[bool | int | float | str | None]]
    feature_service: str | None = None
    features: list[str] = []
    full_feature_names: bool = False


_decoder = msgspec.json.Decoder(OnlineRequest)
_encoder: msgspec.json.Encoder = msgspec.json.Encoder()


class AsyncOnlineReader(Reading):
    """``online.OnlineReader`` for an event loop: ``client`` is a ``redis.asyncio.Redis``."""

    async def get(
        self, features: Sequence[str] | str, entities: dict[str, list[Any]], *, full_names: bool = False
    ) -> OnlineFeatures:
        """As ``OnlineReader.get``."""
        return await self._take(self._read(features, entities, full_names))

    async def open(self) -> ReadSession:
        """The live generation.  Raises OnlineStoreError when there is none."""
        return await self._take(self._open_live())

    async def _take(self, steps: Steps[Answer]) -> Answer:
        try:
            step = next(steps)
            while True:
                step = steps.send(await self._answer(step))
        except StopIteration as ended:
            answer: Answer = ended.value
            return answer

    async def _answer(self, step: Any) -> Any:
        import asyncio

        from redis.exceptions import RedisError

        if isinstance(step, int):
            return await asyncio.to_thread(self._load_record, step)
        try:
            return await step.execute()
        except (RedisError, OSError) as error:
            raise OnlineStoreAwayError(f"the online store does not answer: {error}") from error


class FeatureApplication:
    """The ASGI application around a reader."""

    def __init__(self, reader: AsyncOnlineReader) -> None:
        self._reader = reader
        requests = metrics.counter(
            "falaj_features_requests_total", "Requests for online features by outcome", ("outcome",)
        )
        self._outcomes = {outcome: requests.labels(outcome) for outcome in ("ok", "refused", "unknown", "error")}
        self._seconds = metrics.histogram(
            "falaj_features_request_seconds", "Time of a request for online features", buckets=LATENCY_BUCKETS_SECONDS
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        status, body, kind = await self._respond(scope, receive)
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _respond(self, scope: Scope, receive: Receive) -> tuple[int, bytes, bytes]:
        route = (scope["method"], scope["path"])
        try:
            if route == ("POST", "/get-online-features"):
                with self._counted():
                    return 200, await self._online_features(receive), b"application/json"
            if route == ("GET", "/health"):
                await self._reader.open()
                return 200, b"{}", b"application/json"
            if route == ("GET", "/metrics"):
                from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

                from runtime.metrics import registry

                return 200, bytes(generate_latest(registry())), CONTENT_TYPE_LATEST.encode()
        except FalajError as error:
            return _status(error), _encoder.encode({"detail": str(error)}), b"application/json"
        return 404, _encoder.encode({"detail": f"no {route[0]} {route[1][:100]} here"}), b"application/json"

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts a request: ``refused`` and ``unknown`` (version or feature) are the caller's, ``error`` is not."""
        began, outcome = time.perf_counter(), "error"
        try:
            yield
            outcome = "ok"
        except UnknownFeatureError:
            outcome = "unknown"
            raise
        except RequestError:
            outcome = "refused"
            raise
        finally:
            self._outcomes[outcome].inc()
            self._seconds.observe(time.perf_counter() - began)

    async def _online_features(self, receive: Receive) -> bytes:
        body = await _body(receive)
        try:
            request = _decoder.decode(body)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise RequestError(f"request body: {error}") from None
        if request.feature_service is not None and request.features:
            raise RequestError("ask for a feature_service or for features, not for both")
        answer = await self._reader.get(
            request.feature_service if request.feature_service is not None else request.features,
            request.entities,
            full_names=request.full_feature_names,
        )
        return encode_answer(answer)


def encode_answer(answer: OnlineFeatures) -> bytes:
    """JSON as Feast's server writes it: numbers that JSON lacks as text, times in RFC 3339."""
    results = [
        {
            "values": [_json_value(value) for value in column],
            "statuses": [PRESENT] * len(column),
            "event_timestamps": [_json_time(moment) for moment in times],
        }
        for column, times in zip(answer.columns, answer.event_times, strict=True)
    ]
    return _encoder.encode({"results": results, "metadata": {"feature_names": answer.names}})


def application(settings: Settings, project: str) -> FeatureApplication:
    """The application on the Valkey of ``settings``; its read metrics join the process's registry."""
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import ConstantBackoff

    from runtime.features.generations import ValkeyPointer
    from runtime.features.valkey_store import client_options, connect

    settings.require("online_store_endpoint")
    if settings.online_store_engine != "valkey":
        raise OnlineStoreError(
            f"the fast server reads Valkey; on {settings.online_store_engine} serve with Feast's own (--engine feast)"
        )
    client = Redis(**{**client_options(settings), "retry": Retry(ConstantBackoff(0.05), 1)})
    reader = AsyncOnlineReader(client, project, load_record=ValkeyPointer(connect(settings), project).record)
    export(reader.monitor)
    return FeatureApplication(reader)


def serve(settings: Settings, project: str, *, port: int) -> None:
    """Serves on ``settings.listen_address``, and its metrics beside it, until a signal comes.

    Raises OSError where a port is taken.
    """
    import uvicorn

    with metrics.exporter(settings):
        uvicorn.run(
            application(settings, project),
            host=settings.listen_address,
            port=port,
            loop="uvloop",
            http="httptools",
            access_log=False,
            log_level="warning",
        )


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError("the caller went away")
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY_BYTES:
            raise RequestError(f"request body is over {MAX_BODY_BYTES} bytes")
        if not message.get("more_body", False):
            return body


def _status(error: FalajError) -> int:
    if isinstance(error, UnknownFeatureError):
        return 404
    return 422 if isinstance(error, RequestError) else 503


def _json_value(value: Scalar) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


@functools.lru_cache(maxsize=4096)
def _json_time(moment: Timestamp) -> str:
    seconds, nanos = moment
    text = datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    if not nanos:
        return text + "Z"
    return f"{text}.{nanos // 1_000_000:03d}Z" if nanos % 1_000_000 == 0 else f"{text}.{nanos // 1000:06d}Z"
