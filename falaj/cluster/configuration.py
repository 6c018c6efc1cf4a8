"""What each program of the control plane is told: flags and configuration files.  Pure.

Everything listens on 127.0.0.1 only, with certificates of the cluster's own authority; nobody is let in without one.
Figures without another source are those of the measured set-up: 2,000 pods on 250 nodes with two cores.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from falaj.cluster.certificates import Authority, Identity

LOOPBACK: Final = "127.0.0.1"
SERVICE_RANGE: Final = "10.96.0.0/16"
SERVICE_ADDRESS: Final = "10.96.0.1"
"""Address of the service ``kubernetes``: the first of the range."""
ISSUER: Final = "https://kubernetes.default.svc.cluster.local"

ETCD, API_SERVER = "etcd", "kube-apiserver"
CONTROLLER_MANAGER, SCHEDULER = "kube-controller-manager", "kube-scheduler"
KWOK, KARPENTER = "kwok", "karpenter"

PORTS: Final = ("api", "etcd", "etcd-peer", "controller-manager", "scheduler", "kwok", "karpenter", "karpenter-metrics")

ADMISSION_PLUGINS: Final = (
    "NodeRestriction",
    "PodSecurity",
    "ResourceQuota",
    "LimitRanger",
    "ServiceAccount",
    "NamespaceLifecycle",
    "Priority",
    "RuntimeClass",
    "DefaultTolerationSeconds",
    "TaintNodesByCondition",
    "StorageObjectInUseProtection",
    "PersistentVolumeClaimResize",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
)
"""Named one by one, though most are on by default: the platform's guarantees rest on them."""

ADMINISTRATOR: Final = Identity("administrator", "falaj:administrator", groups=("system:masters",))
KARPENTER_USER, KWOK_USER = "falaj:karpenter", "falaj:kwok"

_CLIENT_QPS, _CLIENT_BURST = 300, 600
_NODE_GRACE_SECONDS: Final = 3_600
_AUDIT_LOG_MEBIBYTES: Final = 50
_ENCRYPTION_KEY_BYTES: Final = 32


@dataclass(frozen=True)
class Layout:
    """Where things lie under the directory of a cluster."""

    directory: Path

    @property
    def authority(self) -> Authority:
        return Authority(self.directory / "pki")

    @property
    def kubeconfig(self) -> Path:
        """Of the administrator."""
        return self.directory / "kubeconfig"

    @property
    def data(self) -> Path:
        return self.directory / "etcd"

    @property
    def audit_log(self) -> Path:
        return self.directory / "logs" / "audit.log"

    def config(self, name: str) -> Path:
        return self.directory / "config" / name

    def client_config(self, name: str) -> Path:
        """Kubeconfig of a program."""
        return self.directory / "config" / f"{name}.kubeconfig"


def identities() -> tuple[Identity, ...]:
    """Every certificate of a cluster."""
    return (
        Identity("etcd", "etcd", addresses=(LOOPBACK, "localhost"), both=True),
        Identity("etcd-client", "kube-apiserver"),
        Identity(
            "apiserver",
            "kube-apiserver",
            addresses=(
                LOOPBACK,
                SERVICE_ADDRESS,
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
            ),
        ),
        Identity("controller-manager-serving", "kube-controller-manager", addresses=(LOOPBACK, "localhost")),
        Identity("scheduler-serving", "kube-scheduler", addresses=(LOOPBACK, "localhost")),
        ADMINISTRATOR,
        *(Identity(name, user) for name, user in CLIENTS.items()),
    )


CLIENTS: Final[Mapping[str, str]] = {
    CONTROLLER_MANAGER: "system:kube-controller-manager",
    SCHEDULER: "system:kube-scheduler",
    KWOK: KWOK_USER,
    KARPENTER: KARPENTER_USER,
}
"""Program -> the user it is to the API server."""


def etcd_command(program: Path, layout: Layout, ports: Mapping[str, int]) -> tuple[str, ...]:
    """One member.  Without fsync a power cut may cost the data, and a start takes one second instead of several."""
    certificate, key = layout.authority.paths("etcd")
    client, peer = (f"https://{LOOPBACK}:{ports[name]}" for name in ("etcd", "etcd-peer"))
    trust = str(layout.authority.certificate_path)
    return (
        str(program),
        "--name=falaj",
        f"--data-dir={layout.data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=falaj={peer}",
        "--unsafe-no-fsync",
        "--auto-compaction-retention=5m",
        "--log-level=warn",
        f"--cert-file={certificate}",
        f"--key-file={key}",
        f"--trusted-ca-file={trust}",
        "--client-cert-auth",
        f"--peer-cert-file={certificate}",
        f"--peer-key-file={key}",
        f"--peer-trusted-ca-file={trust}",
        "--peer-client-cert-auth",
    )


def api_server_command(program: Path, layout: Layout, ports: Mapping[str, int]) -> tuple[str, ...]:
    """RBAC, no anonymous requests, an audit log, encryption of secrets, the admission plug-ins above."""
    certificate, key = layout.authority.paths("apiserver")
    etcd_certificate, etcd_key = layout.authority.paths("etcd-client")
    trust = layout.authority.certificate_path
    return (
        str(program),
        f"--bind-address={LOOPBACK}",
        f"--advertise-address={LOOPBACK}",
        f"--secure-port={ports['api']}",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={key}",
        f"--client-ca-file={trust}",
        "--anonymous-auth=false",
        "--authorization-mode=Node,RBAC",
        f"--enable-admission-plugins={','.join(ADMISSION_PLUGINS)}",
        # Pod Security decides, per namespace; without this the server would refuse privileged pods before it is asked.
        "--allow-privileged=true",
        f"--etcd-servers=https://{LOOPBACK}:{ports['etcd']}",
        f"--etcd-cafile={trust}",
        f"--etcd-certfile={etcd_certificate}",
        f"--etcd-keyfile={etcd_key}",
        f"--encryption-provider-config={layout.config('encryption.json')}",
        f"--audit-policy-file={layout.config('audit-policy.json')}",
        f"--audit-log-path={layout.audit_log}",
        "--audit-log-mode=batch",
        f"--audit-log-maxsize={_AUDIT_LOG_MEBIBYTES}",
        "--audit-log-maxbackup=1",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={layout.authority.service_account_public_path}",
        f"--service-account-signing-key-file={layout.authority.service_account_key_path}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        # A service may not have an endpoint on loopback, so the server's own is left out instead of refused for ever.
        "--endpoint-reconciler-type=none",
        # Two cores, one user: fair queueing costs more than it shares out.
        "--enable-priority-and-fairness=false",
        "--max-requests-inflight=800",
        "--max-mutating-requests-inflight=400",
        "--shutdown-delay-duration=0",
        "--profiling=false",
    )


def controller_manager_command(program: Path, layout: Layout, ports: Mapping[str, int]) -> tuple[str, ...]:
    """All controllers, each as its own service account."""
    certificate, key = layout.authority.paths("controller-manager-serving")
    client = layout.client_config(CONTROLLER_MANAGER)
    trust = layout.authority.certificate_path
    return (
        str(program),
        f"--bind-address={LOOPBACK}",
        f"--secure-port={ports['controller-manager']}",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={key}",
        f"--kubeconfig={client}",
        f"--authentication-kubeconfig={client}",
        # It is told whom to trust; looking it up would find no front proxy, and log that for ever.
        "--authentication-skip-lookup=true",
        f"--authorization-kubeconfig={client}",
        f"--client-ca-file={trust}",
        f"--root-ca-file={trust}",
        f"--service-account-private-key-file={layout.authority.service_account_key_path}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        # A simulated node has no kubelet that could fail: late heartbeats say only that this machine is busy, or that
        # the API server was away, and kwok would never make the pods of such a node ready again.
        f"--node-monitor-grace-period={_NODE_GRACE_SECONDS}s",
        f"--kube-api-qps={_CLIENT_QPS}",
        f"--kube-api-burst={_CLIENT_BURST}",
        "--profiling=false",
    )


def scheduler_command(program: Path, layout: Layout, ports: Mapping[str, int]) -> tuple[str, ...]:
    """The default profile; clients and leader election are in its configuration file."""
    certificate, key = layout.authority.paths("scheduler-serving")
    client = layout.client_config(SCHEDULER)
    return (
        str(program),
        f"--bind-address={LOOPBACK}",
        f"--secure-port={ports['scheduler']}",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={key}",
        f"--config={layout.config('scheduler.json')}",
        f"--authentication-kubeconfig={client}",
        "--authentication-skip-lookup=true",
        f"--authorization-kubeconfig={client}",
        f"--client-ca-file={layout.authority.certificate_path}",
    )


def scheduler_configuration(layout: Layout) -> dict[str, Any]:
    """KubeSchedulerConfiguration."""
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "enableProfiling": False,
        "clientConnection": {
            "kubeconfig": str(layout.client_config(SCHEDULER)),
            "qps": _CLIENT_QPS,
            "burst": _CLIENT_BURST,
        },
    }


def encryption_configuration(key: bytes) -> dict[str, Any]:
    """Secrets are written with ``key`` (32 bytes, XSalsa20-Poly1305); what was written before is still read."""
    if len(key) != _ENCRYPTION_KEY_BYTES:
        raise ValueError(f"an encryption key has {_ENCRYPTION_KEY_BYTES} bytes, not {len(key)}")
    secretbox = {"keys": [{"name": "local", "secret": base64.b64encode(key).decode()}]}
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": [{"secretbox": secretbox}, {"identity": {}}]}],
    }


def audit_policy(*, enabled: bool = True) -> dict[str, Any]:
    """What the audit log holds: every change and every refusal, the bodies of access rules, never the body of a secret.

    The reads and heartbeats of the control plane itself are left out, and the bodies of the rules that the server makes
    at its start: they would be all but everything.
    """
    head = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}
    if not enabled:
        return {**head, "rules": [{"level": "None"}]}
    own = [*CLIENTS.values(), "system:apiserver"]
    return {
        **head,
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "nonResourceURLs": ["/healthz*", "/readyz*", "/livez*", "/version", "/openapi/*"]},
            {"level": "None", "users": own, "verbs": ["get", "list", "watch"]},
            {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"], "verbs": ["get", "list", "watch"]},
            {
                "level": "None",
                "users": [KWOK_USER],
                "resources": [
                    {"group": "", "resources": ["nodes/status", "pods/status", "events"]},
                    {"group": "coordination.k8s.io", "resources": ["leases"]},
                ],
            },
            {"level": "Metadata", "users": ["system:apiserver"]},
            {
                "level": "Metadata",
                "resources": [
                    {"group": "", "resources": ["secrets", "configmaps", "serviceaccounts/token"]},
                    {"group": "authentication.k8s.io", "resources": ["tokenreviews"]},
                ],
            },
            {
                "level": "RequestResponse",
                "verbs": ["create", "update", "patch", "delete", "deletecollection"],
                "resources": [{"group": "rbac.authorization.k8s.io"}],
            },
            {"level": "Metadata"},
        ],
    }
