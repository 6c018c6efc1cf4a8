"""AWS Security Hub: whether the account uses it; standards live in the state."""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import Handler, Outputs, StateOnly, Update


class Account(Handler):
    type = "aws:securityhub/account:Account"
    defaults = {"autoEnableControls": True, "enableDefaultStandards": True}
    force_new = frozenset({"enableDefaultStandards"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        aws.client("securityhub").enable_security_hub(EnableDefaultStandards=inputs["enableDefaultStandards"])
        return aws.account_id, {"arn": aws.arn("securityhub", "hub/default")}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        hub = _hub(aws)
        return None if hub is None else {"arn": hub["HubArn"]}

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        if _hub(aws) is not None:
            aws.client("securityhub").disable_security_hub()


def _hub(aws: Aws) -> Any:
    """The hub, or None: an account without Security Hub answers InvalidAccessException."""
    from botocore.exceptions import ClientError

    try:
        return aws.client("securityhub").describe_hub()
    except ClientError as error:
        if error.response["Error"]["Code"] == "InvalidAccessException":
            return None
        raise


class StandardsSubscription(StateOnly):
    type = "aws:securityhub/standardsSubscription:StandardsSubscription"
    force_new = frozenset({"standardsArn"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        standard: str = inputs["standardsArn"]
        arn = aws.arn("securityhub", f"subscription/{standard.split(':', 5)[-1].partition('/')[2]}")
        return arn, {"arn": arn}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        """Gone with the hub it belongs to."""
        return None if _hub(aws) is None else super().read(aws, id, inputs, outputs)


HANDLERS = (Account, StandardsSubscription)
