"""Lifecycle rules of a bucket."""

from __future__ import annotations

from typing import Any, Final

from falaj.engine.values import Properties
from falaj.local.aws.handler import Outputs
from falaj.local.aws.services.s3.settings import BucketSetting
from falaj.local.aws.shapes import camel, pascal, tag_list, tag_map

_TAGS: Final = frozenset({"tags"})


class BucketLifecycleConfiguration(BucketSetting):
    type = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"

    def put(self, s3: Any, bucket: str, inputs: Properties) -> None:
        rules = [_parameters(rule) for rule in inputs.get("rules") or ()]
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})

    def get(self, s3: Any, bucket: str, inputs: Properties) -> Outputs | None:
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        return {"rules": [_rule(parameters) for parameters in rules]}

    def remove(self, s3: Any, bucket: str, inputs: Properties) -> None:
        s3.delete_bucket_lifecycle(Bucket=bucket)


def _parameters(rule: Properties) -> dict[str, Any]:
    parameters: dict[str, Any] = pascal(rule, verbatim=_TAGS)
    parameters["ID"] = parameters.pop("Id")
    both = parameters.get("Filter", {}).get("And", {})
    if "Tags" in both:
        both["Tags"] = tag_list(both["Tags"])
    if "Filter" not in parameters and "Prefix" not in parameters:
        parameters["Filter"] = {"Prefix": ""}  # the whole bucket; S3 asks for one of them
    return parameters


def _rule(parameters: dict[str, Any]) -> Outputs:
    rule: Outputs = camel(parameters, verbatim=_TAGS)
    rule["id"] = rule.pop("iD")
    both = (rule.get("filter") or {}).get("and") or {}
    if "tags" in both:
        both["tags"] = tag_map(both["tags"])
    return rule
