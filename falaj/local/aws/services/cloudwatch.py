"""Amazon CloudWatch: log groups and metric alarms; EventBridge, of the same Pulumi module, is in ``eventbridge.py``."""

from __future__ import annotations

from typing import Any

from falaj.engine.provider import ProviderError
from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.services.eventbridge import EventBus, EventRule, EventTarget
from falaj.local.aws.shapes import observed, pascal, request, tag_list, tag_map
from falaj.local.aws.tagging import apply_tag_list, apply_tag_map


class LogGroup(Handler):
    type = "aws:cloudwatch/logGroup:LogGroup"
    auto_name = AutoName(max_length=512)
    defaults = {"skipDestroy": False}
    force_new = frozenset({"logGroupClass", "name", "namePrefix"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        aws.client("logs").create_log_group(
            **request(inputs, {"name": "logGroupName", "kmsKeyId": "kmsKeyId", "logGroupClass": "logGroupClass"}),
            **({"tags": inputs["tagsAll"]} if inputs.get("tagsAll") else {}),
        )
        return inputs["name"], {"arn": aws.arn("logs", f"log-group:{inputs['name']}")}

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        _set_retention(aws, id, inputs)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        logs = aws.client("logs")
        for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=id):
            for group in page["logGroups"]:
                if group["logGroupName"] == id:
                    arn = group["arn"].removesuffix(":*")
                    return {
                        "arn": arn,
                        "name": id,
                        "retentionInDays": group.get("retentionInDays", 0),
                        "tagsAll": logs.list_tags_for_resource(resourceArn=arn)["tags"],
                    }
        return None

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        logs, arn = aws.client("logs"), update.outputs["arn"]
        if update.has("retentionInDays"):
            _set_retention(aws, id, update.new)
        apply_tag_map(
            update,
            lambda tags: logs.tag_resource(resourceArn=arn, tags=tags),
            lambda keys: logs.untag_resource(resourceArn=arn, tagKeys=keys),
        )
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        if inputs.get("deletionProtectionEnabled"):
            raise ProviderError(
                f'log group "{id}" has deletion protection; '
                "set deletionProtectionEnabled to false, deploy, then delete it"
            )
        if not inputs.get("skipDestroy"):
            aws.client("logs").delete_log_group(logGroupName=id)


def _set_retention(aws: Aws, name: str, inputs: Properties) -> None:
    """``retentionInDays`` 0 or absent: events are kept for ever, which is the absence of a retention policy."""
    if inputs.get("retentionInDays"):
        aws.client("logs").put_retention_policy(logGroupName=name, retentionInDays=inputs["retentionInDays"])
    else:
        aws.client("logs").delete_retention_policy(logGroupName=name)


_ALARM = {
    "actionsEnabled": "ActionsEnabled",
    "alarmActions": "AlarmActions",
    "alarmDescription": "AlarmDescription",
    "comparisonOperator": "ComparisonOperator",
    "datapointsToAlarm": "DatapointsToAlarm",
    "evaluateLowSampleCountPercentiles": "EvaluateLowSampleCountPercentile",
    "evaluationPeriods": "EvaluationPeriods",
    "extendedStatistic": "ExtendedStatistic",
    "insufficientDataActions": "InsufficientDataActions",
    "metricName": "MetricName",
    "name": "AlarmName",
    "namespace": "Namespace",
    "okActions": "OKActions",
    "period": "Period",
    "statistic": "Statistic",
    "threshold": "Threshold",
    "thresholdMetricId": "ThresholdMetricId",
    "treatMissingData": "TreatMissingData",
    "unit": "Unit",
}


class MetricAlarm(Handler):
    type = "aws:cloudwatch/metricAlarm:MetricAlarm"
    auto_name = AutoName()
    defaults = {"actionsEnabled": True, "treatMissingData": "missing"}
    force_new = frozenset({"name"})
    unordered = frozenset({"alarmActions", "insufficientDataActions", "okActions"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        self._put(aws, inputs, Tags=tag_list(inputs.get("tagsAll")))
        return inputs["name"], {"arn": aws.arn("cloudwatch", f"alarm:{inputs['name']}")}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        cloudwatch = aws.client("cloudwatch")
        alarms = cloudwatch.describe_alarms(AlarmNames=[id])["MetricAlarms"]
        if not alarms:
            return None
        alarm = alarms[0]
        state = {
            **observed(alarm, _ALARM),
            "arn": alarm["AlarmArn"],
            "tagsAll": tag_map(cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]),
        }
        if alarm.get("Dimensions"):
            state["dimensions"] = tag_map(alarm["Dimensions"], key="Name")
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        cloudwatch, arn = aws.client("cloudwatch"), update.outputs["arn"]
        if update.changed - {"tags", "tagsAll"} or not update.changed:
            self._put(aws, update.new)
        apply_tag_list(
            update,
            lambda tags: cloudwatch.tag_resource(ResourceARN=arn, Tags=tags),
            lambda keys: cloudwatch.untag_resource(ResourceARN=arn, TagKeys=keys),
        )
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("cloudwatch").delete_alarms(AlarmNames=[id])

    @staticmethod
    def _put(aws: Aws, inputs: Properties, **parameters: Any) -> None:
        if inputs.get("dimensions"):
            parameters["Dimensions"] = tag_list(inputs["dimensions"], key="Name")
        if inputs.get("metricQueries"):
            parameters["Metrics"] = [_metric_query(query) for query in inputs["metricQueries"]]
        aws.client("cloudwatch").put_metric_alarm(**request(inputs, _ALARM), **parameters)


def _metric_query(query: Properties) -> dict[str, Any]:
    parameters: dict[str, Any] = pascal({key: value for key, value in query.items() if key != "metric"})
    if metric := query.get("metric"):
        described = request(metric, {"metricName": "MetricName", "namespace": "Namespace"})
        if metric.get("dimensions"):
            described["Dimensions"] = tag_list(metric["dimensions"], key="Name")
        stat = request(metric, {"period": "Period", "stat": "Stat", "unit": "Unit"})
        parameters["MetricStat"] = {"Metric": described, **stat}
    return parameters


HANDLERS = (LogGroup, MetricAlarm, EventBus, EventRule, EventTarget)
