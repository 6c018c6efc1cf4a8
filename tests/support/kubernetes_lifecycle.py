"""Drives the local ``kubernetes`` provider as the engine does, one resource at a time; manifests to drive it with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from falaj.engine.provider import CheckFailure, DiffResult
from falaj.local.kubernetes.provider import KubernetesProvider

STACK = "local"


def provider(falaj_dir: Path, **settings: Any) -> KubernetesProvider:
    """A configured provider."""
    made = KubernetesProvider(falaj_dir)
    made.configure("urn:pulumi:local::falaj::pulumi:providers:kubernetes::cluster", "provider-id", settings)
    return made


@dataclass
class Resource:
    """One resource under test: what a state file would hold of it."""

    provider: KubernetesProvider
    type: str
    name: str = "res"
    id: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def urn(self) -> str:
        return f"urn:pulumi:{STACK}::falaj::{self.type}::{self.name}"

    def failures(self, inputs: dict[str, Any]) -> list[CheckFailure]:
        return list(self.provider.check(self.urn, self.type, self.name, self.inputs, inputs, b"seed").failures)

    def check(self, inputs: dict[str, Any], seed: bytes = b"seed") -> dict[str, Any]:
        """Checked inputs; fails the test when the provider rejects any."""
        result = self.provider.check(self.urn, self.type, self.name, self.inputs, inputs, seed)
        assert not result.failures, result.failures
        return dict(result.inputs)

    def preview(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if not self.id:
            return dict(self.provider.create(self.urn, self.type, self.name, self.check(inputs), 0, True).outputs)
        return dict(self._updated(self.check(inputs), 0, True))

    def create(self, inputs: dict[str, Any], timeout_seconds: float = 0) -> Resource:
        checked = self.check(inputs)
        created = self.provider.create(self.urn, self.type, self.name, checked, timeout_seconds, False)
        assert created.id
        self.id, self.inputs, self.outputs = created.id, checked, dict(created.outputs)
        return self

    def diff(self, inputs: dict[str, Any], ignore: tuple[str, ...] = ()) -> DiffResult:
        checked = self.check(inputs)
        return self.provider.diff(self.urn, self.type, self.id, self.inputs, self.outputs, checked, ignore)

    def update(self, inputs: dict[str, Any], timeout_seconds: float = 0) -> Resource:
        checked = self.check(inputs)
        self.outputs = dict(self._updated(checked, timeout_seconds, False))
        self.inputs = checked
        return self

    def _updated(self, checked: dict[str, Any], timeout_seconds: float, preview: bool) -> Any:
        old = self.inputs, self.outputs
        return self.provider.update(self.urn, self.type, self.id, *old, checked, timeout_seconds, (), preview)

    def refresh(self) -> bool:
        """Takes over what is found; whether there was anything."""
        found = self.provider.read(self.urn, self.type, self.name, self.id, self.inputs, self.outputs)
        if not found.id:
            return False
        self.outputs = dict(found.outputs)
        if found.inputs is not None:
            self.inputs = dict(found.inputs)
        return True

    def delete(self, timeout_seconds: float = 0) -> None:
        self.provider.delete(self.urn, self.type, self.id, self.inputs, self.outputs, timeout_seconds)


def path(plural: str, name: str = "", group: str = "api/v1", namespace: str = "ml") -> str:
    """Where an object lies on the server; without a name, where all of a kind do."""
    return f"/{group}/namespaces/{namespace}/{plural}/{name}".rstrip("/")


APPS = "apis/apps/v1"


def pod_template(image: str = "registry.local/api@sha256:0", **container: Any) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": "api"}},
        "spec": {"containers": [{"name": "api", "image": image, **container}]},
    }


def deployment(
    replicas: int = 2, *, name: str | None = "api", image: str = "registry.local/api@sha256:0"
) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        **({"metadata": {"name": name, "namespace": "ml"}} if name else {"metadata": {"namespace": "ml"}}),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "api"}},
            "template": pod_template(image),
        },
    }


def config_map(data: dict[str, str], name: str | None = None) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ml"} if name else {"namespace": "ml"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def crd(scope: str = "Namespaced") -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.falaj.test"},
        "spec": {
            "group": "falaj.test",
            "scope": scope,
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "spec": {"type": "object", "x_kubernetes_preserve_unknown_fields": True},
                            },
                        }
                    },
                }
            ],
        },
    }
