"""The writer of checkpoints: what a file holds at any moment of a deployment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from falaj.engine.checkpoint import Checkpoint
from falaj.engine.decisions import Aborted
from falaj.engine.resource_state import OperationType, PendingOperation, ResourceState
from falaj.engine.snapshot import SnapshotWriter

A, B, C = ("urn:pulumi:s::p::t:m:R::" + name for name in "abc")


def state(urn: str, **fields: Any) -> ResourceState:
    return ResourceState(urn, "t:m:R", True, id="1", **fields)


class Disk:
    """Keeps every checkpoint that was written, as (URNs, pending operations)."""

    def __init__(self) -> None:
        self.writes: list[tuple[list[str], list[str]]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def save(self, checkpoint: Checkpoint, last: bool) -> None:
        operations = [f"{op.type} {op.resource.urn}" for op in checkpoint.pending_operations]
        self.writes.append(([item.urn for item in checkpoint.resources], operations))
        await self.gate.wait()


def base(*resources: ResourceState, pending: list[PendingOperation] | None = None) -> Checkpoint:
    return Checkpoint("s", "p", list(resources), pending or [])


def run(work: Callable[[Disk], Coroutine[Any, Any, None]]) -> Disk:
    async def main() -> Disk:
        disk = Disk()
        await work(disk)
        return disk

    return asyncio.run(main())


def test_pending_operation_is_written_before_the_call_and_gone_after_it() -> None:
    async def work(disk: Disk) -> None:
        writer = SnapshotWriter(base(), disk.save)
        async with writer.pending(OperationType.CREATING, state(A)):
            assert disk.writes == [([], [f"creating {A}"])]
        writer.complete(state(A))
        await writer.flush()

    assert run(work).writes[-1] == ([A], [])


def test_completed_resources_come_first_and_untouched_ones_stay() -> None:
    old_a, old_b = state(A), state(B)

    async def work(disk: Disk) -> None:
        writer = SnapshotWriter(base(old_a, old_b), disk.save)
        writer.forget(old_b)
        writer.complete(state(B))
        writer.complete(state(C))
        await writer.flush()

    assert run(work).writes == [([B, C, A], [])]


def test_operations_that_begin_together_share_a_write() -> None:
    async def work(disk: Disk) -> None:
        disk.gate.clear()
        writer = SnapshotWriter(base(), disk.save)

        async def create(urn: str) -> None:
            async with writer.pending(OperationType.CREATING, state(urn)):
                pass

        first = asyncio.create_task(create(A))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        others = [asyncio.create_task(create(urn)) for urn in (B, C)]
        await asyncio.sleep(0)
        disk.gate.set()
        await asyncio.gather(first, *others)

    operations = [pending for _, pending in run(work).writes]
    assert operations[0] == [f"creating {A}"]
    assert {f"creating {B}", f"creating {C}"} <= set(operations[1])
    assert len(operations) == 2


def test_operation_that_is_torn_down_stays_pending() -> None:
    async def work(disk: Disk) -> None:
        writer = SnapshotWriter(base(), disk.save)

        async def hang() -> None:
            async with writer.pending(OperationType.CREATING, state(A)):
                await asyncio.Event().wait()

        task = asyncio.create_task(hang())
        while not disk.writes:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await writer.flush()

    assert run(work).writes[-1] == ([], [f"creating {A}"])


def test_nothing_begins_once_the_deployment_is_halted() -> None:
    async def work(disk: Disk) -> None:
        writer = SnapshotWriter(base(), disk.save)
        writer.halt()
        with pytest.raises(Aborted):
            async with writer.pending(OperationType.CREATING, state(A)):
                raise AssertionError("the provider was called")
        await writer.flush()

    assert run(work).writes[-1] == ([], [])


def test_only_interrupted_creates_are_carried_over() -> None:
    pending = [PendingOperation(state(A), OperationType.CREATING), PendingOperation(state(B), OperationType.DELETING)]

    async def work(disk: Disk) -> None:
        await SnapshotWriter(base(pending=pending), disk.save).flush()

    assert run(work).writes == [([], [f"creating {A}"])]


def test_references_follow_a_renamed_resource() -> None:
    user = state(B, dependencies=[A], parent=A, provider=f"{A}::1", property_dependencies={"x": [A]}, deleted_with=A)
    seen: list[ResourceState] = []

    async def main() -> None:
        async def save(checkpoint: Checkpoint, last: bool) -> None:
            seen.extend(checkpoint.resources)

        writer = SnapshotWriter(base(user), save)
        writer.rename(A, C)
        writer.touch()
        await writer.flush()

    asyncio.run(main())
    (written,) = seen
    assert (written.dependencies, written.parent, written.provider) == ([C], C, f"{C}::1")
    assert (written.property_dependencies, written.deleted_with) == ({"x": [C]}, C)


def test_preview_writes_nothing() -> None:
    async def work(disk: Disk) -> None:
        writer = SnapshotWriter(base(), None)
        async with writer.pending(OperationType.CREATING, state(A)):
            writer.complete(state(A))
        await writer.flush()

    assert run(work).writes == []
