"""Puts right what a killed run of the stack ``local`` left behind: its lock, and creates that no state knows.

The official CLI asks a person to run `cancel` and to look for half-made resources by hand, rightly, because it cannot
know.  Here both can be known: the lock's process ran on this machine, and what was made bears the mark of its resource.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from falaj.engine.errors import EngineError
from falaj.engine.provider import ProviderError

if TYPE_CHECKING:
    from falaj.engine.stack import Stack
    from falaj.local.host import LocalProvider, LocalProviderHost


def recover(stack: Stack, host: LocalProviderHost) -> None:
    """Removes locks of dead processes of this machine, then takes half-made resources back.

    Raises EngineError when a half-made resource can be neither finished nor deleted.
    """
    _release_dead_locks(stack)
    _take_back_pending_creates(stack, host)


def _release_dead_locks(stack: Stack) -> None:
    holders = stack.lock_holders()
    if holders and all(holder.is_gone for holder in holders):
        stack.cancel()
        pids = ", ".join(str(h.pid) for h in holders)
        click.echo(f"the last run (pid {pids}) was killed: its lock is removed", err=True)


def _take_back_pending_creates(stack: Stack, host: LocalProviderHost) -> None:
    pending = [operation.resource for operation in stack.pending_creates()]
    if not pending:
        return
    settled: list[str] = []
    for resource in pending:
        name = resource.urn.split("::", 3)[-1]
        try:
            provider = _provider_of(stack, resource.provider, host)
            if provider is None:
                continue
            if provider.take_back(resource.urn, resource.type, name, resource.inputs):
                click.echo(f"taken back: {name}, half-made when the last run was killed", err=True)
        except ProviderError as error:
            raise EngineError(
                f"{name} was half-made when the last run was killed and cannot be taken back: {error}; "
                "run `falaj local reset` to start from an empty account"
            ) from error
        settled.append(resource.urn)
    stack.drop_pending_creates(settled)


def _provider_of(stack: Stack, reference: str, host: LocalProviderHost) -> LocalProvider | None:
    """A provider configured as the state says; None where there is no local one."""
    from falaj.engine.urn import parse_reference, provider_package
    from falaj.local.host import PACKAGES

    wanted = parse_reference(reference)
    state = next((r for r in stack.resources() if r.urn == wanted.urn and r.id == wanted.id), None)
    if state is None or provider_package(state.type) not in PACKAGES:
        return None
    provider = host.load(provider_package(state.type), "")
    provider.configure(state.urn, state.id, state.inputs)
    return provider
