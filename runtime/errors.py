"""What the runtime tells its user when it cannot go on."""

from __future__ import annotations


class FalajError(Exception):
    """A failure in one line: where, what was given, what is allowed, what to do.  Exit code 1."""


class InputError(FalajError):
    """The caller asked for something that cannot be, or handed in something that is refused.  Exit code 2."""
