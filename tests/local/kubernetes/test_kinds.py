"""Type tokens.  Guards: an object applied as another kind, or in a place where its kind cannot be."""

from __future__ import annotations

import pytest

from falaj.engine.provider import ProviderError
from falaj.local.kubernetes.kinds import Kind, is_namespaced, kind_of, refusal


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("kubernetes:core/v1:ConfigMap", Kind("", "v1", "ConfigMap")),
        ("kubernetes:apps/v1:Deployment", Kind("apps", "v1", "Deployment")),
        ("kubernetes:networking.k8s.io/v1:NetworkPolicy", Kind("networking.k8s.io", "v1", "NetworkPolicy")),
        ("kubernetes:karpenter.sh/v1:NodePool", Kind("karpenter.sh", "v1", "NodePool")),
        ("kubernetes:v1:ConfigMap", Kind("", "v1", "ConfigMap")),
    ],
)
def test_a_token_names_a_kind(token: str, kind: Kind) -> None:
    assert kind_of(token) == kind


def test_the_core_group_has_no_name_in_an_api_version() -> None:
    assert kind_of("kubernetes:core/v1:Pod").api_version == "v1"
    assert kind_of("kubernetes:apps/v1:Deployment").api_version == "apps/v1"


@pytest.mark.parametrize("token", ["kubernetes:helm.sh/v3:Chart", "kubernetes:yaml/v2:ConfigGroup", "kubernetes:Pod"])
def test_what_is_no_object_is_refused_by_name(token: str) -> None:
    with pytest.raises(ProviderError, match=token):
        kind_of(token)


@pytest.mark.parametrize(
    ("token", "inputs", "told"),
    [
        ("kubernetes:core/v1:ConfigMapList", {"items": []}, "one by one"),
        ("kubernetes:falaj.test/v1:WidgetList", {"items": []}, "one by one"),
        ("kubernetes:apps/v1:DeploymentPatch", {"kind": "Deployment"}, "somebody else owns"),
        ("kubernetes:falaj.test/v1:WidgetPatch", {"kind": "Widget"}, "somebody else owns"),
    ],
)
def test_lists_and_patches_are_refused(token: str, inputs: dict[str, object], told: str) -> None:
    assert told in str(refusal(kind_of(token), inputs))


@pytest.mark.parametrize("name", ["AllowList", "SecurityPatch"])
def test_a_custom_kind_may_be_called_list_or_patch(name: str) -> None:
    assert refusal(kind_of(f"kubernetes:falaj.test/v1:{name}"), {"kind": name, "spec": {}}) is None


@pytest.mark.parametrize(
    ("token", "namespaced"),
    [
        ("kubernetes:core/v1:Namespace", False),
        ("kubernetes:rbac.authorization.k8s.io/v1:ClusterRole", False),
        ("kubernetes:rbac.authorization.k8s.io/v1:Role", True),
        ("kubernetes:karpenter.sh/v1:NodePool", False),
        ("kubernetes:falaj.test/v1:Widget", None),
    ],
)
def test_scope_is_known_for_built_in_kinds_and_those_of_the_platform(token: str, namespaced: bool | None) -> None:
    assert is_namespaced(kind_of(token)) is namespaced
