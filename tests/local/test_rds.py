"""RDS handlers on a real server.  Guards: databases without password secret, protection without effect, drift."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from falaj.engine.provider import ProviderError
from tests.support.aws_lifecycle import DEFAULT_TAGS, Account, Resource, assert_full_life, assert_settled
from tests.support.aws_network import default_subnets
from tests.support.moto_server import ACCOUNT_ID, client

SUBNETS = "aws:rds/subnetGroup:SubnetGroup"
PARAMETERS = "aws:rds/parameterGroup:ParameterGroup"
CLUSTER_PARAMETERS = "aws:rds/clusterParameterGroup:ClusterParameterGroup"
INSTANCE = "aws:rds/instance:Instance"
CLUSTER = "aws:rds/cluster:Cluster"
MEMBER = "aws:rds/clusterInstance:ClusterInstance"


def test_subnet_group_lives_through_create_update_and_delete(account: Account) -> None:
    subnets = default_subnets(account.endpoint_url)
    first = {"subnetIds": subnets[:2]}
    assert_full_life(account, SUBNETS, "data", first, {"subnetIds": [subnets[2], *subnets[:2]], "tags": {"a": "b"}})


@pytest.mark.parametrize(("type", "family"), [(PARAMETERS, "postgres17"), (CLUSTER_PARAMETERS, "aurora-postgresql16")])
def test_parameter_groups_live_and_lose_removed_parameters(account: Account, type: str, family: str) -> None:
    forced = {"name": "rds.force_ssl", "value": "1", "applyMethod": "pending-reboot"}
    first = {"family": family, "parameters": [forced, {"name": "log_statement", "value": "ddl"}]}
    assert_full_life(account, type, "data", first, {"family": family, "parameters": [forced], "tags": {"a": "b"}})


def test_independent_client_sees_the_forced_tls(account: Account) -> None:
    parameters = [{"name": "rds.force_ssl", "value": "1", "applyMethod": "pending-reboot"}]
    group = account.created(PARAMETERS, "tls", {"family": "postgres17", "parameters": parameters})
    seen = client(account.endpoint_url, "rds").describe_db_parameters(DBParameterGroupName=group.id)["Parameters"]
    wanted = {"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyMethod": "pending-reboot"}
    assert [{key: parameter[key] for key in wanted} for parameter in seen] == [wanted]


@pytest.fixture
def subnet_group(account: Account) -> Resource:
    return account.created(SUBNETS, "db", {"subnetIds": default_subnets(account.endpoint_url), "name": None})


_numbers = itertools.count(1)


def instance_inputs(**more: Any) -> dict[str, Any]:
    return {
        "allocatedStorage": 20,
        "backupRetentionPeriod": 7,
        "copyTagsToSnapshot": True,
        "dbName": "falaj",
        "deletionProtection": True,
        "enabledCloudwatchLogsExports": ["postgresql"],
        "engine": "postgres",
        "engineVersion": "17.4",
        "iamDatabaseAuthenticationEnabled": True,
        "instanceClass": "db.t4g.micro",
        "manageMasterUserPassword": True,
        "maintenanceWindow": "Sun:03:00-Sun:04:00",
        "maxAllocatedStorage": 100,
        "multiAz": False,
        "performanceInsightsEnabled": True,
        "publiclyAccessible": False,
        "skipFinalSnapshot": False,
        "storageEncrypted": True,
        "storageType": "gp3",
        "username": "falaj",
        **more,
    }


def test_instance_lives_through_create_update_and_delete(account: Account, subnet_group: Resource) -> None:
    first = instance_inputs(dbSubnetGroupName=subnet_group.id)
    second = {
        **first,
        "instanceClass": "db.m6g.large",
        "backupRetentionPeriod": 14,
        "deletionProtection": False,
        "tags": {"tier": "data"},
    }
    assert_full_life(account, INSTANCE, "postgres", first, second)


def test_instance_answers_what_its_dependents_need(account: Account) -> None:
    out = account.created(INSTANCE, "wired", instance_inputs()).outputs
    assert out["endpoint"] == f"{out['address']}:5432"
    assert out["port"] == 5432
    secret = out["masterUserSecrets"][0]["secretArn"]
    described = client(account.endpoint_url, "secretsmanager").describe_secret(SecretId=secret)
    assert described["OwningService"] == "rds"
    assert out["identifier"].startswith("wired")
    assert "-" not in out["identifier"]


def test_independent_client_sees_the_encrypted_private_instance(account: Account) -> None:
    instance = account.created(INSTANCE, "seen", instance_inputs())
    rds = client(account.endpoint_url, "rds")
    seen = rds.describe_db_instances(DBInstanceIdentifier=instance.outputs["identifier"])["DBInstances"][0]
    assert (seen["StorageEncrypted"], seen["PubliclyAccessible"], seen["DeletionProtection"]) == (True, False, True)
    assert {tag["Key"]: tag["Value"] for tag in seen["TagList"]} == DEFAULT_TAGS


def test_protected_instance_refuses_to_go_until_an_update(account: Account) -> None:
    instance = account.created(INSTANCE, "guarded", instance_inputs())
    with pytest.raises(ProviderError, match="disable deletion protection"):
        instance.delete()
    instance.update({key: value for key, value in instance_inputs().items() if key != "deletionProtection"})
    instance.delete()
    assert not instance.refresh()


@pytest.mark.parametrize("change", [{"engine": "mysql"}, {"username": "other"}, {"storageEncrypted": False}])
def test_what_rds_cannot_change_replaces_the_instance(account: Account, change: dict[str, Any]) -> None:
    instance = account.created(INSTANCE, f"fixed{next(_numbers)}", instance_inputs())
    assert instance.diff(instance_inputs(**change)).replaces == tuple(change)


def cluster_inputs(**more: Any) -> dict[str, Any]:
    return {
        "backupRetentionPeriod": 7,
        "databaseName": "falaj",
        "enabledCloudwatchLogsExports": ["postgresql"],
        "engine": "aurora-postgresql",
        "engineVersion": "16.6",
        "iamDatabaseAuthenticationEnabled": True,
        "manageMasterUserPassword": True,
        "masterUsername": "falaj",
        "preferredMaintenanceWindow": "Sun:03:00-Sun:04:00",
        "serverlessv2ScalingConfiguration": {"minCapacity": 0.5, "maxCapacity": 8},
        "storageEncrypted": True,
        **more,
    }


def test_cluster_lives_through_create_update_and_delete(account: Account) -> None:
    first = cluster_inputs()
    second = cluster_inputs(
        backupRetentionPeriod=35,
        serverlessv2ScalingConfiguration={"minCapacity": 1, "maxCapacity": 16},
        tags={"tier": "data"},
    )
    assert_full_life(account, CLUSTER, "aurora", first, second)


def test_cluster_answers_writer_reader_and_secret(account: Account) -> None:
    out = account.created(CLUSTER, "wired", cluster_inputs(clusterIdentifier="wired-aurora")).outputs
    assert out["endpoint"].startswith("wired-aurora.cluster-")
    assert out["readerEndpoint"].startswith("wired-aurora.cluster-ro-")
    assert f":{ACCOUNT_ID}:secret:rds!cluster-" in out["masterUserSecrets"][0]["secretArn"]


def test_protected_cluster_refuses_to_go_until_an_update(account: Account) -> None:
    cluster = account.created(CLUSTER, "guarded", cluster_inputs(deletionProtection=True))
    with pytest.raises(ProviderError, match="disable deletion protection"):
        cluster.delete()
    cluster.update(cluster_inputs(deletionProtection=False))
    cluster.delete()
    assert not cluster.refresh()


@pytest.mark.parametrize(("type", "name"), [(CLUSTER, "clusterIdentifier"), (INSTANCE, "identifier")])
def test_fixed_name_is_free_again_and_no_backup_stays(account: Account, type: str, name: str) -> None:
    inputs = {**(cluster_inputs() if type == CLUSTER else instance_inputs(deletionProtection=False)), name: "again"}
    for _ in range(2):
        database = account.created(type, "again", inputs)
        database.delete()
        assert not database.refresh()
    rds = client(account.endpoint_url, "rds")
    clusters = rds.describe_db_cluster_snapshots(DBClusterIdentifier="again")["DBClusterSnapshots"]
    instances = rds.describe_db_snapshots(DBInstanceIdentifier="again")["DBSnapshots"]
    assert not clusters + instances


def test_members_join_the_cluster_and_the_first_writes(account: Account) -> None:
    cluster = account.created(CLUSTER, "team", cluster_inputs())
    inputs = {"clusterIdentifier": cluster.id, "engine": "aurora-postgresql", "instanceClass": "db.serverless"}
    writer = account.created(MEMBER, "writer", inputs)
    reader = account.created(MEMBER, "reader", {**inputs, "identifier": "reader-1"})
    assert (writer.outputs["writer"], reader.outputs["writer"]) == (True, False)
    assert_settled(reader, {**inputs, "identifier": "reader-1"})
    seen = client(account.endpoint_url, "rds").describe_db_clusters(DBClusterIdentifier=cluster.id)["DBClusters"][0]
    assert {member["DBInstanceIdentifier"] for member in seen["DBClusterMembers"]} == {writer.id, "reader-1"}
    reader.update({**inputs, "identifier": "reader-1", "instanceClass": "db.r6g.large"})
    for member in (reader, writer):
        member.delete()
        assert not member.refresh()
    cluster.delete()
    assert not cluster.refresh()
