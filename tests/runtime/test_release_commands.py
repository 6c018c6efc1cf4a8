"""What the platform's pods start is what the runtime understands: every command and option of every release."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import pytest

import runtime.cli
from blueprints import load
from manifests.releases.training_job import MODULE
from tests.support.releases import all_releases, workloads

BLUEPRINTS = ("smb", "enterprise")
AWAITED = {
    ("drift", "watch"),
    ("ingest", "arrivals"),
    ("registry", "serve"),
    ("retrain", "watch"),
    ("serve", "model"),
    ("serve", "router"),
}
"""Commands whose releases stand before the runtime has them.  One that it has by now must leave this list."""
PREFIX = ("python", "-m", "runtime")


def commands(name: str) -> Iterator[tuple[str, ...]]:
    """What follows ``python -m runtime`` in each container, with the arguments; variables of the pod as numbers."""
    for workload in workloads(all_releases(load(name)).all()):
        for container in workload.containers:
            words = (*container["command"], *container.get("args", ()))
            if words[: len(PREFIX)] == PREFIX:
                yield tuple("0" if word.startswith("$(") else word for word in words[len(PREFIX) :])
            else:
                assert f"--module={MODULE}" in words, words


def find(words: tuple[str, ...]) -> click.Command | None:
    with click.Context(runtime.cli.cli) as context:
        group = runtime.cli.cli.get_command(context, words[0])
        return group.get_command(context, words[1]) if isinstance(group, click.Group) else None


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_every_command_of_a_release_is_one_with_those_options(name: str) -> None:
    checked = 0
    for words in commands(name):
        command = find(words)
        if words[:2] in AWAITED:
            assert command is None, f"{json.dumps(words)}: the runtime has it; take it from AWAITED"
            continue
        assert command is not None, words
        # Parses the options without running anything; raises a UsageError for one that is unknown or missing.
        command.make_context(" ".join(words[:2]), list(words[2:]))
        checked += 1
    assert checked >= 4


def test_the_commands_that_are_awaited_are_commands_of_releases() -> None:
    assert {words[:2] for name in BLUEPRINTS for words in commands(name)} > AWAITED


@pytest.mark.parametrize(("name", "engine"), [("smb", "feast"), ("enterprise", "fast")])
def test_the_feature_server_is_the_one_that_reads_the_blueprints_store(name: str, engine: str) -> None:
    (words,) = (words for words in commands(name) if words[:2] == ("features", "serve"))
    assert words[words.index("--engine") + 1] == engine
