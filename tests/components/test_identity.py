"""One leaked pod must not become the platform: each service account reaches its own prefixes and nothing else."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

import pytest

from components.base import ComponentSpecError
from components.boundary import PermissionsBoundary, boundary_statements
from components.grants import (
    AUDIT_RECORD,
    ONLINE_READ,
    PACKAGE_READ,
    PACKAGE_TENANT,
    PACKAGE_WRITE,
    PACKAGES,
)
from components.iam_documents import boundary_document, identity_document
from components.identity import ContinuousIntegration, Identity
from components.workloads import Workload, platform_workloads, tenant_workloads, workload_statements
from tests.support.answers import ACCOUNT_ID, REGION
from tests.support.platforms import BOUNDARY_ARN, NAMES, platform
from tests.support.recorder import Recording, Registered, record

ROLE = "aws:iam/role:Role"
POLICY = "aws:iam/rolePolicy:RolePolicy"
ASSOCIATION = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
SERVICES = {
    "database",
    "drift-monitor",
    "feature-materialiser",
    "feature-server",
    "ingestion",
    "lineage",
    "mlflow",
    "retraining",
    "serving",
    "stream-processor",
    "training",
}
CI = ContinuousIntegration("https://ci.example.com", ("repo:my-org/platform:ref:refs/heads/main",))


def arns() -> dict[str, str]:
    """An ARN for every resource key that any blueprint has."""
    found = {
        "bus": f"arn:aws:events:{REGION}:{ACCOUNT_ID}:event-bus/falaj-dev-platform",
        "catalogue": f"arn:aws:glue:{REGION}:{ACCOUNT_ID}:catalog",
        "catalogue-databases": f"arn:aws:glue:{REGION}:{ACCOUNT_ID}:database/falaj_dev__*",
        "catalogue-tables": f"arn:aws:glue:{REGION}:{ACCOUNT_ID}:table/falaj_dev__*/*",
        "database": f"arn:aws:rds-db:{REGION}:{ACCOUNT_ID}:dbuser:db-1",
        "groups": f"arn:aws:kafka:{REGION}:{ACCOUNT_ID}:group/falaj-dev-events/1",
        "online-reader": f"arn:aws:elasticache:{REGION}:{ACCOUNT_ID}:user:reader",
        "online-store": f"arn:aws:dynamodb:{REGION}:{ACCOUNT_ID}:table/falaj-dev-online-features",
        "online-writer": f"arn:aws:elasticache:{REGION}:{ACCOUNT_ID}:user:writer",
        "secret:postgres-admin": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT_ID}:secret:rds!db-1",
        "stream": f"arn:aws:kinesis:{REGION}:{ACCOUNT_ID}:stream/falaj-dev-events",
        "topics": f"arn:aws:kafka:{REGION}:{ACCOUNT_ID}:topic/falaj-dev-events/1",
    }
    for domain in ("audit", "lake", "feature", "model"):
        found[f"bucket:{domain}"] = f"arn:aws:s3:::falaj-dev-{domain}-{ACCOUNT_ID}"
    for domain in ("audit", "lake", "feature", "model", "platform", "signing"):
        found[f"key:{domain}"] = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/{domain}"
    for name in NAMES:
        for tenant in platform(name).blueprint.tenants:
            found[f"key:tenant-{tenant.name}"] = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/tenant-{tenant.name}"
    for queue in ("ingestion", "lineage", "retraining", "stream-dead-letters"):
        found[f"queue:{queue}"] = f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:falaj-dev-{queue}"
    return found


def workloads(name: str) -> list[Workload]:
    blueprint = platform(name).blueprint
    return [*platform_workloads(blueprint), *tenant_workloads(blueprint.tenants)]


def build(name: str, **options: Any) -> Recording:
    def program() -> None:
        from pulumi_aws import eks

        subject = platform(name)
        cluster = eks.Cluster("cluster", role_arn="arn:role", vpc_config={"subnet_ids": ["subnet-1"]})
        Identity(
            "identity",
            options.pop("workloads", workloads(name)),
            environment=subject.environment,
            boundary_arn=BOUNDARY_ARN,
            cluster_name="falaj-dev-cluster",
            cluster_ready=cluster,
            resource_arns=options.pop("resource_arns", arns()),
            **options,
        )

    return record(program)


def policy_of(recording: Recording, workload: str) -> Registered:
    return recording.named(f"identity-{workload}-policy", POLICY)


def allows(policy: Registered, action: str, resource: str) -> bool:
    """Whether a policy's statements allow an action on a resource, wildcards expanded, conditions taken as met."""
    return any(
        statement["Effect"] == "Allow"
        and any(fnmatchcase(action, pattern) for pattern in statement["Action"])
        and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        for statement in policy.document()["Statement"]
    )


@pytest.mark.parametrize("name", NAMES)
def test_each_service_account_has_one_role_one_policy_and_one_association(name: str) -> None:
    recording = build(name)
    names = SERVICES | {f"tenant-{tenant.name}" for tenant in platform(name).blueprint.tenants}
    assert recording.types() == {
        "falaj:identity:Identity": 1,
        "aws:eks/cluster:Cluster": 1,
        ROLE: len(names),
        POLICY: len(names),
        ASSOCIATION: len(names),
    }
    assert {role.name for role in recording.of(ROLE)} == {f"identity-{service}" for service in names}


@pytest.mark.parametrize("name", NAMES)
def test_a_role_trusts_exactly_the_service_account_of_its_association(name: str) -> None:
    recording = build(name)
    for association in recording.of(ASSOCIATION):
        workload = association.name.removeprefix("identity-").removesuffix("-association")
        role = recording.named(f"identity-{workload}", ROLE)
        condition = role.statement("PodIdentity", "assumeRolePolicy")["Condition"]
        assert condition == {
            "ArnEquals": {"aws:SourceArn": f"arn:aws:eks:{REGION}:{ACCOUNT_ID}:cluster/falaj-dev-cluster"},
            "StringEquals": {
                "aws:RequestTag/kubernetes-namespace": association.inputs["namespace"],
                "aws:RequestTag/kubernetes-service-account": association.inputs["serviceAccount"],
                "aws:SourceAccount": ACCOUNT_ID,
            },
        }
        assert association.inputs["clusterName"] == "falaj-dev-cluster"
        assert association.property_dependencies["roleArn"] == (role.urn,)
        assert policy_of(recording, workload).urn in association.dependencies
        assert role.inputs["permissionsBoundary"] == BOUNDARY_ARN


@pytest.mark.parametrize("name", NAMES)
def test_no_policy_of_a_workload_has_a_wildcard_action_or_resource(name: str) -> None:
    for workload in workloads(name):
        for statement in json.loads(identity_document(workload_statements(workload, arns(), region=REGION)))[
            "Statement"
        ]:
            assert "*" not in statement["Resource"]
            assert [action for action in statement["Action"] if "*" in action] == []


@pytest.mark.parametrize("name", NAMES)
def test_who_reads_or_writes_objects_may_list_exactly_them(name: str) -> None:
    """S3 answers 403 instead of 404 for an object that is not there to whoever may not list it."""
    for workload in workloads(name):
        listed = {
            (grant.on, f"/{prefix}")
            for grant in workload.grants
            if "s3:ListBucket" in grant.actions
            for prefix in grant.prefixes
        }
        touched = {
            (grant.on, path)
            for grant in workload.grants
            if {"s3:GetObject", "s3:PutObject"} & set(grant.actions)
            for path in grant.paths
        }
        assert touched == listed, workload.name


def test_serving_reads_packages_and_nothing_else_of_the_registry() -> None:
    policy = policy_of(build("smb"), "serving")
    model = arns()["bucket:model"]
    assert allows(policy, "s3:GetObject", f"{model}/{PACKAGES}fraud/0123/0000.enc")
    assert not allows(policy, "s3:GetObject", f"{model}/packages/another/fraud/0123/0000.enc")
    assert not allows(policy, "s3:GetObject", f"{model}/mlflow/1/model.onnx")
    assert not allows(policy, "s3:PutObject", f"{model}/{PACKAGES}fraud/0123/0000.enc")


@pytest.mark.parametrize("workload", sorted(SERVICES - {"retraining"}))
def test_only_retraining_writes_packages(workload: str) -> None:
    recording = build("smb")
    target = f"{arns()['bucket:model']}/{PACKAGES}fraud/0123/0000.enc"
    assert not allows(policy_of(recording, workload), "s3:PutObject", target)
    assert allows(policy_of(recording, "retraining"), "s3:PutObject", target)


def test_the_feature_server_cannot_write_what_it_serves() -> None:
    recording = build("smb")
    table = f"{arns()['online-store']}.flights_g7.stats_v1"
    for workload in ("feature-server", "serving"):
        policy = policy_of(recording, workload)
        granted = {action for statement in policy.document()["Statement"] for action in statement["Action"]}
        assert {action for action in granted if action.startswith("dynamodb:")} == set(ONLINE_READ)
        assert allows(policy, "dynamodb:GetItem", table)
    assert allows(policy_of(recording, "feature-materialiser"), "dynamodb:PutItem", table)


def test_only_the_materialiser_makes_and_drops_tables_and_those_of_generations_only() -> None:
    recording = build("smb")
    own = arns()["online-store"]
    for action in ("dynamodb:CreateTable", "dynamodb:DeleteTable", "dynamodb:PutItem"):
        allowed = {
            each for each in SERVICES if allows(policy_of(recording, each), action, f"{own}.flights_g7.stats_v1")
        }
        assert allowed == {"feature-materialiser"}
        policy = policy_of(recording, "feature-materialiser")
        assert not allows(policy, action, own)
        assert not allows(policy, action, f"{own}-two.flights_g7.stats_v1")


def test_the_materialiser_makes_tables_under_the_feature_key_through_dynamodb_only() -> None:
    statement = policy_of(build("smb"), "feature-materialiser").statement("OnlineKey")
    assert statement["Resource"] == [arns()["key:feature"]]
    assert "kms:CreateGrant" in statement["Action"]
    assert statement["Condition"] == {"StringEquals": {"kms:ViaService": f"dynamodb.{REGION}.amazonaws.com"}}


@pytest.mark.parametrize("name", NAMES)
def test_the_stream_processor_puts_aside_what_it_refuses_and_cannot_take_it_back(name: str) -> None:
    policy = policy_of(build(name), "stream-processor")
    queue = arns()["queue:stream-dead-letters"]
    assert allows(policy, "sqs:SendMessage", queue)
    assert not allows(policy, "sqs:ReceiveMessage", queue)
    assert not allows(policy, "sqs:SendMessage", arns()["queue:ingestion"])
    assert allows(policy, "kms:GenerateDataKey", arns()["key:platform"])


def glue(kind: str, name: str = "") -> str:
    return f"arn:aws:glue:{REGION}:{ACCOUNT_ID}:{kind}{name}"


def may_on_table(policy: Registered, action: str, database: str) -> bool:
    """Glue asks on the catalogue, the database and the table; one of them denied is a denied call."""
    asked = (glue("catalog"), glue("database", f"/{database}"), glue("table", f"/{database}/delays"))
    return all(allows(policy, action, resource) for resource in asked)


@pytest.mark.parametrize("name", NAMES)
def test_ingestion_makes_and_commits_tables_of_its_own_stack_only(name: str) -> None:
    policy = policy_of(build(name), "stream-processor")
    for action in ("glue:CreateTable", "glue:GetTable", "glue:UpdateTable"):
        assert may_on_table(policy, action, "falaj_dev__flights")
        assert not may_on_table(policy, action, "falaj_dev_two__flights")
        assert not may_on_table(policy, action, "flights")
    assert allows(policy, "glue:CreateDatabase", glue("database", "/falaj_dev__flights"))
    assert not allows(policy, "glue:DeleteTable", glue("table", "/falaj_dev__flights/delays"))


@pytest.mark.parametrize("workload", ["drift-monitor", "feature-materialiser", "training"])
def test_who_reads_the_lake_reads_its_catalogue_and_changes_nothing_in_it(workload: str) -> None:
    policy = policy_of(build("smb"), workload)
    granted = {action for statement in policy.document()["Statement"] for action in statement["Action"]}
    assert may_on_table(policy, "glue:GetTable", "falaj_dev__flights")
    assert {action for action in granted if action.startswith("glue:")} == {"glue:GetTable"}
    assert not allows(policy, "s3:PutObject", f"{arns()['bucket:lake']}/curated/falaj_dev__flights.db/delays/data/0")


def test_only_old_metadata_of_a_table_may_be_deleted_never_its_rows() -> None:
    policy = policy_of(build("smb"), "stream-processor")
    table = f"{arns()['bucket:lake']}/curated/falaj_dev__flights.db/delays"
    assert allows(policy, "s3:DeleteObject", f"{table}/metadata/00001.metadata.json")
    assert not allows(policy, "s3:DeleteObject", f"{table}/data/00000.parquet")


@pytest.mark.parametrize("workload", ["feature-server", "ingestion", "lineage", "mlflow", "retraining", "serving"])
def test_who_does_not_use_the_lakes_tables_has_no_right_on_the_catalogue(workload: str) -> None:
    statements = policy_of(build("enterprise"), workload).document()["Statement"]
    assert [action for statement in statements for action in statement["Action"] if action.startswith("glue:")] == []


def test_the_feature_server_of_valkey_logs_in_as_the_reader() -> None:
    recording = build("enterprise")
    assert allows(policy_of(recording, "feature-server"), "elasticache:Connect", arns()["online-reader"])
    assert not allows(policy_of(recording, "feature-server"), "elasticache:Connect", arns()["online-writer"])


def test_kafka_services_reach_their_topic_only() -> None:
    policy = policy_of(build("enterprise"), "ingestion")
    assert allows(policy, "kafka-cluster:WriteData", f"{arns()['topics']}/events.clicks")
    assert not allows(policy, "kafka-cluster:WriteData", f"{arns()['topics']}/predictions")
    assert not allows(policy, "kafka-cluster:ReadData", f"{arns()['topics']}/events.clicks")


def test_a_tenant_reaches_its_own_prefix_and_no_other_tenants() -> None:
    policy = policy_of(build("enterprise"), "tenant-risk")
    for domain in ("lake", "feature", "model"):
        bucket = arns()[f"bucket:{domain}"]
        assert allows(policy, "s3:PutObject", f"{bucket}/tenants/risk/data.parquet")
        assert not allows(policy, "s3:GetObject", f"{bucket}/tenants/retail/data.parquet")
        # A tenant whose name begins with another's must not inherit its objects.
        assert not allows(policy, "s3:GetObject", f"{bucket}/tenants/risk-2/data.parquet")
    prefixes = policy.statement("LakeList")["Condition"]["StringLike"]["s3:prefix"]
    assert prefixes == ["tenants/risk/*"]


@pytest.mark.parametrize("name", NAMES)
def test_a_tenant_uses_its_own_key_and_no_other(name: str) -> None:
    recording = build(name)
    for tenant in platform(name).blueprint.tenants:
        policy = policy_of(recording, f"tenant-{tenant.name}")
        usable = {
            key for key in arns() if key.startswith("key:") and allows(policy, "kms:GenerateDataKey", arns()[key])
        }
        assert usable == {f"key:tenant-{tenant.name}"}


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_used_through_the_service_that_stores_the_data(name: str) -> None:
    for workload in workloads(name):
        for statement in json.loads(identity_document(workload_statements(workload, arns(), region=REGION)))[
            "Statement"
        ]:
            if any(action.startswith("kms:") for action in statement["Action"]):
                if statement["Resource"] == [arns()["key:signing"]]:
                    # It encrypts nothing: no service asks for it, and its own policy names the role that signs.
                    assert set(statement["Action"]) <= {"kms:GetPublicKey", "kms:Sign"}
                    continue
                conditions = statement["Condition"]["StringEquals"]
                if statement["Sid"] == "PackageKey":
                    assert conditions == {"kms:EncryptionContext:tenant": PACKAGE_TENANT}
                else:
                    assert conditions["kms:ViaService"].endswith(f".{REGION}.amazonaws.com"), workload.name


@pytest.mark.parametrize("name", NAMES)
def test_who_serves_opens_packages_and_only_who_releases_makes_them(name: str) -> None:
    recording = build(name)
    granted = {
        workload: tuple(statement["Action"])
        for workload in SERVICES
        for statement in policy_of(recording, workload).document()["Statement"]
        if statement["Sid"] == "PackageKey"
    }
    assert granted == {"retraining": PACKAGE_WRITE, "serving": PACKAGE_READ}


@pytest.mark.parametrize("name", NAMES)
def test_only_who_releases_signs_and_who_opens_packages_reads_the_public_key(name: str) -> None:
    recording = build(name)
    key = arns()["key:signing"]
    may = {
        action: {each for each in SERVICES if allows(policy_of(recording, each), action, key)}
        for action in ("kms:Sign", "kms:GetPublicKey")
    }
    assert may == {"kms:Sign": {"retraining"}, "kms:GetPublicKey": {"retraining", "serving"}}


@pytest.mark.parametrize("name", NAMES)
def test_only_who_releases_adds_to_the_audit_record_and_nobody_reads_or_removes_it(name: str) -> None:
    recording = build(name)
    bucket = arns()["bucket:audit"]
    copy = f"{bucket}/{AUDIT_RECORD}{PACKAGE_TENANT}/000000000001.json"
    may = {
        action: {each for each in SERVICES if allows(policy_of(recording, each), action, copy)}
        for action in ("s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:PutObject")
    }
    assert {action: who for action, who in may.items() if who} == {"s3:PutObject": {"retraining"}}
    policy = policy_of(recording, "retraining")
    assert not allows(policy, "s3:PutObject", f"{bucket}/AWSLogs/{ACCOUNT_ID}/CloudTrail/log.json.gz")
    assert not allows(policy, "s3:PutObject", f"{bucket}/{AUDIT_RECORD}another/000000000001.json")
    assert not allows(policy, "kms:Decrypt", arns()["key:audit"])


def test_databases_are_entered_as_the_services_own_user() -> None:
    recording = build("smb")
    assert allows(policy_of(recording, "mlflow"), "rds-db:connect", f"{arns()['database']}/mlflow")
    assert not allows(policy_of(recording, "mlflow"), "rds-db:connect", f"{arns()['database']}/feast")


@pytest.mark.parametrize("name", NAMES)
def test_who_releases_models_alone_logs_in_to_the_audit_record(name: str) -> None:
    recording = build(name)
    registry = f"{arns()['database']}/registry"
    allowed = {each for each in SERVICES if allows(policy_of(recording, each), "rds-db:connect", registry)}
    assert allowed == {"retraining"}


@pytest.mark.parametrize("workload", sorted(SERVICES))
def test_one_job_alone_may_read_the_administrators_password_and_it_logs_in_as_no_service(workload: str) -> None:
    policy = policy_of(build("smb"), workload)
    reads = allows(policy, "secretsmanager:GetSecretValue", arns()["secret:postgres-admin"])
    assert reads == (workload == "database")
    assert not (reads and allows(policy, "rds-db:connect", f"{arns()['database']}/mlflow"))


def test_ci_publishes_images_from_the_named_branch_only() -> None:
    repository = f"arn:aws:ecr:{REGION}:{ACCOUNT_ID}:repository/falaj-dev/serving"
    recording = build("smb", ci=CI, repository_arns=[repository])
    provider = recording.one("aws:iam/openIdConnectProvider:OpenIdConnectProvider")
    assert provider.inputs == {"clientIdLists": ["sts.amazonaws.com"], "url": "https://ci.example.com"}
    role = recording.named("identity-ci", ROLE)
    condition = role.statement("ContinuousIntegration", "assumeRolePolicy")["Condition"]
    assert condition == {
        "StringEquals": {"ci.example.com:aud": "sts.amazonaws.com"},
        "StringLike": {"ci.example.com:sub": ["repo:my-org/platform:ref:refs/heads/main"]},
    }
    assert role.inputs["permissionsBoundary"] == BOUNDARY_ARN
    policy = recording.named("identity-ci-policy", POLICY)
    assert allows(policy, "ecr:PutImage", repository)
    assert not allows(policy, "ecr:DeleteRepository", repository)
    assert not allows(policy, "ecr:PutImage", repository.replace("falaj-dev", "falaj-prod"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"resource_arns": {}}, "needs "),
        ({"ci": ContinuousIntegration("http://ci.example.com", ("repo:a",))}, "must be the https URL"),
        ({"ci": ContinuousIntegration("https://ci.example.com", ())}, "name at least one repository"),
        ({"workloads": [Workload("a", "n", "s", ()), Workload("a", "n", "t", ())]}, "named twice"),
    ],
)
def test_refuses_before_it_registers_anything(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ComponentSpecError) as caught:
        build("smb", **options)
    assert says in str(caught.value)


# --- the boundary


def boundary() -> Registered:
    environment = platform("smb").environment
    return record(lambda: PermissionsBoundary("boundary", environment=environment)).one("aws:iam/policy:Policy")


def test_the_boundary_is_one_policy_that_names_itself() -> None:
    policy = boundary()
    assert policy.inputs["name"] == "falaj-dev-boundary"
    assert policy.statement("NoChangeOfTheBoundary")["Resource"] == [BOUNDARY_ARN]
    roles = policy.statement("NoRoleWithoutTheBoundary")
    assert roles["Condition"] == {"StringNotEquals": {"iam:PermissionsBoundary": BOUNDARY_ARN}}
    assert "iam:CreateRole" in roles["Action"]


def test_the_boundary_ends_at_the_region() -> None:
    statement = boundary().statement("NothingOutsideTheRegion")
    assert statement["Effect"] == "Deny"
    assert statement["NotAction"] == ["iam:*", "sts:*"]
    assert statement["Condition"] == {"StringNotEquals": {"aws:RequestedRegion": REGION}}


@pytest.mark.parametrize(
    ("sid", "action"),
    [
        ("NoCopiesAcrossTheBorder", "kms:ReplicateKey"),
        ("NoCopiesAcrossTheBorder", "s3:PutReplicationConfiguration"),
        ("NoLiftingOfTheBoundary", "iam:DeleteRolePermissionsBoundary"),
        ("NoUsersAndKeys", "iam:CreateAccessKey"),
        ("NoUsersAndKeys", "iam:CreateUser"),
        ("NoLossOfKeysOrEvidence", "kms:ScheduleKeyDeletion"),
        ("NoLossOfKeysOrEvidence", "cloudtrail:StopLogging"),
    ],
)
def test_the_boundary_denies_everywhere(sid: str, action: str) -> None:
    statement = boundary().statement(sid)
    assert (statement["Effect"], statement["Resource"]) == ("Deny", ["*"])
    assert action in statement["Action"]


@pytest.mark.parametrize("name", NAMES)
def test_what_workloads_are_allowed_lies_below_the_ceiling(name: str) -> None:
    """A right that the boundary cuts off would show only as a denied call in production."""
    environment = platform(name).environment
    document = json.loads(boundary_document(boundary_statements(environment, boundary_arn=BOUNDARY_ARN)))
    ceiling = [statement for statement in document["Statement"] if statement["Effect"] == "Allow"]
    for workload in workloads(name):
        for granted in workload_statements(workload, arns(), region=REGION):
            for action in granted.actions:
                for resource in granted.resources:
                    assert any(
                        any(fnmatchcase(action, pattern) for pattern in statement["Action"])
                        and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
                        for statement in ceiling
                    ), (workload.name, action, resource)


def test_the_ceiling_lets_nodes_pull_the_add_on_images_of_aws() -> None:
    statement = boundary().statement("CeilingImagePull")
    assert statement["Resource"] == [f"arn:aws:ecr:{REGION}:*:repository/*"]
    assert "ecr:PutImage" not in statement["Action"]
