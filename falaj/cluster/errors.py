"""Errors of the local control plane.  Each text is one line a user can act on.

ClusterError
├── BinariesError    the programs are not here and cannot be built; the text says which way failed and why
├── ProcessError     a program does not start, has ended, or does not end; the text carries the end of its log
├── PortInUseError   somebody else listens on a port that was asked for
└── ApiError         the API server refused a request; ``status`` and ``reason`` are its own
"""

from __future__ import annotations


class ClusterError(Exception):
    """Base of the errors that the control plane raises on purpose."""


class BinariesError(ClusterError):
    """The programs of the control plane cannot be had."""


class ProcessError(ClusterError):
    """A program of the control plane is not as it should be."""


class PortInUseError(ClusterError):
    """The port that was asked for is taken."""


class ApiError(ClusterError):
    """The API server answered with an error, or with nothing (``status`` 0)."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
