"""Manifests as Pulumi resources: the typed class of a built-in kind, a custom resource for any other.

The base of every component that declares Kubernetes objects.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from components.base import PlatformComponent
from manifests.objects import Manifest

_GROUP_MODULES: Mapping[str, str] = {
    "apps": "apps",
    "autoscaling": "autoscaling",
    "batch": "batch",
    "networking.k8s.io": "networking",
    "policy": "policy",
    "rbac.authorization.k8s.io": "rbac",
    "scheduling.k8s.io": "scheduling",
    "storage.k8s.io": "storage",
    "admissionregistration.k8s.io": "admissionregistration",
}
"""API group -> module of pulumi_kubernetes, imported when the first object of the group is declared: each is large."""


class KubernetesComponent(PlatformComponent):
    """Parent of Kubernetes objects."""

    def declare(
        self,
        manifest: Manifest,
        *,
        depends_on: Sequence[pulumi.Resource] = (),
        logical_name: str = "",
    ) -> pulumi.CustomResource:
        """Declare one object as this component's child.

        Its logical name is ``<namespace->name``; the kind is in the type, so two kinds may share it.
        """
        metadata = manifest["metadata"]
        namespace = metadata.get("namespace", "")
        name = logical_name or (f"{namespace}-{metadata['name']}" if namespace else metadata["name"])
        options = self.child_opts(depends_on=list(depends_on))
        body = {key: value for key, value in manifest.items() if key not in ("apiVersion", "kind")}
        group, _, version = manifest["apiVersion"].rpartition("/")
        module = "core" if not group else _GROUP_MODULES.get(group)
        if module is None:
            from pulumi_kubernetes import apiextensions

            custom: pulumi.CustomResource = apiextensions.CustomResource(
                name,
                api_version=manifest["apiVersion"],
                kind=manifest["kind"],
                metadata=metadata,
                spec=body.get("spec"),
                opts=options,
            )
            return custom
        typed = getattr(importlib.import_module(f"pulumi_kubernetes.{module}.{version}"), manifest["kind"])
        made: pulumi.CustomResource = typed(name, opts=options, **_arguments(body))
        return made

    def declare_all(
        self, manifests: Sequence[Manifest], *, depends_on: Sequence[pulumi.Resource] = ()
    ) -> list[pulumi.CustomResource]:
        """Declare objects in the order given."""
        return [self.declare(manifest, depends_on=depends_on) for manifest in manifests]


def _arguments(body: Mapping[str, Any]) -> dict[str, Any]:
    """Top-level fields under the names of the class's parameters: ``roleRef`` is ``role_ref``."""
    return {"".join(f"_{c.lower()}" if c.isupper() else c for c in key): value for key, value in body.items()}
