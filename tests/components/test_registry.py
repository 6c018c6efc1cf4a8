"""What was tested must be what runs: tags never move, images are scanned, mirrors are encrypted from the first pull."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.base import ComponentSpecError
from components.registry import Registry, lifecycle_document, pull_through_prefixes
from components.versions import mirrored_repository, pin
from tests.support.answers import ACCOUNT_ID, REGION
from tests.support.platforms import BOUNDARY_ARN, NAMES, Platform, platform
from tests.support.recorder import Recording, attempt, record

REPOSITORY = "aws:ecr/repository:Repository"
TEMPLATE = "aws:ecr/repositoryCreationTemplate:RepositoryCreationTemplate"
CACHE = "aws:ecr/pullThroughCacheRule:PullThroughCacheRule"


def declare(subject: Platform, **options: Any) -> None:
    Registry(
        "registry",
        subject.blueprint.registry,
        environment=subject.environment,
        key_arn=subject.key_arns["platform"],
        boundary_arn=BOUNDARY_ARN,
        **options,
    )


def build(name: str, overrides: dict[str, object] | None = None, **options: Any) -> Recording:
    return record(lambda: declare(platform(name, **(overrides or {})), **options))


@pytest.mark.parametrize("name", NAMES)
def test_a_registry_is_exactly_these_children(name: str) -> None:
    count = len(platform(name).blueprint.registry.repositories)
    assert build(name).types() == {
        "falaj:registry:Registry": 1,
        REPOSITORY: count,
        "aws:ecr/lifecyclePolicy:LifecyclePolicy": count,
        "aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration": 1,
        "aws:iam/role:Role": 1,
        "aws:iam/rolePolicy:RolePolicy": 1,
        TEMPLATE: 3,
        CACHE: 2,
    }


@pytest.mark.parametrize("name", NAMES)
def test_repositories_are_immutable_scanned_and_encrypted(name: str) -> None:
    subject = platform(name)
    for repository in build(name).of(REPOSITORY):
        assert repository.inputs["imageTagMutability"] == "IMMUTABLE"
        assert repository.inputs["imageScanningConfiguration"] == {"scanOnPush": True}
        assert repository.inputs["encryptionConfigurations"] == [
            {"encryptionType": "KMS", "kmsKey": subject.key_arns["platform"]}
        ]
        assert repository.inputs["forceDelete"] is False
    names = {repository.inputs["name"] for repository in build(name).of(REPOSITORY)}
    assert names == {f"falaj-dev/{repository}" for repository in subject.blueprint.registry.repositories}


def test_a_throw_away_registry_goes_with_its_images() -> None:
    assert {r.inputs["forceDelete"] for r in build("smb", force_delete=True).of(REPOSITORY)} == {True}


def test_every_repository_is_scanned_on_push() -> None:
    scanning = build("smb").one("aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration")
    assert scanning.inputs["rules"] == [
        {"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": [{"filter": "*", "filterType": "WILDCARD"}]}
    ]


def test_only_untagged_images_expire() -> None:
    (rule,) = json.loads(lifecycle_document(14))["rules"]
    assert rule["selection"] == {
        "tagStatus": "untagged",
        "countType": "sinceImagePushed",
        "countUnit": "days",
        "countNumber": 14,
    }
    assert rule["action"] == {"type": "expire"}


def test_a_mirror_has_its_template_before_its_first_pull() -> None:
    recording = build("smb")
    for upstream, host in {"ecr-public": "public.ecr.aws", "kubernetes": "registry.k8s.io"}.items():
        template = recording.named(f"registry-{upstream}-template", TEMPLATE)
        rule = recording.named(f"registry-{upstream}", CACHE)
        assert template.urn in rule.dependencies
        assert rule.inputs["upstreamRegistryUrl"] == host
        assert rule.inputs["ecrRepositoryPrefix"] == template.inputs["prefix"] == f"falaj-dev/{upstream}"
        assert template.inputs["imageTagMutability"] == "IMMUTABLE"
        assert template.inputs["encryptionConfigurations"][0]["encryptionType"] == "KMS"
        assert template.inputs["appliedFors"] == ["PULL_THROUGH_CACHE"]


def test_the_mirror_role_creates_mirrors_and_nothing_else() -> None:
    recording = build("smb")
    statement = recording.one("aws:iam/rolePolicy:RolePolicy").statement("CreateMirrors")
    assert statement["Resource"] == [
        f"arn:aws:ecr:{REGION}:{ACCOUNT_ID}:repository/falaj-dev/ecr-public/*",
        f"arn:aws:ecr:{REGION}:{ACCOUNT_ID}:repository/falaj-dev/kubernetes/*",
        f"arn:aws:ecr:{REGION}:{ACCOUNT_ID}:repository/falaj-dev/mirror/*",
    ]
    role = recording.one("aws:iam/role:Role")
    assert role.inputs["permissionsBoundary"] == BOUNDARY_ARN
    trust = role.document("assumeRolePolicy")["Statement"][0]
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT_ID}}


def test_a_copied_chart_finds_an_immutable_encrypted_repository() -> None:
    """Without a template ECR would refuse the push, or make a repository under its own key."""
    recording = build("smb", {"registry.pull_through": []})
    template = recording.one(TEMPLATE)
    assert template.inputs["prefix"] == mirrored_repository("falaj-dev", pin("chart", "cert-manager")).split("/jet")[0]
    assert template.inputs["appliedFors"] == ["CREATE_ON_PUSH"]
    assert template.inputs["imageTagMutability"] == "IMMUTABLE"
    assert template.inputs["encryptionConfigurations"][0]["encryptionType"] == "KMS"
    assert CACHE not in recording.types()


def test_prefixes_are_known_before_the_registry_exists() -> None:
    subject = platform("smb")
    assert pull_through_prefixes(subject.blueprint.registry, subject.environment) == (
        "falaj-dev/ecr-public",
        "falaj-dev/kubernetes",
    )


def test_outputs_are_keyed_by_the_blueprints_names() -> None:
    outputs = build("smb").outputs_of("falaj:registry:Registry")
    assert outputs["repository_urls"]["serving"] == (f"{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com/falaj-dev/serving")


@pytest.mark.parametrize("repositories", [[], ["serving", "serving"]])
def test_refuses_no_or_repeated_repositories(repositories: list[str]) -> None:
    spec = platform("smb").blueprint.registry.model_copy(update={"repositories": tuple(repositories)})
    subject = platform("smb")
    changed = subject.blueprint.model_copy(update={"registry": spec})
    broken = Platform(changed, subject.placement, subject.environment, subject.region_zones)
    result = attempt(lambda: declare(broken))
    assert isinstance(result.error, ComponentSpecError)
    assert "list at least one, and each once" in str(result.error)
    assert result.resources == []
