"""Property paths of ignoreChanges and replaceOnChanges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.engine.paths import contains, keep_ignored, parse_path
from falaj.engine.values import Secret

KEYS = st.text(st.characters(codec="utf-8", exclude_characters='\\"'), min_size=1, max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)),
        ("a.b[0].c", ("a", "b", 0, "c")),
        ("items[*].x", ("items", "*", "x")),
        ('labels["a.b/c"]', ("labels", "a.b/c")),
        ('a["say \\"hi\\""].b', ("a", 'say "hi"', "b")),
        ("*", ("*",)),
        ("a[0][1]", ("a", 0, 1)),
    ],
)
def test_path_is_read_key_by_key(text: str, path: tuple[str | int, ...]) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize("text", ["", ".a", "a..b", "a.", "a[", "a[x]", 'a["x"', "a[-1]"])
def test_malformed_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_path(text)


@given(KEYS)
def test_quoted_key_is_taken_literally(key: str) -> None:
    assert parse_path(f'a["{key}"]') == ("a", key)


def test_pattern_contains_what_lies_inside_it_and_nothing_else() -> None:
    assert contains(("tags",), ("tags", "env"))
    assert contains(("items", "*", "x"), ("items", 3, "x", "y"))
    assert not contains(("tags", "env"), ("tags",))
    assert not contains(("tags", "env"), ("tags", "team"))


@pytest.mark.parametrize(
    ("new", "old", "path", "kept"),
    [
        ({"a": 1}, {"a": 2}, "a", {"a": 2}),
        ({"a": {"x": 1, "y": 1}}, {"a": {"x": 2, "y": 2}}, "a.x", {"a": {"x": 2, "y": 1}}),
        ({"a": 1, "new": 2}, {"a": 1}, "new", {"a": 1}),
        ({}, {"gone": 1}, "gone", {"gone": 1}),
        ({"t": {}}, {"t": {"gone": 1}}, "t.gone", {"t": {"gone": 1}}),
        ({}, {"t": {"gone": 1}}, "t.gone", {}),
        ({"l": [{"x": 1}, {"x": 2}]}, {"l": [{"x": 8}, {"x": 9}]}, "l[*].x", {"l": [{"x": 8}, {"x": 9}]}),
        ({"l": [1, 2, 3]}, {"l": [9]}, "l[0]", {"l": [9, 2, 3]}),
        ({"s": Secret({"x": 1})}, {"s": Secret({"x": 2})}, "s.x", {"s": Secret({"x": 2})}),
    ],
)
def test_ignored_path_keeps_the_old_value(new: object, old: object, path: str, kept: object) -> None:
    assert keep_ignored(new, old, [parse_path(path)]) == kept  # type: ignore[arg-type]


@given(OBJECTS, OBJECTS)
def test_ignoring_everything_gives_the_old_inputs(new: dict[str, object], old: dict[str, object]) -> None:
    assert keep_ignored(new, old, [("*",)]) == old


@given(OBJECTS, OBJECTS, st.lists(st.sampled_from([("a",), ("b", "*"), ("c", 0), ("a", "b", "c")])))
def test_ignoring_twice_changes_nothing_more(
    new: dict[str, object], old: dict[str, object], paths: list[tuple[str | int, ...]]
) -> None:
    once = keep_ignored(new, old, paths)
    assert keep_ignored(once, old, paths) == once


@given(OBJECTS, st.sampled_from([("a",), ("b", "*"), ("c", 0), ("a", "b", "c")]))
def test_arguments_are_left_as_they_are(old: dict[str, object], path: tuple[str | int, ...]) -> None:
    new = {"a": {"b": {"c": 1}}, "b": [1, 2], "c": [3]}
    before = repr(new)
    keep_ignored(new, old, [path])
    assert repr(new) == before
