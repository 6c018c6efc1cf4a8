"""Recording a step where lineage is kept, and nothing where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.lineage.steps import Step
    from runtime.settings import Settings


@contextmanager
def recorded(settings: Settings, job: str) -> Iterator[Step | None]:
    """A recorded run of ``job``; None where no lineage is kept (``lineage_url`` is not set)."""
    if not settings.lineage_url:
        yield None
        return
    from runtime.lineage.steps import step

    with step(settings, job) as running:
        yield running
