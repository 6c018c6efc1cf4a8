"""What must hold for the resources of a checkpoint, whoever wrote it.

Sources: Snapshot.VerifyIntegrity in pkg/resource/deploy/snapshot.go of Pulumi; the CLI refuses a state that breaks it.
"""

from __future__ import annotations

from collections.abc import Iterator

from falaj.engine.checkpoint import Checkpoint, ResourceState
from falaj.engine.urn import is_provider_type, parse_reference, parse_urn, provider_package


def problems(checkpoint: Checkpoint) -> list[str]:
    """One line for each breach, naming the URN.  Empty = sound.  Costs one pass over the resources.

    URNs are well formed, end in the resource's type and are unique among resources not marked ``delete``;
    components have no id; parents, dependencies, property dependencies, deletedWith and replaceWith name resources that
    stand earlier in the list; so does ``provider``, by URN and id.
    """
    found: list[str] = []
    earlier: set[str] = set()
    live: set[str] = set()
    providers: set[str] = set()
    everywhere = {state.urn for state in checkpoint.resources}
    for state in checkpoint.resources:
        found += _own_problems(state)
        if not state.delete:
            if state.urn in live:
                found.append(f"{state.urn}: stands twice in the state without being marked for deletion")
            live.add(state.urn)
        for role, urn in references(state):
            if urn not in earlier:
                place = "comes later in the list" if urn in everywhere else "is not in the state"
                found.append(f"{state.urn}: its {role} {urn} {place}")
        if state.provider and state.provider not in providers:
            found.append(f"{state.urn}: its provider {state.provider} is not in the state, or comes later in the list")
        earlier.add(state.urn)
        if is_provider_type(state.type):
            providers.add(f"{state.urn}::{state.id}")
    for operation in checkpoint.pending_operations:
        found += _own_problems(operation.resource)
    return found


def references(state: ResourceState) -> Iterator[tuple[str, str]]:
    """(role, URN) of every resource that must stand earlier, but for the provider."""
    if state.parent:
        yield "parent", state.parent
    for urn in state.dependencies:
        yield "dependency", urn
    for key, urns in (state.property_dependencies or {}).items():
        for urn in urns:
            yield f"dependency by {key}", urn
    if state.deleted_with:
        yield "deletedWith", state.deleted_with
    for urn in state.replace_with:
        yield "replaceWith", urn


def _own_problems(state: ResourceState) -> Iterator[str]:
    try:
        if parse_urn(state.urn).type != state.type:
            yield f"{state.urn}: has the type {state.type}"
    except ValueError as error:
        yield str(error)
    if not state.custom and state.id:
        yield f"{state.urn}: is a component and yet has the id {state.id!r}"
    if state.provider:
        try:
            package = provider_package(parse_urn(parse_reference(state.provider).urn).type)
        except ValueError as error:
            yield f"{state.urn}: {error}"
        else:
            if not package:
                yield f"{state.urn}: its provider {state.provider} names no package"
