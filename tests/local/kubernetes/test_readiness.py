"""When an object is ready.  Guards: an `up` that ends before a rollout has, or waits for what will never come."""

from __future__ import annotations

from typing import Any

import pytest

from falaj.local.kubernetes.kinds import kind_of
from falaj.local.kubernetes.readiness import Phase, is_awaited, pod_reasons, pod_selector, readiness, refusals

DEPLOYMENT = kind_of("kubernetes:apps/v1:Deployment")
STATEFUL_SET = kind_of("kubernetes:apps/v1:StatefulSet")
DAEMON_SET = kind_of("kubernetes:apps/v1:DaemonSet")
JOB = kind_of("kubernetes:batch/v1:Job")
CRD = kind_of("kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition")
POD = kind_of("kubernetes:core/v1:Pod")


def live(status: dict[str, Any], spec: dict[str, Any] | None = None, generation: int = 2) -> dict[str, Any]:
    return {"metadata": {"generation": generation}, "spec": spec or {}, "status": {"observedGeneration": 2, **status}}


def condition(type: str, status: str = "True", **more: str) -> dict[str, Any]:
    return {"conditions": [{"type": type, "status": status, **more}]}


ROLLED_OUT = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


def test_a_deployment_is_ready_when_every_replica_is_updated_and_available_and_no_old_one_is_left() -> None:
    spec = {"replicas": 2}
    assert readiness(DEPLOYMENT, live(ROLLED_OUT, spec)).phase is Phase.READY
    for missing in ({"updatedReplicas": 1}, {"availableReplicas": 1}, {"replicas": 3}):
        assert readiness(DEPLOYMENT, live({**ROLLED_OUT, **missing}, spec)).phase is Phase.WAITING
    assert readiness(DEPLOYMENT, live({}, spec)).reasons == (
        "0 of 2 replicas are updated, 0 of 2 replicas are available",
    )


def test_a_status_of_the_previous_generation_says_nothing() -> None:
    assert readiness(DEPLOYMENT, live(ROLLED_OUT, {"replicas": 2}, generation=3)).phase is Phase.WAITING


def test_a_deployment_scaled_to_zero_is_ready() -> None:
    assert readiness(DEPLOYMENT, live({}, {"replicas": 0})).phase is Phase.READY


def test_a_deployment_past_its_deadline_has_failed_and_tells_what_refused_its_pods() -> None:
    status = {
        "conditions": [
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"},
            {"type": "ReplicaFailure", "status": "True", "message": "pods are forbidden: exceeded quota: gpu"},
        ]
    }
    found = readiness(DEPLOYMENT, live(status, {"replicas": 1}))
    assert (found.phase, found.reasons) == (Phase.FAILED, ("timed out", "pods are forbidden: exceeded quota: gpu"))


def test_a_stateful_set_waits_for_its_revision_up_to_the_partition() -> None:
    spec: dict[str, Any] = {"replicas": 3}
    behind = {"readyReplicas": 3, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}
    assert readiness(STATEFUL_SET, live(behind, spec)).phase is Phase.WAITING
    spec["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    assert readiness(STATEFUL_SET, live(behind, spec)).phase is Phase.READY
    spec["updateStrategy"] = {"type": "OnDelete"}
    assert readiness(STATEFUL_SET, live({}, spec)).phase is Phase.READY


def test_a_daemon_set_waits_for_every_node() -> None:
    status = {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2}
    assert readiness(DAEMON_SET, live(status)).reasons == ("2 of 3 replicas are available",)
    assert readiness(DAEMON_SET, live({**status, "numberAvailable": 3})).phase is Phase.READY


def test_a_job_is_ready_when_it_has_completed_and_failed_when_it_failed() -> None:
    assert readiness(JOB, live({"active": 2})).reasons == ("not completed (2 active)",)
    assert readiness(JOB, live(condition("Complete"))).phase is Phase.READY
    failed = readiness(JOB, live(condition("Failed", reason="BackoffLimitExceeded", message="too many retries")))
    assert (failed.phase, failed.reasons) == (Phase.FAILED, ("BackoffLimitExceeded: too many retries",))
    assert readiness(JOB, live({}, {"suspend": True})).phase is Phase.READY


def test_a_definition_is_ready_when_it_is_established() -> None:
    assert readiness(CRD, live({})).phase is Phase.WAITING
    assert readiness(CRD, live(condition("Established"))).phase is Phase.READY
    clash = readiness(CRD, live(condition("NamesAccepted", "False", message="widgets is taken")))
    assert (clash.phase, clash.reasons) == (Phase.FAILED, ("widgets is taken",))


def test_a_pod_is_ready_when_it_says_so_or_has_succeeded() -> None:
    assert readiness(POD, live(condition("Ready"))).phase is Phase.READY
    assert readiness(POD, live({"phase": "Succeeded"})).phase is Phase.READY
    assert readiness(POD, live({"phase": "Pending"})).phase is Phase.WAITING
    assert readiness(POD, live({"phase": "Failed", "message": "evicted"})).reasons[0] == "evicted"


@pytest.mark.parametrize("token", ["core/v1:PersistentVolumeClaim", "core/v1:ConfigMap", "karpenter.sh/v1:NodePool"])
def test_what_needs_no_time_is_ready_at_once(token: str) -> None:
    kind = kind_of(f"kubernetes:{token}")
    assert readiness(kind, {"metadata": {}}).phase is Phase.READY
    assert not is_awaited(kind)


def test_a_pod_tells_why_it_does_not_run() -> None:
    pod = {
        "metadata": {"name": "api-1"},
        "status": {
            "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes: insufficient gpu"}],
            "containerStatuses": [
                {"name": "api", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}},
                {"name": "log", "state": {"waiting": {"reason": "ContainerCreating"}}},
                {"name": "old", "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 137}}},
            ],
        },
    }
    assert pod_reasons(pod) == [
        "pod api-1: 0/2 nodes: insufficient gpu",
        "pod api-1, container api: ImagePullBackOff: not found",
        "pod api-1, container old: ended with exit code 137",
    ]


def test_pods_are_found_by_the_labels_of_their_workload() -> None:
    assert pod_selector({"spec": {"selector": {"matchLabels": {"b": "2", "a": "1"}}}}) == "a=1,b=2"
    assert pod_selector({"spec": {}}) == ""


def test_a_refusal_is_told_once_however_often_it_was_tried() -> None:
    def event(reason: str, message: str) -> dict[str, Any]:
        return {"reason": reason, "message": message}

    told = 'Error creating: pods "{}" is forbidden: exceeded quota: gpu'
    events = [
        event("FailedCreate", told.format("train-0-abcde")),
        event("FailedCreate", told.format("train-0-fghij")),
        event("FailedCreate", 'Error creating: pods "train-1-x" is forbidden: violates PodSecurity'),
        event("BackoffLimitExceeded", "Job has reached the specified backoff limit"),
    ]
    assert refusals(events) == [
        told.format("train-0-abcde"),
        'Error creating: pods "train-1-x" is forbidden: violates PodSecurity',
    ]
