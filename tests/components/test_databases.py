"""A database that accepts a plain connection, a stored password or a deletion is one incident away from a breach."""

from __future__ import annotations

from typing import Any

import pytest

from blueprints.schema import DataDomain
from components.base import ComponentSpecError
from components.databases import Postgres
from components.online_store import OnlineStore, check_online_store
from tests.support.platforms import NAMES, Platform, platform
from tests.support.recorder import Recording, Registered, attempt, record

INSTANCE = "aws:rds/instance:Instance"
CLUSTER = "aws:rds/cluster:Cluster"
MEMBER = "aws:rds/clusterInstance:ClusterInstance"
TABLE = "aws:dynamodb/table:Table"
GROUP = "aws:elasticache/replicationGroup:ReplicationGroup"
USER = "aws:elasticache/user:User"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
SUBNETS = ("subnet-1", "subnet-3")


def domain(subject: Platform, name: str) -> DataDomain:
    return {found.name: found for found in subject.blueprint.data_domains}[name]


def declare_postgres(subject: Platform, **options: Any) -> None:
    Postgres(
        "postgres",
        subject.blueprint.postgres,
        environment=subject.environment,
        domain=domain(subject, "platform"),
        vpc_id="vpc-1",
        subnet_ids=options.get("subnet_ids", SUBNETS),
        client_security_group_id="sg-nodes",
        key_arn=subject.key_arns["platform"],
        log_retention=365,
        protect=options.get("protect", True),
    )


def postgres(name: str, protect: bool = True, **overrides: Any) -> Recording:
    return record(lambda: declare_postgres(platform(name, **overrides), protect=protect))


def online_store(name: str, protect: bool = True) -> Recording:
    subject = platform(name)
    return record(
        lambda: OnlineStore(
            "store",
            subject.blueprint.online_store,
            environment=subject.environment,
            domain=domain(subject, "feature"),
            vpc_id="vpc-1",
            subnet_ids=SUBNETS,
            client_security_group_id="sg-nodes",
            key_arn=subject.key_arns["feature"],
            log_key_arn=subject.key_arns["platform"],
            log_retention=365,
            protect=protect,
        )
    )


def server(recording: Recording, name: str) -> Registered:
    return recording.one(INSTANCE if name == "smb" else CLUSTER)


def test_small_postgres_is_exactly_these_children() -> None:
    assert postgres("smb").types() == {
        "falaj:data:Postgres": 1,
        "aws:cloudwatch/logGroup:LogGroup": 1,
        "aws:ec2/securityGroup:SecurityGroup": 1,
        INGRESS: 1,
        "aws:rds/subnetGroup:SubnetGroup": 1,
        "aws:rds/parameterGroup:ParameterGroup": 1,
        INSTANCE: 1,
    }


def test_enterprise_postgres_is_aurora_with_a_twin_for_failover() -> None:
    recording = postgres("enterprise")
    assert recording.types() == {
        "falaj:data:Postgres": 1,
        "aws:cloudwatch/logGroup:LogGroup": 1,
        "aws:ec2/securityGroup:SecurityGroup": 1,
        INGRESS: 1,
        "aws:rds/subnetGroup:SubnetGroup": 1,
        "aws:rds/clusterParameterGroup:ClusterParameterGroup": 1,
        CLUSTER: 1,
        MEMBER: 2,
    }
    assert [member.inputs["promotionTier"] for member in recording.of(MEMBER)] == [0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_postgres_is_encrypted_under_the_platform_key_in_every_part(name: str) -> None:
    key = platform(name).key_arns["platform"]
    recording = postgres(name)
    inputs = server(recording, name).inputs
    assert (inputs["storageEncrypted"], inputs["kmsKeyId"], inputs["masterUserSecretKmsKeyId"]) == (True, key, key)
    for member in recording.of(INSTANCE) + recording.of(MEMBER):
        assert member.inputs["performanceInsightsKmsKeyId"] == key
    assert recording.one("aws:cloudwatch/logGroup:LogGroup").inputs["kmsKeyId"] == key


@pytest.mark.parametrize("name", NAMES)
def test_postgres_has_no_password_and_no_public_address(name: str) -> None:
    recording = postgres(name)
    inputs = server(recording, name).inputs
    assert inputs["manageMasterUserPassword"] is True
    assert inputs["iamDatabaseAuthenticationEnabled"] is True
    assert [key for key in inputs if "assword" in key and key != "manageMasterUserPassword"] == []
    for member in recording.of(INSTANCE) + recording.of(MEMBER):
        assert member.inputs["publiclyAccessible"] is False


@pytest.mark.parametrize(
    ("name", "kind", "family"),
    [
        ("smb", "aws:rds/parameterGroup:ParameterGroup", "postgres17"),
        ("enterprise", "aws:rds/clusterParameterGroup:ClusterParameterGroup", "aurora-postgresql17"),
    ],
)
def test_postgres_refuses_plain_connections(name: str, kind: str, family: str) -> None:
    recording = postgres(name)
    group = recording.one(kind)
    values = {parameter["name"]: parameter["value"] for parameter in group.inputs["parameters"]}
    assert group.inputs["family"] == family
    assert values["rds.force_ssl"] == "1"
    assert values["ssl_min_protocol_version"] == "TLSv1.2"
    used = server(recording, name).inputs
    assert group.id in (used.get("parameterGroupName"), used.get("dbClusterParameterGroupName"))


@pytest.mark.parametrize("name", NAMES)
def test_postgres_admits_the_nodes_on_its_port_and_nobody_else(name: str) -> None:
    recording = postgres(name)
    (rule,) = recording.of(INGRESS)
    assert rule.inputs["referencedSecurityGroupId"] == "sg-nodes"
    assert (rule.inputs["fromPort"], rule.inputs["toPort"]) == (5432, 5432)
    assert server(recording, name).inputs["vpcSecurityGroupIds"] == [rule.inputs["securityGroupId"]]
    assert recording.one("aws:rds/subnetGroup:SubnetGroup").inputs["subnetIds"] == list(SUBNETS)


@pytest.mark.parametrize("name", NAMES)
def test_protected_postgres_survives_pulumi_the_console_and_its_own_deletion(name: str) -> None:
    found = server(postgres(name), name)
    assert found.protect
    assert found.inputs["deletionProtection"] is True
    assert found.inputs["skipFinalSnapshot"] is False
    assert found.inputs["finalSnapshotIdentifier"] == "falaj-dev-postgres-final"


@pytest.mark.parametrize("name", NAMES)
def test_unprotected_postgres_goes_without_a_trace(name: str) -> None:
    found = server(postgres(name, protect=False), name)
    assert not found.protect
    assert found.inputs["deletionProtection"] is False
    assert found.inputs["skipFinalSnapshot"] is True
    assert "finalSnapshotIdentifier" not in found.inputs


@pytest.mark.parametrize("name", NAMES)
def test_postgres_is_backed_up_as_long_as_the_blueprint_says_and_tagged_for_the_plan(name: str) -> None:
    subject = platform(name)
    inputs = server(postgres(name), name).inputs
    assert inputs["backupRetentionPeriod"] == subject.blueprint.postgres.backup_retention_days
    assert inputs["tags"]["backup-plan"] == "daily"
    assert inputs["tags"]["data-domain"] == "platform"


@pytest.mark.parametrize(("name", "kind"), [("smb", "instance"), ("enterprise", "cluster")])
def test_the_log_group_exists_encrypted_before_postgres_writes_to_it(name: str, kind: str) -> None:
    recording = postgres(name)
    group = recording.one("aws:cloudwatch/logGroup:LogGroup")
    assert group.inputs["name"] == f"/aws/rds/{kind}/falaj-dev-postgres/postgresql"
    assert group.urn in server(recording, name).dependencies
    assert server(recording, name).inputs["enabledCloudwatchLogsExports"] == ["postgresql"]


def test_two_rds_instances_mean_multi_az() -> None:
    assert postgres("smb").one(INSTANCE).inputs["multiAz"] is False
    assert postgres("smb", **{"postgres.instances": 2}).one(INSTANCE).inputs["multiAz"] is True


@pytest.mark.parametrize("name", NAMES)
def test_postgres_outputs_what_iam_and_clients_need(name: str) -> None:
    outputs = postgres(name).outputs_of("falaj:data:Postgres")
    assert outputs["endpoint"].startswith("falaj-dev-postgres.")
    assert ":" not in outputs["endpoint"]
    assert outputs["port"] == 5432
    assert outputs["master_secret_arn"].startswith("arn:aws:secretsmanager:me-central-1:")


def test_postgres_refuses_a_single_subnet() -> None:
    result = attempt(lambda: declare_postgres(platform("smb"), subnet_ids=["subnet-1"]))
    assert isinstance(result.error, ComponentSpecError)
    assert "postgres.subnets: 1 given" in str(result.error)
    assert result.resources == []


# --- the online store


def test_the_small_online_store_is_one_table() -> None:
    recording = online_store("smb")
    assert recording.types() == {"falaj:data:OnlineStore": 1, TABLE: 1}
    inputs = recording.one(TABLE).inputs
    assert inputs["serverSideEncryption"] == {"enabled": True, "kmsKeyArn": platform("smb").key_arns["feature"]}
    assert inputs["pointInTimeRecovery"] == {"enabled": True}
    assert inputs["ttl"] == {"enabled": True, "attributeName": "expires_at"}
    assert inputs["billingMode"] == "PAY_PER_REQUEST"
    assert inputs["deletionProtectionEnabled"] is True
    assert "replicas" not in inputs
    assert inputs["tags"]["data-domain"] == "feature"
    assert recording.one(TABLE).protect


def test_an_unprotected_table_can_be_deleted() -> None:
    found = online_store("smb", protect=False).one(TABLE)
    assert (found.protect, found.inputs["deletionProtectionEnabled"]) == (False, False)


def test_the_enterprise_online_store_is_exactly_these_children() -> None:
    assert online_store("enterprise").types() == {
        "falaj:data:OnlineStore": 1,
        "aws:elasticache/subnetGroup:SubnetGroup": 1,
        "aws:elasticache/parameterGroup:ParameterGroup": 1,
        "aws:elasticache/userGroup:UserGroup": 1,
        USER: 3,
        GROUP: 1,
        "aws:cloudwatch/logGroup:LogGroup": 1,
        "aws:ec2/securityGroup:SecurityGroup": 1,
        INGRESS: 1,
    }


def test_valkey_takes_tls_only_and_encrypts_under_the_feature_key() -> None:
    inputs = online_store("enterprise").one(GROUP).inputs
    assert inputs["transitEncryptionEnabled"] is True
    assert inputs["transitEncryptionMode"] == "required"
    assert inputs["atRestEncryptionEnabled"] is True
    assert inputs["kmsKeyId"] == platform("enterprise").key_arns["feature"]
    assert (inputs["automaticFailoverEnabled"], inputs["multiAzEnabled"]) == (True, True)
    assert (inputs["numNodeGroups"], inputs["replicasPerNodeGroup"]) == (3, 1)
    assert "authToken" not in inputs
    assert len(inputs["userGroupIds"]) == 1


def test_valkey_users_log_in_with_iam_and_the_default_user_is_locked() -> None:
    recording = online_store("enterprise")
    locked = recording.named("store-default", USER).inputs
    assert (locked["userName"], locked["accessString"]) == ("default", "off -@all")
    for purpose in ("reader", "writer"):
        user = recording.named(f"store-{purpose}", USER).inputs
        assert user["authenticationMode"] == {"type": "iam"}
        assert user["userId"] == user["userName"]
    assert "+@write" not in recording.named("store-reader", USER).inputs["accessString"]
    assert "+@write" in recording.named("store-writer", USER).inputs["accessString"]
    users = recording.one("aws:elasticache/userGroup:UserGroup").inputs["userIds"]
    assert users == ["falaj-dev-online-default", "falaj-dev-online-reader", "falaj-dev-online-writer"]


def test_valkey_admits_the_nodes_on_its_port_only() -> None:
    (rule,) = online_store("enterprise").of(INGRESS)
    assert (rule.inputs["referencedSecurityGroupId"], rule.inputs["fromPort"]) == ("sg-nodes", 6379)


def test_the_store_says_which_engine_it_is() -> None:
    small = online_store("smb").outputs_of("falaj:data:OnlineStore")
    large = online_store("enterprise").outputs_of("falaj:data:OnlineStore")
    assert (small["engine"], small["endpoint"], small["port"]) == ("dynamodb", "falaj-dev-online-features", 0)
    assert (large["engine"], large["port"]) == ("valkey", 6379)
    assert large["endpoint"].startswith("clustercfg.")


def test_replicas_need_a_second_zone() -> None:
    with pytest.raises(ComponentSpecError, match="with one usable zone"):
        check_online_store(platform("enterprise").blueprint.online_store, zone_count=1)
