"""Settings that all tests share."""

from __future__ import annotations

import importlib.util
import json

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


# The runtime and its example are tested in the runtime's environment, and only they: `make test-runtime`.
IN_RUNTIME_ENVIRONMENT = importlib.util.find_spec("pyiceberg") is not None
collect_ignore = [] if IN_RUNTIME_ENVIRONMENT else ["runtime", "examples"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Adds up what the differential test found, also when its scenarios ran in several processes.

    It stands here, at the root: with xdist the process that reports never loads the conftest of a folder below.
    """
    results = [
        json.loads(str(value))
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
        if name == "oracle"
    ]
    if results:
        steps, agree = (sum(result[key] for result in results) for key in ("steps", "agree"))
        terminalreporter.write_line(f"oracle: {agree} of {steps} steps agree ({len(results)} scenarios)")


LEFT_OUT = {
    "cluster": "real control plane left out: `make cluster` builds it, `pytest -m cluster` runs these",
    "scan": "scanners of manifests and rules left out: `make scan` sets them up and runs these",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips, with a count, the tests of the slower tiers unless they are asked for by their marker."""
    for marker, reason in LEFT_OUT.items():
        if marker not in (config.getoption("-m") or ""):
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(pytest.mark.skip(reason=reason))
