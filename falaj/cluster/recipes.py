"""What is built, from which pinned modules, and the key under which a build is kept.  Pure but for reading ``tools/``.

Each folder of ``tools/`` is a Go module of its own, so that the requirements of etcd, Kubernetes, kwok and Karpenter
never raise one another's.  A build is named by everything that goes into it: change a pin and the old one is not found.
"""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from falaj.cluster.errors import BinariesError

TOOLS: Final = Path(__file__).resolve().parents[2] / "tools"

FORMAT: Final = 1
"""Raise when the layout of a build, or what is made of a module's files, changes."""

_REQUIRE = re.compile(r"^(?:require\s+|\t)(?P<module>[\w./-]+) (?P<version>v[\w.+-]+)", re.MULTILINE)
_MACHINES: Final = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class ModuleFiles:
    """Files of a module that a build carries: ``pattern`` (a glob) in ``module``, put into ``folder`` of the build."""

    module: str
    pattern: str
    folder: str


@dataclass(frozen=True)
class Recipe:
    """One folder of ``tools/``: its programs (name -> package) and the module files that go with them."""

    name: str
    module: str
    """The module whose version the user knows it by."""
    title: str
    seconds: int
    """About how long a first build takes on two idle cores, measured 2026-11-23; 0 where nothing is built."""
    programs: tuple[tuple[str, str], ...] = ()
    ldflags: str = "-s -w"
    """``{version}``, ``{major}`` and ``{minor}`` are those of ``module``."""
    files: tuple[ModuleFiles, ...] = ()
    from_path: bool = False
    """Whether a program of the same minor version on PATH serves as well."""


_VERSION_VARIABLE: Final = "k8s.io/component-base/version"
_KARPENTER: Final = "sigs.k8s.io/karpenter"
_KWOK: Final = "sigs.k8s.io/kwok"
_OPERATOR: Final = "github.com/prometheus-operator/prometheus-operator"

CRDS, STAGES = "crds", "stages"

RECIPES: Final = (
    Recipe(
        name="etcd",
        module="go.etcd.io/etcd/server/v3",
        title="etcd",
        seconds=30,
        programs=(("etcd", "."),),
        from_path=True,
    ),
    Recipe(
        name="kubernetes",
        module="k8s.io/kubernetes",
        title="kube-apiserver, kube-controller-manager and kube-scheduler",
        seconds=320,
        programs=tuple(
            (name, f"k8s.io/kubernetes/cmd/{name}")
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
        ),
        # Without these the server reports v0.0.0, and clients refuse to talk to it.
        ldflags=(
            f"-s -w -X {_VERSION_VARIABLE}.gitVersion={{version}} -X {_VERSION_VARIABLE}.gitTreeState=clean "
            f"-X {_VERSION_VARIABLE}.gitMajor={{major}} -X {_VERSION_VARIABLE}.gitMinor={{minor}}"
        ),
        from_path=True,
    ),
    Recipe(
        name="kwok",
        module=_KWOK,
        title="kwok",
        seconds=70,
        programs=(("kwok", f"{_KWOK}/cmd/kwok"),),
        files=tuple(
            ModuleFiles(_KWOK, f"kustomize/stage/{folder}/{stem}-*.yaml", STAGES)
            for folder, stem in (("node/fast", "node"), ("node/heartbeat", "node"), ("pod/fast", "pod"))
        ),
    ),
    Recipe(
        name="karpenter",
        module=_KARPENTER,
        title="Karpenter with its kwok provider",
        seconds=85,
        programs=(("karpenter", "."),),
        files=(
            ModuleFiles(_KARPENTER, "pkg/apis/crds/*.yaml", CRDS),
            ModuleFiles(_KARPENTER, "kwok/apis/crds/*.yaml", CRDS),
        ),
    ),
    Recipe(
        name="manifests",
        module="github.com/cert-manager/cert-manager",
        title="resource definitions of the platform's add-ons",
        seconds=0,
        files=(
            ModuleFiles("github.com/aws/karpenter-provider-aws", "pkg/apis/crds/karpenter.k8s.aws_*.yaml", CRDS),
            ModuleFiles("github.com/cert-manager/cert-manager", "deploy/crds/*.yaml", CRDS),
            ModuleFiles("github.com/kubeflow/trainer/v2", "manifests/base/crds/trainer.*.yaml", CRDS),
            *(
                # The operator's other kinds are several times the size, and nothing here uses them.
                ModuleFiles(_OPERATOR, f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml", CRDS)
                for kind in ("alertmanagerconfigs", "podmonitors", "probes", "prometheusrules", "servicemonitors")
            ),
        ),
    ),
)


SCAN_RECIPES: Final = (
    Recipe(
        name="kubeconform",
        module="github.com/yannh/kubeconform",
        title="kubeconform",
        seconds=5,
        programs=(("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),),
    ),
    Recipe(
        name="promql",
        module="github.com/prometheus/prometheus",
        title="promrules, the parser and engine of Prometheus",
        seconds=40,
        programs=(("promrules", "."),),
    ),
)
"""What `make scan` needs besides: judges of manifests and rules, no part of a control plane."""


def recipe(name: str) -> Recipe:
    """The recipe of a folder of ``tools/``."""
    return next(found for found in (*RECIPES, *SCAN_RECIPES) if found.name == name)


def pinned_version(recipe: Recipe, module: str | None = None, *, tools: Path = TOOLS) -> str:
    """The version of ``module`` (default: the recipe's own) in its go.mod, such as ``v1.34.4``.

    Raises BinariesError when ``tools/`` is not here (a package installed without its checkout) or pins no such module.
    """
    wanted = module or recipe.module
    path = tools / recipe.name / "go.mod"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BinariesError(
            f"{path}: {error.strerror}; the local control plane is built from the checkout of the project"
        ) from error
    for found in _REQUIRE.finditer(text):
        if found["module"] == wanted:
            return found["version"]
    raise BinariesError(f"{path} does not require {wanted}; put the pin back")


def ldflags(recipe: Recipe, *, tools: Path = TOOLS) -> str:
    """The linker flags with the pinned version in them."""
    version = pinned_version(recipe, tools=tools)
    major, minor = version.removeprefix("v").split(".")[:2]
    return recipe.ldflags.format(version=version, major=major, minor=minor)


def system() -> str:
    """This machine as Go names it, such as ``linux/amd64``.  Raises BinariesError where Kubernetes has no servers."""
    machine = _MACHINES.get(platform.machine().lower())
    if sys.platform not in ("linux", "darwin") or machine is None:
        raise BinariesError(
            f"{sys.platform}/{platform.machine()}: the local control plane runs on Linux and macOS, amd64 and arm64; "
            "use the render back end here"
        )
    return f"{sys.platform}/{machine}"


def build_name(recipe: Recipe, *, tools: Path = TOOLS) -> str:
    """The folder of a build in the cache: name, version, and a digest of pins, checksums, sources, flags and system."""
    folder = tools / recipe.name
    version = pinned_version(recipe, tools=tools)
    what = (FORMAT, system(), recipe.programs, recipe.ldflags, recipe.files)
    digest = hashlib.sha256(repr(what).encode())
    for path in sorted(folder.iterdir()):
        if path.suffix in (".mod", ".sum", ".go"):
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return f"{recipe.name}-{version}-{digest.hexdigest()[:16]}"
