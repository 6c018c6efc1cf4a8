"""What the API server itself refuses in tenants' namespaces, whoever asks.

The policy packs judge what the program declares; a tenant's pods come from notebooks and pipelines that no pack sees.
Written as a ValidatingAdmissionPolicy, which the API server evaluates on its own: no webhook that can be down.
"""

from __future__ import annotations

from typing import Final

from manifests.objects import TENANT_LABEL, Manifest, labels, manifest

NAME: Final = "falaj-tenants"
_API: Final = "admissionregistration.k8s.io/v1"

_CONTAINERS: Final = "containers", "initContainers", "ephemeralContainers"


def tenant_admission(registry: str) -> list[Manifest]:
    """Images of tenants come from the account's own registry by digest, and their services take nobody's traffic.

    ``registry``: host and prefix of the account's repositories, upstream mirrors included.
    """
    selector = {"matchExpressions": [{"key": TENANT_LABEL, "operator": "Exists"}]}
    policy = manifest(
        _API,
        "ValidatingAdmissionPolicy",
        NAME,
        labels=labels(NAME, "tenancy"),
        spec={
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": selector,
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["pods", "pods/ephemeralcontainers", "services"],
                    }
                ],
            },
            "variables": [{"name": "foreign", "expression": _foreign(registry)}],
            "validations": [
                {
                    "expression": "variables.foreign.size() == 0",
                    "messageExpression": (
                        f"'image ' + variables.foreign[0] + ' is not one of {registry}/ by digest (@sha256:...); "
                        "push or mirror it there and name its digest'"
                    ),
                    "reason": "Forbidden",
                },
                {
                    # The addresses of others: whoever sets them gets their traffic (CVE-2020-8554).
                    "expression": "object.kind != 'Service' || dyn(object.spec).?externalIPs.orValue([]).size() == 0",
                    "message": "spec.externalIPs takes traffic that is meant for others; leave it out",
                    "reason": "Forbidden",
                },
            ],
        },
    )
    binding = manifest(
        _API,
        "ValidatingAdmissionPolicyBinding",
        NAME,
        labels=labels(NAME, "tenancy"),
        spec={"policyName": NAME, "validationActions": ["Deny"]},
    )
    return [policy, binding]


def _foreign(registry: str) -> str:
    """CEL for the images of a pod that are not the registry's by digest; none for a service."""
    listed = [f"object.spec.?{kind}.orValue([]).map(c, c.image)" for kind in _CONTAINERS]
    own = f"i.startsWith('{registry}/') && i.matches('@sha256:[0-9a-f]{{64}}$')"
    return f"object.kind != 'Pod' ? [] : ({' + '.join(listed)}).filter(i, !({own}))"
