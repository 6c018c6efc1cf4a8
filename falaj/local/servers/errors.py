"""What goes wrong with the local servers, in one line for the user."""

from __future__ import annotations


class LocalServerError(Exception):
    """A server cannot be started, reached or stopped."""


class NotInstalledError(LocalServerError):
    """The program itself is not on this machine.  The message says what brings it."""
