"""The process that runs the user's program."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from falaj.engine.errors import ConfigError
from falaj.engine.events import Severity
from falaj.engine.project import Configuration, Project

OnLine = Callable[[Severity, str], None]
OnExit = Callable[[int], None]
EXIT_REPORTED: Final = 32
"""The program failed, and its launcher has told why."""
GRACE_SECONDS: Final = 5.0
"""How long an aborted program may take to end by itself."""
_MOST_OUTPUT_BYTES: Final = 64 * 1024
"""A longer line of output is passed on in pieces."""


@dataclass(frozen=True, slots=True)
class ProgramSettings:
    """What a program is told about its deployment."""

    project: Project
    stack: str
    configuration: Configuration
    preview: bool
    parallel: int


class Program:
    """The process, started as early as possible: it imports the SDK while the engine gets ready for it."""

    def __init__(self, project: Project) -> None:
        """Raises ConfigError when the project's interpreter or its program's folder is missing."""
        if not project.working_directory.is_dir():
            raise ConfigError(f"{project.file}: main is {project.main!r}, but there is no {project.working_directory}")
        self._process = subprocess.Popen(
            [str(interpreter(project)), "-u", str(Path(__file__).with_name("launcher.py"))],
            cwd=project.working_directory,
            env=environment(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the engine, which ends the program in order
        )
        self._begun = False

    def run(self, settings: ProgramSettings, address: str, on_line: OnLine, on_exit: OnExit) -> None:
        """Lets the program begin.  ``on_line`` and ``on_exit`` are called from threads; ``on_exit`` once."""
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._begun = True
        readers = [
            _started(_pass_on, self._process.stdout, Severity.INFO, on_line),
            _started(_pass_on, self._process.stderr, Severity.INFO_STDERR, on_line),
        ]
        _started(self._wait, readers, on_exit)
        with contextlib.suppress(BrokenPipeError):  # it may have died: ``on_exit`` tells
            self._process.stdin.write(json.dumps(_message(settings, address)).encode() + b"\n")
            self._process.stdin.flush()  # and stays open: the program ends when the engine does

    def _wait(self, readers: list[threading.Thread], on_exit: OnExit) -> None:
        code = self._process.wait()
        for reader in readers:
            reader.join(GRACE_SECONDS)  # a child of the program may hold the pipe open
        self._close_input()
        on_exit(code)

    def end(self) -> None:
        """Ends the program and its children; at once, if they do not want to."""
        self._close_input()
        if not self._begun:  # nobody reads them, so nobody else closes them
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(1)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue

    def _close_input(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()


def interpreter(project: Project) -> Path:
    """The project's Python: that of its virtual environment, else the one that runs the engine."""
    if not project.virtualenv:
        return Path(sys.executable)
    path = project.root / project.virtualenv / "bin" / "python"
    if not path.exists():
        raise ConfigError(
            f"{project.file}: virtualenv {project.virtualenv!r} has no {path}; create it or remove the line"
        )
    return path


def environment(base: Mapping[str, str]) -> dict[str, str]:
    """The caller's variables without those that would tie the program to another engine."""
    return {
        key: value
        for key, value in base.items()
        # Without compiled files the imports of a provider SDK take seconds.
        if not key.startswith("PULUMI_") and key != "PYTHONDONTWRITEBYTECODE"
    }


def _message(settings: ProgramSettings, address: str) -> dict[str, Any]:
    """What the launcher waits for."""
    project, configuration = settings.project, settings.configuration
    return {
        "monitor": address,
        "engine": address,
        "project": project.name,
        "stack": settings.stack,
        "organization": "organization",
        "root_directory": str(project.root),
        "pwd": str(project.working_directory),
        "dry_run": settings.preview,
        "parallel": settings.parallel,
        "entry": project.entry_point,
        "environment": {
            "PULUMI_CONFIG": json.dumps(dict(configuration.values)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(sorted(configuration.secret_keys)),
        },
    }


def _started(target: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, daemon=True)
    thread.start()
    return thread


def _pass_on(pipe: IO[bytes], severity: Severity, on_line: OnLine) -> None:
    with pipe:
        while line := pipe.readline(_MOST_OUTPUT_BYTES):
            text = line.decode(errors="replace").rstrip("\r\n")
            if text.strip():
                on_line(severity, text)
