"""The failure that this guards: a policy that grants more than anybody wrote down, or a text that changes by itself."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.iam_documents import (
    PolicyDocumentError,
    Statement,
    allow,
    boundary_document,
    deny,
    endpoint_document,
    identity_document,
    key_document,
    key_use_by_service_statement,
    require_tls_statements,
    resource_document,
    trust_document,
)
from components.trust_documents import oidc_trust_document, pod_identity_trust_document, service_trust_document

BUCKET = "arn:aws:s3:::falaj-dev-lake"
ACCOUNT = "123456789012"
SERVICE = {"Service": ["events.amazonaws.com"]}
EVERYONE = {"*": ["*"]}

actions = st.lists(st.sampled_from(["s3:GetObject", "s3:PutObject", "s3:ListBucket"]), min_size=1, max_size=6)
resources = st.lists(st.sampled_from([BUCKET, f"{BUCKET}/raw/*", f"{BUCKET}/curated/*"]), min_size=1, max_size=6)


@given(actions=actions, resources=resources, seed=st.randoms(use_true_random=False))
def test_the_text_does_not_depend_on_the_order_or_repetition_of_its_lists(
    actions: list[str], resources: list[str], seed: object
) -> None:
    shuffled_actions, shuffled_resources = list(actions), list(resources)
    seed.shuffle(shuffled_actions)  # type: ignore[attr-defined]
    seed.shuffle(shuffled_resources)  # type: ignore[attr-defined]
    assert identity_document([allow("Read", actions, resources)]) == identity_document(
        [allow("Read", [*shuffled_actions, actions[0]], [*shuffled_resources, resources[0]])]
    )


def test_an_identity_document_is_iam_grammar() -> None:
    text = identity_document(
        [
            allow(
                "Read",
                ["s3:GetObject"],
                [f"{BUCKET}/*"],
                conditions={"StringEquals": {"aws:PrincipalAccount": ACCOUNT}},
            )
        ]
    )
    assert json.loads(text) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Read",
                "Effect": "Allow",
                "Action": ["s3:GetObject"],
                "Resource": [f"{BUCKET}/*"],
                "Condition": {"StringEquals": {"aws:PrincipalAccount": ACCOUNT}},
            }
        ],
    }


Builder = Callable[[list[Statement]], str]


@pytest.mark.parametrize(
    ("build", "statement", "says"),
    [
        (identity_document, allow("All", ["*"], [BUCKET]), 'Action "*" allows everything'),
        (identity_document, allow("All", ["s3:*"], [BUCKET]), 'Action "s3:*" allows everything'),
        (identity_document, allow("Any", ["s3:GetObject"], ["*"]), 'Resource "*" with s3:GetObject'),
        (identity_document, allow("None", [], [BUCKET]), "no action given"),
        (identity_document, allow("None", ["s3:GetObject"]), "no resource given"),
        (identity_document, allow("Who", ["s3:GetObject"], [BUCKET], principals=SERVICE), "principals belong in"),
        (
            identity_document,
            Statement("Rest", "Allow", not_actions=("iam:*",), resources=(BUCKET,)),
            "Allow with NotAction",
        ),
        (
            identity_document,
            Statement("Rest", "Allow", actions=("s3:GetObject",), not_resources=(BUCKET,)),
            "Allow with NotAction or NotResource",
        ),
        (resource_document, allow("Who", ["sqs:SendMessage"], [BUCKET]), "no principal given"),
        (resource_document, allow("Open", ["s3:GetObject"], [BUCKET], principals=EVERYONE), "is public"),
        (resource_document, allow("All", ["s3:*"], [BUCKET], principals=SERVICE), 'Action "s3:*" allows everything'),
        (endpoint_document, allow("Open", ["s3:*"], ["*"], principals=EVERYONE), "opens the endpoint to every account"),
        (endpoint_document, allow("Who", ["s3:*"], ["*"]), "needs principals and resources"),
        (key_document, allow("Foreign", ["s3:GetObject"], ["*"], principals=SERVICE), "is not a KMS action"),
        (key_document, allow("Open", ["kms:Decrypt"], ["*"], principals=EVERYONE), "is public"),
        (trust_document, allow("Where", ["sts:AssumeRole"], [BUCKET], principals=SERVICE), "names no resources"),
        (boundary_document, allow("All", ["*"], [BUCKET]), 'Action "*" bounds nothing'),
        (boundary_document, allow("Any", ["s3:*"], ["*"]), 'Resource "*" with s3:*'),
    ],
)
def test_refuses_a_statement_that_grants_too_much(build: Builder, statement: Statement, says: str) -> None:
    with pytest.raises(PolicyDocumentError) as caught:
        build([statement])
    assert says in str(caught.value)
    assert f'"{statement.sid}"' in str(caught.value)


def test_an_action_that_iam_cannot_restrict_may_have_every_resource() -> None:
    text = identity_document([allow("Login", ["ecr:GetAuthorizationToken", "ec2:DescribeSubnets"], ["*"])])
    assert json.loads(text)["Statement"][0]["Resource"] == ["*"]


def test_denials_may_use_wildcards() -> None:
    text = identity_document([deny("Nothing", ["*"], ["*"]), deny("Rest", not_actions=["iam:*"], resources=["*"])])
    assert {statement["Effect"] for statement in json.loads(text)["Statement"]} == {"Deny"}


@pytest.mark.parametrize("build", [identity_document, resource_document, key_document, trust_document])
def test_refuses_an_empty_document(build: Builder) -> None:
    with pytest.raises(PolicyDocumentError, match="no statement given"):
        build([])


def test_refuses_two_statements_of_one_id() -> None:
    statement = allow("Read", ["s3:GetObject"], [BUCKET])
    with pytest.raises(PolicyDocumentError, match='"Read" is used twice'):
        identity_document([statement, statement])


def test_refuses_a_document_over_the_quota() -> None:
    names = [f"{BUCKET}/{number:0>40}/*" for number in range(200)]
    with pytest.raises(PolicyDocumentError, match=r"characters, limit 6144"):
        identity_document([allow("Read", ["s3:GetObject"], names)])


def test_a_service_trust_names_the_account_that_it_may_act_for() -> None:
    document = json.loads(service_trust_document("vpc-flow-logs.amazonaws.com", account_id=ACCOUNT, source_arn="arn:x"))
    assert document["Statement"][0]["Condition"] == {
        "ArnLike": {"aws:SourceArn": "arn:x"},
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
    }


def test_a_pod_identity_trust_admits_one_service_account_of_one_cluster() -> None:
    document = json.loads(
        pod_identity_trust_document(
            account_id=ACCOUNT, cluster_arn="arn:cluster", namespace="ml", service_account="serving"
        )
    )
    assert document["Statement"] == [
        {
            "Sid": "PodIdentity",
            "Effect": "Allow",
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Principal": {"Service": ["pods.eks.amazonaws.com"]},
            "Condition": {
                "ArnEquals": {"aws:SourceArn": "arn:cluster"},
                "StringEquals": {
                    "aws:RequestTag/kubernetes-namespace": "ml",
                    "aws:RequestTag/kubernetes-service-account": "serving",
                    "aws:SourceAccount": ACCOUNT,
                },
            },
        }
    ]


@pytest.mark.parametrize(("subjects", "says"), [((), "no subject given"), (("*",), "matches every project")])
def test_a_ci_trust_refuses_subjects_that_name_nobody(subjects: tuple[str, ...], says: str) -> None:
    with pytest.raises(PolicyDocumentError, match=says):
        oidc_trust_document(provider_arn="arn:p", issuer_host="ci.example.com", audience="sts", subjects=subjects)


def test_only_buckets_have_a_condition_on_the_tls_version() -> None:
    assert [s.sid for s in require_tls_statements("s3:*", [BUCKET])] == ["DenyPlainConnections", "DenyOldTls"]
    assert [s.sid for s in require_tls_statements("sqs:*", ["arn:q"])] == ["DenyPlainConnections"]


def test_a_service_uses_a_key_for_this_account_or_this_context_only() -> None:
    by_account = key_use_by_service_statement("Use", "sns.amazonaws.com", account_id=ACCOUNT)
    assert by_account.conditions == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    by_context = key_use_by_service_statement(
        "Use", "logs.amazonaws.com", account_id=ACCOUNT, encryption_context={"aws:logs:arn": "arn:logs"}
    )
    assert by_context.conditions == {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": "arn:logs"}}
