"""A key that anybody can use, or that can be lost, protects nothing; a key that its service cannot use stops it."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from blueprints.schema import DataDomain
from components.base import ComponentSpecError
from components.encryption import Encryption
from components.key_policies import KEY_USES
from tests.support.platforms import NAMES, Platform, platform
from tests.support.recorder import Recording, attempt, record

KEY = "aws:kms/key:Key"
DOMAINS = ("audit", "feature", "lake", "model", "platform")


def build(subject: Platform, **options: Any) -> Recording:
    return record(
        lambda: Encryption("keys", subject.blueprint.data_domains, environment=subject.environment, **options)
    )


@cache
def recorded(name: str) -> Recording:
    """The keys of a shipped blueprint as it is; shared, since no test changes a recording."""
    return build(platform(name))


@pytest.mark.parametrize("name", NAMES)
def test_there_is_one_key_and_alias_per_domain_and_volumes_are_encrypted(name: str) -> None:
    recording = recorded(name)
    assert recording.types() == {
        "falaj:encryption:Encryption": 1,
        KEY: 5,
        "aws:kms/alias:Alias": 5,
        "aws:ebs/defaultKmsKey:DefaultKmsKey": 1,
        "aws:ebs/encryptionByDefault:EncryptionByDefault": 1,
    }
    assert {resource.parent for resource in recording.resources if resource.custom} == {recording.resources[0].urn}
    assert sorted(key.name for key in recording.of(KEY)) == [f"keys-{domain}" for domain in DOMAINS]
    assert recording.named("keys-lake", "aws:kms/alias:Alias").inputs == {
        "name": "alias/falaj/dev/lake",
        "targetKeyId": recording.named("keys-lake", KEY).id,
    }
    platform_key = recording.named("keys-platform", KEY)
    assert recording.one("aws:ebs/defaultKmsKey:DefaultKmsKey").inputs["keyArn"].endswith(platform_key.id)
    assert recording.one("aws:ebs/encryptionByDefault:EncryptionByDefault").inputs == {"enabled": True}


@pytest.mark.parametrize("name", NAMES)
def test_keys_rotate_wait_thirty_days_and_stay_in_the_region(name: str) -> None:
    for key in recorded(name).of(KEY):
        assert key.inputs["enableKeyRotation"] is True
        assert key.inputs["rotationPeriodInDays"] == 365
        assert key.inputs["deletionWindowInDays"] == 30
        assert key.inputs["multiRegion"] is False
        assert key.protect


def test_outputs_are_keyed_by_domain() -> None:
    recording = recorded("smb")
    outputs = recording.outputs_of("falaj:encryption:Encryption")
    assert sorted(outputs) == ["alias_names", "key_arns", "key_ids"]
    for key in recording.of(KEY):
        domain = key.name.removeprefix("keys-")
        assert outputs["key_ids"][domain] == key.id
        assert outputs["key_arns"][domain].endswith(f":key/{key.id}")


@pytest.mark.parametrize("name", NAMES)
def test_no_key_policy_names_everybody_or_leaves_a_service_unbound(name: str) -> None:
    for key in recorded(name).of(KEY):
        for statement in key.document()["Statement"]:
            assert statement["Effect"] == "Allow"
            assert set(statement["Principal"]) in ({"AWS"}, {"Service"})
            assert "*" not in str(statement["Principal"])
            if "Service" in statement["Principal"]:
                bound = str(statement["Condition"])
                assert "aws:SourceAccount" in bound or "kms:EncryptionContext:aws:logs:arn" in bound


def test_the_account_administers_a_key_but_cannot_decrypt_with_it_directly() -> None:
    key = recorded("smb").named("keys-lake", KEY)
    administration = key.statement("AccountAdministersKey")
    assert not {"kms:*", "kms:Decrypt", "kms:ReplicateKey", "kms:CreateGrant"} & set(administration["Action"])
    assert "kms:PutKeyPolicy" in administration["Action"]
    use = key.statement("AccountUsesKeyThroughServices")
    assert use["Condition"]["StringEquals"]["kms:ViaService"] == [
        f"{service}.me-central-1.amazonaws.com" for service in ("backup", "kafka", "kinesis", "s3")
    ]
    grants = key.statement("AccountGrantsKeyToServices")
    assert grants["Condition"]["Bool"] == {"kms:GrantIsForAWSResource": "true"}


def test_a_key_is_used_directly_for_envelopes_that_say_which_package_they_are() -> None:
    keys = {key.name: key for key in recorded("smb").of(KEY)}
    sid = "AccountEncryptsEnvelopes"
    direct = {name for name, key in keys.items() if any(s["Sid"] == sid for s in key.document()["Statement"])}
    assert direct == {"keys-model"}
    statement = keys["keys-model"].statement(sid)
    assert set(statement["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey"}
    assert statement["Condition"]["StringLike"] == {
        f"kms:EncryptionContext:{name}": "?*" for name in ("digest", "model", "tenant")
    }


def test_only_the_platforms_own_trail_encrypts_with_the_audit_key() -> None:
    statement = recorded("smb").named("keys-audit", KEY).statement("TrailEncryptsLogFiles")
    assert statement["Principal"] == {"Service": ["cloudtrail.amazonaws.com"]}
    assert statement["Condition"]["StringEquals"] == {
        "aws:SourceArn": "arn:aws:cloudtrail:me-central-1:123456789012:trail/falaj-dev-trail",
        "aws:SourceAccount": "123456789012",
    }


def test_log_groups_of_other_stacks_cannot_use_the_platform_key() -> None:
    key = recorded("smb").named("keys-platform", KEY)
    patterns = {
        sid: key.statement(sid)["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"]
        for sid in ("LogsUseKey", "ClusterLogsUseKey", "DatabaseLogsUseKey")
    }
    log_group = "arn:aws:logs:me-central-1:123456789012:log-group:"
    assert patterns == {
        "LogsUseKey": f"{log_group}/falaj/dev/*",
        "ClusterLogsUseKey": f"{log_group}/aws/eks/falaj-dev*",
        "DatabaseLogsUseKey": f"{log_group}/aws/rds/*/falaj-dev*",
    }


@pytest.mark.parametrize(("exists", "statements"), [(True, 2), (False, 0)])
def test_node_volumes_can_be_encrypted_once_the_auto_scaling_role_exists(exists: bool, statements: int) -> None:
    recording = build(platform("smb"), auto_scaling_role_exists=exists)
    sids = [statement["Sid"] for statement in recording.named("keys-platform", KEY).document()["Statement"]]
    assert sum(sid.startswith("AutoScaling") for sid in sids) == statements
    others = [statement["Sid"] for statement in recording.named("keys-lake", KEY).document()["Statement"]]
    assert not any(sid.startswith("AutoScaling") for sid in others)


def test_a_new_default_key_is_not_undone_by_the_removal_of_the_old_one() -> None:
    assert recorded("smb").one("aws:ebs/defaultKmsKey:DefaultKmsKey").delete_before_replace


def test_protection_can_be_switched_off_for_throwaway_stacks() -> None:
    assert not any(key.protect for key in build(platform("smb"), protect=False).of(KEY))


def test_keys_state_what_they_protect() -> None:
    tags = recorded("enterprise").named("keys-lake", KEY).inputs["tags"]
    assert tags["data-class"] == "restricted"
    assert tags["personal-data"] == "yes"
    assert tags["retention-days"] == "1827"


@pytest.mark.parametrize("missing", DOMAINS)
def test_a_missing_domain_is_refused_before_anything_is_registered(missing: str) -> None:
    subject = platform("smb")
    domains = [domain for domain in subject.blueprint.data_domains if domain.name != missing]
    recording = attempt(lambda: Encryption("keys", domains, environment=subject.environment))
    assert isinstance(recording.error, ComponentSpecError)
    assert f"data_domains: {missing} missing" in str(recording.error)
    assert recording.resources == []


def test_a_domain_listed_twice_is_refused() -> None:
    subject = platform("smb")
    twice: list[DataDomain] = [*subject.blueprint.data_domains, subject.blueprint.data_domains[0]]
    with pytest.raises(ComponentSpecError, match='"lake" is listed twice'):
        record(lambda: Encryption("keys", twice, environment=subject.environment))


def test_every_domain_of_the_schema_has_a_key_use() -> None:
    assert sorted(KEY_USES) == sorted(DOMAINS)
