"""The world outside and the log of provider calls: two files that outlive a killed deployment.

{"things": {ID: {"inputs": {...}, "serial": N, "init_error": "text, optional"}},
 "generations": {NAME: number of things ever created under that resource name},
 "flags": {"disable_failures": true}}
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.engine.oracle.wire import readable


class World:
    """What exists outside, as one JSON file that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()

    def load(self) -> dict[str, Any]:
        world: dict[str, Any] = {"things": {}, "generations": {}, "flags": {}}
        if self.path.exists():
            world.update(json.loads(self.path.read_text()))
        return world

    def save(self, world: Mapping[str, Any]) -> None:
        draft = self.path.with_name(self.path.name + ".tmp")
        draft.write_text(json.dumps(world, indent=1, sort_keys=True))
        draft.replace(self.path)

    def edit(self, edits: Sequence[Mapping[str, Any]]) -> None:
        """Applies ``{"path": [...], "value": x}`` and ``{"path": [...], "remove": true}``."""
        world = self.load()
        for edit in edits:
            at: Any = world
            for part in edit["path"][:-1]:
                at = at.setdefault(part, {}) if isinstance(at, dict) else at[part]
            if edit.get("remove"):
                at.pop(edit["path"][-1], None)
            else:
                at[edit["path"][-1]] = edit["value"]
        if edits:
            self.save(world)


class CallLog:
    """One JSON line when a call begins and one when it ends; the lines of a killed process stay readable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._last = 0

    def begin(self, method: str, fields: Mapping[str, Any]) -> int:
        """Writes the fields that say something (an empty object does, an empty text, list or number does not)."""
        call: dict[str, Any] = {"method": method}
        for key, value in fields.items():
            if isinstance(value, bool) or value not in (None, "", [], 0.0):
                call[key] = readable(value)
        with self._lock:
            self._last += 1
            self._write({"n": self._last, "call": call})
            return self._last

    def end(self, number: int, error: str | None) -> None:
        with self._lock:
            self._write({"n": number, "end": True, "error": error})

    def _write(self, line: Mapping[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(line, sort_keys=True) + "\n")


class MortalLog(CallLog):
    """Kills its own process when call number ``die_at[0]`` begins or ends: before it has its effect, or after."""

    def __init__(self, path: Path, die_at: Sequence[int | str]) -> None:
        super().__init__(path)
        self._number, self._moment = die_at

    def begin(self, method: str, fields: Mapping[str, Any]) -> int:
        number = super().begin(method, fields)
        self._die_at(number, "begin")
        return number

    def end(self, number: int, error: str | None) -> None:
        self._die_at(number, "end")
        super().end(number, error)

    def _die_at(self, number: int, moment: str) -> None:
        if (number, moment) == (self._number, self._moment):
            os.kill(os.getpid(), signal.SIGKILL)
