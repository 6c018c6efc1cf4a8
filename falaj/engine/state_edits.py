"""Changes of a state by hand: what ``pulumi state ...`` does."""

from __future__ import annotations

from collections.abc import Iterable

from falaj.engine.checkpoint import Checkpoint
from falaj.engine.errors import StateError
from falaj.engine.resource_state import ResourceState


def unprotect(checkpoint: Checkpoint, urns: Iterable[str] | None) -> None:
    """None: all resources.  Raises StateError for an unknown URN."""
    for state in checkpoint.resources if urns is None else _named(checkpoint, urns):
        if state.protect:
            state.protect = False


def taint(checkpoint: Checkpoint, urns: Iterable[str]) -> None:
    """Raises StateError for an unknown URN."""
    for state in _named(checkpoint, urns):
        state.taint = True


def _named(checkpoint: Checkpoint, urns: Iterable[str]) -> list[ResourceState]:
    by_urn = {state.urn: state for state in checkpoint.resources if not state.delete}
    wanted = list(urns)
    unknown = [urn for urn in wanted if urn not in by_urn]
    if unknown:
        raise StateError(f"No such resource {unknown[0]!r} exists in the current state")
    return [by_urn[urn] for urn in wanted]
