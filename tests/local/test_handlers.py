"""All handlers together.  Guards: a declaration that names no real input, a lost resource that is taken for present.

That every type of the program has a handler is shown by test_program.py.
"""

from __future__ import annotations

import importlib
import pkgutil

import pytest

from falaj.engine.provider import GONE
from falaj.local.aws import schema, services
from falaj.local.aws.handler import Handler, handler_for
from falaj.local.aws.provider import AwsProvider
from tests.support.aws_lifecycle import provider
from tests.support.moto_server import running_account


def every_handler() -> list[Handler]:
    found: dict[str, Handler] = {}
    for module in pkgutil.iter_modules(services.__path__):
        for declared in getattr(importlib.import_module(f"{services.__name__}.{module.name}"), "HANDLERS", ()):
            handler = handler_for(declared.type)
            assert handler is not None, declared.type
            found[declared.type] = handler
    return [found[type] for type in sorted(found)]


HANDLERS = every_handler()
BY_TYPE = pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.type)


@BY_TYPE
def test_handler_is_for_a_real_type_and_names_real_inputs(handler: Handler) -> None:
    described = schema.resource_type(handler.type)
    naming = {handler.auto_name.property} if handler.auto_name else set()
    paths = {*handler.force_new, *handler.json_inputs, *handler.unordered, *handler.defaults, *naming}
    unreal = {path for path in paths if path.split(".")[0] not in described.inputs}
    assert not unreal
    assert handler.changes_with_update <= described.outputs


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> AwsProvider:
    with running_account(tmp_path_factory.mktemp("empty")) as url:
        yield provider(url)  # type: ignore[misc]


_KEY_ID = "7f0a3c1e-0000-4000-8000-000000000000"
_KEYS = "arn:aws:kms:me-central-1:123456789012:key"
IDS = {
    "aws:iam/policy:Policy": "arn:aws:iam::123456789012:policy/gone",
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": "arn:aws:iam::123456789012:oidc-provider/gone",
    "aws:iam/rolePolicy:RolePolicy": "gone:gone",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": "gone/arn:aws:iam::aws:policy/ReadOnlyAccess",
    "aws:ec2/vpc:Vpc": "vpc-0123456789abcdef0",
    "aws:ec2/subnet:Subnet": "subnet-0123456789abcdef0",
    "aws:ec2/securityGroup:SecurityGroup": "sg-0123456789abcdef0",
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": "sg-0123456789abcdef0",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": "sgr-0123456789abcdef0",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": "sgr-0123456789abcdef0",
    "aws:kms/key:Key": _KEY_ID,
    "aws:kms/alias:Alias": "alias/gone",
    "aws:ebs/defaultKmsKey:DefaultKmsKey": f"{_KEYS}/{_KEY_ID}",
}
"""Ids in the form that the service accepts at all."""

OWN_SERVICES = ("ec2", "vpc", "ebs", "kms", "s3", "iam")


@pytest.mark.parametrize(
    "handler",
    [handler for handler in HANDLERS if handler.type.split(":")[1].split("/")[0] in OWN_SERVICES],
    ids=lambda handler: handler.type,
)
def test_resource_of_a_lost_account_reads_as_gone(empty: AwsProvider, handler: Handler) -> None:
    id = IDS.get(handler.type, "falaj-gone")
    known = {
        "routeTableId": "rtb-0123456789abcdef0",
        "destinationCidrBlock": "0.0.0.0/0",
        "securityGroupId": "sg-0123456789abcdef0",
    }
    assert empty.read("urn", handler.type, "gone", id, known, known) == GONE
    empty.delete("urn", handler.type, id, known, known, 0)
