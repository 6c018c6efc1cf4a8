"""Imports from the provider SDKs only the modules of what is declared.

A package such as ``pulumi_aws.ec2`` imports the modules of all its resources: for the platform 1,000 modules that
nobody uses, and half of the time until the first resource is declared.  ``import_on_demand`` leaves each of them to
the first use of a name in it.  A name is the same object either way.  One that is not where the generators of the SDKs
put it makes its package load as a whole, as it does without this module.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_DEPTHS: Final[Mapping[str, int]] = {"pulumi_aws": 2, "pulumi_kubernetes": 3}
"""Provider SDK -> how many names the packages of its resources have: ``pulumi_kubernetes.core.v1`` has three."""
_SHARED: Final = frozenset({"_enums", "_inputs", "outputs"})
"""Modules that resources of a package share, and import from it by name."""


def import_on_demand() -> None:
    """Holds for what this process imports from now on; a second call changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if _DEPTHS.get(fullname.partition(".")[0]) != fullname.count(".") + 1:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not spec.submodule_search_locations or type(spec.loader) is not SourceFileLoader:
            return None
        spec.loader = _PackageLoader(spec.loader.name, spec.loader.path)
        return spec


class _PackageLoader(SourceFileLoader):
    """Runs the body of a package only for a name that it cannot find without."""

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__getattr__"] = _Names(module, self).find


class _Names:
    """The names of one package that has not been loaded as a whole."""

    def __init__(self, package: ModuleType, loader: _PackageLoader) -> None:
        self._package, self._loader = package, loader
        folder = Path(loader.path).parent
        self._stems = {file.stem.replace("_", "").lower(): file.stem for file in folder.glob("*.py")}
        self._lock = threading.RLock()
        self._loading = False

    def find(self, name: str) -> Any:
        """The package's ``__getattr__``.  Raises AttributeError for a name that it does not have."""
        missing = AttributeError(f"module {self._package.__name__!r} has no attribute {name!r}")
        if name in _SHARED:
            return self._module(name)
        if name.startswith("__") and name != "__all__":  # asked by the import system; `import *` asks for __all__
            raise missing
        with self._lock:
            if name[:1].isupper() and not self._loading:
                for stem in self._candidates(name):
                    module = self._module(stem)
                    if name in getattr(module, "__all__", ()):
                        self._package.__dict__[name] = getattr(module, name)
                        return self._package.__dict__[name]
            self._load_whole()
            if name not in self._package.__dict__:
                raise missing
            return self._package.__dict__[name]

    def _candidates(self, name: str) -> Iterator[str]:
        """The modules that may define a class, the one whose definition stands first."""
        if name.endswith("Args") and "inputs" in self._stems:
            yield "_inputs"
        stem = self._stems.get(name.removesuffix("Args").lower())
        if stem is not None:
            yield stem

    def _module(self, stem: str) -> ModuleType:
        return importlib.import_module(f"{self._package.__name__}.{stem}")

    def _load_whole(self) -> None:
        if self._loading or "__getattr__" not in self._package.__dict__:
            return
        self._loading = True
        SourceFileLoader.exec_module(self._loader, self._package)
        self._package.__dict__.pop("__getattr__", None)
