"""Arithmetic on the answers of a provider's Diff."""

from __future__ import annotations

from falaj.engine.diffs import compared_inputs, forces_replacement, inverted, with_replace_on_changes
from falaj.engine.paths import parse_path
from falaj.engine.provider import Changes, DiffKind, DiffResult, PropertyDiff
from falaj.engine.values import UNKNOWN, Secret

UPDATE = DiffResult(
    Changes.SOME,
    diffs=["tags", "size"],
    detailed={"tags.env": PropertyDiff(DiffKind.UPDATE), "size": PropertyDiff(DiffKind.ADD)},
)


def test_update_is_no_replacement() -> None:
    assert not forces_replacement(UPDATE)


def test_key_of_the_provider_forces_a_replacement() -> None:
    assert forces_replacement(DiffResult(Changes.SOME, replaces=["name"]))


def test_nested_path_replaces_without_a_key() -> None:
    diff = with_replace_on_changes(UPDATE, [parse_path("tags.env")])
    assert forces_replacement(diff)
    assert list(diff.replaces) == []
    assert diff.detailed is not None
    assert diff.detailed["tags.env"].kind is DiffKind.UPDATE_REPLACE
    assert diff.detailed["size"].kind is DiffKind.ADD


def test_top_level_path_replaces_with_its_key() -> None:
    assert list(with_replace_on_changes(UPDATE, [parse_path("tags")]).replaces) == ["tags"]


def test_star_replaces_with_every_key() -> None:
    assert list(with_replace_on_changes(UPDATE, [parse_path("*")]).replaces) == ["tags", "size"]


def test_path_without_a_difference_changes_nothing() -> None:
    assert not forces_replacement(with_replace_on_changes(UPDATE, [parse_path("tags.team")]))
    same = DiffResult(Changes.NONE)
    assert with_replace_on_changes(same, [parse_path("*")]) is same


def test_comparison_finds_changed_added_and_removed_keys() -> None:
    diff = compared_inputs({"a": 1, "b": 2, "gone": 3}, {"a": 1, "b": 5, "new": 3})
    assert diff.changes is Changes.SOME
    assert list(diff.diffs) == ["b", "gone", "new"]


def test_comparison_ignores_secret_marks_and_takes_an_unknown_for_a_change() -> None:
    assert compared_inputs({"a": 1}, {"a": Secret(1)}).changes is Changes.NONE
    assert compared_inputs({"a": 1}, {"a": [UNKNOWN]}).changes is Changes.SOME


def test_inverting_twice_gives_the_same() -> None:
    once = inverted(UPDATE.detailed)
    assert once is not None
    assert once["size"].kind is DiffKind.DELETE
    assert inverted(once) == UPDATE.detailed
    assert inverted(None) is None
