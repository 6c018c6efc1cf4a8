"""What a read takes over.  Guards: drift that nobody sees, and drift reported where only the spelling differs."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.engine.values import Secret
from falaj.local.kubernetes.manifests import (
    field_manager,
    imported_inputs,
    observed_inputs,
    quantity,
    same_value,
    scrubbed,
    to_manifest,
    to_properties,
    with_values_of,
)

values = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.text("abc", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.text("abc", min_size=1, max_size=2), values, max_size=4)


@given(inputs=objects, live=objects)
def test_an_object_that_did_not_change_has_not_drifted(inputs: dict[str, Any], live: dict[str, Any]) -> None:
    assert observed_inputs(inputs, live, live) == inputs


@given(inputs=objects, added=st.dictionaries(st.text("xyz", min_size=1, max_size=2), values, max_size=3))
def test_what_others_add_is_no_drift(inputs: dict[str, Any], added: dict[str, Any]) -> None:
    assert observed_inputs(inputs, inputs, {**inputs, **added}) == inputs


def test_a_changed_field_is_drift_and_nothing_beside_it() -> None:
    inputs = {"spec": {"replicas": 2, "template": {"containers": [{"name": "api", "image": "a"}]}}}
    before = {"spec": {**inputs["spec"], "strategy": {"type": "RollingUpdate"}}}
    now = {
        "spec": {
            "replicas": 5,
            "template": {"containers": [{"name": "api", "image": "b", "imagePullPolicy": "Always"}]},
            "strategy": {"type": "RollingUpdate"},
        }
    }
    expected = {"spec": {"replicas": 5, "template": {"containers": [{"name": "api", "image": "b"}]}}}
    assert observed_inputs(inputs, before, now) == expected


def test_a_removed_field_is_drift() -> None:
    assert observed_inputs({"a": 1, "b": 2}, {"a": 1, "b": 2}, {"b": 2}) == {"b": 2}


def test_what_the_server_never_showed_is_no_drift() -> None:
    inputs = {"stringData": {"password": "x"}, "ingress": []}
    assert observed_inputs(inputs, {"data": {"password": "eA=="}}, {"data": {"password": "eA=="}}) == inputs


def test_an_item_that_somebody_added_to_a_list_is_drift() -> None:
    inputs = {"ports": [{"port": 80}]}
    now = {"ports": [{"port": 80, "protocol": "TCP"}, {"port": 81}]}
    assert observed_inputs(inputs, inputs, now) == {"ports": [{"port": 80}, {"port": 81}]}


def test_drift_back_to_what_was_declared_is_no_drift() -> None:
    assert observed_inputs({"cpu": "1000m"}, {"cpu": "2"}, {"cpu": "1"}) == {"cpu": "1000m"}


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("1000m", 1, True),
        ("1Gi", "1024Mi", True),
        ("0.5", "500m", True),
        ("1G", "1Gi", False),
        ("1e3", "1000", False),  # an exponent is left to the server
        (None, [], True),
        (None, 0, False),
        (None, False, False),
        (True, 1, False),
        ("api", "API", False),
        ([{"a": "1"}], [{"a": 1}], True),
    ],
)
def test_values_mean_the_same_as_the_server_sees_them(left: Any, right: Any, same: bool) -> None:
    assert same_value(left, right) is same
    assert same_value(right, left) is same


@given(amount=st.integers(0, 10**6))
def test_suffixes_of_quantities_are_powers(amount: int) -> None:
    assert quantity(f"{amount}Mi") == amount * 2**20
    assert quantity(f"{amount}k") == amount * 1000
    assert quantity(f"{amount}m") * 1000 == amount


def test_keys_of_crd_schemas_are_spelled_as_each_side_has_them() -> None:
    properties = {"spec": {"versions": [{"schema": {"x_kubernetes_preserve_unknown_fields": True, "x_other": 1}}]}}
    manifest = to_manifest(properties)
    assert manifest == {
        "spec": {"versions": [{"schema": {"x-kubernetes-preserve-unknown-fields": True, "x_other": 1}}]}
    }
    assert to_properties({**manifest, "metadata": {"name": "a", "managedFields": []}}) == {
        **properties,
        "metadata": {"name": "a"},
    }


def test_inputs_of_an_import_are_what_somebody_could_have_declared() -> None:
    live = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "a",
            "uid": "1",
            "resourceVersion": "2",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
        },
        "data": {"a": "1"},
        "status": {},
    }
    expected = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "1"}}
    assert imported_inputs(live) == expected


def test_the_field_manager_is_kept_for_life() -> None:
    made = field_manager("urn:a", {}, {})
    assert made == field_manager("urn:a", {}, {}) != field_manager("urn:b", {}, {})
    assert field_manager("urn:renamed", {"__fieldManager": made}, {}) == made
    own = {"metadata": {"annotations": {"pulumi.com/patchFieldManager": "gitops"}}}
    assert field_manager("urn:a", {"__fieldManager": made}, own) == "gitops"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("spec.replicas", {"spec": {"replicas": 5, "ports": [{"port": 80}, {"port": 81}], "gone": 1}}),
        ("spec.ports[0].port", {"spec": {"replicas": 2, "ports": [{"port": 8080}, {"port": 81}], "gone": 1}}),
        ("spec.ports[*].port", {"spec": {"replicas": 2, "ports": [{"port": 8080}, {"port": 8081}], "gone": 1}}),
        ("spec.gone", {"spec": {"replicas": 2, "ports": [{"port": 80}, {"port": 81}]}}),
        ("spec.added", {"spec": {"replicas": 2, "ports": [{"port": 80}, {"port": 81}], "gone": 1}}),
        ("spec.replicas.deeper", {"spec": {"replicas": 2, "ports": [{"port": 80}, {"port": 81}], "gone": 1}}),
        ("spec.ports[7].port", {"spec": {"replicas": 2, "ports": [{"port": 80}, {"port": 81}], "gone": 1}}),
    ],
)
def test_ignored_values_are_those_of_the_live_object(path: str, expected: dict[str, Any]) -> None:
    manifest = {"spec": {"replicas": 2, "ports": [{"port": 80}, {"port": 81}], "gone": 1}}
    live = {"spec": {"replicas": 5, "ports": [{"port": 8080}, {"port": 8081}], "added": True}}
    assert with_values_of(live, manifest, [path]) == expected
    assert manifest["spec"]["replicas"] == 2, "the manifest itself is left alone"


def test_secrets_are_taken_out_of_messages_also_in_base64() -> None:
    encoded = base64.b64encode(b"correct-horse").decode()
    secret = {"apiVersion": "v1", "kind": "Secret", "stringData": {"password": "correct-horse"}}
    text = f"data: Invalid value: correct-horse ({encoded})"
    assert scrubbed(text, secret) == "data: Invalid value: [secret] ([secret])"
    assert scrubbed(text, {"spec": [Secret("correct-horse")]}) == "data: Invalid value: [secret] ([secret])"
    assert scrubbed(text, {"spec": ["correct-horse"]}) == text
