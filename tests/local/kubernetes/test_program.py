"""A whole program with the official SDK and the embedded engine, rendered.

Guards: a second run that changes something, secrets in the state, objects that outlive their resource.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from falaj.engine.errors import DeploymentError
from tests.support.kubernetes_program import KubernetesProgram

PROGRAM = """
config = pulumi.Config()
ns = k8s.core.v1.Namespace("fraud", metadata=ObjectMetaArgs(name="fraud"))
home = ns.metadata.name
settings = k8s.core.v1.ConfigMap(
    "settings", metadata=ObjectMetaArgs(namespace=home), data={"threshold": config.get("threshold") or "0.5"}
)
k8s.core.v1.Secret(
    "token", metadata=ObjectMetaArgs(name="token", namespace=home),
    string_data={"password": pulumi.Output.secret("correct-horse")},
)
api = k8s.apps.v1.Deployment(
    "api",
    metadata=ObjectMetaArgs(name="api", namespace=home),
    spec=k8s.apps.v1.DeploymentSpecArgs(
        replicas=config.get_int("replicas") or 2,
        selector=LabelSelectorArgs(match_labels={"app": "api"}),
        template=k8s.core.v1.PodTemplateSpecArgs(
            metadata=ObjectMetaArgs(labels={"app": "api"}),
            spec=k8s.core.v1.PodSpecArgs(
                containers=[
                    k8s.core.v1.ContainerArgs(
                        name="api",
                        image="registry.local/api@sha256:0",
                        env_from=[
                            k8s.core.v1.EnvFromSourceArgs(
                                config_map_ref=k8s.core.v1.ConfigMapEnvSourceArgs(name=settings.metadata.name)
                            )
                        ],
                    )
                ]
            ),
        ),
    ),
)
k8s.apiextensions.CustomResource(
    "pool", api_version="karpenter.sh/v1", kind="NodePool", metadata={"name": "gpu"},
    spec={"weight": 10, "limits": {"cpu": 64}},
)
k8s.apiextensions.v1.CustomResourceDefinition(
    "widgets",
    metadata={"name": "widgets.falaj.test"},
    spec={
        "group": "falaj.test",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{
            "name": "v1", "served": True, "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object", "x_kubernetes_preserve_unknown_fields": True}},
        }],
    },
)
pulumi.export("settings", settings.metadata.name)
pulumi.export("image", api.spec.template.spec.containers[0].image)
"""


@pytest.fixture
def program(tmp_path: Path) -> KubernetesProgram:
    made = KubernetesProgram(tmp_path / "project")
    made.write(PROGRAM)
    return made


def manifest(program: KubernetesProgram, ending: str) -> dict[str, Any]:
    [name] = [name for name in program.files() if name.endswith(ending)]
    found = yaml.safe_load((program.falaj_dir / "local" / "manifests" / "local" / name).read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
def test_a_program_lives_its_whole_life_as_manifests(program: KubernetesProgram) -> None:
    assert program.run("up") == {"create": 7}  # six objects and the Stack
    settings = program.stack.outputs()["settings"]
    assert program.files() == [
        "00-customresourcedefinition.apiextensions.k8s.io_widgets.falaj.test.yaml",
        "05-namespace_fraud.yaml",
        f"35-configmap_fraud_{settings}.yaml",
        "35-secret_fraud_token.yaml",
        "50-deployment.apps_fraud_api.yaml",
        "80-nodepool.karpenter.sh_gpu.yaml",
    ]
    assert program.stack.outputs()["image"] == "registry.local/api@sha256:0"
    versions = manifest(program, "widgets.falaj.test.yaml")["spec"]["versions"]
    assert versions[0]["schema"]["openAPIV3Schema"]["x-kubernetes-preserve-unknown-fields"] is True

    assert program.run("up") == {}
    assert program.run("refresh") == {}

    program.config = {"replicas": "3"}
    assert program.run("up") == {"update": 1}
    assert manifest(program, "deployment.apps_fraud_api.yaml")["spec"]["replicas"] == 3

    # Another ConfigMap under another name; the Deployment that names it rolls over; the old one goes last.
    program.config["threshold"] = "0.9"
    assert program.run("up") == {"replace": 1, "update": 1}
    renamed = program.stack.outputs()["settings"]
    assert renamed != settings
    assert [name for name in program.files() if "configmap" in name] == [f"35-configmap_fraud_{renamed}.yaml"]
    container = manifest(program, "deployment.apps_fraud_api.yaml")["spec"]["template"]["spec"]["containers"][0]
    assert container["envFrom"] == [{"configMapRef": {"name": renamed}}]

    program.run("destroy")
    assert program.files() == []
    assert program.resources() == {}


@pytest.mark.slow
def test_the_state_is_what_the_official_plugin_takes_over_and_holds_no_secret_in_clear_text(
    program: KubernetesProgram,
) -> None:
    program.run("up")
    api = program.resources()["api"]
    assert api.id == "fraud/api"
    assert api.outputs["__initialApiVersion"] == "apps/v1"
    assert api.outputs["__fieldManager"].startswith("pulumi-kubernetes-")
    assert api.outputs["__inputs"] == api.inputs
    assert program.resources()["pool"].id == "gpu"
    assert "correct-horse" not in json.dumps(program.stack.export_state())
    assert manifest(program, "secret_fraud_token.yaml")["stringData"] == {"password": "correct-horse"}


@pytest.mark.slow
def test_a_manifest_that_was_deleted_or_edited_by_hand_is_found_and_repaired(program: KubernetesProgram) -> None:
    program.run("up")
    folder = program.falaj_dir / "local" / "manifests" / "local"
    deployed = folder / "50-deployment.apps_fraud_api.yaml"
    pool = folder / "80-nodepool.karpenter.sh_gpu.yaml"
    before = deployed.read_text()
    deployed.unlink()
    pool.write_text(pool.read_text().replace("weight: 10", "weight: 99"))
    assert program.run("up", refresh=True) == {"create": 1, "update": 1}
    assert deployed.read_text() == before
    assert manifest(program, "nodepool.karpenter.sh_gpu.yaml")["spec"]["weight"] == 10


@pytest.mark.slow
def test_an_invalid_manifest_fails_before_anything_is_made(tmp_path: Path) -> None:
    program = KubernetesProgram(tmp_path / "project")
    text = 'k8s.core.v1.Service("api", metadata={"name": "api"}, spec={"ports": [{"port": "http"}], "portz": 1})\n'
    with pytest.raises(DeploymentError):
        program.run("up", text)
    assert "spec.ports[0].port" in program.errors()
    assert 'expected an integer, got "http"' in program.errors()
    assert 'unknown field "portz"; did you mean "ports"?' in program.errors()
    assert program.files() == []


@pytest.mark.slow
def test_what_only_the_official_plugin_does_is_refused_by_name(tmp_path: Path) -> None:
    program = KubernetesProgram(tmp_path / "project")
    text = 'k8s.apps.v1.DeploymentPatch("api", metadata={"name": "api"}, spec={"replicas": 2})\n'
    with pytest.raises(DeploymentError):
        program.run("up", text)
    assert "DeploymentPatch changes an object that somebody else owns" in program.errors()
