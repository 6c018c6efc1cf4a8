"""The order of deletes and the sets of dependents, on random states."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from falaj.engine.graph import closure, deletion_order, dependents, references
from falaj.engine.resource_state import ResourceState

STACK = "urn:pulumi:s::p::"


def urn(index: int) -> str:
    return f"{STACK}t:m:R::r{index}"


@st.composite
def states(draw: st.DrawFn, components: bool = True) -> list[ResourceState]:
    """States in which every reference points to an earlier resource, some of them components, some twins."""
    resources: list[ResourceState] = []
    for index in range(draw(st.integers(1, 7))):
        earlier = [state.urn for state in resources]
        some = st.lists(st.sampled_from(earlier), max_size=2, unique=True) if earlier else st.just([])
        one = st.sampled_from(["", *earlier])
        resources.append(
            ResourceState(
                urn(index),
                "t:m:R",
                custom=draw(st.booleans()) or not components,
                dependencies=draw(some),
                property_dependencies={"x": draw(some)},
                parent=draw(one),
                deleted_with=draw(one),
            )
        )
    for state in list(resources):
        if state.custom and draw(st.integers(0, 3)) == 0:
            resources.append(ResourceState(state.urn, state.type, True, delete=True, dependencies=state.dependencies))
    return resources


@given(states(), st.data())
def test_every_condemned_resource_is_deleted_once(resources: list[ResourceState], data: st.DataObject) -> None:
    condemned = data.draw(st.sets(st.sampled_from(range(len(resources)))))
    chosen = {resources[index] for index in condemned}
    order = deletion_order(resources, chosen)
    flat = [state for layer in order for state in layer]
    assert len(flat) == len(chosen)
    assert set(flat) == chosen


@given(states())
def test_what_needs_a_resource_goes_before_it(resources: list[ResourceState]) -> None:
    order = deletion_order(resources, set(resources))
    level = {state: number for number, layer in enumerate(order) for state in layer}
    for place, state in enumerate(resources):
        for needed in resources[:place]:
            if needed.urn in references(state):
                assert level[state] < level[needed]


@given(states(components=False))
def test_replacement_goes_before_what_it_replaced_unless_that_one_needs_it(resources: list[ResourceState]) -> None:
    order = deletion_order(resources, set(resources))
    level = {state: number for number, layer in enumerate(order) for state in layer}
    for place, twin in enumerate(resources):
        for current in resources[:place]:
            if twin.delete and current.urn == twin.urn:
                needs_it = current.urn in closure(resources, references(twin))
                assert level[current] < level[twin] or needs_it


def test_dependency_on_a_component_covers_its_children() -> None:
    group = ResourceState(urn(0), "t:m:G", False)
    child = ResourceState(urn(1), "t:m:R", True, parent=group.urn)
    user = ResourceState(urn(2), "t:m:R", True, dependencies=[group.urn])
    resources = [group, child, user]
    assert deletion_order(resources, {child, user}) == [[user], [child]]


def test_resources_without_a_relation_are_deleted_at_once() -> None:
    resources = [ResourceState(urn(index), "t:m:R", True) for index in range(3)]
    assert [set(layer) for layer in deletion_order(resources, set(resources))] == [set(resources)]


@given(states(), st.data())
def test_dependents_are_what_reaches_the_root(resources: list[ResourceState], data: st.DataObject) -> None:
    live = [state for state in resources if not state.delete]
    root = data.draw(st.sampled_from(live))
    found = set(dependents(live, [root], include_children=True))
    assert found == {state for state in live if state is not root and root.urn in closure(live, references(state))}


def test_ignored_resources_do_not_pass_a_dependency_on() -> None:
    a, b, c = (ResourceState(urn(i), "t:m:R", True, dependencies=[urn(i - 1)] if i else []) for i in range(3))
    assert dependents([a, b, c], [a], ignore={b.urn}) == []
