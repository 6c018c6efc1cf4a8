"""Kubernetes resources by name, and what each rule says of them: more fixtures of test_rules.py."""

from __future__ import annotations

import copy
from typing import Any

from policies.verdict import UNKNOWN
from tests.policies.cases import C, Case, N, U, V

DEPLOYMENT, DAEMON_SET, POD = (
    "kubernetes:apps/v1:Deployment",
    "kubernetes:apps/v1:DaemonSet",
    "kubernetes:core/v1:Pod",
)
CRON_JOB, JOB = "kubernetes:batch/v1:CronJob", "kubernetes:batch/v1:Job"
SELDON = "kubernetes:machinelearning.seldon.io/v1:SeldonDeployment"
RUNTIME = "kubernetes:trainer.kubeflow.org/v1alpha1:ClusterTrainingRuntime"
NAMESPACE, SERVICE = "kubernetes:core/v1:Namespace", "kubernetes:core/v1:Service"
INGRESS, POLICY = "kubernetes:networking.k8s.io/v1:Ingress", "kubernetes:networking.k8s.io/v1:NetworkPolicy"
ROLE, CLUSTER_ROLE, BINDING = (
    f"kubernetes:rbac.authorization.k8s.io/v1:{kind}" for kind in ("Role", "ClusterRole", "ClusterRoleBinding")
)
ACCOUNT, CONFIG_MAP = "kubernetes:core/v1:ServiceAccount", "kubernetes:core/v1:ConfigMap"

IMAGE = f"123456789012.dkr.ecr.me-central-1.amazonaws.com/falaj-dev/platform@sha256:{'0' * 64}"


def container(**changes: Any) -> dict[str, Any]:
    """A container with nothing to object to; ``changes`` replace fields, None removes one."""
    made: dict[str, Any] = {
        "name": "main",
        "image": IMAGE,
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}},
        "livenessProbe": {"httpGet": {"path": "/", "port": 8080}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    made.update(changes)
    return {key: value for key, value in made.items() if value is not None}


def secured(**changes: Any) -> dict[str, Any]:
    """The container with another security context; None removes a field of it."""
    made = copy.deepcopy(container())
    context = {**made["securityContext"], **changes}
    made["securityContext"] = {key: value for key, value in context.items() if value is not None}
    return made


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"containers": list(containers) or [container()], **spec}


def template(spec: Any) -> dict[str, Any]:
    """A Deployment and everything else whose pods are under ``spec.template``."""
    return {"spec": {"template": {"spec": spec}}}


def seldon(spec: Any) -> dict[str, Any]:
    return {"spec": {"predictors": [{"componentSpecs": [{"spec": spec}]}]}}


def runtime(spec: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"replicatedJobs": [{"name": "node", "template": template(spec)}]}}}}


def enforcing(level: Any, warned: Any = "restricted") -> dict[str, Any]:
    labels = {"pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/warn": warned}
    return {"metadata": {"name": "n", "labels": labels}}


def role(group: Any, resources: Any, verbs: Any, **more: Any) -> dict[str, Any]:
    return {"rules": [{"apiGroups": [group], "resources": resources, "verbs": verbs, **more}]}


def binding(role_name: Any, subject: Any = "falaj:risk:viewers") -> dict[str, Any]:
    return {"roleRef": {"kind": "ClusterRole", "name": role_name}, "subjects": [{"kind": "Group", "name": subject}]}


def balancer(**annotations: Any) -> dict[str, Any]:
    prefix = "service.beta.kubernetes.io/aws-load-balancer-"
    return {
        "metadata": {"annotations": {prefix + key: value for key, value in annotations.items()}},
        "spec": {"type": "LoadBalancer"},
    }


def tenant(
    label: Any = "risk",
    data_class: Any = "restricted",
    owner: Any = "risk-ml@example.com",
    level: Any = "restricted",
) -> dict[str, Any]:
    labels = {
        "falaj.dev/tenant": label,
        "falaj.dev/data-class": data_class,
        "pod-security.kubernetes.io/enforce": level,
    }
    return {
        "metadata": {
            "name": "tenant-risk",
            "labels": {key: value for key, value in labels.items() if value},
            "annotations": {"falaj.dev/owner": owner} if owner else {},
        }
    }


def device_plugin(*paths: Any, namespace: Any = "kube-system", **security: Any) -> dict[str, Any]:
    """A DaemonSet of root that opens folders of the node."""
    volumes = [{"name": f"v{i}", "hostPath": {"path": path}} for i, path in enumerate(paths)]
    spec = pod(secured(runAsNonRoot=None, runAsUser=0, **security), volumes=volumes)
    return {"metadata": {"name": "plugin", "namespace": namespace}, **template(spec)}


PLUGINS_FOLDER = "/var/lib/kubelet/device-plugins"
POD_WIDE = {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}}

KUBERNETES_CASES = [
    Case("K8S-001", "restricted-deployment", DEPLOYMENT, template(pod()), C),
    Case("K8S-001", "restricted-pod", POD, {"spec": pod()}, C),
    Case("K8S-001", "restricted-cron-job", CRON_JOB, {"spec": {"jobTemplate": template(pod())}}, C),
    Case(
        "K8S-001",
        "context-of-the-whole-pod",
        DEPLOYMENT,
        template(pod(secured(runAsNonRoot=None, seccompProfile=None), **POD_WIDE)),
        C,
    ),
    Case(
        "K8S-001",
        "container-undoes-the-pods-context",
        DEPLOYMENT,
        template(pod(secured(runAsNonRoot=False), **POD_WIDE)),
        V,
    ),
    Case("K8S-001", "device-plugin", DAEMON_SET, device_plugin(PLUGINS_FOLDER), C),
    Case("K8S-001", "device-plugin-of-a-tenant", DAEMON_SET, device_plugin(PLUGINS_FOLDER, namespace="tenant-a"), V),
    Case("K8S-001", "device-plugin-with-another-folder", DAEMON_SET, device_plugin(PLUGINS_FOLDER, "/etc"), V),
    Case("K8S-001", "root-daemon-without-the-folder", DAEMON_SET, device_plugin(), V),
    Case("K8S-001", "privileged-device-plugin", DAEMON_SET, device_plugin(PLUGINS_FOLDER, privileged=True), V),
    Case("K8S-001", "device-plugin-in-an-unknown-folder", DAEMON_SET, device_plugin(UNKNOWN), V),
    Case("K8S-001", "restricted-model", SELDON, seldon(pod()), C),
    Case("K8S-001", "privileged-model", SELDON, seldon(pod(secured(privileged=True))), V),
    Case("K8S-001", "privileged-training-runtime", RUNTIME, runtime(pod(secured(privileged=True))), V),
    Case("K8S-001", "pod-without-context", DEPLOYMENT, template(pod(container(securityContext=None))), V),
    Case("K8S-001", "privileged", DEPLOYMENT, template(pod(secured(privileged=True))), V),
    Case("K8S-001", "privileged-init-container", POD, {"spec": pod(initContainers=[secured(privileged=True)])}, V),
    Case("K8S-001", "escalation-by-default", POD, {"spec": pod(secured(allowPrivilegeEscalation=None))}, V),
    Case("K8S-001", "root", POD, {"spec": pod(secured(runAsNonRoot=None))}, V),
    Case("K8S-001", "user-zero", POD, {"spec": pod(secured(runAsUser=0))}, V),
    Case("K8S-001", "no-seccomp", POD, {"spec": pod(secured(seccompProfile={"type": "Unconfined"}))}, V),
    Case("K8S-001", "keeps-capabilities", POD, {"spec": pod(secured(capabilities={}))}, V),
    Case(
        "K8S-001",
        "adds-a-capability",
        POD,
        {"spec": pod(secured(capabilities={"drop": ["ALL"], "add": ["SYS_PTRACE"]}))},
        V,
    ),
    Case(
        "K8S-001",
        "binds-a-low-port",
        POD,
        {"spec": pod(secured(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}))},
        C,
    ),
    Case("K8S-001", "writable-root", POD, {"spec": pod(secured(readOnlyRootFilesystem=None))}, V),
    Case("K8S-001", "host-network", POD, {"spec": pod(hostNetwork=True)}, V),
    Case("K8S-001", "host-path", DAEMON_SET, template(pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}])), V),
    Case("K8S-001", "host-port", POD, {"spec": pod(container(ports=[{"containerPort": 80, "hostPort": 80}]))}, V),
    Case("K8S-001", "host-network-unknown", POD, {"spec": pod(hostNetwork=UNKNOWN)}, U),
    Case("K8S-001", "pod-unknown", DEPLOYMENT, template(UNKNOWN), U),
    Case("K8S-001", "privileged-with-unknown-user", POD, {"spec": pod(secured(privileged=True, runAsUser=UNKNOWN))}, V),
    Case("K8S-001", "restricted-namespace", NAMESPACE, enforcing("restricted"), C),
    Case("K8S-001", "baseline-namespace-that-warns", NAMESPACE, enforcing("baseline"), C),
    Case("K8S-001", "baseline-namespace-in-silence", NAMESPACE, enforcing("baseline", "baseline"), V),
    Case("K8S-001", "privileged-namespace", NAMESPACE, enforcing("privileged"), V),
    Case("K8S-001", "namespace-without-a-standard", NAMESPACE, {"metadata": {"name": "n"}}, V),
    Case("K8S-001", "namespace-level-unknown", NAMESPACE, enforcing(UNKNOWN), U),
    Case("K8S-001", "config-map", CONFIG_MAP, {}, N),
    Case("K8S-002", "role-that-reads-pods", ROLE, role("", ["pods"], ["get", "list"]), C),
    Case("K8S-002", "role-of-all-verbs", ROLE, role("", ["pods"], ["*"]), V),
    Case("K8S-002", "role-of-all-resources", CLUSTER_ROLE, role("", ["*"], ["get"]), V),
    Case("K8S-002", "role-of-all-groups", CLUSTER_ROLE, role("*", ["pods"], ["get"]), V),
    Case("K8S-002", "role-that-lists-secrets", ROLE, role("", ["secrets"], ["list"]), V),
    Case("K8S-002", "role-that-gets-one-secret", ROLE, role("", ["secrets"], ["get"], resourceNames=["tls"]), C),
    Case("K8S-002", "role-that-writes-secrets", ROLE, role("", ["secrets"], ["create"]), C),
    Case("K8S-002", "role-that-impersonates", CLUSTER_ROLE, role("", ["users"], ["impersonate"]), V),
    Case("K8S-002", "role-that-binds", ROLE, role("rbac.authorization.k8s.io", ["roles"], ["bind"]), V),
    Case("K8S-002", "role-that-makes-tokens", ROLE, role("", ["serviceaccounts/token"], ["create"]), V),
    Case("K8S-002", "role-unknown", ROLE, {"rules": UNKNOWN}, U),
    Case("K8S-002", "viewers-bound", BINDING, binding("falaj-viewer"), C),
    Case("K8S-002", "cluster-admin-bound", BINDING, binding("cluster-admin"), V),
    Case("K8S-002", "everybody-bound", BINDING, binding("falaj-viewer", "system:authenticated"), V),
    Case("K8S-002", "account-without-token", ACCOUNT, {"automountServiceAccountToken": False}, C),
    Case("K8S-002", "account-by-default", ACCOUNT, {}, V),
    Case("K8S-002", "config-map", CONFIG_MAP, {}, N),
    Case("K8S-003", "closed", POLICY, {"spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}, C),
    Case("K8S-003", "open-to-one", POLICY, {"spec": {"ingress": [{"from": [{"podSelector": {}}]}]}}, C),
    Case("K8S-003", "open-to-all", POLICY, {"spec": {"ingress": [{}]}}, V),
    Case("K8S-003", "open-to-all-on-a-port", POLICY, {"spec": {"egress": [{"ports": [{"port": 443}]}]}}, V),
    Case("K8S-003", "open-to-an-empty-list", POLICY, {"spec": {"egress": [{"to": []}]}}, V),
    Case("K8S-003", "peers-unknown", POLICY, {"spec": {"egress": [{"to": UNKNOWN}]}}, U),
    Case("K8S-003", "config-map", CONFIG_MAP, {}, N),
    Case("K8S-004", "image-by-digest", DEPLOYMENT, template(pod()), C),
    Case("K8S-004", "image-by-tag", DEPLOYMENT, template(pod(container(image="registry/app:1.2"))), V),
    Case("K8S-004", "image-by-short-digest", JOB, template(pod(container(image="registry/app@sha256:0"))), V),
    Case("K8S-004", "model-image-by-tag", SELDON, seldon(pod(container(image="registry/app:1.2"))), V),
    Case("K8S-004", "init-image-by-tag", POD, {"spec": pod(initContainers=[container(image="registry/app:1")])}, V),
    Case("K8S-004", "image-unknown", POD, {"spec": pod(container(image=UNKNOWN))}, U),
    Case("K8S-004", "config-map", CONFIG_MAP, {}, N),
    Case("K8S-005", "known-appetite", DEPLOYMENT, template(pod()), C),
    Case("K8S-005", "no-resources", DEPLOYMENT, template(pod(container(resources=None))), V),
    Case(
        "K8S-005",
        "no-memory-limit",
        DEPLOYMENT,
        template(pod(container(resources={"requests": {"cpu": "1", "memory": "1Gi"}}))),
        V,
    ),
    Case("K8S-005", "deployment-without-probes", DEPLOYMENT, template(pod(container(readinessProbe=None))), V),
    Case("K8S-005", "job-without-probes", JOB, template(pod(container(readinessProbe=None, livenessProbe=None))), C),
    Case("K8S-005", "resources-unknown", JOB, template(pod(container(resources=UNKNOWN))), U),
    Case("K8S-005", "config-map", CONFIG_MAP, {}, N),
    Case("NET-006", "cluster-ip", SERVICE, {"spec": {"ports": [{"port": 80}]}}, C),
    Case("NET-006", "internal-balancer", SERVICE, balancer(scheme="internal"), C),
    Case("NET-006", "internal-balancer-in-the-old-words", SERVICE, balancer(internal="true"), C),
    Case("NET-006", "public-balancer", SERVICE, balancer(scheme="internet-facing"), V),
    Case("NET-006", "balancer-by-default", SERVICE, {"spec": {"type": "LoadBalancer"}}, V),
    Case("NET-006", "node-port", SERVICE, {"spec": {"type": "NodePort"}}, V),
    Case("NET-006", "external-addresses", SERVICE, {"spec": {"externalIPs": ["192.0.2.1"]}}, V),
    Case("NET-006", "kind-unknown", SERVICE, {"spec": {"type": UNKNOWN}}, U),
    Case("NET-006", "internal-ingress", INGRESS, {"metadata": {"annotations": {}}}, C),
    Case(
        "NET-006",
        "public-ingress",
        INGRESS,
        {"metadata": {"annotations": {"alb.ingress.kubernetes.io/scheme": "internet-facing"}}},
        V,
    ),
    Case("NET-006", "config-map", CONFIG_MAP, {}, N),
    Case("TEN-001", "described-tenant", NAMESPACE, tenant(), C),
    Case("TEN-001", "tenant-without-data-class", NAMESPACE, tenant(data_class=None), V),
    Case("TEN-001", "tenant-without-owner", NAMESPACE, tenant(owner=None), V),
    Case("TEN-001", "tenant-with-the-baseline-only", NAMESPACE, tenant(level="baseline"), V),
    Case("TEN-001", "tenant-unknown", NAMESPACE, tenant(label=UNKNOWN), U),
    Case("TEN-001", "namespace-of-nobody", NAMESPACE, enforcing("restricted"), N),
    Case("RES-014", "model-image-from-docker-hub", SELDON, seldon(pod(container(image="nginx:1.29"))), V),
    Case("RES-014", "runtime-image-from-our-registry", RUNTIME, runtime(pod()), C),
]
