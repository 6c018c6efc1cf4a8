"""The provider functions (invokes) that the platform's program may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from falaj.engine.provider import InvokeResult, ProviderError
from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws

_DNS_SUFFIX = "amazonaws.com"
CALLER = "user/moto"
CALLER_ID = "AKIAIOSFODNN7EXAMPLE"
"""Who everybody is in the emulated account; a test holds both equal to what its STS answers."""


def invoke(token: str, args: Properties, aws: Aws) -> InvokeResult:
    """Answers a function.  Raises ProviderError for one that the local provider lacks."""
    function = _FUNCTIONS.get(token)
    if function is None:
        known = ", ".join(sorted(_FUNCTIONS))
        raise ProviderError(f'function "{token}" is not available in the local environment; available: {known}')
    return InvokeResult(function(args, aws))


def _caller_identity(args: Properties, aws: Aws) -> Properties:
    # Known without asking: a deployment that changes nothing never loads boto3, which takes a quarter of a second.
    account = aws.account_id
    return {"accountId": account, "arn": aws.arn("sts", CALLER, regional=False), "id": account, "userId": CALLER_ID}


def _partition(args: Properties, aws: Aws) -> Properties:
    reverse = ".".join(reversed(_DNS_SUFFIX.split(".")))
    return {"dnsSuffix": _DNS_SUFFIX, "id": aws.partition, "partition": aws.partition, "reverseDnsPrefix": reverse}


def _region(args: Properties, aws: Aws) -> Properties:
    region = args.get("region") or args.get("name") or args.get("id") or aws.region
    return {
        "region": region,
        "name": region,
        "id": region,
        "endpoint": f"ec2.{region}.{_DNS_SUFFIX}",
        "description": "Middle East (UAE)" if region == "me-central-1" else region,
    }


_FUNCTIONS: Mapping[str, Callable[[Properties, Aws], Properties]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": _caller_identity,
    "aws:index/getPartition:getPartition": _partition,
    "aws:index/getRegion:getRegion": _region,
}
