"""Stream rows into the online store: the ``OnlineWriter`` of ingestion.

A batch goes to the live generation and to one that is being built.  The pointer is read again after the write: when a
build began or a flip came in between, the rows are written to what is there now, so no flip loses a row.  Rows are
written only where they are newer, so the same events may come twice, late or out of order.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from runtime.features.catalogue import ViewSpec
from runtime.features.encoding import encode_row, key_encoder
from runtime.features.errors import OnlineStoreError, UnknownFeatureError
from runtime.features.generations import Pointer, open_pointer, physical_project
from runtime.features.project import EVENT_TIMESTAMP, FeatureProject
from runtime.features.snapshots import conform

if TYPE_CHECKING:
    import polars as pl

    from runtime.ingestion.contract import Contract
    from runtime.settings import Settings

CHANGES_PER_WRITE: Final = 10

LATENCY_BUCKETS_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class _Sink(Protocol):
    def write(self, view: ViewSpec, physical: str, rows: pl.DataFrame) -> int: ...


class FeatureWriter:
    """Writes the stream views of one project.  Satisfies ``runtime.ingestion.ports.OnlineWriter``."""

    def __init__(self, settings: Settings, project: FeatureProject, *, pointer: Pointer | None = None) -> None:
        self._project = project
        self._pointer = pointer or open_pointer(settings, project.name)
        self._sink: _Sink = (
            _DynamoSink(settings) if settings.online_store_engine == "dynamodb" else _ValkeySink(settings)
        )
        self._views: dict[int, Mapping[str, ViewSpec]] = {}

    def write(self, contract: Contract, rows: pl.DataFrame) -> None:
        """Writes what ``rows`` (accepted events of ``contract``) say; events that feed no view are left alone.

        Raises OnlineStoreAwayError while the store does not answer; a repeated call is harmless.  Raises
        UnknownFeatureError when no generation in the store knows the view.
        """
        if contract.event_type is not None and contract.event_type in self._project.streams:
            self.write_events(contract.event_type, rows)

    def write_events(self, event_type: str, events: pl.DataFrame) -> int:
        """``write`` by event type; returns how many rows were newer than what the live generation had."""
        from runtime.metrics import counter, histogram

        source = self._project.streams[event_type]
        if events.is_empty():
            return 0
        began = time.perf_counter()
        rows = source.rows(events)
        written = self._write(source.view, rows)
        labels = (self._project.name, source.view)
        counter("falaj_features_pushed_rows_total", "Stream rows written", ("project", "view")).labels(*labels).inc(
            rows.height
        )
        histogram(
            "falaj_features_push_seconds",
            "Time of one batch push",
            ("project", "view"),
            buckets=LATENCY_BUCKETS_SECONDS,
        ).labels(*labels).observe(time.perf_counter() - began)
        return written

    def _write(self, view: str, rows: pl.DataFrame) -> int:
        done: dict[int, int] = {}
        known = False
        for _ in range(CHANGES_PER_WRITE):
            now = self._pointer.read()
            if now.live is None:
                raise OnlineStoreError(
                    f"project {self._project.name} has no live generation in the online store: apply it first"
                )
            missing = [generation for generation in now.written if generation not in done]
            if not missing:
                if not known:
                    raise UnknownFeatureError(
                        f"stream view {view} is in no generation of {self._project.name}: materialise it first"
                    )
                return done[now.live]
            for generation in missing:
                spec = self._spec(generation, view)
                known = known or spec is not None
                physical = physical_project(self._project.name, generation)
                done[generation] = 0 if spec is None else self._sink.write(spec, physical, conform(spec, rows))
        raise OnlineStoreError(
            f"project {self._project.name}: generations changed {CHANGES_PER_WRITE} times in one write"
        )

    def _spec(self, generation: int, view: str) -> ViewSpec | None:
        if generation not in self._views:
            catalogue = self._pointer.record(generation).catalogue
            self._views[generation] = {spec.name: spec for spec in catalogue.views if spec.kind == "stream"}
        return self._views[generation].get(view)


class _ValkeySink:
    def __init__(self, settings: Settings) -> None:
        from runtime.features.valkey_store import connect

        self._client = connect(settings)

    def write(self, view: ViewSpec, physical: str, rows: pl.DataFrame) -> int:
        from runtime.features.valkey_store import write_rows

        encode = key_encoder([(key.name, key.type) for key in view.join_keys], physical)
        types = {feature.name: feature.type for feature in view.features}
        names = [key.name for key in view.join_keys]
        return write_rows(
            self._client,
            view.name,
            [
                (encode([row[name] for name in names]), encode_row(view.name, types, _plain(row), *_instant(row)))
                for row in rows.iter_rows(named=True)
            ],
        )


class _DynamoSink:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def write(self, view: ViewSpec, physical: str, rows: pl.DataFrame) -> int:
        from runtime.features.dynamodb import encode_item, put_newer, table_template

        encode = key_encoder([(key.name, key.type) for key in view.join_keys], "")
        types = {feature.name: feature.type for feature in view.features}
        names = [key.name for key in view.join_keys]
        latest = rows.sort(EVENT_TIMESTAMP).unique(names, keep="last", maintain_order=True)
        items = [
            encode_item(encode([row[name] for name in names]), types, _plain(row), row[EVENT_TIMESTAMP])
            for row in latest.iter_rows(named=True)
        ]
        table = table_template(self._settings).format(project=physical, table_name=view.name)
        return put_newer(self._settings, table, items)


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Timestamps as Feast keeps them: whole seconds."""
    return {name: int(value.timestamp()) if isinstance(value, datetime) else value for name, value in row.items()}


def _instant(row: Mapping[str, Any]) -> tuple[int, int]:
    moment: datetime = row[EVENT_TIMESTAMP]
    return int(moment.replace(microsecond=0).timestamp()), moment.microsecond * 1000
