"""The fast read path: online features straight from Valkey, with the answers Feast gives, at a fraction of its time.

One round trip per request: an HMGET per distinct entity key (all views that share a key in one), and after them the
pointer.  When the pointer has moved the request is done again on the new generation, so one answer never mixes two, and
a generation that is being cleaned up is never taken for one without values.

What Feast's Redis store answers, and so does this: every feature is PRESENT, an unknown key gives nulls with event time
0, values past their time to live are still served, on-demand features have event time 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from runtime.features.catalogue import Catalogue, FieldSpec, OnDemandSpec, ViewSpec
from runtime.features.encoding import (
    Scalar,
    decode_timestamp,
    decode_value,
    encode_value,
    hash_field,
    key_encoder,
    timestamp_field,
)
from runtime.features.errors import OnlineStoreError, RequestError
from runtime.features.generations import GenerationRecord, physical_project, pointer_key
from runtime.features.monitoring import ReadMonitor
from runtime.features.project import load_transformation

MAX_ROWS: Final = 1_000
MAX_KEY_BYTES: Final = 512
MAX_REFERENCES: Final = 1_000
FLIPS_PER_READ: Final = 5
PLANS_KEPT: Final = 256

PRESENT: Final = "PRESENT"
_EPOCH: Final = (0, 0)

Timestamp = tuple[int, int]
Command = tuple[bytes, list[bytes]]
Answer = TypeVar("Answer")
Steps = Generator[Any, Any, Answer]
"""Yields what it waits for, and is sent that: replies to a pipeline, or the record of a generation, given as int."""


@dataclass(frozen=True)
class OnlineFeatures:
    """Columns of one answer, join keys first; all columns have one value per asked row.

    Times are (seconds, nanoseconds) since 1970, (0, 0) where there is none.
    """

    names: tuple[str, ...]
    columns: tuple[list[Scalar], ...]
    event_times: tuple[list[Timestamp], ...]
    generation: int

    @property
    def statuses(self) -> tuple[list[str], ...]:
        """Feast's field statuses."""
        return tuple([PRESENT] * len(column) for column in self.columns)

    def to_dict(self) -> dict[str, list[Scalar]]:
        """Column name -> values."""
        return dict(zip(self.names, self.columns, strict=True))


class ReadSession:
    """One generation as the reader sees it: its catalogue, and plans compiled on first use.  Pure but for the cache."""

    def __init__(self, generation: int, record: GenerationRecord) -> None:
        self.generation = generation
        self.record = record
        self._plans: dict[tuple[tuple[str, ...], bool], CompiledPlan] = {}

    def plan(self, features: Sequence[str] | str, full_names: bool = False) -> CompiledPlan:
        """The compiled plan for a list of references, or for a service's name.  Raises UnknownFeatureError."""
        if isinstance(features, str):
            references = self.record.catalogue.service(features)
        else:
            if len(features) > MAX_REFERENCES:
                raise RequestError(f"{len(features)} features asked for in one request; at most {MAX_REFERENCES}")
            references = tuple(features)
        plan = self._plans.get((references, full_names))
        if plan is None:
            plan = CompiledPlan(self.record.catalogue, references, full_names, self.generation)
            if len(self._plans) >= PLANS_KEPT:
                self._plans.clear()
            self._plans[(references, full_names)] = plan
        return plan


@dataclass(frozen=True)
class _Column:
    """Where a stored feature stands in the replies: which key group, which field, and its view's event time."""

    group: int
    field: int
    time_field: int


class CompiledPlan:
    """Everything about a request that does not depend on its rows."""

    def __init__(self, catalogue: Catalogue, references: Sequence[str], full_names: bool, generation: int) -> None:
        plan = catalogue.plan(references)
        if full_names and plan.on_demand:
            raise RequestError(
                f"{plan.on_demand[0][0].name} is computed on demand, which answers under short names only; "
                "ask without full_feature_names"
            )
        project = physical_project(catalogue.project, generation)
        self.generation = generation
        self.stored = plan.stored
        self.on_demand = plan.on_demand
        self.transformations = [load_transformation(view.transformation) for view, _ in plan.on_demand]
        self.join_keys = plan.join_keys
        self.request = plan.request
        groups: dict[tuple[FieldSpec, ...], list[tuple[ViewSpec, tuple[FieldSpec, ...]]]] = {}
        for view, fields in plan.stored:
            groups.setdefault(view.join_keys, []).append((view, fields))
        self.groups = []
        self.columns: dict[str, _Column] = {}
        self.view_columns: dict[str, tuple[int, int, int, int]] = {}
        for index, (keys, members) in enumerate(groups.items()):
            hash_fields: list[bytes] = []
            for view, fields in members:
                first = len(hash_fields)
                time_field = first + len(fields)
                for offset, field in enumerate(fields):
                    self.columns[f"{view.name}:{field.name}"] = _Column(index, first + offset, time_field)
                hash_fields += [*(hash_field(view.name, field.name) for field in fields), timestamp_field(view.name)]
                self.view_columns[view.name] = (index, first, time_field, view.freshness_seconds)
            encoder = key_encoder([(key.name, key.type) for key in keys], project)
            self.groups.append(([key.name for key in keys], encoder, hash_fields))
        self.outputs = [(r.replace(":", "__") if full_names else r.partition(":")[2], r) for r in references]

    def commands(self, entities: Mapping[str, Sequence[Any]]) -> tuple[list[Command], list[list[int]], int]:
        """HMGETs for the distinct keys of a request; for each group the reply that belongs to each row; the row count.

        Raises RequestError for a request that is out of shape or out of bounds.
        """
        rows = _check_columns(entities, self.join_keys, self.request)
        commands: list[Command] = []
        replies_of_groups: list[list[int]] = []
        for names, encode, hash_fields in self.groups:
            seen: dict[bytes, int] = {}
            replies = []
            try:
                for values in zip(*(entities[name] for name in names), strict=True):
                    key = encode(values)
                    position = seen.get(key)
                    if position is None:
                        position = seen[key] = len(commands)
                        commands.append((key, hash_fields))
                    replies.append(position)
            except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
                raise RequestError(f"join key {', '.join(names)}: {error}") from None
            except Exception as error:  # struct.error has no other base
                raise RequestError(f"join key {', '.join(names)}: {error}") from None
            replies_of_groups.append(replies)
        return commands, replies_of_groups, rows

    def answer(
        self,
        entities: Mapping[str, Sequence[Any]],
        found: Sequence[Sequence[bytes | None]],
        replies_of_groups: Sequence[Sequence[int]],
        rows: int,
    ) -> OnlineFeatures:
        """The answer from the replies to ``commands``."""
        decoded: dict[str, list[Scalar]] = {}
        times: dict[tuple[int, int], list[Timestamp]] = {}
        try:
            for reference, column in self.columns.items():
                replies = replies_of_groups[column.group]
                if rows == 1:
                    decoded[reference] = [decode_value(found[replies[0]][column.field])]
                else:
                    values = {position: decode_value(found[position][column.field]) for position in set(replies)}
                    decoded[reference] = [values[position] for position in replies]
                where = (column.group, column.time_field)
                if where not in times:
                    stamps = {position: _event_time(found[position][column.time_field]) for position in set(replies)}
                    times[where] = [stamps[position] for position in replies]
        except ValueError as error:
            raise OnlineStoreError(f"generation {self.generation}: {error}; materialise again") from None
        computed = self._compute(entities, decoded, rows)
        names = [key.name for key in self.join_keys]
        columns: list[list[Scalar]] = [list(entities[name]) for name in names]
        event_times = [[_EPOCH] * rows for _ in names]
        for name, reference in self.outputs:
            names.append(name)
            stored = self.columns.get(reference)
            if stored is None:
                columns.append(computed[reference])
                event_times.append([_EPOCH] * rows)
            else:
                columns.append(decoded[reference])
                event_times.append(times[(stored.group, stored.time_field)])
        return OnlineFeatures(tuple(names), tuple(columns), tuple(event_times), self.generation)

    def _compute(
        self, entities: Mapping[str, Sequence[Any]], decoded: Mapping[str, list[Scalar]], rows: int
    ) -> dict[str, list[Scalar]]:
        computed: dict[str, list[Scalar]] = {}
        for (view, fields), transformation in zip(self.on_demand, self.transformations, strict=True):
            inputs: dict[str, list[Any]] = {field.name: list(entities[field.name]) for field in view.request}
            for reference in view.inputs:
                inputs[reference.partition(":")[2]] = list(decoded[reference])
            produced = transformation(inputs)
            for field in fields:
                computed[f"{view.name}:{field.name}"] = _produced(view, field, produced.get(field.name), rows)
        return computed


class Reading:
    """What a reader does but for waiting: ``OnlineReader`` and ``server.AsyncOnlineReader`` answer what it asks."""

    def __init__(
        self,
        client: Any,
        project: str,
        *,
        load_record: Callable[[int], GenerationRecord],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._root = pointer_key(project)
        self._project = project
        self._load_record = load_record
        self._session: ReadSession | None = None
        self.monitor = ReadMonitor(project, clock)

    def _read(
        self, features: Sequence[str] | str, entities: Mapping[str, Sequence[Any]], full_names: bool
    ) -> Steps[OnlineFeatures]:
        session = self._session or (yield from self._open_live())
        for _ in range(FLIPS_PER_READ):
            plan = session.plan(features, full_names)
            commands, replies, rows = plan.commands(entities)
            *found, live = yield self._pipeline(commands)
            if live is not None and int(live) == session.generation:
                answer = plan.answer(entities, found, replies, rows)
                self.monitor.observe(plan, found, replies)
                return answer
            session = yield from self._open(live)
        raise too_many_flips(self._project)

    def _open_live(self) -> Steps[ReadSession]:
        (live,) = yield self._pipeline(())
        return (yield from self._open(live))

    def _open(self, live: bytes | None) -> Steps[ReadSession]:
        if live is None:
            raise nothing_live(self._project)
        generation = int(live)
        self._session = ReadSession(generation, (yield generation))
        return self._session

    def _pipeline(self, commands: Sequence[Command]) -> Any:
        """The commands and, after them, the pointer, in one round trip."""
        pipe = self._client.pipeline(transaction=False)
        for key, fields in commands:
            pipe.execute_command("HMGET", key, *fields)
        pipe.hget(self._root, "live")
        return pipe


class OnlineReader(Reading):
    """Reads online features of one project; shared by threads.

    ``client``: a ``redis.Redis`` (``valkey_store.connect``).  Raises RequestError and UnknownFeatureError for what is
    asked wrongly, OnlineStoreError when the store is away or holds no live generation.
    """

    def get(
        self, features: Sequence[str] | str, entities: Mapping[str, Sequence[Any]], *, full_names: bool = False
    ) -> OnlineFeatures:
        """Features by reference (``view_v1:feature``) or by service name; ``entities`` are columns of equal length."""
        from runtime.features.valkey_store import asked

        steps = self._read(features, entities, full_names)
        try:
            step = next(steps)
            while True:
                step = steps.send(self._load_record(step) if isinstance(step, int) else asked(step.execute))
        except StopIteration as ended:
            answer: OnlineFeatures = ended.value
            return answer


def open_reader(settings: Any, project: str) -> OnlineReader:
    """A reader on the Valkey of ``settings``.  Raises SettingsError, or OnlineStoreError for another engine."""
    from runtime.features.generations import ValkeyPointer
    from runtime.features.valkey_store import connect

    settings.require("online_store_endpoint")
    if settings.online_store_engine != "valkey":
        raise OnlineStoreError(
            f"the fast read path reads Valkey; on {settings.online_store_engine} ask Feast (feast_reader)"
        )
    client = connect(settings)
    return OnlineReader(client, project, load_record=ValkeyPointer(client, project).record)


def nothing_live(project: str) -> OnlineStoreError:
    """Nobody applied the project to this online store yet."""
    return OnlineStoreError(f"project {project} has no live generation in the online store: apply it, then materialise")


def too_many_flips(project: str) -> OnlineStoreError:
    """The pointer moved under every attempt."""
    return OnlineStoreError(f"project {project}: the live generation changed {FLIPS_PER_READ} times during one read")


def _check_columns(
    entities: Mapping[str, Sequence[Any]], join_keys: Sequence[FieldSpec], request: Sequence[FieldSpec]
) -> int:
    missing = [field.name for field in (*join_keys, *request) if field.name not in entities]
    if missing:
        raise RequestError(f"the request has no column {', '.join(missing)}, which the asked features need")
    lengths = {len(entities[field.name]) for field in (*join_keys, *request)}
    if len(lengths) != 1:
        raise RequestError(f"the request's columns have different lengths: {', '.join(map(str, sorted(lengths)))}")
    (rows,) = lengths
    if not 0 < rows <= MAX_ROWS:
        raise RequestError(f"the request has {rows} rows; between 1 and {MAX_ROWS} are read at once")
    for key in join_keys:
        for value in entities[key.name]:
            if key.type == "string":
                # len first: bytes are only counted where the text is long enough to matter.
                if not isinstance(value, str) or (
                    len(value) * 4 > MAX_KEY_BYTES and len(value.encode(errors="replace")) > MAX_KEY_BYTES
                ):
                    raise RequestError(f"join key {key.name} takes text of at most {MAX_KEY_BYTES} bytes")
            elif key.type == "bytes":
                if not isinstance(value, bytes) or len(value) > MAX_KEY_BYTES:
                    raise RequestError(f"join key {key.name} takes at most {MAX_KEY_BYTES} bytes")
            elif not isinstance(value, int) or isinstance(value, bool):
                raise RequestError(f"join key {key.name} takes whole numbers, not {type(value).__name__}")
    return rows


def _event_time(data: bytes | None) -> Timestamp:
    seconds, nanos = decode_timestamp(data)
    if not nanos:
        return seconds, 0
    # Feast passes the time through a float and a datetime: microseconds, rounded as those round.
    moment = datetime.fromtimestamp(seconds + nanos / 1_000_000_000.0, tz=UTC)
    return int(moment.replace(microsecond=0).timestamp()), moment.microsecond * 1000


def _produced(view: OnDemandSpec, field: FieldSpec, values: Any, rows: int) -> list[Scalar]:
    """A computed column, through the type it is declared with: Feast sends it through its protobuf."""
    if not isinstance(values, list) or len(values) != rows:
        raise RequestError(f"{view.name}: {view.transformation} returned no list of {rows} values for {field.name}")
    try:
        return [
            None
            if value is None or value != value
            else decode_value(encode_value(_cast(value, field.type), field.type))
            for value in values
        ]
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise RequestError(f"{view.name}: {field.name} is declared as {field.type}: {error}") from None


def _cast(value: Any, kind: str) -> Any:
    if kind in ("int32", "int64", "unix_timestamp"):
        return int(value)
    if kind in ("float32", "float64"):
        return float(value)
    return bool(value) if kind == "bool" else value
