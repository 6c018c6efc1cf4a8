"""Kinds of objects: what a type token names, which kinds live in a namespace.

Sources: `kubectl api-resources` of Kubernetes 1.34 for scopes, pulumi-kubernetes 4 for the form of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from falaj.engine.provider import ProviderError
from falaj.engine.values import Properties

PACKAGE: Final = "kubernetes"


@dataclass(frozen=True, slots=True)
class Kind:
    """Group ("" is core), version and kind of an object."""

    group: str
    version: str
    name: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def is_builtin(self) -> bool:
        """Whether the API server itself serves the group; any other kind needs a CustomResourceDefinition."""
        return self.group in BUILTIN_GROUPS

    def __str__(self) -> str:
        return f"{self.api_version} {self.name}"


BUILTIN_GROUPS: Final = frozenset(
    {"", "apps", "autoscaling", "batch", "extensions", "policy"}
    | {
        f"{name}.k8s.io"
        for name in (
            "admissionregistration",
            "apiextensions",
            "apiregistration",
            "auditregistration",
            "authentication",
            "authorization",
            "certificates",
            "coordination",
            "discovery",
            "events",
            "flowcontrol.apiserver",
            "internal.apiserver",
            "networking",
            "node",
            "rbac.authorization",
            "resource",
            "scheduling",
            "settings",
            "storage",
            "storagemigration",
        )
    }
)

CRD: Final = ("apiextensions.k8s.io", "CustomResourceDefinition")

_CLUSTER_SCOPED: Final = frozenset(
    {
        ("", "ComponentStatus"),
        ("", "Namespace"),
        ("", "Node"),
        ("", "PersistentVolume"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        CRD,
        ("apiregistration.k8s.io", "APIService"),
        ("authentication.k8s.io", "SelfSubjectReview"),
        ("authentication.k8s.io", "TokenReview"),
        ("authorization.k8s.io", "SelfSubjectAccessReview"),
        ("authorization.k8s.io", "SelfSubjectRulesReview"),
        ("authorization.k8s.io", "SubjectAccessReview"),
        ("certificates.k8s.io", "CertificateSigningRequest"),
        ("certificates.k8s.io", "ClusterTrustBundle"),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
        ("internal.apiserver.k8s.io", "StorageVersion"),
        ("networking.k8s.io", "IPAddress"),
        ("networking.k8s.io", "IngressClass"),
        ("networking.k8s.io", "ServiceCIDR"),
        ("node.k8s.io", "RuntimeClass"),
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("resource.k8s.io", "DeviceClass"),
        ("resource.k8s.io", "DeviceTaintRule"),
        ("resource.k8s.io", "ResourceSlice"),
        ("scheduling.k8s.io", "PriorityClass"),
        ("storage.k8s.io", "CSIDriver"),
        ("storage.k8s.io", "CSINode"),
        ("storage.k8s.io", "StorageClass"),
        ("storage.k8s.io", "VolumeAttachment"),
        ("storage.k8s.io", "VolumeAttributesClass"),
        ("storagemigration.k8s.io", "StorageVersionMigration"),
    }
)

_CLUSTER_SCOPED_CUSTOM: Final = frozenset(
    {
        ("cert-manager.io", "ClusterIssuer"),
        ("karpenter.k8s.aws", "EC2NodeClass"),
        ("karpenter.kwok.sh", "KWOKNodeClass"),
        ("karpenter.sh", "NodeClaim"),
        ("karpenter.sh", "NodeOverlay"),
        ("karpenter.sh", "NodePool"),
        ("kueue.x-k8s.io", "ClusterQueue"),
        ("kueue.x-k8s.io", "ResourceFlavor"),
        ("kueue.x-k8s.io", "WorkloadPriorityClass"),
        ("trainer.kubeflow.org", "ClusterTrainingRuntime"),
    }
)
"""Custom kinds of the platform that no namespace holds; those of other operators are learned from their CRD."""


def is_namespaced(kind: Kind) -> bool | None:
    """Whether objects of the kind live in a namespace; None for a custom kind that nothing is known of."""
    key = (kind.group, kind.name)
    if kind.is_builtin:
        return key not in _CLUSTER_SCOPED
    return False if key in _CLUSTER_SCOPED_CUSTOM else None


def kind_of(token: str) -> Kind:
    """The kind that a type token names: ``kubernetes:apps/v1:Deployment``.

    Raises ProviderError for a token of another form, and for what only the official plugin can do: what it expands into
    objects on the user's machine (charts as ``Chart``, YAML files, kustomizations).
    """
    package, _, rest = token.partition(":")
    module, _, name = rest.rpartition(":")
    if package != PACKAGE or not module or not name:
        raise ProviderError(f"type {token}: expected kubernetes:<group>/<version>:<Kind>")
    group, _, version = module.rpartition("/")
    if group in ("helm.sh", "yaml", "kustomize"):
        raise ProviderError(
            f"type {token}: charts, YAML files and kustomizations are expanded by the official plugin only; declare "
            "the objects themselves"
        )
    return Kind("" if group == "core" else group, version, name)


def refusal(kind: Kind, inputs: Properties) -> str | None:
    """Why a kind cannot be a resource of the local provider: lists, and patches of objects owned by others."""
    if kind.name.endswith("List") and (kind.is_builtin or "items" in inputs):
        return f"a {kind.name} cannot be a resource; declare the objects in it one by one"
    given = inputs.get("kind")
    is_patch = kind.name.endswith("Patch")
    if is_patch and (kind.is_builtin or (isinstance(given, str) and kind.name == f"{given}Patch")):
        return (
            f"{kind.name} changes an object that somebody else owns, which the local provider never does; declare the "
            f"{kind.name.removesuffix('Patch')} itself, or import it"
        )
    return None
