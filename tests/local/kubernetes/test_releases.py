"""Helm releases, in the state alone.  Guards: a chart that is said to run, and one that changes at every run."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from falaj.engine.provider import Changes, ProviderError
from falaj.engine.values import UNKNOWN, Secret
from falaj.local.kubernetes.provider import KubernetesProvider
from falaj.local.kubernetes.releases import INPUTS, RELEASE
from tests.support.kubernetes_lifecycle import Resource, provider

CHART = {"chart": "oci://registry.example.org/karpenter", "version": "1.14.1", "name": "karpenter"}


def test_a_release_is_marked_and_never_said_to_be_deployed(rendering: KubernetesProvider, folder: Path) -> None:
    release = Resource(rendering, RELEASE).create({**CHART, "namespace": "kube-system"})
    assert release.id == "kube-system/karpenter"
    assert release.outputs["__falaj"]["emulated"] == "state"
    assert release.outputs["status"] == {
        "chart": CHART["chart"],
        "name": "karpenter",
        "namespace": "kube-system",
        "revision": 1,
        "status": "unknown",
        "version": "1.14.1",
    }
    assert not folder.exists(), "nothing is rendered"


def test_an_unchanged_release_does_not_change(rendering: KubernetesProvider) -> None:
    inputs = {**CHART, "values": {"replicas": 2, "settings": {"clusterName": "falaj"}}}
    release = Resource(rendering, RELEASE).create(inputs)
    assert release.refresh()
    assert release.diff(inputs).changes is Changes.NONE


def test_new_values_are_an_update_and_a_revision(rendering: KubernetesProvider) -> None:
    release = Resource(rendering, RELEASE).create({**CHART, "values": {"replicas": 1}})
    changed = {**CHART, "values": {"replicas": 2}}
    found = release.diff(changed)
    assert (found.changes, list(found.diffs), list(found.replaces)) == (Changes.SOME, ["values"], [])
    assert release.update(changed).outputs["status"]["revision"] == 2
    assert release.outputs["__falaj"]["emulated"] == "state"


@pytest.mark.parametrize("key", ["name", "namespace"])
def test_another_name_or_namespace_is_another_release(rendering: KubernetesProvider, key: str) -> None:
    release = Resource(rendering, RELEASE).create(CHART)
    assert list(release.diff({**CHART, key: "other"}).replaces) == [key]


def test_a_release_without_a_name_keeps_the_one_that_it_got(rendering: KubernetesProvider) -> None:
    release = Resource(rendering, RELEASE, "metrics").create({"chart": "x"})
    assert release.inputs["name"].startswith("metrics-")
    assert release.check({"chart": "x"}, b"later")["name"] == release.inputs["name"]


def test_the_providers_namespace_is_the_default(tmp_path: Path) -> None:
    made = provider(tmp_path, namespace="ml")
    assert Resource(made, RELEASE).check(CHART)["namespace"] == "ml"
    assert Resource(made, RELEASE).check({**CHART, "namespace": "own"})["namespace"] == "own"


@pytest.mark.parametrize(
    ("inputs", "at", "told"),
    [
        ({"name": "x"}, "chart", "missing; name the chart"),
        ({**CHART, "charts": 1}, "charts", "unknown input of a release"),
        ({**CHART, "name": "Karpenter"}, "name", "lower-case letters"),
        ({**CHART, "name": "k" * 54}, "name", "at most 53"),
        ({**CHART, "namespace": "Kube_System"}, "namespace", ""),
        ({**CHART, "values": "replicas: 2"}, "values", "expected an object"),
    ],
)
def test_what_helm_would_not_take_is_refused(
    rendering: KubernetesProvider, inputs: dict[str, object], at: str, told: str
) -> None:
    (found,) = Resource(rendering, RELEASE).failures(inputs)
    assert found.property == at
    assert told in found.reason


def test_secret_values_stay_secret(rendering: KubernetesProvider) -> None:
    release = Resource(rendering, RELEASE).create({**CHART, "values": {"password": Secret("s3cret")}})
    assert isinstance(release.outputs["values"]["password"], Secret)


def test_a_preview_with_unknown_values_tells_what_it_knows(rendering: KubernetesProvider) -> None:
    shown = Resource(rendering, RELEASE).preview({**CHART, "values": {"queue": UNKNOWN}})
    assert shown["values"] == {"queue": UNKNOWN}
    assert "status" not in shown


def test_nothing_is_asked_of_a_cluster(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], "
        "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}], users: [{name: u, user: {token: t}}]}"
    )
    release = Resource(provider(tmp_path, kubeconfig=str(kubeconfig)), RELEASE).create(CHART)
    assert release.refresh()
    release.delete()
    assert release.outputs["__falaj"]["emulated"] == "state"


def test_an_import_has_nothing_to_read(rendering: KubernetesProvider) -> None:
    with pytest.raises(ProviderError, match="cannot be imported"):
        rendering.read("urn", RELEASE, "res", "kube-system/karpenter", {}, {})


def test_known_inputs_are_those_of_the_sdk() -> None:
    from pulumi_kubernetes.helm.v3 import ReleaseArgs

    parameters = [name for name in inspect.signature(ReleaseArgs.__init__).parameters if name != "__self__"]
    spelled = {"disable_crd_hooks": "disableCRDHooks"}
    camel = {spelled.get(name) or _camel(name) for name in parameters}
    assert camel == INPUTS


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
