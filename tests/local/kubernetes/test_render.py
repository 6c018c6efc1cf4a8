"""Rendered manifests.  Guards: a manifest that no cluster would take, a file that outlives its object or is lost."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from falaj.engine.provider import Changes, ProviderError
from falaj.local.kubernetes.kinds import Kind, kind_of
from falaj.local.kubernetes.manifests import Identity
from falaj.local.kubernetes.provider import KubernetesProvider
from falaj.local.kubernetes.render import file_name, rendered
from tests.support.kubernetes_lifecycle import Resource, config_map, deployment, provider
from tests.support.kubernetes_manifests import INVALID, VALID, broken, named


@pytest.mark.parametrize("type", VALID)
def test_a_valid_manifest_lives_its_whole_life_as_a_file(
    rendering: KubernetesProvider, folder: Path, type: str
) -> None:
    inputs = named(VALID[type])
    resource = Resource(rendering, type).create(inputs)
    [file] = folder.iterdir()
    written = yaml.safe_load(file.read_text())
    kind = kind_of(type)
    assert (written["apiVersion"], written["kind"]) == (kind.api_version, kind.name)
    assert resource.outputs["__inputs"] == resource.inputs
    assert resource.outputs["__initialApiVersion"] == kind.api_version
    assert resource.refresh()
    assert resource.diff(inputs).changes is Changes.NONE
    resource.update(named({**inputs, "metadata": {**inputs["metadata"], "labels": {"team": "fraud"}}}))
    assert yaml.safe_load(file.read_text())["metadata"]["labels"] == {"team": "fraud"}
    resource.delete()
    assert list(folder.iterdir()) == []
    assert not resource.refresh()


@pytest.mark.parametrize(
    ("type", "path", "value", "property", "told"),
    INVALID,
)
def test_an_invalid_manifest_is_refused_by_object_field_given_and_allowed(
    rendering: KubernetesProvider, folder: Path, type: str, path: str, value: Any, property: str, told: str
) -> None:
    failures = {
        failure.property: failure.reason for failure in Resource(rendering, type).failures(broken(type, path, value))
    }
    assert told in failures[property]
    assert failures[property].startswith(f"{kind_of(type).name} ")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("type", "told"),
    [
        ("kubernetes:apps/v1beta1:Deployment", "it serves Deployment as apps/v1"),
        ("kubernetes:apps/v1:Deploymnt", 'did you mean "Deployment"?'),
    ],
)
def test_a_kind_that_the_version_does_not_serve_is_refused(rendering: KubernetesProvider, type: str, told: str) -> None:
    [failure] = Resource(rendering, type).failures({"metadata": {"name": "a"}})
    assert told in failure.reason


def test_a_custom_kind_in_a_group_that_only_looks_built_in_is_custom(rendering: KubernetesProvider) -> None:
    resource = Resource(rendering, "kubernetes:apps.example.com/v1:Deployment").create(
        {"metadata": {"name": "a"}, "spec": {"x": 1}}
    )
    assert resource.outputs["__falaj"] == {"emulated": "manifest", "schema": "none"}
    assert Resource(rendering, "kubernetes:core/v1:ConfigMap").create(config_map({})).outputs["__falaj"] == {
        "emulated": "manifest"
    }


def test_files_sort_in_the_order_in_which_they_can_be_applied(rendering: KubernetesProvider, folder: Path) -> None:
    for number, (type, inputs) in enumerate(reversed(VALID.items())):
        Resource(rendering, type, f"r{number}").create(named(inputs))
    kinds = [yaml.safe_load(file.read_text())["kind"] for file in sorted(folder.iterdir())]
    order = {kind: kinds.index(kind) for kind in kinds}
    assert order["CustomResourceDefinition"] < order["Namespace"] < order["ServiceAccount"] < order["Deployment"]
    assert order["Role"] < order["RoleBinding"]
    assert order["ConfigMap"] < order["Deployment"] < order["HorizontalPodAutoscaler"] < order["NodePool"]


def test_only_the_owner_reads_manifests(rendering: KubernetesProvider, folder: Path) -> None:
    Resource(rendering, "kubernetes:core/v1:Secret").create(named(VALID["kubernetes:core/v1:Secret"]))
    [file] = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_two_resources_cannot_be_one_object(rendering: KubernetesProvider) -> None:
    first = Resource(rendering, "kubernetes:core/v1:ConfigMap", "first").create(config_map({"a": "1"}, name="c"))
    second = Resource(rendering, "kubernetes:core/v1:ConfigMap", "second")
    with pytest.raises(ProviderError, match=f"rendered already, from {first.urn}"):
        second.create(config_map({"a": "2"}, name="c"))
    assert first.refresh()


def test_a_preview_writes_nothing_and_tells_the_object(rendering: KubernetesProvider, folder: Path) -> None:
    seen = Resource(rendering, "kubernetes:apps/v1:Deployment").preview(deployment())
    assert seen["spec"]["replicas"] == 2
    assert not folder.exists()


def test_a_file_that_somebody_edited_is_drift(rendering: KubernetesProvider, folder: Path) -> None:
    resource = Resource(rendering, "kubernetes:apps/v1:Deployment").create(deployment(replicas=2))
    [file] = folder.iterdir()
    file.write_text(file.read_text().replace("replicas: 2", "replicas: 7"))
    assert resource.refresh()
    assert list(resource.diff(deployment(replicas=2)).detailed or ()) == ["spec.replicas"]
    resource.update(deployment(replicas=2))
    assert "replicas: 2" in file.read_text()


@pytest.mark.parametrize("text", ["{", "just text", "- a\n"])
def test_a_file_that_is_no_manifest_any_more_is_named(rendering: KubernetesProvider, folder: Path, text: str) -> None:
    resource = Resource(rendering, "kubernetes:core/v1:ConfigMap").create(config_map({"a": "1"}))
    [file] = folder.iterdir()
    file.write_text(text)
    with pytest.raises(ProviderError, match=f"{file.name}.*delete it to render it anew"):
        resource.refresh()


def test_what_a_killed_run_rendered_is_taken_back_and_what_others_did_is_not(
    rendering: KubernetesProvider, folder: Path
) -> None:
    killed = Resource(rendering, "kubernetes:core/v1:ConfigMap", "killed")
    inputs = killed.check(config_map({"a": "1"}, name="c"))
    assert not rendering.take_back(killed.urn, killed.type, killed.name, inputs)
    other = Resource(rendering, "kubernetes:core/v1:ConfigMap", "other").create(config_map({"a": "1"}, name="c"))
    assert not rendering.take_back(killed.urn, killed.type, killed.name, inputs)
    other.delete()
    killed.create(config_map({"a": "1"}, name="c"))
    assert rendering.take_back(killed.urn, killed.type, killed.name, inputs)
    assert list(folder.iterdir()) == []


def test_a_folder_of_choice_gets_the_manifests(tmp_path: Path) -> None:
    made = provider(tmp_path, renderYamlToDirectory=str(tmp_path / "chosen"))
    Resource(made, "kubernetes:core/v1:ConfigMap").create(config_map({"a": "1"}, name="c"))
    assert [file.name for file in (tmp_path / "chosen").iterdir()] == ["35-configmap_ml_c.yaml"]


names = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,6}[a-z0-9])?", fullmatch=True)
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
identities = st.builds(
    Identity,
    st.builds(Kind, st.sampled_from(["", "apps", "a.example"]), st.just("v1"), st.sampled_from(["Role", "Job"])),
    st.just("") | labels,
    names | st.just("system:node/..%"),
)


@given(one=identities, other=identities)
def test_two_objects_never_share_a_file(one: Identity, other: Identity) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)
    assert "/" not in file_name(one)


def test_a_long_name_still_makes_a_file() -> None:
    identity = Identity(Kind("apps", "v1", "Deployment"), "n" * 63, "a" * 253)
    assert len(file_name(identity)) <= 255


def test_the_same_object_is_the_same_text() -> None:
    one = {"kind": "A", "apiVersion": "v1", "spec": {"b": 1, "a": {"y": "no", "name": "x"}}}
    other = {"spec": {"a": {"name": "x", "y": "no"}, "b": 1}, "apiVersion": "v1", "kind": "A"}
    assert rendered(one) == rendered(other)
    assert rendered(one).splitlines() == [
        "apiVersion: v1",
        "kind: A",
        "spec:",
        "  a:",
        "    name: x",
        "    y: 'no'",
        "  b: 1",
    ]


def test_kubectl_reads_every_rendered_manifest(rendering: KubernetesProvider, folder: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on PATH")
    for number, (type, inputs) in enumerate(VALID.items()):
        Resource(rendering, type, f"r{number}").create(named(inputs))
    done = subprocess.run(
        [kubectl, "label", "--local", "-f", str(folder), "-o", "name", "checked=true"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == len(VALID)
