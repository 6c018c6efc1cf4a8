"""A name that AWS refuses, or that two things share, breaks a deployment half way: names are checked before."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blueprints import load
from blueprints.schema import DataClass, DataDomain
from components.log_retention import log_retention_days
from components.naming import BUCKET_NAME_LIMIT, Environment, NamingError, check_tags

ENVIRONMENT = Environment(
    project="falaj",
    stack="dev",
    account_id="123456789012",
    region="me-central-1",
    owner="platform@example.com",
    cost_centre="cc-1001",
    legal_profiles=("cbuae", "onshore_private"),
)
purposes = st.from_regex(r"[a-z][a-z0-9]{0,20}(-[a-z0-9]{1,20}){0,5}", fullmatch=True)


def test_bucket_names_carry_stack_purpose_and_account() -> None:
    assert ENVIRONMENT.bucket_name("lake") == "falaj-dev-lake-123456789012"
    assert ENVIRONMENT.bucket_arn("lake") == "arn:aws:s3:::falaj-dev-lake-123456789012"


@given(purpose=purposes)
def test_bucket_names_fit_and_keep_the_account(purpose: str) -> None:
    name = ENVIRONMENT.bucket_name(purpose)
    assert len(name) <= BUCKET_NAME_LIMIT
    assert name.endswith("-123456789012")
    assert "--" not in name


@given(one=purposes, other=purposes)
def test_two_purposes_never_share_a_name(one: str, other: str) -> None:
    if one != other:
        assert ENVIRONMENT.physical_name(one, limit=32) != ENVIRONMENT.physical_name(other, limit=32)


@given(purpose=purposes, limit=st.integers(20, 64))
def test_physical_names_respect_their_limit(purpose: str, limit: int) -> None:
    assert len(ENVIRONMENT.physical_name(purpose, limit=limit)) <= limit


@pytest.mark.parametrize("purpose", ["", "Lake", "lake_raw", "-lake", "lake-", "a--b", "lake.raw"])
def test_a_purpose_that_could_not_be_in_a_name_is_refused(purpose: str) -> None:
    with pytest.raises(NamingError, match="lower-case words"):
        ENVIRONMENT.bucket_name(purpose)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"account_id": "1234"}, "must be 12 digits"),
        ({"stack": "Dev_1"}, 'stack name "Dev_1"'),
        ({"owner": "a team; of sorts"}, "only letters, digits, spaces"),
        ({"extra_tags": {"aws:owner": "x"}}, "the prefix aws: is reserved"),
    ],
)
def test_an_environment_that_could_not_be_named_or_tagged_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(NamingError, match=message):
        replace(ENVIRONMENT, **change)  # type: ignore[arg-type]


def test_arns_of_global_services_have_no_region_and_of_buckets_no_account() -> None:
    assert ENVIRONMENT.arn("logs", "log-group:x") == "arn:aws:logs:me-central-1:123456789012:log-group:x"
    assert ENVIRONMENT.arn("iam", "root", regional=False) == "arn:aws:iam::123456789012:root"
    assert ENVIRONMENT.arn("s3", "b", regional=False, owned=False) == "arn:aws:s3:::b"


def test_default_tags_answer_who_owns_pays_and_which_law() -> None:
    assert ENVIRONMENT.default_tags() == {
        "project": "falaj",
        "environment": "dev",
        "owner": "platform@example.com",
        "cost-centre": "cc-1001",
        "lineage": "falaj/dev",
        "data-class": "internal",
        "managed-by": "pulumi",
        "residency": "AE",
        "legal-profiles": "cbuae:onshore_private",
    }


@pytest.mark.parametrize(
    ("data_class", "personal"),
    [
        (DataClass.PUBLIC, "no"),
        (DataClass.INTERNAL, "no"),
        (DataClass.PERSONAL, "yes"),
        (DataClass.RESTRICTED, "yes"),
    ],
)
def test_data_tags_state_class_retention_and_lineage(data_class: DataClass, personal: str) -> None:
    tags = ENVIRONMENT.data_tags(DataDomain(name="lake", data_class=data_class, retention_days=1096))
    assert tags == {
        "data-domain": "lake",
        "data-class": data_class.value,
        "personal-data": personal,
        "retention-days": "1096",
        "owner": "platform@example.com",
        "lineage": "falaj/dev/lake",
    }


def test_only_stores_that_ask_for_it_are_on_the_backup_plan() -> None:
    domain = DataDomain(name="lake", data_class=DataClass.PERSONAL, retention_days=30)
    assert ENVIRONMENT.data_tags(domain, backup=True)["backup-plan"] == "daily"
    assert "backup-plan" not in ENVIRONMENT.data_tags(domain)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"": "x"}, "1 to 128 characters"),
        ({"k" * 129: "x"}, "1 to 128 characters"),
        ({"k": "v" * 257}, "257 characters, limit 256"),
        ({"k": "a;b"}, "only letters"),
    ],
)
def test_tags_that_aws_refuses_are_refused_here(tags: dict[str, str], message: str) -> None:
    with pytest.raises(NamingError, match=message):
        check_tags(tags)


@pytest.mark.parametrize("name", ["smb", "enterprise"])
def test_the_shipped_blueprints_give_valid_environments(name: str) -> None:
    blueprint = load(name)
    environment = Environment.of(blueprint, project="falaj", stack="staging", account_id="123456789012")
    assert environment.region == "me-central-1"
    assert environment.prefix == "falaj-staging"


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (2, 3), (365, 365), (366, 400), (3000, 3288), (3653, 3653)])
def test_log_retention_is_rounded_up_never_down(asked: int, given: int) -> None:
    assert log_retention_days(asked) == given


def test_records_longer_than_logs_can_keep_are_refused() -> None:
    with pytest.raises(ValueError, match="keep longer records in the audit bucket"):
        log_retention_days(3654)
