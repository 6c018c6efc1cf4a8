"""Who depends on whom among the resources of a state; pure.

A state lists dependencies before dependents, and every edge points to an earlier entry.  Twins (a replaced resource and
its replacement) share a URN, so resources are told apart by identity.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from falaj.engine.resource_state import ResourceState


def provider_urn(state: ResourceState) -> str:
    """The URN of the provider that serves the resource; empty for components."""
    return state.provider.rpartition("::")[0]


def references(state: ResourceState, *, parent: bool = True) -> set[str]:
    """The URNs that a resource needs: dependencies, provider, owner of its deletion and, if asked for, its parent."""
    found = {*state.dependencies, provider_urn(state), state.deleted_with, *state.replace_with}
    if state.property_dependencies:
        for urns in state.property_dependencies.values():
            found.update(urns)
    if parent:
        found.add(state.parent)
    found.discard("")
    return found


def dependents(
    resources: Sequence[ResourceState],
    roots: Iterable[ResourceState],
    *,
    ignore: Collection[str] = (),
    include_children: bool = False,
) -> list[ResourceState]:
    """Everything that needs one of ``roots``, directly or not, in the order of the state.

    ``ignore``: URNs that cannot depend on them any more.  ``include_children``: children count as dependents.
    """
    wanted = set(roots)
    urns: set[str] = set()
    found = []
    for state in resources:
        if state in wanted:
            urns.add(state.urn)
        elif urns and state.urn not in ignore and not urns.isdisjoint(references(state, parent=include_children)):
            found.append(state)
            urns.add(state.urn)
    return found


def closure(resources: Sequence[ResourceState], urns: Iterable[str]) -> set[str]:
    """The URNs and everything that they need, directly or not, parents and providers included."""
    by_urn: dict[str, set[str]] = {}
    for state in resources:
        by_urn.setdefault(state.urn, set()).update(references(state))
    found: set[str] = set()
    todo = list(urns)
    while todo:
        urn = todo.pop()
        if urn not in found:
            found.add(urn)
            todo.extend(by_urn.get(urn, ()))
    return found


def deletion_order(
    resources: Sequence[ResourceState], condemned: Collection[ResourceState]
) -> list[list[ResourceState]]:
    """Antichains: what may be deleted at once, dependents before what they need.

    ``resources`` is the whole state: paths through what stays do not count, but a dependency on a component covers its
    children.  Each resource comes as late as its dependencies allow, counted from the roots, as in Pulumi.
    """
    needs: dict[ResourceState, list[ResourceState]] = {}
    by_urn: dict[str, list[ResourceState]] = {}
    children: dict[str, list[ResourceState]] = {}
    for state in resources:
        if state in condemned:
            needed = [other for urn in references(state) for other in by_urn.get(urn, ())]
            for urn in {*state.dependencies, *_of_properties(state)}:
                needed.extend(_descendants(urn, by_urn, children))
            needs[state] = [other for other in needed if other in needs and other.urn != state.urn]
            for twin in by_urn.get(state.urn, ()):
                # What replaced it goes first, unless it is needed for that one in turn.
                if twin in needs and not _reaches(state, twin, needs):
                    needs[twin].append(state)
        by_urn.setdefault(state.urn, []).append(state)
        if state.parent:
            children.setdefault(state.parent, []).append(state)
    depth: dict[ResourceState, int] = {}
    for state in needs:
        _measure(state, needs, depth)
    layers: list[list[ResourceState]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for state in needs:
        layers[depth[state]].append(state)
    return [list(reversed(layer)) for layer in reversed(layers)]


def _measure(
    state: ResourceState, needs: dict[ResourceState, list[ResourceState]], depth: dict[ResourceState, int]
) -> None:
    """Fills in how many levels a resource stands above what needs nothing; without recursion, for long chains."""
    todo = [state]
    while todo:
        missing = [other for other in needs[todo[-1]] if other not in depth]
        if missing:
            todo.extend(missing)
            continue
        last = todo.pop()
        depth[last] = 1 + max((depth[other] for other in needs[last]), default=-1)


def _reaches(start: ResourceState, goal: ResourceState, needs: dict[ResourceState, list[ResourceState]]) -> bool:
    seen = {start}
    todo = [start]
    while todo:
        for other in needs[todo.pop()]:
            if other is goal:
                return True
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return False


def _of_properties(state: ResourceState) -> set[str]:
    return {urn for urns in (state.property_dependencies or {}).values() for urn in urns}


def _descendants(
    urn: str, by_urn: dict[str, list[ResourceState]], children: dict[str, list[ResourceState]]
) -> list[ResourceState]:
    """What stands below a component; a dependency on another resource does not cover its children."""
    if any(state.custom for state in by_urn.get(urn, ())):
        return []
    found: list[ResourceState] = []
    todo = [urn]
    while todo:
        below = children.get(todo.pop(), ())
        found.extend(below)
        todo.extend(state.urn for state in below if not state.custom)
    return found
