"""Checked inputs.  Guards: names that change by themselves, objects in the wrong namespace, secrets in clear text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.engine.values import UNKNOWN, Secret
from falaj.local.kubernetes.provider import KubernetesProvider
from tests.support.kubernetes_lifecycle import Resource, config_map, crd, deployment, provider

CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
SECRET = "kubernetes:core/v1:Secret"
WIDGET = "kubernetes:falaj.test/v1:Widget"


def metadata(inputs: dict[str, Any]) -> dict[str, Any]:
    found = inputs["metadata"]
    assert isinstance(found, dict)
    return found


def test_an_object_without_a_name_gets_one_and_is_marked(rendering: KubernetesProvider) -> None:
    checked = metadata(Resource(rendering, CONFIG_MAP, "settings").check(config_map({"a": "1"})))
    assert re.fullmatch(r"settings-[0-9a-f]{8}", checked["name"])
    assert checked["annotations"] == {"pulumi.com/autonamed": "true"}


def test_a_made_up_name_is_kept_and_another_seed_makes_another(rendering: KubernetesProvider) -> None:
    resource = Resource(rendering, CONFIG_MAP, "settings").create(config_map({"a": "1"}))
    assert metadata(resource.check(config_map({"a": "2"}), b"later")) == metadata(resource.inputs)
    fresh = Resource(rendering, CONFIG_MAP, "settings").check(config_map({"a": "1"}), b"later")
    assert metadata(fresh)["name"] != metadata(resource.inputs)["name"]


def test_a_name_that_the_program_gave_and_dropped_is_not_kept(rendering: KubernetesProvider) -> None:
    resource = Resource(rendering, CONFIG_MAP, "settings").create(config_map({"a": "1"}, name="fixed"))
    assert metadata(resource.check(config_map({"a": "1"})))["name"] != "fixed"


def test_own_annotations_stay_beside_the_mark(rendering: KubernetesProvider) -> None:
    inputs = {**config_map({}), "metadata": {"annotations": {"team": "fraud"}}}
    found = metadata(Resource(rendering, CONFIG_MAP).check(inputs))["annotations"]
    assert found == {"team": "fraud", "pulumi.com/autonamed": "true"}


def test_a_name_that_is_not_known_yet_is_not_made_up(rendering: KubernetesProvider) -> None:
    inputs = {**config_map({}), "metadata": {"name": UNKNOWN}}
    assert metadata(Resource(rendering, CONFIG_MAP).check(inputs)) == {"name": UNKNOWN}


def test_generated_names_are_refused(rendering: KubernetesProvider) -> None:
    inputs = {**config_map({}), "metadata": {"generateName": "a-"}}
    assert [f.property for f in Resource(rendering, CONFIG_MAP).failures(inputs)] == ["metadata.generateName"]


def test_the_namespace_of_the_provider_is_the_default_for_kinds_that_have_one(tmp_path: Path) -> None:
    ours = provider(tmp_path, namespace="fraud")
    assert metadata(Resource(ours, CONFIG_MAP).check({"metadata": {"name": "a"}}))["namespace"] == "fraud"
    assert metadata(Resource(ours, CONFIG_MAP).check(config_map({}, name="a")))["namespace"] == "ml"
    role = Resource(ours, "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole")
    assert "namespace" not in metadata(role.check({"metadata": {"name": "viewer"}}))
    pool = Resource(ours, "kubernetes:karpenter.sh/v1:NodePool")
    assert "namespace" not in metadata(pool.check({"metadata": {"name": "gpu"}, "spec": {}}))


@pytest.mark.parametrize(("scope", "namespace"), [("Namespaced", "fraud"), ("Cluster", None)])
def test_the_scope_of_a_custom_kind_is_learned_from_its_definition(
    tmp_path: Path, scope: str, namespace: str | None
) -> None:
    ours = provider(tmp_path, namespace="fraud")
    Resource(ours, "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition").check(crd(scope))
    assert metadata(Resource(ours, WIDGET).check({"metadata": {"name": "w"}, "spec": {}})).get("namespace") == namespace


def test_api_version_and_kind_follow_from_the_token(rendering: KubernetesProvider) -> None:
    checked = Resource(rendering, WIDGET).check({"metadata": {"name": "w"}, "spec": {"size": 1}})
    assert (checked["apiVersion"], checked["kind"]) == ("falaj.test/v1", "Widget")


def test_fields_that_only_the_server_sets_and_nulls_are_dropped(rendering: KubernetesProvider) -> None:
    inputs = {
        **config_map({"a": "1"}),
        "binaryData": None,
        "metadata": {"name": "a", "uid": "1", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": "Active"},
    }
    expected = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "1"}}
    assert Resource(rendering, CONFIG_MAP).check(inputs) == expected


def test_all_data_of_a_secret_is_secret(rendering: KubernetesProvider) -> None:
    inputs = {"metadata": {"name": "token"}, "stringData": {"password": "correct-horse"}, "type": "Opaque"}
    resource = Resource(rendering, SECRET).create(inputs)
    assert resource.inputs["stringData"] == Secret({"password": "correct-horse"})
    assert "correct-horse" not in repr(resource.inputs) + repr(resource.outputs)
    assert isinstance(resource.outputs["__inputs"]["stringData"], Secret)


def test_a_secret_value_inside_another_object_stays_secret_in_inputs_and_outputs(rendering: KubernetesProvider) -> None:
    resource = Resource(rendering, CONFIG_MAP).create(config_map({"url": Secret("correct-horse"), "port": "80"}))
    assert resource.inputs["data"] == {"url": Secret("correct-horse"), "port": "80"}
    assert resource.outputs["data"] == resource.outputs["__inputs"]["data"] == resource.inputs["data"]


def test_a_rejected_secret_value_is_not_shown(rendering: KubernetesProvider) -> None:
    inputs = {**deployment(), "spec": {**deployment()["spec"], "replicas": Secret("correct-horse")}}
    [failure] = Resource(rendering, DEPLOYMENT).failures(inputs)
    assert failure.property == "spec.replicas"
    assert "correct-horse" not in failure.reason
    assert "expected an integer" in failure.reason


def test_inputs_with_unknowns_are_judged_when_they_are_known(rendering: KubernetesProvider) -> None:
    inputs = {**deployment(), "spec": {**deployment()["spec"], "replicas": UNKNOWN, "bogus": True}}
    assert Resource(rendering, DEPLOYMENT).failures(inputs) == []


def test_what_was_accepted_once_is_not_validated_again(rendering: KubernetesProvider, tmp_path: Path) -> None:
    resource = Resource(rendering, CONFIG_MAP).create(config_map({"a": "1"}))
    (tmp_path / "again").mkdir()
    later = provider(tmp_path / "again")
    later.check(resource.urn, CONFIG_MAP, resource.name, resource.inputs, config_map({"a": "1"}), b"")
    assert later._backends == {}, "a back end was made for inputs that did not change"


texts = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12)
names = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


@given(data=st.dictionaries(names, texts, max_size=4), labels=st.dictionaries(names, names, max_size=3), name=names)
def test_checking_checked_inputs_changes_nothing(data: dict[str, str], labels: dict[str, str], name: str) -> None:
    made = provider(Path("unused"))
    inputs = {"metadata": {"labels": labels}, "data": data}
    first = made.check("urn:pulumi:local::p::t::n", CONFIG_MAP, name, {}, inputs, b"one")
    second = made.check("urn:pulumi:local::p::t::n", CONFIG_MAP, name, first.inputs, first.inputs, b"two")
    assert not first.failures
    assert second.inputs == first.inputs
