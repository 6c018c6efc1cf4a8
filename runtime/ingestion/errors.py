"""What can go wrong on the way into the lake.  Each message is one line for the user."""

from __future__ import annotations

from runtime.errors import FalajError, InputError


class ContractError(InputError):
    """A contract contradicts itself, or the table that it is to fill."""


class SourceError(InputError):
    """A file that is refused whole: truncated, not of its format, too large, or of another schema."""


class QualityGateError(FalajError):
    """More records of a batch failed their contract than it allows.  The table is untouched."""


class FencedError(FalajError):
    """Another consumer has taken over a shard; this one must stop."""


class OutageError(FalajError):
    """A service stayed away for longer than the limit.  Nothing is lost: the next run continues where this one was."""


class StreamError(FalajError):
    """A stream cannot be read or written as configured."""
