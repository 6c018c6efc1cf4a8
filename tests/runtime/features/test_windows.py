"""Window sums must be those of the naive definition, at every instant, and never know the future."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.features.project import EVENT_TIMESTAMP
from runtime.features.windows import ratio, window_sums
from tests.support.ride_project import START, at

WINDOWS = {"3h": timedelta(hours=3), "24h": timedelta(hours=24)}
HOUR = timedelta(hours=1)

events = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(0, 60 * 72),
        st.one_of(st.none(), st.integers(-50, 500)),
    ),
    max_size=40,
)


def _frame(rows: list[tuple[str, int, int | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "key": [key for key, _, _ in rows],
            "known_at": [START + timedelta(minutes=minute) for _, minute, _ in rows],
            "delay": [delay for _, _, delay in rows],
        },
        schema={"key": pl.String, "known_at": pl.Datetime("us", "UTC"), "delay": pl.Int64},
    )


def _sums(frame: pl.DataFrame) -> pl.DataFrame:
    return window_sums(frame, keys=["key"], known_at="known_at", measures={"delay": pl.col("delay")}, windows=WINDOWS)


def _as_of(sums: pl.DataFrame, key: str, moment: datetime) -> dict[str, int]:
    rows = sums.filter((pl.col("key") == key) & (pl.col(EVENT_TIMESTAMP) <= moment)).sort(EVENT_TIMESTAMP)
    columns = [f"{name}_{label}" for label in WINDOWS for name in ("count", "delay")]
    return dict.fromkeys(columns, 0) if rows.is_empty() else rows.select(columns).row(-1, named=True)


@given(events, st.sampled_from(["a", "b"]), st.integers(0, 110))
def test_sums_are_those_of_the_definition_at_every_hour(
    rows: list[tuple[str, int, int | None]], key: str, hour: int
) -> None:
    moment = at(hour)
    expected = {}
    for label, window in WINDOWS.items():
        inside = [
            delay or 0
            for k, minute, delay in rows
            if k == key and moment - window < START + timedelta(minutes=minute) <= moment
        ]
        expected |= {f"count_{label}": len(inside), f"delay_{label}": sum(inside)}
    assert _as_of(_sums(_frame(rows)), key, moment) == expected


@given(events, events, st.integers(0, 72))
def test_another_future_changes_nothing_before_it(
    past: list[tuple[str, int, int | None]], future: list[tuple[str, int, int | None]], hour: int
) -> None:
    until = hour * 60
    known = [row for row in past if row[1] <= until]
    later = [(key, minute, delay) for key, minute, delay in future if minute > until]
    before = pl.col(EVENT_TIMESTAMP) <= at(hour)
    one, other = _sums(_frame(known)).filter(before), _sums(_frame(known + later)).filter(before)
    assert one.equals(other)


def test_an_event_counts_from_the_next_full_hour_and_from_its_own_when_exact() -> None:
    sums = _sums(_frame([("a", 10, 5), ("a", 120, 7)]))
    assert _as_of(sums, "a", at(0))["count_3h"] == 0
    assert _as_of(sums, "a", at(1))["delay_3h"] == 5
    assert _as_of(sums, "a", at(2))["delay_3h"] == 12
    assert _as_of(sums, "a", at(4))["delay_3h"] == 7
    assert _as_of(sums, "a", at(5))["count_3h"] == 0


def test_a_window_that_is_no_multiple_of_the_step_is_refused() -> None:
    with pytest.raises(ValueError, match="90m must be whole multiples"):
        window_sums(_frame([]), keys=["key"], known_at="known_at", measures={}, windows={"90m": timedelta(minutes=90)})


def test_nothing_divided_by_nothing_is_null() -> None:
    frame = pl.DataFrame({"late": [0, 1], "arrived": [0, 4]})
    assert frame.select(share=ratio("late", "arrived"))["share"].to_list() == [None, 0.25]
