"""AWS CloudTrail: trails, their selectors and whether they log."""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.shapes import observed, pascal, request, tag_list, tag_map
from falaj.local.aws.tagging import apply_tag_map

_TRAIL = {
    "cloudWatchLogsGroupArn": "CloudWatchLogsLogGroupArn",
    "cloudWatchLogsRoleArn": "CloudWatchLogsRoleArn",
    "includeGlobalServiceEvents": "IncludeGlobalServiceEvents",
    "isMultiRegionTrail": "IsMultiRegionTrail",
    "isOrganizationTrail": "IsOrganizationTrail",
    "kmsKeyId": "KmsKeyId",
    "s3BucketName": "S3BucketName",
    "s3KeyPrefix": "S3KeyPrefix",
    "snsTopicName": "SnsTopicName",
}
_FIELD_CONDITIONS = ("endsWith", "equals", "notEndsWith", "notEquals", "notStartsWith", "startsWith")


class Trail(Handler):
    type = "aws:cloudtrail/trail:Trail"
    auto_name = AutoName(max_length=128)
    defaults = {
        "enableLogFileValidation": False,
        "enableLogging": True,
        "includeGlobalServiceEvents": True,
        "isMultiRegionTrail": False,
        "isOrganizationTrail": False,
    }
    force_new = frozenset({"name"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        trail = aws.client("cloudtrail").create_trail(
            Name=inputs["name"],
            EnableLogFileValidation=inputs["enableLogFileValidation"],
            TagsList=tag_list(inputs.get("tagsAll")),
            **request(inputs, _TRAIL),
        )
        outputs = {"arn": trail["TrailARN"], "homeRegion": aws.region, "snsTopicArn": trail.get("SnsTopicARN", "")}
        return trail["TrailARN"], outputs

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        _set_selectors(aws, id, inputs, frozenset(inputs))
        if inputs["enableLogging"]:
            aws.client("cloudtrail").start_logging(Name=id)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        cloudtrail = aws.client("cloudtrail")
        trail = cloudtrail.get_trail(Name=id)["Trail"]
        tags = cloudtrail.list_tags(ResourceIdList=[id])["ResourceTagList"]
        selectors = cloudtrail.get_event_selectors(TrailName=id)
        state: Outputs = {
            **observed(trail, _TRAIL),
            "arn": trail["TrailARN"],
            "name": trail["Name"],
            "homeRegion": trail.get("HomeRegion", aws.region),
            "snsTopicArn": trail.get("SnsTopicARN", ""),
            "enableLogFileValidation": trail["LogFileValidationEnabled"],
            "enableLogging": cloudtrail.get_trail_status(Name=id)["IsLogging"],
            "tagsAll": tag_map(tags[0]["TagsList"]) if tags else {},
        }
        if advanced := selectors.get("AdvancedEventSelectors"):
            state["advancedEventSelectors"] = [_observed_advanced(selector) for selector in advanced]
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        cloudtrail, new = aws.client("cloudtrail"), update.new
        if update.has(*_TRAIL, "enableLogFileValidation"):
            wanted = {name: new.get(name, "") for name in _TRAIL if name in new or name in update.changed}
            cloudtrail.update_trail(
                Name=id, EnableLogFileValidation=new["enableLogFileValidation"], **request(wanted, _TRAIL)
            )
        _set_selectors(aws, id, new, update.changed or frozenset(new))
        if update.has("enableLogging"):
            if new["enableLogging"]:
                cloudtrail.start_logging(Name=id)
            else:
                cloudtrail.stop_logging(Name=id)
        apply_tag_map(
            update,
            lambda tags: cloudtrail.add_tags(ResourceId=id, TagsList=tag_list(tags)),
            lambda keys: cloudtrail.remove_tags(ResourceId=id, TagsList=[{"Key": key} for key in keys]),
        )
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        name = id.rsplit("/", 1)[-1]  # moto overlooks a deletion that gives the ARN
        aws.client("cloudtrail").delete_trail(Name=name)


def _set_selectors(aws: Aws, trail: str, inputs: Properties, names: frozenset[str]) -> None:
    cloudtrail = aws.client("cloudtrail")
    if "advancedEventSelectors" in names and inputs.get("advancedEventSelectors"):
        selectors = [_advanced(selector) for selector in inputs["advancedEventSelectors"]]
        cloudtrail.put_event_selectors(TrailName=trail, AdvancedEventSelectors=selectors)
    elif names & {"advancedEventSelectors", "eventSelectors"}:
        basic = inputs.get("eventSelectors") or [{"readWriteType": "All", "includeManagementEvents": True}]
        cloudtrail.put_event_selectors(TrailName=trail, EventSelectors=pascal(basic))
    if "insightSelectors" in names:
        selectors = pascal(inputs.get("insightSelectors") or [])
        cloudtrail.put_insight_selectors(TrailName=trail, InsightSelectors=selectors)


def _advanced(selector: Properties) -> dict[str, Any]:
    """Pulumi writes the conditions of a field in the plural (``startsWiths``), the API in the singular."""
    fields = []
    for field in selector["fieldSelectors"]:
        conditions = {
            condition[:1].upper() + condition[1:]: field.get(condition) or field.get(f"{condition}s")
            for condition in _FIELD_CONDITIONS
        }
        fields.append({"Field": field["field"], **{name: texts for name, texts in conditions.items() if texts}})
    return {**request(selector, {"name": "Name"}), "FieldSelectors": fields}


def _observed_advanced(selector: Any) -> Outputs:
    fields = []
    for field in selector["FieldSelectors"]:
        conditions = {name: field.get(name[:1].upper() + name[1:]) for name in _FIELD_CONDITIONS}
        plural = {name if name.endswith("s") else f"{name}s": texts for name, texts in conditions.items() if texts}
        fields.append({"field": field["Field"], **plural})
    return {**observed(selector, {"name": "Name"}), "fieldSelectors": fields}


HANDLERS = (Trail,)
