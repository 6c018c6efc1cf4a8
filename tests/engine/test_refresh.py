"""What is left of a state when resources turn out to be gone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from falaj.engine.graph import references
from falaj.engine.refresh import surviving
from falaj.engine.resource_state import ResourceState

A, B, C = ("urn:pulumi:s::p::t:m:R::" + name for name in "abc")


def state(urn: str, **fields: object) -> ResourceState:
    return ResourceState(urn, "t:m:R", True, **fields)  # type: ignore[arg-type]


def test_references_to_what_is_gone_are_taken_out() -> None:
    user = state(
        B,
        parent=A,
        dependencies=[A, C],
        property_dependencies={"x": [A], "y": [A, C], "z": []},
        deleted_with=A,
        replace_with=[A],
    )
    (left,) = surviving([None, user])
    assert (left.parent, list(left.dependencies)) == ("", [])
    both = surviving([state(C), user])[1]
    assert list(both.dependencies) == [C]
    assert both.property_dependencies == {"y": [C]}
    assert (both.deleted_with, list(both.replace_with)) == ("", [])


def test_untouched_state_stays_the_same_object() -> None:
    user = state(B, dependencies=[A], property_dependencies={"x": [A]})
    assert surviving([state(A), user])[1] is user


@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 9), max_size=3)), max_size=10))
def test_no_reference_dangles(plan: list[tuple[bool, list[int]]]) -> None:
    def urn(index: int) -> str:
        return f"urn:pulumi:s::p::t:m:R::r{index}"

    found = [
        None
        if gone
        else state(
            urn(index),
            dependencies=[urn(other) for other in needs if other < index],
            parent=urn(needs[0]) if needs and needs[0] < index else "",
        )
        for index, (gone, needs) in enumerate(plan)
    ]
    left = surviving(found)
    known = {item.urn for item in left}
    assert len(left) == sum(item is not None for item in found)
    assert all(references(item) <= known for item in left)
