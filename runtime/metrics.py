"""Prometheus metrics of the runtime: one registry, and an exporter that is off unless a port is set.

Names follow Prometheus' conventions: ``falaj_<part>_<what>_<unit>``, counters end in ``_total``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    from runtime.settings import Settings

_metrics: dict[str, tuple[object, Any]] = {}


@functools.cache
def registry() -> CollectorRegistry:
    """The registry of this process."""
    from prometheus_client import CollectorRegistry

    return CollectorRegistry()


def counter(name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
    """The counter ``name``, made on its first use.  Raises ValueError if it exists in another shape."""
    from prometheus_client import Counter

    return _metric(Counter, name, documentation, tuple(labels))  # type: ignore[no-any-return]


def gauge(name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
    """The gauge ``name``, made on its first use.  Raises ValueError if it exists in another shape."""
    from prometheus_client import Gauge

    return _metric(Gauge, name, documentation, tuple(labels))  # type: ignore[no-any-return]


def histogram(
    name: str, documentation: str, labels: Sequence[str] = (), *, buckets: Sequence[float] | None = None
) -> Histogram:
    """The histogram ``name``, made on its first use.  Raises ValueError if it exists in another shape."""
    from prometheus_client import Histogram

    extra = {} if buckets is None else {"buckets": tuple(buckets)}
    return _metric(Histogram, name, documentation, tuple(labels), **extra)  # type: ignore[no-any-return]


def value(name: str, **labels: str) -> float:
    """What the sample ``name`` stands at (a counter's sample carries its ``_total``); 0.0 before its first use."""
    return registry().get_sample_value(name, labels) or 0.0


@contextmanager
def exporter(settings: Settings) -> Iterator[int | None]:
    """Serves ``/metrics`` while the block runs; yields the port, or None when it is switched off.

    On ``settings.listen_address``: loopback unless something else was asked for.  Raises OSError if the port is taken.
    """
    if not settings.metrics_port:
        yield None
        return
    from prometheus_client import start_http_server

    server, thread = start_http_server(settings.metrics_port, addr=settings.listen_address, registry=registry())
    try:
        yield settings.metrics_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def _metric(kind: Any, name: str, documentation: str, labels: tuple[str, ...], **extra: Any) -> Any:
    shape = (kind, labels)
    if name not in _metrics:
        _metrics[name] = (shape, kind(name, documentation, labels, registry=registry(), **extra))
    known, metric = _metrics[name]
    if known != shape:
        raise ValueError(f"metric {name} exists already as another kind or with other labels")
    return metric
