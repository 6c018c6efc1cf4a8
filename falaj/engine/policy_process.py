"""The process of a policy pack: its start, its port, what it prints, and its end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any, Final

from falaj.engine.errors import ConfigError, EngineError, UnsupportedError
from falaj.engine.settings_yaml import load_yaml

_START_SECONDS: Final = 60.0
_END_SECONDS: Final = 5.0
_KEPT_LINES: Final = 20
# Started before the engine knows all settings: the SDK is imported meanwhile.  Then they come as a line of JSON on the
# standard input, because the environment of a process is open to other processes of the user.  The pipe stays open, and
# closes when the engine ends or is killed; without it a pack would serve for ever.
_START: Final = """
import json, os, runpy, sys, threading
try:
    import pulumi.runtime, pulumi_policy
except ImportError:
    pass  # the pack will miss it too, and say so
line = sys.stdin.readline()
if not line:
    os._exit(0)
def end_with_engine():
    while os.read(0, 4096):
        pass
    os._exit(1)
threading.Thread(target=end_with_engine, daemon=True).start()
given = json.loads(line)
os.environ.update(given["environment"])
sys.argv[1] = given["engine"]
runpy.run_module("pulumi.policy", run_name="__main__", alter_sys=True)
"""


class PolicyPackError(EngineError):
    """A policy pack could not be started, died, or threw; no statement about the resources is possible."""


class PackProcess:
    """The process of the pack in ``folder``: the constructor starts it, ``begin`` lets it load the pack.

    ``name`` stands in error messages until the pack has told its own.  Raises ConfigError or UnsupportedError for a
    folder that holds no Python pack, or whose virtual environment is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        document = _pack_file(folder)
        self.version = str(document.get("version") or "")
        self._errors: deque[str] = deque(maxlen=_KEPT_LINES)
        self._port: Future[int] = Future()
        self._readers: list[threading.Thread] = []
        self._on_output: Callable[[str, bool], None] = lambda line, error: None
        self._process = subprocess.Popen(
            [_interpreter(folder, document), "-u", "-c", _START, "", str(folder)],
            cwd=folder,
            env=_environment(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # an interrupt is for the engine, which ends the pack when it is done
        )

    def begin(
        self, engine_address: str, environment: Mapping[str, str], on_output: Callable[[str, bool], None]
    ) -> None:
        """Lets the pack load, with ``environment`` beside what it inherits.

        ``on_output`` gets each line that the pack prints after its port, and whether it is an error.
        """
        self._on_output = on_output
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, False), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, True), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it may have died: ``port`` tells
            self._process.stdin.write(json.dumps({"engine": engine_address, "environment": dict(environment)}) + "\n")
            self._process.stdin.flush()

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
                with contextlib.suppress(BrokenPipeError):
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


def _pack_file(folder: Path) -> dict[str, Any]:
    file = folder / "PulumiPolicy.yaml"
    document = load_yaml(file)
    runtime = document.get("runtime")
    name = runtime.get("name") if isinstance(runtime, dict) else runtime
    if name != "python":
        raise UnsupportedError(f"{file}: the runtime is {name!r}; the embedded engine runs python packs only")
    return document


def _interpreter(folder: Path, document: Mapping[str, Any]) -> str:
    runtime = document["runtime"]
    options = runtime.get("options") if isinstance(runtime, dict) else None
    virtualenv = (options or {}).get("virtualenv")
    if not virtualenv:
        return sys.executable
    python = folder / str(virtualenv) / "bin" / "python"
    if not python.exists():
        raise ConfigError(
            f"{folder / 'PulumiPolicy.yaml'}: the virtual environment has no {python}: create it, or change it"
        )
    return str(python)


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The caller's variables without those that would tie the pack to another engine."""
    # Without .pyc files every start costs a second more.
    return {k: v for k, v in inherited.items() if not k.startswith("PULUMI_") and k != "PYTHONDONTWRITEBYTECODE"}
