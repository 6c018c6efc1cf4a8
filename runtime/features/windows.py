"""Sums over sliding windows of known events, exact at every instant at which they change.

An event counts from the first full step of the grid at or after it became known, and leaves after the window's length.
Entering (+) and leaving (-) are summed up per key, so each output row is a prefix sum: linear in the events, and exact,
because measures are whole numbers.  A value at instant ``t`` is made only of events with ``known_at <= t``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import polars as pl

from runtime.features.project import EVENT_TIMESTAMP

COUNT: Final = "count"


def window_sums(
    events: pl.DataFrame,
    *,
    keys: Sequence[str],
    known_at: str,
    measures: Mapping[str, pl.Expr],
    windows: Mapping[str, timedelta],
    step: timedelta = timedelta(hours=1),
) -> pl.DataFrame:
    """Sums of ``measures`` (whole numbers; null counts as 0) and the number of events per key and window.

    Output columns: ``keys``, EVENT_TIMESTAMP and ``<measure>_<window>`` (Int64) for every measure, ``count`` included.
    One row per key for every step at which any window's content changes; between rows nothing changes, so an as-of join
    finds the exact sum over ``(t - window, t]`` for any ``t`` on the grid.  Events without a key or a known time are
    left out.  Raises ValueError when a window is not a whole number of steps.
    """
    uneven = [name for name, window in windows.items() if window % step or window <= timedelta(0)]
    if uneven:
        raise ValueError(f"windows {', '.join(uneven)} must be whole multiples of the step {step}")
    names = [COUNT, *measures]
    # Truncating the instant one microsecond earlier and adding a step is the ceiling of the grid.
    arrival = (pl.col(known_at) - pl.duration(microseconds=1)).dt.truncate(step) + step
    steps = (
        events.drop_nulls([*keys, known_at])
        .with_columns(arrival.alias(EVENT_TIMESTAMP))
        .group_by([*keys, EVENT_TIMESTAMP])
        .agg(
            pl.len().cast(pl.Int64).alias(COUNT),
            *(measure.fill_null(0).cast(pl.Int64).sum().alias(name) for name, measure in measures.items()),
        )
    )
    changes = []
    for label, window in windows.items():
        entering = steps.select([*keys, EVENT_TIMESTAMP, *(pl.col(n).alias(f"{n}_{label}") for n in names)])
        leaving = steps.select(
            [*keys, pl.col(EVENT_TIMESTAMP) + window, *((-pl.col(n)).alias(f"{n}_{label}") for n in names)]
        )
        changes += [entering, leaving]
    columns = [f"{name}_{label}" for label in windows for name in names]
    return (
        pl.concat(changes, how="diagonal")
        .group_by([*keys, EVENT_TIMESTAMP])
        .agg(pl.col(column).fill_null(0).sum() for column in columns)
        .sort([*keys, EVENT_TIMESTAMP])
        .with_columns(pl.col(column).cum_sum().over(list(keys)) for column in columns)
    )


def ratio(numerator: str, denominator: str) -> pl.Expr:
    """``numerator / denominator`` as Float64, null where there is nothing to divide by."""
    return pl.when(pl.col(denominator) > 0).then(pl.col(numerator) / pl.col(denominator)).otherwise(None)
