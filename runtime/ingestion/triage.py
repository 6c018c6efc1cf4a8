"""What becomes of each record of a stream: a row, a dead letter, or somebody else's.  Pure: the time is an argument."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import polars as pl

from runtime.ingestion.dead_letters import DeadLetter
from runtime.ingestion.events import Event, PoisonedError, decode
from runtime.ingestion.quality import check
from runtime.ingestion.sources import frame_of

if TYPE_CHECKING:
    from runtime.ingestion.contract import Contract
    from runtime.ingestion.ports import Record


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is too early and too late, by event time.

    An event from further than ``future_tolerance`` ahead of now is refused.  One from further than ``allowed_lateness``
    behind the newest of its shard is late: ``keep`` takes it into the table but not to the online store, which is ahead
    of it; ``refuse`` makes it a dead letter.
    """

    future_tolerance: datetime.timedelta = datetime.timedelta(minutes=5)
    allowed_lateness: datetime.timedelta = datetime.timedelta(hours=6)
    late: Literal["keep", "refuse"] = "keep"


@dataclass
class Triaged:
    """``rows`` keep the contract; ``arrived_at`` and ``late`` go with them, place by place.

    ``outcomes`` counts the records that did not become rows, by outcome, and the late ones among the rows.
    """

    rows: pl.DataFrame
    arrived_at: list[datetime.datetime]
    late: list[bool]
    dead: list[DeadLetter] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)


def triage(
    records: Sequence[Record],
    contract: Contract,
    rules: Rules,
    now: datetime.datetime,
    newest: dict[str, datetime.datetime],
) -> Triaged:
    """Sorts ``records``, in their order; ``newest`` event time by shard is brought up to date."""
    dead: list[tuple[str, DeadLetter]] = []
    events: list[tuple[Record, dict[str, str | None]]] = []
    foreign = 0
    for record in records:
        try:
            event = decode(record.value)
            if contract.event_type is not None and event.type != contract.event_type:
                foreign += 1
                continue
            events.append((record, _data(event, contract)))
        except PoisonedError as error:
            dead.append(("poisoned", DeadLetter(record, (str(error),))))
    checked = check(frame_of([data for _, data in events]), contract) if events else None
    if checked is None:
        empty = pl.DataFrame(schema=contract.types)
        return Triaged(empty, [], [], [letter for _, letter in dead], _counted(dead, foreign, 0))
    dead += [("invalid", DeadLetter(events[place][0], tuple(why))) for place, why in checked.reasons.items()]
    kept: list[int] = []
    late: list[bool] = []
    times = checked.accepted[contract.event_time].to_list() if contract.event_time else [now] * checked.accepted.height
    sources = [events[place][0] for place in checked.places]
    for place, (record, time) in enumerate(zip(sources, times, strict=True)):
        if time - now > rules.future_tolerance:
            ahead = round((time - now).total_seconds())
            dead.append(("future", DeadLetter(record, (f"{contract.event_time}: {ahead} s in the future",))))
            continue
        reached = newest.get(record.shard, time)
        is_late = reached - time > rules.allowed_lateness
        if is_late and rules.late == "refuse":
            behind = round((reached - time).total_seconds())
            dead.append(("too_late", DeadLetter(record, (f"{contract.event_time}: {behind} s behind its shard",))))
            continue
        newest[record.shard] = max(time, reached)
        kept.append(place)
        late.append(is_late)
    return Triaged(
        checked.accepted[kept] if len(kept) < checked.accepted.height else checked.accepted,
        [sources[place].arrived_at for place in kept],
        late,
        [letter for _, letter in dead],
        _counted(dead, foreign, sum(late)),
    )


def _data(event: Event, contract: Contract) -> dict[str, str | None]:
    """The event's data as a record of the contract.  Raises PoisonedError when it cannot be one.

    Looked at event by event: in a frame, one event's unknown column would be every event's.
    """
    data = dict(event.data)
    if len(contract.key) == 1:
        key = contract.key[0]
        if data.setdefault(key, event.id) != event.id:
            raise PoisonedError(f"id: differs from {key} of the data; they are one")
    if contract.event_time is not None:
        data.setdefault(contract.event_time, event.time.isoformat())
    columns = contract.schema.columns
    unknown = [name for name in data if name not in columns]
    if unknown and contract.schema.strict is True:
        raise PoisonedError(f"unknown: {', '.join(unknown)[:200]}; allowed: {', '.join(columns)}")
    for name in unknown:
        del data[name]
    missing = [name for name, column in columns.items() if name not in data and not column.nullable]
    if missing:
        raise PoisonedError(f"missing: {', '.join(missing)}")
    return data


def _counted(dead: list[tuple[str, DeadLetter]], foreign: int, late: int) -> dict[str, int]:
    outcomes: dict[str, int] = {}
    for outcome, _ in dead:
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    for outcome, number in (("other_type", foreign), ("late", late)):
        if number:
            outcomes[outcome] = outcomes.get(outcome, 0) + number
    return outcomes
