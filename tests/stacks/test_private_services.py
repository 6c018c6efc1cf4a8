"""Where the way out is an allow-list, a service without an endpoint is reached through it, or after a change of the
list not at all: a right to call what cannot be reached shows only when a job fails."""

from __future__ import annotations

from collections import defaultdict

from tests.support.recorder import Recording
from tests.support.resource_graph import run_program

CALLERS = {"ec2.amazonaws.com", "pods.eks.amazonaws.com"}
"""Who assumes the roles of what runs in the network: nodes and pods."""
NEVER_CALLED = {
    "elasticache",  # a login at the store itself, with a token that is made without a call
    "iam",  # EC2 asks whether Karpenter may pass the nodes' role and make that of spot
    "kafka-cluster",  # a login at the brokers
    "rds-db",  # a login at the database
}


def services_with_an_endpoint(recording: Recording) -> set[str]:
    """By the prefix of their IAM actions."""
    statements = [
        endpoint.statement("OwnPrincipalsAndResources") for endpoint in recording.of("aws:ec2/vpcEndpoint:VpcEndpoint")
    ]
    return {action.partition(":")[0] for statement in statements for action in statement["Action"]}


def services_by_caller(recording: Recording) -> dict[str, set[str]]:
    """Service -> the policies of nodes and pods that name an action of it."""
    callers = {
        role.id
        for role in recording.of("aws:iam/role:Role")
        for statement in role.document("assumeRolePolicy")["Statement"]
        if CALLERS & set(statement["Principal"].get("Service", ()))
    }
    found = defaultdict(set)
    for policy in recording.of("aws:iam/rolePolicy:RolePolicy"):
        if policy.inputs["role"] in callers:
            for statement in policy.document()["Statement"]:
                for action in statement["Action"]:
                    found[action.partition(":")[0]].add(policy.name)
    return found


def test_every_service_that_a_node_or_pod_calls_has_an_endpoint_behind_the_firewall() -> None:
    recording = run_program("enterprise")
    reached, called = services_with_an_endpoint(recording), services_by_caller(recording)
    assert {"glue", "kms", "s3", "sns", "sqs", "ssm"} <= set(called)
    assert {service: sorted(by) for service, by in called.items() if service not in reached | NEVER_CALLED} == {}
