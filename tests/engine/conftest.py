"""Adds up what the differential test found, also when its scenarios ran in several processes."""

from __future__ import annotations

import json

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
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
