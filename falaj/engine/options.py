"""What a caller asks of a deployment, and how it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PolicyPack:
    """A folder with PulumiPolicy.yaml, and optionally a JSON file with levels and parameters of its policies."""

    path: Path
    config_path: Path | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a deployment; the names follow the flags of the official CLI.

    ``targets``, ``excludes``, ``replace`` and ``target_replace`` are URNs; in them ``*`` stands for any characters
    but a colon, ``**`` for any characters.  Targets and excludes exclude each other.  ``target_replace`` does both.
    ``parallel`` bounds the resource operations that run at once (at least 1).
    ``preview_only`` plans a refresh or a destroy without carrying it out.
    """

    parallel: int = 16
    refresh: bool = False
    continue_on_error: bool = False
    targets: tuple[str, ...] = ()
    target_dependents: bool = False
    excludes: tuple[str, ...] = ()
    exclude_dependents: bool = False
    replace: tuple[str, ...] = ()
    target_replace: tuple[str, ...] = ()
    expect_no_changes: bool = False
    exclude_protected: bool = False
    run_program: bool = False
    clear_pending_creates: bool = False
    preview_only: bool = False
    policy_packs: tuple[PolicyPack, ...] = ()
    message: str = ""


class Interrupt:
    """A request to stop.  The first ``cancel`` lets running steps finish, the second asks providers to give up.

    Thread-safe; ``cancel`` may be called from a signal handler, before or during a deployment.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # reentrant: a signal may arrive while its own thread holds it
        self._calls = 0
        self._listener: Callable[[int], None] | None = None

    @property
    def cancelled(self) -> bool:
        return self._calls > 0

    @property
    def terminated(self) -> bool:
        return self._calls > 1

    def cancel(self) -> None:
        with self._lock:
            self._calls += 1
            listener, calls = self._listener, self._calls
        if listener is not None:
            listener(calls)

    def listen(self, listener: Callable[[int], None] | None) -> None:
        """The deployment's side: ``listener`` gets the number of calls so far, at once if there was one."""
        with self._lock:
            self._listener = listener
            calls = self._calls
        if listener is not None and calls:
            listener(calls)
