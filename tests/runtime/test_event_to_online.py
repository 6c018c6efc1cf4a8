"""The quantiles that the benchmark reads from the consumer's histogram."""

from __future__ import annotations

import pytest

from benchmarks.event_to_online import quantile

INFINITY = float("inf")


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ({0.1: 10, 0.2: 10, INFINITY: 10}, 0.5, 0.05),
        ({0.1: 0, 0.2: 10, INFINITY: 10}, 0.5, 0.15),
        ({0.1: 5, 0.2: 10, INFINITY: 10}, 0.99, 0.198),
        ({0.1: 5, 0.2: 5, INFINITY: 10}, 0.99, 0.2),
        ({0.1: 0, INFINITY: 0}, 0.99, 0.0),
    ],
)
def test_a_quantile_is_interpolated_within_its_bucket(
    buckets: dict[float, float], share: float, expected: float
) -> None:
    assert quantile(buckets, share) == pytest.approx(expected)
