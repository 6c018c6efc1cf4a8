"""Manifests of the kinds that the platform uses: valid ones, and what makes them invalid."""

from __future__ import annotations

import copy
from typing import Any

from tests.support.kubernetes_lifecycle import crd, deployment, pod_template

JOB_TEMPLATE = pod_template()
JOB_TEMPLATE["spec"]["restartPolicy"] = "Never"

VALID: dict[str, dict[str, Any]] = {
    "kubernetes:apps/v1:Deployment": deployment(),
    "kubernetes:apps/v1:StatefulSet": {
        "spec": {
            "serviceName": "db",
            "replicas": 1,
            "selector": {"matchLabels": {"app": "api"}},
            "template": pod_template(volumeMounts=[{"name": "data", "mountPath": "/data"}]),
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "data"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
                }
            ],
        }
    },
    "kubernetes:batch/v1:Job": {
        "spec": {"completions": 4, "parallelism": 4, "completionMode": "Indexed", "template": JOB_TEMPLATE}
    },
    "kubernetes:batch/v1:CronJob": {
        "spec": {"schedule": "0 * * * *", "jobTemplate": {"spec": {"template": JOB_TEMPLATE}}}
    },
    "kubernetes:core/v1:Service": {
        "spec": {"selector": {"app": "api"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
    },
    "kubernetes:networking.k8s.io/v1:NetworkPolicy": {
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": [{"to": []}]}
    },
    "kubernetes:core/v1:ResourceQuota": {
        "spec": {"hard": {"requests.cpu": 10, "requests.memory": "20Gi", "requests.nvidia.com/gpu": "4"}}
    },
    "kubernetes:core/v1:LimitRange": {
        "spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "100m", "memory": "128Mi"}}]}
    },
    "kubernetes:policy/v1:PodDisruptionBudget": {
        "spec": {"minAvailable": "50%", "selector": {"matchLabels": {"app": "api"}}}
    },
    "kubernetes:autoscaling/v2:HorizontalPodAutoscaler": {
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"},
            "minReplicas": 2,
            "maxReplicas": 10,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
                }
            ],
        }
    },
    "kubernetes:rbac.authorization.k8s.io/v1:Role": {
        "rules": [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"]}]
    },
    "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding": {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "viewer"},
        "subjects": [{"kind": "Group", "name": "ml-engineers", "apiGroup": "rbac.authorization.k8s.io"}],
    },
    "kubernetes:core/v1:ServiceAccount": {"automountServiceAccountToken": False},
    "kubernetes:core/v1:ConfigMap": {"data": {"a": "1"}},
    "kubernetes:core/v1:Secret": {"stringData": {"a": "1"}, "type": "Opaque"},
    "kubernetes:core/v1:Namespace": {},
    "kubernetes:core/v1:PersistentVolumeClaim": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    },
    "kubernetes:scheduling.k8s.io/v1:PriorityClass": {"value": 1000, "globalDefault": False},
    "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition": crd(),
    "kubernetes:karpenter.sh/v1:NodePool": {
        "spec": {"template": {"spec": {"requirements": []}}, "limits": {"cpu": 64}}
    },
    "kubernetes:monitoring.coreos.com/v1:ServiceMonitor": {"spec": {"endpoints": [{"port": "metrics"}]}},
}


def named(inputs: dict[str, Any], name: str = "api") -> dict[str, Any]:
    return {**inputs, "metadata": {"name": name, **inputs.get("metadata", {})}}


def broken(type: str, path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(named(VALID[type]))
    *parents, last = path.split("/")
    at: Any = made
    for key in parents:
        at = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
    if value is None:
        del at[last]
    else:
        at[last] = value
    return made


INVALID: list[tuple[str, str, Any, str, str]] = [
    ("kubernetes:apps/v1:Deployment", "spec/replicas", "2", "spec.replicas", 'expected an integer, got "2"'),
    ("kubernetes:apps/v1:Deployment", "spec/selector", None, "spec.selector", "missing required field"),
    (
        "kubernetes:apps/v1:Deployment",
        "spec/template/spec/containers/0/imagePulPolicy",
        "Always",
        "spec.template.spec.containers[0].imagePulPolicy",
        'did you mean "imagePullPolicy"?',
    ),
    (
        "kubernetes:apps/v1:Deployment",
        "spec/template/spec/containers/0/securityContext",
        {"runAsNonRoot": "yes"},
        "spec.template.spec.containers[0].securityContext.runAsNonRoot",
        'expected a boolean, got "yes"',
    ),
    ("kubernetes:apps/v1:StatefulSet", "spec/volumeClaimTemplates", {}, "spec.volumeClaimTemplates", "a list"),
    ("kubernetes:batch/v1:Job", "spec/template/spec/containers", None, "spec.template.spec.containers", "missing"),
    ("kubernetes:batch/v1:CronJob", "spec/schedule", 5, "spec.schedule", "expected a string, got 5"),
    ("kubernetes:core/v1:Service", "spec/ports/0/port", "http", "spec.ports[0].port", 'an integer, got "http"'),
    ("kubernetes:core/v1:Service", "spec/port", 80, "spec.port", 'did you mean "ports"?'),
    ("kubernetes:networking.k8s.io/v1:NetworkPolicy", "spec/policyTypes", "Ingress", "spec.policyTypes", "a list"),
    ("kubernetes:core/v1:ResourceQuota", "spec/hard/pods", True, "spec.hard.pods", "a string or a number"),
    ("kubernetes:core/v1:LimitRange", "spec/limits", None, "spec.limits", "missing required field"),
    ("kubernetes:policy/v1:PodDisruptionBudget", "spec/minAvailable", 0.5, "spec.minAvailable", "got 0.5"),
    (
        "kubernetes:autoscaling/v2:HorizontalPodAutoscaler",
        "spec/maxReplicas",
        None,
        "spec.maxReplicas",
        "missing required field",
    ),
    ("kubernetes:rbac.authorization.k8s.io/v1:Role", "rules/0/verbs", None, "rules[0].verbs", "missing"),
    ("kubernetes:rbac.authorization.k8s.io/v1:RoleBinding", "roleRef/name", None, "roleRef.name", "missing"),
    ("kubernetes:core/v1:ConfigMap", "data/a", 1, "data.a", "expected a string, got 1"),
    ("kubernetes:core/v1:Namespace", "spec/owner", "x", "spec.owner", 'unknown field "owner"; '),
    ("kubernetes:core/v1:ServiceAccount", "apiVersion", "v2", "apiVersion", 'expected "v1", got "v2"'),
    ("kubernetes:karpenter.sh/v1:NodePool", "metadata/labels", {"a": 1}, "metadata.labels.a", "expected a string"),
    ("kubernetes:karpenter.sh/v1:NodePool", "spec", "small", "spec", "expected an object, got str"),
    ("kubernetes:core/v1:ConfigMap", "metadata/name", "Not_A_Name", "metadata.name", "small letters"),
    ("kubernetes:core/v1:Service", "metadata/name", "8080", "metadata.name", "beginning with a letter"),
    ("kubernetes:core/v1:ResourceQuota", "spec/hard/requests.cpu", "4 cores", 'spec.hard["requests.cpu"]', "500m"),
    (
        "kubernetes:apps/v1:Deployment",
        "spec/template/spec/containers/0/resources",
        {"limits": {"memory": "4GB"}},
        "spec.template.spec.containers[0].resources.limits.memory",
        'an amount such as 500m, 2, 1.5 or 4Gi, got "4GB"',
    ),
    ("kubernetes:core/v1:ConfigMap", "metadata/labels", {"team": "two words"}, "metadata.labels.team", "label"),
    (
        "kubernetes:core/v1:ConfigMap",
        "metadata/annotations",
        {"falaj/a/b": "x"},
        'metadata.annotations["falaj/a/b"]',
        "no valid prefix",
    ),
    (
        "kubernetes:apps/v1:Deployment",
        "spec/template/metadata/labels",
        {"app": "other"},
        "spec.selector.matchLabels.app",
        'selects "api", but the pods of the template have "other"',
    ),
    (
        "kubernetes:batch/v1:CronJob",
        "spec/jobTemplate/spec/template/metadata",
        {"labels": {"-": "x"}},
        'spec.jobTemplate.spec.template.metadata.labels["-"]',
        "no valid key",
    ),
    ("kubernetes:core/v1:ConfigMap", "metadata/namespace", "a.b", "metadata.namespace", "is no valid name"),
]
"""(type, path of what is set or, with None, taken out, value, property that is refused, part of the reason)."""
