"""ElastiCache handlers on a real server.  Guards: caches without TLS, replicas that get lost, ids that stay taken."""

from __future__ import annotations

from typing import Any

import pytest

from falaj.engine.provider import ProviderError
from tests.support.aws_lifecycle import Account, assert_full_life, assert_settled
from tests.support.aws_network import default_subnets, default_vpc
from tests.support.moto_server import client

GROUP = "aws:elasticache/replicationGroup:ReplicationGroup"
USER = "aws:elasticache/user:User"
USER_GROUP = "aws:elasticache/userGroup:UserGroup"
SUBNETS = "aws:elasticache/subnetGroup:SubnetGroup"
PARAMETERS = "aws:elasticache/parameterGroup:ParameterGroup"


def group_inputs(**more: Any) -> dict[str, Any]:
    return {
        "description": "online features",
        "engine": "valkey",
        "engineVersion": "8.0",
        "nodeType": "cache.t4g.small",
        "numCacheClusters": 2,
        "automaticFailoverEnabled": True,
        "multiAzEnabled": True,
        "atRestEncryptionEnabled": True,
        "transitEncryptionEnabled": True,
        **more,
    }


def test_replication_group_lives_through_create_update_and_delete(account: Account) -> None:
    first = group_inputs()
    assert_full_life(account, GROUP, "online", first, group_inputs(nodeType="cache.r7g.large", description="features"))


def test_independent_client_sees_encryption_and_replicas(account: Account) -> None:
    group = account.created(GROUP, "seen", group_inputs())
    elasticache = client(account.endpoint_url, "elasticache")
    seen = elasticache.describe_replication_groups(ReplicationGroupId=group.id)["ReplicationGroups"][0]
    assert (seen["AtRestEncryptionEnabled"], seen["TransitEncryptionEnabled"]) == (True, True)
    assert len(seen["MemberClusters"]) == 2
    assert group.outputs["primaryEndpointAddress"].startswith("master.")
    assert group.outputs["port"] == 6379


def test_cluster_mode_answers_a_configuration_endpoint(account: Account) -> None:
    sharded = group_inputs(clusterMode="enabled", numNodeGroups=2, replicasPerNodeGroup=1)
    del sharded["numCacheClusters"]
    group = account.created(GROUP, "sharded", sharded)
    assert group.outputs["configurationEndpointAddress"].startswith("clustercfg.")
    assert group.outputs["clusterEnabled"] is True


def test_id_of_a_deleted_group_is_free_again(account: Account) -> None:
    account.created(GROUP, "fixed", group_inputs(replicationGroupId="fixed")).delete()
    elasticache = client(account.endpoint_url, "elasticache")
    groups = elasticache.describe_replication_groups()["ReplicationGroups"]
    assert "fixed" not in {group["ReplicationGroupId"] for group in groups}
    assert account.created(GROUP, "fixed", group_inputs(replicationGroupId="fixed")).refresh()


def test_what_the_emulator_cannot_modify_is_made_again_under_the_same_arn(account: Account) -> None:
    group = account.created(GROUP, "remade", group_inputs(transitEncryptionEnabled=False))
    arn = group.outputs["arn"]
    group.update(group_inputs(numCacheClusters=3))
    elasticache = client(account.endpoint_url, "elasticache")
    seen = elasticache.describe_replication_groups(ReplicationGroupId=group.id)["ReplicationGroups"][0]
    assert (seen["ARN"], seen["TransitEncryptionEnabled"], len(seen["MemberClusters"])) == (arn, True, 3)
    assert_settled(group, group_inputs(numCacheClusters=3))


def test_user_lives_through_create_update_and_delete(account: Account) -> None:
    first = {
        "userId": "online-reader",
        "userName": "online-reader",
        "engine": "valkey",
        "accessString": "on ~* -@all +@read",
        "authenticationMode": {"type": "iam"},
    }
    assert_full_life(account, USER, "reader", first, {**first, "accessString": "on ~features:* -@all +@read"})


def test_user_group_needs_its_users(account: Account) -> None:
    user = {"engine": "valkey", "accessString": "off -@all", "authenticationMode": {"type": "no-password-required"}}
    account.created(USER, "off", {**user, "userId": "group-default", "userName": "default"})
    inputs = {"engine": "valkey", "userGroupId": "online", "userIds": ["group-default"]}
    group = account.created(USER_GROUP, "online", inputs)
    assert group.outputs["__falaj"] == {"emulated": "state"}
    assert_settled(group, inputs)
    with pytest.raises(ProviderError, match="UserNotFound"):
        account.created(USER_GROUP, "stray", {**inputs, "userGroupId": "stray", "userIds": ["missing"]})


def test_groups_that_the_emulator_lacks_are_marked_and_settle(account: Account) -> None:
    subnets = {"subnetIds": default_subnets(account.endpoint_url)}
    parameters = {"family": "valkey8", "parameters": [{"name": "maxmemory-policy", "value": "volatile-lru"}]}
    for type, inputs in ((SUBNETS, subnets), (PARAMETERS, parameters)):
        group = account.created(type, "online", inputs)
        assert group.outputs["__falaj"] == {"emulated": "state"}
        assert group.id in group.outputs["arn"]
        assert_settled(group, inputs)
    assert account.created(SUBNETS, "net", subnets).outputs["vpcId"] == default_vpc(account.endpoint_url)
