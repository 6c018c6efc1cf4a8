"""Who may talk to whom: every namespace starts with nobody, and then names the connections that are needed.

Policies add up: ``default-deny`` selects every pod and allows nothing, the others add what their names say.  Nodes are
not pods: kubelets reach the pods of their own node whatever a policy says, so probes need no allowance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from manifests.objects import (
    LABEL_PREFIX,
    OBSERVABILITY_NAMESPACE,
    PLATFORM_NAMESPACE,
    SYSTEM_NAMESPACE,
    TENANT_LABEL,
    Manifest,
    labels,
    manifest,
)

TENANT_FACING: Final = {f"{LABEL_PREFIX}/tenant-facing": "true"}
"""Label of the platform's pods that tenants may call: feature server, router, model registry..."""

DENY_ALL: Final = "default-deny"
HTTPS_PORT: Final = 443
DNS_PORT: Final = 53
POD_IDENTITY_AGENT: Final = "169.254.170.23/32"
POD_IDENTITY_PORT: Final = 80
"""Where a pod gets the credentials of its role (EKS user guide, how EKS Pod Identity works).  The neighbouring metadata
service of the node, 169.254.169.254, is in no allowance."""
KUBERNETES_API_ADDRESSES: Final = ("10.100.0.1/32", "172.20.0.1/32")
"""Service address of the Kubernetes API: the first of whichever of its two ranges EKS chose (EKS user guide, service
IPv4 range).  Policies are judged before the address is translated to the control plane's own."""
NODE_PORTS: Final = (9100, 9400, 10250)
"""What Prometheus reads on nodes: node exporter, NVIDIA DCGM exporter, kubelet."""

NEVER_PUBLIC: Final = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
"""Private, carrier-grade and link-local ranges (RFC 1918, RFC 6598, RFC 3927)."""

Peer = dict[str, Any]


@dataclass(frozen=True)
class Surroundings:
    """Addresses outside the cluster's pod network, as CIDR blocks.

    ``node_cidrs``: subnets of the nodes.  ``data_cidrs``: databases, caches and brokers, with the ports of their data
    and those on which they show metrics.
    ``endpoint_cidrs``: subnets of the VPC endpoints and of the Kubernetes API's interfaces.  ``service_cidrs``: AWS
    services behind gateway endpoints (S3, DynamoDB), which have public addresses; empty stands for any public address,
    on HTTPS: AWS changes these addresses, a list that has gone stale is an outage, and routes, endpoint policies and
    the egress firewall decide behind the policy what such a packet reaches.
    """

    node_cidrs: tuple[str, ...]
    data_cidrs: tuple[str, ...]
    data_ports: tuple[int, ...]
    endpoint_cidrs: tuple[str, ...]
    data_metrics_ports: tuple[int, ...] = ()
    service_cidrs: tuple[str, ...] = ()


def default_deny(namespace: str) -> Manifest:
    """Selects every pod and allows nothing, in or out."""
    return _policy(namespace, DENY_ALL, policyTypes=["Ingress", "Egress"])


def tenant_policies(namespace: str, around: Surroundings) -> list[Manifest]:
    """A tenant's pods talk to each other, to the platform's services and to AWS; nobody else calls them."""
    return [
        default_deny(namespace),
        _policy(
            namespace,
            "allow-cluster",
            ingress=[{"from": [_SAME_NAMESPACE, _PROMETHEUS]}],
            egress=[_DNS, {"to": [_SAME_NAMESPACE, _pods(PLATFORM_NAMESPACE, TENANT_FACING)]}],
        ),
        _aws(namespace, around),
    ]


def platform_policies(around: Surroundings) -> list[Manifest]:
    """The platform's services talk to each other, to their databases and to AWS; tenants call those meant for them."""
    return [
        default_deny(PLATFORM_NAMESPACE),
        _policy(
            PLATFORM_NAMESPACE,
            "allow-cluster",
            # From observability: scrapes, and Alertmanager's calls to the controllers that act on alerts.
            ingress=[{"from": [_SAME_NAMESPACE, _namespace(OBSERVABILITY_NAMESPACE)]}],
            egress=[_DNS, {"to": [_SAME_NAMESPACE]}],
        ),
        _policy(PLATFORM_NAMESPACE, "allow-tenants", selected=TENANT_FACING, ingress=[{"from": [_ANY_TENANT]}]),
        _aws(PLATFORM_NAMESPACE, around, databases=True),
    ]


def observability_policies(around: Surroundings) -> list[Manifest]:
    """Prometheus reads metrics everywhere; the platform's services query it; the API server calls its operator."""
    sources = [_to_blocks(around.node_cidrs, NODE_PORTS)]
    if around.data_metrics_ports:
        sources.append(_to_blocks(around.data_cidrs, around.data_metrics_ports))
    return [
        default_deny(OBSERVABILITY_NAMESPACE),
        _policy(
            OBSERVABILITY_NAMESPACE,
            "allow-cluster",
            ingress=[{"from": [_SAME_NAMESPACE, _namespace(PLATFORM_NAMESPACE), *_blocks(around.endpoint_cidrs)]}],
            egress=[_DNS, {"to": [{"namespaceSelector": {}}]}, *sources],
        ),
        _aws(OBSERVABILITY_NAMESPACE, around),
    ]


def controller_policies(namespace: str, around: Surroundings) -> list[Manifest]:
    """A controller of others watches the Kubernetes API, which calls its webhooks; Prometheus reads its metrics."""
    api_server = _blocks(around.endpoint_cidrs)
    return [
        default_deny(namespace),
        _policy(
            namespace,
            "allow-cluster",
            ingress=[{"from": [_SAME_NAMESPACE, _PROMETHEUS, *api_server]}],
            egress=[
                _DNS,
                {"to": [_SAME_NAMESPACE]},
                {"to": [*api_server, *_blocks(KUBERNETES_API_ADDRESSES)], "ports": _tcp(HTTPS_PORT)},
            ],
        ),
    ]


def _aws(namespace: str, around: Surroundings, *, databases: bool = False) -> Manifest:
    """AWS by HTTPS, the Kubernetes API, the pod's own credentials; with ``databases`` the data subnets too."""
    peers = _blocks((*around.endpoint_cidrs, *KUBERNETES_API_ADDRESSES, *around.service_cidrs))
    if not around.service_cidrs:
        peers.append({"ipBlock": {"cidr": "0.0.0.0/0", "except": list(NEVER_PUBLIC)}})
    egress = [{"to": peers, "ports": _tcp(HTTPS_PORT)}, _to_blocks([POD_IDENTITY_AGENT], [POD_IDENTITY_PORT])]
    if databases and around.data_ports:
        egress.append(_to_blocks(around.data_cidrs, around.data_ports))
    return _policy(namespace, "allow-aws", egress=egress)


def _policy(namespace: str, name: str, *, selected: Mapping[str, str] | None = None, **rules: list[Any]) -> Manifest:
    types = [kind for key, kind in (("ingress", "Ingress"), ("egress", "Egress")) if key in rules]
    selector = {"matchLabels": dict(selected)} if selected else {}
    return manifest(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        name,
        namespace=namespace,
        labels=labels(name, "tenancy"),
        spec={"podSelector": selector, "policyTypes": types, **rules},
    )


def _namespace(name: str) -> Peer:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _pods(namespace: str, match_labels: Mapping[str, str]) -> Peer:
    return {**_namespace(namespace), "podSelector": {"matchLabels": dict(match_labels)}}


def _blocks(cidrs: Sequence[str]) -> list[Peer]:
    return [{"ipBlock": {"cidr": cidr}} for cidr in cidrs]


def _tcp(*ports: int) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def _to_blocks(cidrs: Sequence[str], ports: Sequence[int]) -> dict[str, Any]:
    """A rule with no peers would allow every destination, so there must be some."""
    if not cidrs:
        raise ValueError("a network policy rule without addresses allows every address; give at least one CIDR block")
    return {"to": _blocks(cidrs), "ports": _tcp(*ports)}


_SAME_NAMESPACE: Final[Peer] = {"podSelector": {}}
_ANY_TENANT: Final[Peer] = {"namespaceSelector": {"matchExpressions": [{"key": TENANT_LABEL, "operator": "Exists"}]}}
_PROMETHEUS: Final = _pods(OBSERVABILITY_NAMESPACE, {"app.kubernetes.io/name": "prometheus"})
_DNS: Final[dict[str, Any]] = {
    "to": [_pods(SYSTEM_NAMESPACE, {"k8s-app": "kube-dns"})],
    "ports": [{"protocol": protocol, "port": DNS_PORT} for protocol in ("UDP", "TCP")],
}
