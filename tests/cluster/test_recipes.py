"""The pins.  Guards: a module without checksum, Kubernetes' own modules out of step, a recipe without a pin."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from falaj.cluster.errors import BinariesError
from falaj.cluster.recipes import RECIPES, SCAN_RECIPES, TOOLS, Recipe, build_name, ldflags, pinned_version, recipe

EVERY = (*RECIPES, *SCAN_RECIPES)
BY_NAME = pytest.mark.parametrize("made", EVERY, ids=lambda made: made.name)


def test_every_folder_of_tools_has_a_recipe() -> None:
    folders = {path.parent.name for path in TOOLS.glob("*/go.mod")}
    assert folders == {made.name for made in EVERY}


@BY_NAME
def test_every_module_of_a_recipe_is_pinned_with_its_checksum(made: Recipe) -> None:
    sums = (TOOLS / made.name / "go.sum").read_text()
    for module in {made.module, *(files.module for files in made.files)}:
        version = pinned_version(made, module)
        assert re.search(rf"^{re.escape(module)} {re.escape(version)} h1:", sums, re.MULTILINE)


def test_kubernetes_modules_are_all_of_the_release() -> None:
    text = (TOOLS / "kubernetes" / "go.mod").read_text()
    replaced = dict(re.findall(r"^\t(k8s\.io/[\w-]+) => \1 (v\S+)$", text, re.MULTILINE))
    assert len(replaced) >= 30
    assert set(replaced.values()) == {pinned_version(recipe("kubernetes")).replace("v1.", "v0.")}


def test_server_knows_its_version() -> None:
    version = pinned_version(recipe("kubernetes"))
    flags = ldflags(recipe("kubernetes"))
    assert f"version.gitVersion={version} " in flags
    assert f"version.gitMinor={version.split('.')[1]}" in flags


@BY_NAME
def test_name_of_a_build_tells_what_it_is(made: Recipe) -> None:
    assert re.fullmatch(rf"{made.name}-{re.escape(pinned_version(made))}-[0-9a-f]{{16}}", build_name(made))


def test_without_the_checkout_the_message_says_so(tmp_path: Path) -> None:
    with pytest.raises(BinariesError, match=r"etcd/go\.mod: No such file .*built from the checkout"):
        pinned_version(recipe("etcd"), tools=tmp_path)


def test_pin_that_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "etcd").mkdir()
    (tmp_path / "etcd" / "go.mod").write_text("module x\nreplace go.etcd.io/etcd/server/v3 => x v1.0.0\n")
    with pytest.raises(BinariesError, match=r"does not require go\.etcd\.io/etcd/server/v3"):
        pinned_version(recipe("etcd"), tools=tmp_path)
