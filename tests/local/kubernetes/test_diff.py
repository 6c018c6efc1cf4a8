"""Differences.  Guards: an object replaced that could be updated, updated where the server refuses, or left behind."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.engine.provider import Changes, DiffKind
from falaj.engine.values import UNKNOWN
from falaj.local.kubernetes.provider import KubernetesProvider
from tests.support.kubernetes_lifecycle import Resource, config_map, deployment, pod_template, provider

CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"


def changed(inputs: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(inputs)
    *parents, last = path.split(".")
    at: Any = made
    for key in parents:
        at = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
    at[last] = value
    return made


def test_the_same_inputs_differ_in_nothing(rendering: KubernetesProvider) -> None:
    resource = Resource(rendering, DEPLOYMENT).create(deployment())
    assert resource.diff(deployment()).changes is Changes.NONE


def test_a_changed_field_is_an_update_by_its_path(rendering: KubernetesProvider) -> None:
    resource = Resource(rendering, DEPLOYMENT).create(deployment())
    result = resource.diff(deployment(replicas=3))
    assert (result.changes, result.replaces) == (Changes.SOME, ())
    assert {path: d.kind for path, d in (result.detailed or {}).items()} == {"spec.replicas": DiffKind.UPDATE}


JOB = {"metadata": {"name": "train"}, "spec": {"template": pod_template(), "completions": 2}}
JOB["spec"]["template"]["spec"]["restartPolicy"] = "Never"
STATEFUL_SET = {
    "metadata": {"name": "db"},
    "spec": {"serviceName": "db", "selector": {"matchLabels": {"app": "api"}}, "template": pod_template()},
}
PVC = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
BINDING = {
    "metadata": {"name": "viewer"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "viewer"},
}
SERVICE = {"metadata": {"name": "api"}, "spec": {"ports": [{"port": 80}], "clusterIP": "10.0.0.7"}}
STORAGE_CLASS = {"metadata": {"name": "gp3"}, "provisioner": "ebs.csi.aws.com", "parameters": {"type": "gp3"}}


@pytest.mark.parametrize(
    ("type", "inputs", "path", "value"),
    [
        (DEPLOYMENT, deployment(), "metadata.name", "other"),
        (DEPLOYMENT, deployment(), "metadata.namespace", "other"),
        (DEPLOYMENT, deployment(), "spec.selector.matchLabels.tier", "gpu"),
        ("kubernetes:apps/v1:StatefulSet", STATEFUL_SET, "spec.serviceName", "other"),
        ("kubernetes:apps/v1:DaemonSet", STATEFUL_SET, "spec.selector.matchLabels.a", "b"),
        ("kubernetes:batch/v1:Job", JOB, "spec.template.spec.containers.0.image", "registry.local/api@sha256:1"),
        ("kubernetes:batch/v1:Job", JOB, "spec.completionMode", "Indexed"),
        ("kubernetes:core/v1:PersistentVolumeClaim", PVC, "spec.storageClassName", "gp3"),
        ("kubernetes:core/v1:Service", SERVICE, "spec.clusterIP", "None"),
        ("kubernetes:rbac.authorization.k8s.io/v1:RoleBinding", BINDING, "roleRef.name", "editor"),
        ("kubernetes:storage.k8s.io/v1:StorageClass", STORAGE_CLASS, "parameters.type", "io2"),
        (CONFIG_MAP, config_map({"a": "1"}, "c"), "data.a", "2"),
        ("kubernetes:core/v1:Secret", {"metadata": {"name": "s"}, "stringData": {"a": "1"}}, "stringData.a", "2"),
    ],
)
def test_what_the_server_cannot_change_is_replaced(
    type: str, inputs: dict[str, Any], path: str, value: Any, tmp_path: Path
) -> None:
    # `diff` alone is asked: whether the schemas accept these is another matter.
    made = provider(tmp_path)
    old = made.check("urn:pulumi:local::p::t::n", type, "n", {}, inputs, b"").inputs
    new = made.check("urn:pulumi:local::p::t::n", type, "n", {}, changed(inputs, path, value), b"").inputs
    result = made.diff("urn:pulumi:local::p::t::n", type, "id", old, old, new, ())
    assert result.replaces == (path.partition(".")[0],)


@pytest.mark.parametrize(
    ("type", "inputs", "path", "value"),
    [
        (DEPLOYMENT, deployment(), "spec.template.spec.containers.0.image", "registry.local/api@sha256:1"),
        (DEPLOYMENT, deployment(), "metadata.labels.team", "fraud"),
        ("kubernetes:apps/v1:StatefulSet", STATEFUL_SET, "spec.replicas", 3),
        ("kubernetes:batch/v1:Job", JOB, "spec.suspend", True),
        ("kubernetes:core/v1:Service", SERVICE, "spec.type", "NodePort"),
        ("kubernetes:falaj.test/v1:Widget", {"metadata": {"name": "w"}, "spec": {"data": 1}}, "spec.data", 2),
    ],
)
def test_everything_else_is_updated_in_place(
    type: str, inputs: dict[str, Any], path: str, value: Any, tmp_path: Path
) -> None:
    made = provider(tmp_path)
    old = made.check("urn:pulumi:local::p::t::n", type, "n", {}, inputs, b"").inputs
    new = made.check("urn:pulumi:local::p::t::n", type, "n", {}, changed(inputs, path, value), b"").inputs
    result = made.diff("urn:pulumi:local::p::t::n", type, "id", old, old, new, ())
    assert (result.changes, result.replaces) == (Changes.SOME, ())


def test_with_mutable_config_maps_only_immutable_ones_are_replaced(tmp_path: Path) -> None:
    made = provider(tmp_path, enableConfigMapMutable="true")
    plain = Resource(made, CONFIG_MAP, "plain").create(config_map({"a": "1"}))
    assert plain.diff(config_map({"a": "2"})).replaces == ()
    fixed = Resource(made, CONFIG_MAP, "fixed").create({**config_map({"a": "1"}), "immutable": True})
    assert fixed.diff({**config_map({"a": "2"}), "immutable": True}).replaces == ("data",)
    assert fixed.diff(config_map({"a": "1"})).replaces == ("immutable",)


def test_the_old_goes_first_only_where_both_would_have_one_name(rendering: KubernetesProvider) -> None:
    fixed = Resource(rendering, CONFIG_MAP, "fixed").create(config_map({"a": "1"}, name="c"))
    assert fixed.diff(config_map({"a": "2"}, name="c")).delete_before_replace
    assert not fixed.diff(config_map({"a": "2"}, name="d")).delete_before_replace
    elsewhere = {**config_map({"a": "2"}, name="c"), "metadata": {"name": "c", "namespace": "other"}}
    assert not fixed.diff(elsewhere).delete_before_replace
    made_up = Resource(rendering, CONFIG_MAP, "made-up").create(config_map({"a": "1"}))
    result = made_up.diff(config_map({"a": "2"}))
    assert (result.replaces, result.delete_before_replace) == (("data",), False)


def test_no_namespace_and_the_default_one_are_the_same(rendering: KubernetesProvider) -> None:
    resource = Resource(rendering, CONFIG_MAP).create({"metadata": {"name": "a"}})
    assert resource.diff({"metadata": {"name": "a", "namespace": "default"}}).changes is Changes.NONE
    assert resource.diff({"metadata": {"name": "a", "namespace": "other"}}).replaces == ("metadata",)


def test_quantities_are_compared_as_amounts(tmp_path: Path) -> None:
    def quota(cpu: Any, memory: str) -> dict[str, Any]:
        return {"metadata": {"name": "q"}, "spec": {"hard": {"limits.cpu": cpu, "limits.memory": memory}}}

    resource = Resource(provider(tmp_path), "kubernetes:core/v1:ResourceQuota").create(quota("1000m", "1Gi"))
    assert resource.diff(quota(1, "1024Mi")).changes is Changes.NONE
    assert list(resource.diff(quota("1001m", "1024Mi")).detailed or ()) == ['spec.hard["limits.cpu"]']


def test_an_unknown_value_counts_as_changed_and_as_replacement_where_it_could_be_one(
    rendering: KubernetesProvider,
) -> None:
    resource = Resource(rendering, DEPLOYMENT).create(deployment())
    assert resource.diff(changed(deployment(), "spec.replicas", UNKNOWN)).replaces == ()
    assert resource.diff(changed(deployment(), "spec.selector", UNKNOWN)).replaces == ("spec",)


def test_ignored_changes_are_left_out(rendering: KubernetesProvider) -> None:
    resource = Resource(rendering, DEPLOYMENT).create(deployment())
    assert resource.diff(deployment(replicas=9), ignore=("spec.replicas",)).changes is Changes.NONE


def test_what_the_server_adds_is_no_difference(rendering: KubernetesProvider) -> None:
    resource = Resource(rendering, DEPLOYMENT).create(deployment())
    resource.outputs["spec"] = {**resource.outputs["spec"], "progressDeadlineSeconds": 600, "replicas": 2}
    resource.outputs["status"] = {"replicas": 2}
    assert resource.diff(deployment()).changes is Changes.NONE


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("abc", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(spec=st.dictionaries(st.text("abc", min_size=1, max_size=2), values, max_size=4))
def test_any_custom_resource_differs_from_itself_in_nothing(spec: dict[str, Any]) -> None:
    made = provider(Path("unused"))
    type, urn = "kubernetes:falaj.test/v1:Widget", "urn:pulumi:local::p::t::n"
    checked = made.check(urn, type, "n", {}, {"metadata": {"name": "w"}, "spec": spec}, b"").inputs
    assert made.diff(urn, type, "w", checked, {}, checked, ()).changes is Changes.NONE
    assert made.diff(urn, type, "w", checked, {}, changed(dict(checked), "spec.added", 1), ()).changes is Changes.SOME
