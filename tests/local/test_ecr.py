"""ECR handlers on a real server.  Guards: mutable tags, unscanned images, registry settings that outlive the stack."""

from __future__ import annotations

import json

from falaj.engine.provider import DiffKind
from tests.support.aws_lifecycle import Account, assert_full_life, assert_settled
from tests.support.moto_server import ACCOUNT_ID, REGION, client

REPOSITORY = "aws:ecr/repository:Repository"
LIFECYCLE = "aws:ecr/lifecyclePolicy:LifecyclePolicy"
CACHE_RULE = "aws:ecr/pullThroughCacheRule:PullThroughCacheRule"
TEMPLATE = "aws:ecr/repositoryCreationTemplate:RepositoryCreationTemplate"
SCANNING = "aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration"


def lifecycle_policy(count: int) -> str:
    selection = {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": count}
    return json.dumps({"rules": [{"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}]})


def test_repository_lives_through_create_update_and_delete(account: Account) -> None:
    first = {"name": "falaj/serving", "imageScanningConfiguration": {"scanOnPush": True}}
    second = {**first, "imageTagMutability": "IMMUTABLE", "tags": {"a": "b"}}
    assert_full_life(account, REPOSITORY, "serving", first, second)


def test_independent_client_sees_immutable_scanned_encrypted(account: Account) -> None:
    key = client(account.endpoint_url, "kms").create_key()["KeyMetadata"]["Arn"]
    inputs = {
        "imageTagMutability": "IMMUTABLE",
        "imageScanningConfiguration": {"scanOnPush": True},
        "encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": key}],
    }
    repository = account.created(REPOSITORY, "seen", inputs)
    ecr = client(account.endpoint_url, "ecr")
    seen = ecr.describe_repositories(repositoryNames=[repository.id])["repositories"][0]
    assert seen["imageTagMutability"] == "IMMUTABLE"
    assert seen["imageScanningConfiguration"] == {"scanOnPush": True}
    assert seen["encryptionConfiguration"] == {"encryptionType": "KMS", "kmsKey": key}
    assert repository.outputs["repositoryUrl"] == f"{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com/{repository.id}"
    assert_settled(repository, inputs)
    assert repository.diff({**inputs, "encryptionConfigurations": []}).replaces == ("encryptionConfigurations",)


def test_lifecycle_policy_is_replaced_old_one_first(account: Account) -> None:
    repository = account.created(REPOSITORY, "tidy", {})
    inputs = {"repository": repository.id, "policy": lifecycle_policy(10)}
    policy = account.created(LIFECYCLE, "tidy", inputs)
    assert_settled(policy, inputs)
    difference = policy.diff({**inputs, "policy": lifecycle_policy(20)})
    assert (difference.replaces, difference.delete_before_replace) == (("policy",), True)
    assert difference.detailed is not None
    assert difference.detailed["policy"].kind is DiffKind.UPDATE_REPLACE
    policy.delete()
    assert not policy.refresh()


def test_registry_scanning_lives_through_create_update_and_delete(account: Account) -> None:
    rule = {
        "scanFrequency": "CONTINUOUS_SCAN",
        "repositoryFilters": [{"filter": "falaj/*", "filterType": "WILDCARD"}],
    }
    first = {"scanType": "ENHANCED", "rules": [rule]}
    second = {"scanType": "ENHANCED", "rules": [{**rule, "scanFrequency": "SCAN_ON_PUSH"}]}
    assert_full_life(account, SCANNING, "registry", first, second)


def test_pull_through_rule_and_template_are_marked_and_settle(account: Account) -> None:
    rule = {"ecrRepositoryPrefix": "quay", "upstreamRegistryUrl": "quay.io"}
    template = {"prefix": "quay", "appliedFors": ["PULL_THROUGH_CACHE"], "lifecyclePolicy": lifecycle_policy(10)}
    for type, inputs in ((CACHE_RULE, rule), (TEMPLATE, template)):
        made = account.created(type, "quay", inputs)
        assert made.outputs["__falaj"] == {"emulated": "state"}
        assert (made.id, made.outputs["registryId"]) == ("quay", ACCOUNT_ID)
        assert_settled(made, inputs)
