"""A signature says who released a package only if one role alone can make it and nobody can take the key away."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from components.signing import PackageSigning
from tests.support.answers import ACCOUNT_ID
from tests.support.platforms import NAMES, platform
from tests.support.recorder import Recording, Registered, record

KEY = "aws:kms/key:Key"


def build(name: str, **options: Any) -> Recording:
    subject = platform(name)
    (domain,) = (domain for domain in subject.blueprint.data_domains if domain.name == "model")
    return record(lambda: PackageSigning("package-signing", domain, environment=subject.environment, **options))


@cache
def key_of(name: str) -> Registered:
    return build(name).one(KEY)


@pytest.mark.parametrize("name", NAMES)
def test_the_key_signs_and_encrypts_nothing_and_stays_in_the_region(name: str) -> None:
    inputs = key_of(name).inputs
    assert (inputs["keyUsage"], inputs["customerMasterKeySpec"]) == ("SIGN_VERIFY", "ECC_NIST_P256")
    assert inputs["multiRegion"] is False
    # KMS refuses the rotation of an asymmetric key.
    assert "enableKeyRotation" not in inputs
    assert inputs["tags"]["data-domain"] == "model"


def test_one_role_signs_and_nobody_by_another_algorithm() -> None:
    key = key_of("smb")
    signs = [s for s in key.document()["Statement"] if "kms:Sign" in s["Action"]]
    assert [statement["Sid"] for statement in signs] == ["ReleaserSigns"]
    condition = signs[0]["Condition"]
    assert condition["ArnEquals"] == {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT_ID}:role/falaj-dev-retraining"}
    assert condition["StringEquals"]["kms:SigningAlgorithm"] == "ECDSA_SHA_256"


def test_the_role_that_signs_is_one_that_the_program_makes() -> None:
    from tests.support.resource_graph import run_program

    roles = [role.inputs.get("name") for role in run_program("smb").of("aws:iam/role:Role")]
    named = key_of("smb").statement("ReleaserSigns")["Condition"]["ArnEquals"]["aws:PrincipalArn"]
    assert named.rpartition("/")[2] in roles


def test_the_key_is_protected_as_data_is_and_waits_before_it_is_deleted() -> None:
    assert key_of("enterprise").protect
    assert key_of("enterprise").inputs["deletionWindowInDays"] == 30
    assert not build("enterprise", protect=False).one(KEY).protect


def test_only_the_account_may_read_the_public_half() -> None:
    statement = key_of("smb").statement("AccountVerifies")
    assert statement["Principal"] == {"AWS": [f"arn:aws:iam::{ACCOUNT_ID}:root"]}
    assert statement["Condition"] == {"StringEquals": {"kms:CallerAccount": ACCOUNT_ID}}
