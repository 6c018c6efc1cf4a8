"""A manifest becomes the typed resource of its kind, unchanged, as a child of its component."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from components.kubernetes_objects import KubernetesComponent
from manifests.objects import Manifest, manifest
from tests.support.recorder import Registered, record

DEPLOYMENT = manifest(
    "apps/v1",
    "Deployment",
    "web",
    namespace="shop",
    labels={"app.kubernetes.io/name": "web"},
    annotations={"falaj.dev/some-note": "kept_as it is"},
    spec={
        "replicas": 2,
        "selector": {"matchLabels": {"snake_case": "stays"}},
        "template": {
            "metadata": {"labels": {"snake_case": "stays"}},
            "spec": {
                "containers": [
                    {
                        "name": "main",
                        "image": "registry/web",
                        "livenessProbe": {"httpGet": {"path": "/live", "port": 8080}},
                        "resources": {"limits": {"nvidia.com/gpu": "1"}},
                        "securityContext": {"readOnlyRootFilesystem": True},
                    }
                ],
                "topologySpreadConstraints": [
                    {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
                ],
            },
        },
    },
)
ROLE_BINDING = manifest(
    "rbac.authorization.k8s.io/v1",
    "RoleBinding",
    "reader",
    namespace="shop",
    roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
    subjects=[{"kind": "Group", "name": "viewers", "apiGroup": "rbac.authorization.k8s.io"}],
)
POLICY = manifest(
    "networking.k8s.io/v1",
    "NetworkPolicy",
    "allow",
    namespace="shop",
    spec={"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
)
NODE_POOL = manifest("karpenter.sh/v1", "NodePool", "gpu", spec={"limits": {"nvidia.com/gpu": "4"}})
CONFIG = manifest("v1", "ConfigMap", "settings", namespace="shop", data={"SOME_KEY": "1", "other.key": "2"})


def declared(*manifests: Manifest) -> list[Registered]:
    def program() -> None:
        KubernetesComponent("falaj:kubernetes:Test", "test").declare_all(manifests)

    return [resource for resource in record(program).resources if resource.custom]


@pytest.mark.parametrize("given", [DEPLOYMENT, ROLE_BINDING, POLICY, NODE_POOL, CONFIG], ids=lambda m: m["kind"])
def test_arrives_as_it_was_written(given: Manifest) -> None:
    [resource] = declared(given)
    assert resource.inputs == given


@pytest.mark.parametrize(
    ("given", "token"),
    [
        (DEPLOYMENT, "kubernetes:apps/v1:Deployment"),
        (ROLE_BINDING, "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding"),
        (NODE_POOL, "kubernetes:karpenter.sh/v1:NodePool"),
        (CONFIG, "kubernetes:core/v1:ConfigMap"),
    ],
)
def test_has_the_token_of_its_kind(given: Manifest, token: str) -> None:
    [resource] = declared(given)
    assert resource.type == token


def test_two_namespaces_may_hold_one_name() -> None:
    other: dict[str, Any] = {**CONFIG, "metadata": {**CONFIG["metadata"], "namespace": "office"}}
    assert [resource.name for resource in declared(CONFIG, other)] == ["shop-settings", "office-settings"]


def test_a_value_that_only_a_deployment_knows_is_put_in_its_place() -> None:
    def program() -> None:
        host = pulumi.Output.from_input("db.example")
        KubernetesComponent("falaj:kubernetes:Test", "test").declare({**CONFIG, "data": {"HOST": host}})

    [resource] = [resource for resource in record(program).resources if resource.custom]
    assert resource.inputs["data"] == {"HOST": "db.example"}
