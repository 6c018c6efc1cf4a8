"""SSM parameter handler on a real server.  Guards: stale values, versions that do not move."""

from __future__ import annotations

from tests.support.aws_lifecycle import Account, assert_full_life
from tests.support.moto_server import client

PARAMETER = "aws:ssm/parameter:Parameter"


def test_parameter_lives_through_create_update_and_delete(account: Account) -> None:
    first = {"name": "/falaj/local/endpoint", "type": "String", "value": "a"}
    assert_full_life(account, PARAMETER, "endpoint", first, {**first, "value": "b", "tags": {"a": "b"}})


def test_new_value_has_a_new_version_that_an_independent_client_reads(account: Account) -> None:
    parameter = account.created(PARAMETER, "seen", {"type": "String", "value": "a"})
    parameter.update({"type": "String", "value": "b"})
    seen = client(account.endpoint_url, "ssm").get_parameter(Name=parameter.id)["Parameter"]
    assert (seen["Value"], seen["Version"]) == ("b", 2)
    assert parameter.outputs["version"] == 2
