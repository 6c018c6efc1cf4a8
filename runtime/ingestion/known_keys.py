"""Which records are in a table already: de-duplication by key, a day at a time, in bounded memory."""

from __future__ import annotations

import datetime
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final

import polars as pl

if TYPE_CHECKING:
    from runtime.ingestion.lake import LakeTable

MAX_KEYS: Final = 2_000_000
"""Keys held in memory, some 100 bytes each; the days used least recently are forgotten first."""

_JOINT: Final = "\x1f"
_KEY: Final = "__key"
_DAY: Final = "__day"
_WHOLE_TABLE: Final = datetime.date.min

Days = frozenset[datetime.date]


class KnownKeys:
    """The keys of the days that records are arriving for, read from the table when a day first comes up.

    Keys of records that are accepted but not yet committed count as known too; their days are held until ``settle``.
    """

    def __init__(self, table: LakeTable, max_keys: int = MAX_KEYS) -> None:
        self._table = table
        self._max_keys = max_keys
        self._days: OrderedDict[datetime.date, set[str]] = OrderedDict()
        self._held: Counter[datetime.date] = Counter()
        self._uncommitted: dict[datetime.date, set[str]] = {}
        self._foreign_commits = table.foreign_commits

    def accept(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, Days]:
        """The first of each key among ``rows`` that is not known; they are known from now on.

        Also returns their days, for ``settle`` once the rows are committed.
        """
        if self._foreign_commits != self._table.foreign_commits:
            self._foreign_commits = self._table.foreign_commits
            self._days.clear()
        tagged = with_keys(rows, self._table)
        self._load({day for day in tagged[_DAY].unique() if day not in self._days})
        new = []
        days: set[datetime.date] = set()
        for place, (key, day) in enumerate(tagged.select(_KEY, _DAY).iter_rows()):
            if key not in self._days[day] and key not in self._uncommitted.get(day, ()):
                self._uncommitted.setdefault(day, set()).add(key)
                days.add(day)
                new.append(place)
        for day in days:
            self._held[day] += 1
        self._forget_least_used(keep=set(tagged[_DAY].unique()))
        return rows[new], frozenset(days)

    def settle(self, days: Days) -> None:
        """The rows that ``accept`` gave with ``days`` are in the table now."""
        for day in days:
            self._held[day] -= 1
            if not self._held[day]:
                del self._held[day]
                fresh = self._uncommitted.pop(day)
                if day in self._days:
                    self._days[day] |= fresh

    def _load(self, days: set[datetime.date]) -> None:
        if not days:
            return
        found = with_keys(self._table.keys(None if _WHOLE_TABLE in days else days), self._table)
        loaded: dict[datetime.date, set[str]] = {day: set() for day in days}
        for (day,), group in found.group_by(_DAY):
            if day in loaded:  # between the first and the last of many days lie others
                loaded[day] = set(group[_KEY])
        self._days.update(loaded)  # only now: a read that fails must not leave days that look empty

    def _forget_least_used(self, keep: set[datetime.date]) -> None:
        for day in keep:
            self._days.move_to_end(day)
        total = sum(len(keys) for keys in self._days.values())
        for day in list(self._days):
            if total <= self._max_keys or day in keep:
                return
            total -= len(self._days.pop(day))


def unknown(rows: pl.DataFrame, table: LakeTable) -> pl.DataFrame:
    """The first of each key among ``rows`` that the table, as last refreshed, does not hold."""
    tagged = with_keys(rows, table).with_row_index("__place").unique(_KEY, keep="first", maintain_order=True)
    if table.snapshot_id is not None and not tagged.is_empty():
        days = set(tagged[_DAY].unique())
        present = with_keys(table.keys(None if _WHOLE_TABLE in days else days), table)
        tagged = tagged.join(present.select(_KEY), on=_KEY, how="anti", maintain_order="left")
    return rows[tagged["__place"].to_list()] if tagged.height < rows.height else rows


def with_keys(rows: pl.DataFrame, table: LakeTable) -> pl.DataFrame:
    """``rows`` with their key as one text and the day that they belong to."""
    contract = table.contract
    key = pl.concat_str([pl.col(name).cast(pl.String) for name in contract.key], separator=_JOINT)
    day = pl.col(contract.partition_by).dt.date() if contract.partition_by else pl.lit(_WHOLE_TABLE, dtype=pl.Date)
    return rows.with_columns(key.alias(_KEY), day.alias(_DAY))
