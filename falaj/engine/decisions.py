"""What the parts of the step generator share: the decisions made so far, and how one of them is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from falaj.engine.events import Severity

Tell = Callable[[Severity, str, str], None]
"""Diagnostics: severity, text, URN."""


class Aborted(Exception):
    """The deployment is over for whoever waits: something failed or it was interrupted."""


class Refused(Exception):
    """A registration that cannot be carried out.  Its reason has been told already when ``told`` is set."""

    def __init__(self, message: str = "", urn: str = "", *, told: bool = False) -> None:
        super().__init__(message)
        self.urn, self.told = urn, told


@dataclass(eq=False, slots=True)
class Decisions:
    """What became of the resources so far, by URN."""

    registered: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    """Old resources that live on: same, updated, replaced or read."""
    replaced: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    skipped_creates: set[str] = field(default_factory=set)
    aliased: dict[str, str] = field(default_factory=dict)
    failed: bool = False
    """An error was told, but a preview goes on to show the rest."""
