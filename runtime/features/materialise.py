"""Materialisation: a new generation is filled beside the live one, then put live in one write.

Readers see the old generation until the flip and the new one after it.  A builder that dies leaves a generation that
nobody reads and that the next one cleans up.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.errors import FalajError
from runtime.features.catalogue import Catalogue
from runtime.features.errors import MaterialisationError, UnknownGenerationError
from runtime.features.generations import (
    LEASE_SECONDS,
    Build,
    GenerationRecord,
    Pointer,
    open_pointer,
    physical_project,
)
from runtime.features.snapshots import Snapshot, ViewFile, fetch_views

if TYPE_CHECKING:
    from runtime.features.declaration import Declaration
    from runtime.settings import Settings

KEEP_PREVIOUS: Final = 1
"""Generations kept behind the live one: a reader that was slow over the flip still finds its own."""


@dataclass(frozen=True)
class Materialisation:
    """A generation that was put live: where it is and what it was made from."""

    project: str
    generation: int
    previous: int | None
    catalogue_digest: str
    snapshot_id: str
    as_of: str
    views: tuple[ViewFile, ...]
    carried_forward: int
    """Stream rows taken over from the generation before."""
    dropped: tuple[int, ...]
    """Generations that were cleaned up."""


def apply(settings: Settings, declaration: Declaration) -> int:
    """Makes the project known to the online store; returns its live generation.

    A first generation is empty and waits for the stream.  A changed catalogue goes live with the next materialisation.
    """
    catalogue = declaration.catalogue
    pointer = open_pointer(settings, catalogue.project)
    live = pointer.ensure_live(GenerationRecord(catalogue=catalogue, snapshot_id="", as_of=""))
    record = pointer.record(live)
    # Of its own views only: those of another catalogue would be in no record, and stay when the generation is dropped.
    if (
        settings.online_store_engine == "dynamodb"
        and not record.snapshot_id
        and record.catalogue.digest == catalogue.digest
    ):
        from runtime.features.feast_store import open_generation

        with tempfile.TemporaryDirectory(prefix="falaj-apply-") as directory:
            open_generation(settings, declaration, live, Path(directory, "registry.db"))  # makes its tables
    return live


def materialise(
    settings: Settings,
    declaration: Declaration,
    snapshot: Snapshot,
    *,
    as_of: datetime,
    keep_previous: int = KEEP_PREVIOUS,
    progress: Callable[[str], None] = lambda view: None,
    pointer: Pointer | None = None,
) -> Materialisation:
    """Fills a new generation with the last row of each key known at ``as_of`` and puts it live.

    Raises MaterialisationError while another process builds, when the snapshot was computed from other definitions,
    and when the lease was lost; SnapshotError and OnlineStoreError as their parts do.  After any error the generation
    before still serves, and this one is cleaned up.
    """
    catalogue = declaration.catalogue
    if as_of.tzinfo is None:
        raise MaterialisationError(f"as_of {as_of} has no time zone; give an instant such as 2013-09-01T00:00:00+00:00")
    if snapshot.catalogue_digest != catalogue.digest:
        raise MaterialisationError(
            f"feature snapshot {snapshot.id} was computed from other definitions ({snapshot.catalogue_digest[:19]}) "
            f"than declared now ({catalogue.digest[:19]}); compute the features again"
        )
    pointer = pointer or open_pointer(settings, catalogue.project)
    record = GenerationRecord(catalogue=catalogue, snapshot_id=snapshot.id, as_of=as_of.isoformat())
    previous = pointer.read().live
    build = pointer.begin(record)
    try:
        with _lease_kept(pointer, build) as check, tempfile.TemporaryDirectory(prefix="falaj-materialise-") as name:
            directory = Path(name)
            fetch_views(settings, snapshot, [view.name for view in catalogue.views], directory)
            _fill(settings, declaration, build.generation, directory, as_of, check, progress)
            carried = _carry_forward(settings, catalogue, pointer, previous, build.generation)
            check()
            pointer.flip(build)
    except BaseException as error:
        _abandon(settings, catalogue.project, pointer, build, error)
        raise
    dropped = clean_up(settings, catalogue.project, keep_previous=keep_previous, pointer=pointer)
    return Materialisation(
        project=catalogue.project,
        generation=build.generation,
        previous=previous,
        catalogue_digest=catalogue.digest,
        snapshot_id=snapshot.id,
        as_of=record.as_of,
        views=snapshot.views,
        carried_forward=carried,
        dropped=dropped,
    )


def clean_up(
    settings: Settings, project: str, *, keep_previous: int = KEEP_PREVIOUS, pointer: Pointer | None = None
) -> tuple[int, ...]:
    """Deletes generations that nobody can read any more; returns their numbers.

    Kept: the live one, one that is being built, and the ``keep_previous`` before the live one.
    """
    pointer = pointer or open_pointer(settings, project)
    now = pointer.read()
    known = pointer.known()
    # One that was never finished does not count as a generation to fall back on.
    before = sorted((n for n in known & pointer.lived() if now.live is not None and n < now.live), reverse=True)
    kept = {*now.written, *before[:keep_previous]}
    # One that was allocated after the pointer was read is not ours to judge.
    newest = max((number for number in now.written), default=0)
    dropped = tuple(sorted(number for number in known if number not in kept and number <= newest))
    for number in dropped:
        _drop(settings, project, number, pointer)
        pointer.forget(number)
    return dropped


def _fill(
    settings: Settings,
    declaration: Declaration,
    generation: int,
    directory: Path,
    as_of: datetime,
    check: Callable[[], None],
    progress: Callable[[str], None],
) -> None:
    from runtime.features import declaration as declarations
    from runtime.features.feast_store import BEGINNING, open_generation, quiet_feast

    # The same declaration, its sources pointing at the files just fetched.
    local = declarations.declare(declaration.project, directory)
    store = open_generation(settings, local, generation, directory / "registry.db")
    for view in local.catalogue.views:
        check()
        progress(view.name)
        with quiet_feast():
            store.materialize(start_date=BEGINNING, end_date=as_of, feature_views=[view.name])


def _carry_forward(
    settings: Settings, catalogue: Catalogue, pointer: Pointer, previous: int | None, generation: int
) -> int:
    if previous is None:
        return 0
    live = pointer.read().live or previous
    known = {view.name: view for view in pointer.record(live).catalogue.views}
    source, target = physical_project(catalogue.project, live), physical_project(catalogue.project, generation)
    carried = 0
    for view in catalogue.views:
        if view.kind != "stream" or known.get(view.name) != view:
            continue  # a changed definition starts from its own rows
        if settings.online_store_engine == "dynamodb":
            from runtime.features import dynamodb

            carried += dynamodb.carry_forward(settings, view.name, source, target)
        else:
            from runtime.features import valkey_store

            carried += valkey_store.carry_forward(valkey_store.connect(settings), view, source, target)
    return carried


def _drop(settings: Settings, project: str, generation: int, pointer: Pointer) -> None:
    physical = physical_project(project, generation)
    if settings.online_store_engine == "dynamodb":
        from runtime.features import dynamodb

        try:
            views = pointer.record(generation).catalogue.views
        except UnknownGenerationError:
            return  # another clean-up has been here: records are forgotten after their tables
        dynamodb.drop_project(settings, physical, [view.name for view in views])
    else:
        from runtime.features import valkey_store

        valkey_store.drop_project(valkey_store.connect(settings), physical)


def _abandon(settings: Settings, project: str, pointer: Pointer, build: Build, error: BaseException) -> None:
    """Cleans up after a failed build as far as the store answers; what is left the next clean-up finds."""
    try:
        pointer.release(build)
        if pointer.read().live != build.generation:
            _drop(settings, project, build.generation, pointer)
            pointer.forget(build.generation)
    except FalajError as second:
        error.add_note(f"generation {build.generation} could not be cleaned up yet: {second}")


@contextmanager
def _lease_kept(pointer: Pointer, build: Build) -> Iterator[Callable[[], None]]:
    """Renews the lease while the block runs; the yielded check raises what a renewal raised."""
    stop = threading.Event()
    failures: list[FalajError] = []

    def renew() -> None:
        while not stop.wait(LEASE_SECONDS / 3):
            try:
                pointer.renew(build)
            except FalajError as error:
                failures.append(error)
                return

    def check() -> None:
        if failures:
            raise failures[0]

    thread = threading.Thread(target=renew, name="generation-lease", daemon=True)
    thread.start()
    try:
        yield check
    finally:
        stop.set()
        thread.join(timeout=LEASE_SECONDS)
