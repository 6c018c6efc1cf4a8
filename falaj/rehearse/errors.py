"""Errors of a rehearsal.  Each text is one line a user can act on.

RehearsalError
├── AskError        what was asked for cannot be rehearsed; nothing was started
└── StageError      the control plane failed under the rehearsal
"""

from __future__ import annotations


class RehearsalError(Exception):
    """Base of the errors that a rehearsal raises on purpose."""


class AskError(RehearsalError):
    """The ask does not fit the blueprint or the region."""


class StageError(RehearsalError):
    """A program of the control plane ended, or does not answer, in the middle of a rehearsal."""
