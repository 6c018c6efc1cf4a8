"""S3 buckets.  Settings written inside a bucket (deprecated in pulumi_aws 7) stay in the state; the resources of
``settings.py`` are what the account holds."""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update, is_gone
from falaj.local.aws.shapes import tag_list, tag_map

_DELETE_BATCH = 1000  # S3, DeleteObjects


class Bucket(Handler):
    type = "aws:s3/bucket:Bucket"
    auto_name = AutoName(property="bucket", max_length=63, lower=True)
    force_new = frozenset({"bucket", "bucketPrefix", "bucketNamespace", "objectLockEnabled"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        name = inputs["bucket"]
        parameters: dict[str, Any] = {}
        if aws.region != "us-east-1":  # the one region that S3 refuses to hear by name
            parameters["CreateBucketConfiguration"] = {"LocationConstraint": aws.region}
        if inputs.get("objectLockEnabled"):
            parameters["ObjectLockEnabledForBucket"] = True
        aws.client("s3").create_bucket(Bucket=name, **parameters)
        return name, self._outputs(aws, name)

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        if inputs.get("tagsAll"):
            self._set_tags(aws, id, inputs)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        s3 = aws.client("s3")
        s3.head_bucket(Bucket=id)
        try:
            tags = tag_map(s3.get_bucket_tagging(Bucket=id)["TagSet"])
        except s3.exceptions.ClientError as error:
            if not is_gone(error):  # a bucket without tags answers NoSuchTagSet
                raise
            tags = {}
        return {**self._outputs(aws, id), "bucket": id, "tagsAll": tags}

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        if update.tags_to_set or update.tags_to_remove:
            self._set_tags(aws, id, update.new)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        if inputs.get("forceDestroy"):
            self._empty(aws, id)
        aws.client("s3").delete_bucket(Bucket=id)

    @staticmethod
    def _set_tags(aws: Aws, id: str, inputs: Properties) -> None:
        tags = inputs.get("tagsAll")
        if tags:
            aws.client("s3").put_bucket_tagging(Bucket=id, Tagging={"TagSet": tag_list(tags)})
        else:
            aws.client("s3").delete_bucket_tagging(Bucket=id)

    @staticmethod
    def _empty(aws: Aws, id: str) -> None:
        """Deletes every version of every object; objects under a legal hold or in retention stay, and so the bucket."""
        s3 = aws.client("s3")
        for page in s3.get_paginator("list_object_versions").paginate(
            Bucket=id, PaginationConfig={"PageSize": _DELETE_BATCH}
        ):
            entries: list[dict[str, Any]] = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            objects = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
            if objects:
                s3.delete_objects(Bucket=id, Delete={"Objects": objects, "Quiet": True})

    @staticmethod
    def _outputs(aws: Aws, name: str) -> Outputs:
        return {
            "arn": f"arn:{aws.partition}:s3:::{name}",
            "bucketDomainName": f"{name}.s3.amazonaws.com",
            "bucketRegionalDomainName": f"{name}.s3.{aws.region}.amazonaws.com",
            "bucketRegion": aws.region,
        }
