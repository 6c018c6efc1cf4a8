"""The on-demand transformation of the ride project: imported by name where it runs."""

from __future__ import annotations

from typing import Any


def trip_value(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {
        "expected_fare": [
            None if rating is None or rating != rating or km is None else km * (1 + rating)
            for rating, km in zip(inputs["mean_rating"], inputs["distance_km"], strict=True)
        ],
        "is_long": [None if km is None else km > 20 for km in inputs["distance_km"]],
    }
