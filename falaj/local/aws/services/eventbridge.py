"""Amazon EventBridge: event buses, rules and targets (Pulumi's module ``cloudwatch`` holds them)."""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.shapes import camel, observed, pascal, request, tag_list, tag_map
from falaj.local.aws.tagging import apply_tag_list

_DEFAULT_BUS = "default"


class EventBus(Handler):
    type = "aws:cloudwatch/eventBus:EventBus"
    auto_name = AutoName(max_length=256)
    force_new = frozenset({"eventSourceName", "name"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        dead_letters = inputs.get("deadLetterConfig")
        arn = aws.client("events").create_event_bus(
            Tags=tag_list(inputs.get("tagsAll")),
            **request(
                inputs,
                {
                    "name": "Name",
                    "description": "Description",
                    "eventSourceName": "EventSourceName",
                    "kmsKeyIdentifier": "KmsKeyIdentifier",
                },
            ),
            **({"DeadLetterConfig": pascal(dead_letters)} if dead_letters else {}),
        )["EventBusArn"]
        return inputs["name"], {"arn": arn}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        events = aws.client("events")
        bus = events.describe_event_bus(Name=id)
        return {
            "arn": bus["Arn"],
            "name": bus["Name"],
            "tagsAll": tag_map(events.list_tags_for_resource(ResourceARN=bus["Arn"])["Tags"]),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        _apply_tags(aws, update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("events").delete_event_bus(Name=id)


_RULE = {
    "description": "Description",
    "eventBusName": "EventBusName",
    "eventPattern": "EventPattern",
    "name": "Name",
    "roleArn": "RoleArn",
    "scheduleExpression": "ScheduleExpression",
}


class EventRule(Handler):
    type = "aws:cloudwatch/eventRule:EventRule"
    auto_name = AutoName(max_length=64)
    defaults = {"eventBusName": _DEFAULT_BUS, "forceDestroy": False}
    force_new = frozenset({"eventBusName", "name", "namePrefix"})
    json_inputs = frozenset({"eventPattern"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        arn = self._put(aws, inputs, Tags=tag_list(inputs.get("tagsAll")))
        bus, name = inputs["eventBusName"], inputs["name"]
        return name if bus == _DEFAULT_BUS else f"{bus}/{name}", {"arn": arn}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        events = aws.client("events")
        bus, _, name = id.rpartition("/")
        rule = events.describe_rule(Name=name, EventBusName=bus or _DEFAULT_BUS)
        state: Outputs = {
            **observed(rule, _RULE),
            "arn": rule["Arn"],
            "state": rule["State"],
            "tagsAll": tag_map(events.list_tags_for_resource(ResourceARN=rule["Arn"])["Tags"]),
        }
        if "isEnabled" in inputs:
            state["isEnabled"] = rule["State"] != "DISABLED"
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        if update.changed - {"tags", "tagsAll"} or not update.changed:
            self._put(aws, update.new)
        _apply_tags(aws, update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("events").delete_rule(Name=inputs["name"], EventBusName=inputs["eventBusName"])

    @staticmethod
    def _put(aws: Aws, inputs: Properties, **parameters: Any) -> str:
        state = inputs.get("state") or ("DISABLED" if inputs.get("isEnabled") is False else "ENABLED")
        arn: str = aws.client("events").put_rule(**request(inputs, _RULE), State=state, **parameters)["RuleArn"]
        return arn


class EventTarget(Handler):
    type = "aws:cloudwatch/eventTarget:EventTarget"
    auto_name = AutoName(property="targetId", max_length=64)
    defaults = {"eventBusName": _DEFAULT_BUS, "forceDestroy": False}
    force_new = frozenset({"eventBusName", "rule", "targetId"})
    json_inputs = frozenset({"input"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        self._put(aws, inputs)
        parts = [inputs["rule"], inputs["targetId"]]
        if inputs["eventBusName"] != _DEFAULT_BUS:
            parts.insert(0, inputs["eventBusName"])
        return "-".join(parts), {}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        if not inputs:
            return None  # the id joins three free texts with dashes and cannot be taken apart
        listed = aws.client("events").list_targets_by_rule(
            Rule=inputs["rule"], EventBusName=inputs["eventBusName"], Limit=100
        )
        for target in listed["Targets"]:
            if target["Id"] == inputs["targetId"]:
                names = {"arn": "Arn", "input": "Input", "inputPath": "InputPath", "roleArn": "RoleArn"}
                nested = {
                    "deadLetterConfig": camel(target.get("DeadLetterConfig")),
                    "retryPolicy": camel(target.get("RetryPolicy")),
                }
                return {
                    "rule": inputs["rule"],
                    "eventBusName": inputs["eventBusName"],
                    "targetId": target["Id"],
                    **observed(target, names),
                    **{name: value for name, value in nested.items() if value},
                }
        return None

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        self._put(aws, update.new)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("events").remove_targets(
            Rule=inputs["rule"], EventBusName=inputs["eventBusName"], Ids=[inputs["targetId"]]
        )

    @staticmethod
    def _put(aws: Aws, inputs: Properties) -> None:
        target: dict[str, Any] = {"Id": inputs["targetId"]}
        target.update(request(inputs, {"arn": "Arn", "input": "Input", "inputPath": "InputPath", "roleArn": "RoleArn"}))
        if transformer := inputs.get("inputTransformer"):
            names = {"inputPaths": "InputPathsMap", "inputTemplate": "InputTemplate"}
            target["InputTransformer"] = request(transformer, names)
        sections = {"deadLetterConfig": "DeadLetterConfig", "retryPolicy": "RetryPolicy", "sqsTarget": "SqsParameters"}
        for name, parameter in {**sections, "kinesisTarget": "KinesisParameters"}.items():
            if inputs.get(name):
                target[parameter] = pascal(inputs[name])
        answer = aws.client("events").put_targets(
            Rule=inputs["rule"], EventBusName=inputs["eventBusName"], Targets=[target]
        )
        for failed in answer.get("FailedEntries") or ():
            raise RuntimeError(f"{failed.get('ErrorCode')}: {failed.get('ErrorMessage')}")


def _apply_tags(aws: Aws, update: Update) -> None:
    events, arn = aws.client("events"), update.outputs["arn"]
    apply_tag_list(
        update,
        lambda tags: events.tag_resource(ResourceARN=arn, Tags=tags),
        lambda keys: events.untag_resource(ResourceARN=arn, TagKeys=keys),
    )
