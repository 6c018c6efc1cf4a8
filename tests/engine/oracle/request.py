"""One command that the engine is to run, in a form that can be handed to another process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """All paths are texts, so that a request can be written as JSON.

    ``environment`` is set for the command and so for the program.  ``die_at``: [number of a provider call, "begin" or
    "end"] at which the process is to kill itself, before the call has its effect or after it.
    """

    command: str
    project_dir: str
    stack: str
    state_dir: str
    passphrase: str
    world: str
    call_log: str
    event_log: str
    flags: Sequence[str] = ()
    args: Sequence[str] = ()
    parallel: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    die_at: Sequence[int | str] | None = None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Request:
        return cls(**json.loads(path.read_text()))


@dataclass(frozen=True)
class Outcome:
    """``exit_code`` is that of the CLI (1 for every failure, 7 for changes although none were expected), or negative:
    the signal that ended the process.  ``problem``: the error's text, for whoever reads the differences."""

    exit_code: int
    problem: str = ""
