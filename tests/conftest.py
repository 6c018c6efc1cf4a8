"""Settings that all tests share."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, and no time limit: a busy machine must not fail a test.
settings.register_profile(
    "falaj",
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
settings.load_profile("falaj")


LEFT_OUT = "real control plane left out: `make cluster` builds it, `pytest -m cluster` runs these"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips, with a count, the tests of the real control plane unless they are asked for by their marker."""
    if "cluster" not in (config.getoption("-m") or ""):
        for item in items:
            if item.get_closest_marker("cluster"):
                item.add_marker(pytest.mark.skip(reason=LEFT_OUT))
