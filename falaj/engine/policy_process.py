"""The process of a policy pack: its start, its port, what it prints, and its end."""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Final

from falaj.engine.errors import EngineError

_START_SECONDS: Final = 60.0
_END_SECONDS: Final = 5.0
_KEPT_LINES: Final = 20
# A pack serves until it is told to stop.  Its standard input is a pipe that closes when the engine ends or is killed.
_START: Final = """
import os, runpy, sys, threading
def end_with_engine():
    while os.read(0, 4096):
        pass
    os._exit(1)
threading.Thread(target=end_with_engine, daemon=True).start()
runpy.run_module("pulumi.policy", run_name="__main__", alter_sys=True)
"""


class PolicyPackError(EngineError):
    """A policy pack could not be started, died, or threw; no statement about the resources is possible."""


class PackProcess:
    """Starts at once; ``on_output`` gets each line that the pack prints after its port, and whether it is an error.

    ``name`` stands in error messages until the pack has told its own.
    """

    def __init__(
        self,
        folder: Path,
        interpreter: str,
        engine_address: str,
        environment: Mapping[str, str],
        on_output: Callable[[str, bool], None],
    ) -> None:
        self.name = folder.name
        self._on_output = on_output
        self._errors: deque[str] = deque(maxlen=_KEPT_LINES)
        self._port: Future[int] = Future()
        self._process = subprocess.Popen(
            [interpreter, "-u", "-c", _START, engine_address, str(folder)],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # an interrupt is for the engine, which ends the pack when it is done
        )
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, False), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, True), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def port(self) -> int:
        """Waits for it.  Raises PolicyPackError when the pack ends, prints something else or takes more than 60 s."""
        try:
            return self._port.result(_START_SECONDS)
        except TimeoutError as error:
            raise PolicyPackError(
                f"the policy pack {self.name} has not started within {_START_SECONDS:.0f} s"
            ) from error

    def last_words(self) -> str | None:
        """How the process ended; None when it goes on.  To be asked when the pack does not answer."""
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        self._readers[1].join(_END_SECONDS)
        said = " | ".join(self._errors) or "it said nothing"
        return f"the policy pack {self.name} ended with exit code {self._process.returncode}: {said}"

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """Ends the process; harmless when it has ended."""
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(_END_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _read(self, stream: IO[str], is_error: bool) -> None:
        for line in stream:
            text = line.rstrip("\n")
            if not is_error and not self._port.done():
                self._take_port(text)
                continue
            if is_error:
                self._errors.append(text)
            self._on_output(text, is_error)
        if not is_error and not self._port.done():
            self._port.set_exception(
                PolicyPackError(self.last_words() or f"the policy pack {self.name} printed no port")
            )

    def _take_port(self, text: str) -> None:
        if text.isdecimal() and 0 < int(text) < 65536:
            self._port.set_result(int(text))
        else:
            self._port.set_exception(PolicyPackError(f"the policy pack {self.name} printed no port: {text[:200]!r}"))
