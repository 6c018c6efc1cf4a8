"""Event notifications of a bucket."""

from __future__ import annotations

from typing import Any, Final

from falaj.engine.values import Properties
from falaj.local.aws.handler import Outputs
from falaj.local.aws.services.s3.settings import BucketSetting

_KINDS: Final = (
    ("queues", "queueArn", "QueueConfigurations", "QueueArn"),
    ("topics", "topicArn", "TopicConfigurations", "TopicArn"),
    ("lambdaFunctions", "lambdaFunctionArn", "LambdaFunctionConfigurations", "LambdaFunctionArn"),
)
"""(input, its ARN key, API list, its ARN key)."""


class BucketNotification(BucketSetting):
    type = "aws:s3/bucketNotification:BucketNotification"
    force_new = frozenset({"bucket"})
    unordered = frozenset(f"{name}.events" for name, *_ in _KINDS)

    def put(self, s3: Any, bucket: str, inputs: Properties) -> None:
        notification: dict[str, Any] = {}
        for name, arn, api_list, api_arn in _KINDS:
            if inputs.get(name):
                notification[api_list] = [_parameters(target, arn, api_arn) for target in inputs[name]]
        if inputs.get("eventbridge"):
            notification["EventBridgeConfiguration"] = {}
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration=notification, SkipDestinationValidation=True
        )

    def get(self, s3: Any, bucket: str, inputs: Properties) -> Outputs | None:
        answer = s3.get_bucket_notification_configuration(Bucket=bucket)
        state: Outputs = {
            name: [_target(target, arn, api_arn) for target in answer[api_list]]
            for name, arn, api_list, api_arn in _KINDS
            if answer.get(api_list)
        }
        if not state and any(inputs.get(name) for name, *_ in _KINDS):
            return None
        if inputs.get("eventbridge"):  # moto takes this switch but does not tell it: it goes with its bucket
            state["eventbridge"] = True
        return state or None

    def remove(self, s3: Any, bucket: str, inputs: Properties) -> None:
        s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})


def _parameters(target: Properties, arn: str, api_arn: str) -> dict[str, Any]:
    parameters: dict[str, Any] = {api_arn: target[arn], "Events": target["events"]}
    if target.get("id"):
        parameters["Id"] = target["id"]
    rules = [
        {"Name": name, "Value": target[key]}
        for name, key in (("prefix", "filterPrefix"), ("suffix", "filterSuffix"))
        if target.get(key)
    ]
    if rules:
        parameters["Filter"] = {"Key": {"FilterRules": rules}}
    return parameters


def _target(parameters: dict[str, Any], arn: str, api_arn: str) -> Outputs:
    target: Outputs = {arn: parameters[api_arn], "events": parameters["Events"], "id": parameters.get("Id")}
    for rule in parameters.get("Filter", {}).get("Key", {}).get("FilterRules", ()):
        target["filter" + rule["Name"].capitalize()] = rule["Value"]
    return target
