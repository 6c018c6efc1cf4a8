"""Registrations: durations, aliases, source positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.proto import alias_pb2, source_pb2

from falaj.engine.goal import Aliases, Goal, SourcePositions, duration_seconds

ROOT = "urn:pulumi:dev::p::pulumi:pulumi:Stack::p-dev"


def goal(type: str, name: str, parent: str = ROOT) -> Goal:
    prefix = "" if parent == ROOT else parent.split("::")[2] + "$"
    return Goal(f"urn:pulumi:dev::p::{prefix}{type}::{name}", type, name, True, {}, parent)


def alias(**spec: Any) -> alias_pb2.Alias:
    return alias_pb2.Alias(spec=alias_pb2.Alias.Spec(**spec))


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 0), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("250ms", 0.25)]
)
def test_go_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert duration_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["5", "5 m", "m", "5x", "1h-5m", "1h, 5m"])
def test_text_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        duration_seconds(text)


def test_alias_by_name_keeps_type_and_parent() -> None:
    found = Aliases("dev", "p").expand(goal("a:b:C", "new"), [alias(name="old")], [])
    assert found == ("urn:pulumi:dev::p::a:b:C::old",)


def test_alias_without_parent_leaves_the_component() -> None:
    group = goal("x:y:Group", "g")
    found = Aliases("dev", "p").expand(goal("a:b:C", "c", group.urn), [alias(noParent=True)], [])
    assert found == ("urn:pulumi:dev::p::a:b:C::c",)


def test_children_inherit_the_aliases_of_their_parent() -> None:
    aliases = Aliases("dev", "p")
    group, child = goal("x:y:Group", "new"), goal("a:b:C", "c", "urn:pulumi:dev::p::x:y:Group::new")
    aliases.expand(group, [alias(name="old"), alias(type="x:y:Was")], [])
    found = aliases.expand(child, [], [])
    assert set(found) == {"urn:pulumi:dev::p::x:y:Group$a:b:C::c", "urn:pulumi:dev::p::x:y:Was$a:b:C::c"} - {child.urn}


def test_own_aliases_are_multiplied_by_those_of_the_parent() -> None:
    aliases = Aliases("dev", "p")
    aliases.expand(goal("x:y:Group", "g"), [alias(type="x:y:Was")], [])
    found = aliases.expand(goal("a:b:C", "c", "urn:pulumi:dev::p::x:y:Group::g"), [alias(name="old")], [])
    assert set(found) == {
        "urn:pulumi:dev::p::x:y:Group$a:b:C::old",
        "urn:pulumi:dev::p::x:y:Was$a:b:C::old",
        "urn:pulumi:dev::p::x:y:Was$a:b:C::c",
    }


def test_child_named_after_its_parent_was_renamed_with_it() -> None:
    aliases = Aliases("dev", "p")
    aliases.expand(goal("x:y:Group", "new"), [alias(name="old")], [])
    found = aliases.expand(goal("a:b:C", "new-key", "urn:pulumi:dev::p::x:y:Group::new"), [], [])
    assert found == ("urn:pulumi:dev::p::x:y:Group$a:b:C::old-key",)


def test_resource_is_no_alias_of_itself() -> None:
    assert Aliases("dev", "p").expand(goal("a:b:C", "c"), [alias(name="c")], []) == ()


def test_positions_name_no_machine_path(tmp_path: Path) -> None:
    positions = SourcePositions(tmp_path)
    inside = source_pb2.SourcePosition(uri=f"file://{tmp_path}/stacks/__main__.py", line=7)
    outside = source_pb2.SourcePosition(uri="file:///usr/lib/python3/asyncio/events.py", line=80)
    assert positions.text(inside) == "project:///stacks/__main__.py#7"
    assert positions.text(outside) == "project:///../events.py#80"
    assert positions.text(source_pb2.SourcePosition()) == ""
