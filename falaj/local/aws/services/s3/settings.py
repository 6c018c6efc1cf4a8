"""Settings of a bucket that are resources of their own: one of a kind per bucket, known by the bucket's name."""

from __future__ import annotations

import abc
import json
from typing import Any, Final

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import Handler, Outputs, Update
from falaj.local.aws.shapes import camel, observed, pascal, request


class BucketSetting(Handler):
    """A subclass says how to put the setting, how to read it (None: not set) and how to take it off."""

    force_new = frozenset({"bucket", "expectedBucketOwner"})
    # There is one per bucket: the new one would be lost with the deletion of the old.
    delete_before_replace = True

    @abc.abstractmethod
    def put(self, s3: Any, bucket: str, inputs: Properties) -> None: ...

    @abc.abstractmethod
    def get(self, s3: Any, bucket: str, inputs: Properties) -> Outputs | None: ...

    @abc.abstractmethod
    def remove(self, s3: Any, bucket: str, inputs: Properties) -> None: ...

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        self.put(aws.client("s3"), inputs["bucket"], inputs)
        return inputs["bucket"], {}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        state = self.get(aws.client("s3"), id, inputs)
        return None if state is None else {"bucket": id, **state}

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        self.put(aws.client("s3"), id, update.new)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        self.remove(aws.client("s3"), id, inputs)


class BucketVersioning(BucketSetting):
    type = "aws:s3/bucketVersioning:BucketVersioning"

    def put(self, s3: Any, bucket: str, inputs: Properties) -> None:
        status = inputs["versioningConfiguration"]["status"]
        if status != "Disabled":  # "never was": S3 knows on and suspended only
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})

    def get(self, s3: Any, bucket: str, inputs: Properties) -> Outputs | None:
        status = s3.get_bucket_versioning(Bucket=bucket).get("Status")
        wanted = (inputs.get("versioningConfiguration") or {}).get("status")
        if status is None and wanted != "Disabled":
            return None
        return {"versioningConfiguration": {"status": status or "Disabled"}}

    def remove(self, s3: Any, bucket: str, inputs: Properties) -> None:
        if _wants(inputs, "Enabled"):
            try:
                s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
            except s3.exceptions.ClientError as error:
                if error.response["Error"]["Code"] != "InvalidBucketState":  # object lock keeps versioning on for ever
                    raise

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        state = super().read(aws, id, inputs, outputs)
        if state and state["versioningConfiguration"]["status"] == "Suspended" and not _wants(inputs, "Suspended"):
            return None  # what is left of a deleted setting, or one that was switched off: to be made again
        return state


class BucketServerSideEncryptionConfiguration(BucketSetting):
    type = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"

    def put(self, s3: Any, bucket: str, inputs: Properties) -> None:
        rules = [_encryption_parameters(rule) for rule in inputs["rules"]]
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})

    def get(self, s3: Any, bucket: str, inputs: Properties) -> Outputs | None:
        rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        return {"rules": [_encryption_rule(rule) for rule in rules]}

    def remove(self, s3: Any, bucket: str, inputs: Properties) -> None:
        s3.delete_bucket_encryption(Bucket=bucket)


class BucketPublicAccessBlock(BucketSetting):
    type = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
    force_new = frozenset({"bucket"})

    _flags = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")

    def put(self, s3: Any, bucket: str, inputs: Properties) -> None:
        block = {name[:1].upper() + name[1:]: bool(inputs.get(name)) for name in self._flags}
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)

    def get(self, s3: Any, bucket: str, inputs: Properties) -> Outputs | None:
        state: Outputs = camel(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"])
        return state

    def remove(self, s3: Any, bucket: str, inputs: Properties) -> None:
        if not inputs.get("skipDestroy"):
            s3.delete_public_access_block(Bucket=bucket)


class BucketOwnershipControls(BucketSetting):
    type = "aws:s3/bucketOwnershipControls:BucketOwnershipControls"
    force_new = frozenset({"bucket"})

    def put(self, s3: Any, bucket: str, inputs: Properties) -> None:
        controls = {"Rules": [pascal(inputs["rule"])]}
        s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=controls)

    def get(self, s3: Any, bucket: str, inputs: Properties) -> Outputs | None:
        rules = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
        return {"rule": camel(rules[0])} if rules else None

    def remove(self, s3: Any, bucket: str, inputs: Properties) -> None:
        s3.delete_bucket_ownership_controls(Bucket=bucket)


class BucketPolicy(BucketSetting):
    type = "aws:s3/bucketPolicy:BucketPolicy"
    force_new = frozenset({"bucket"})
    json_inputs = frozenset({"policy"})

    def put(self, s3: Any, bucket: str, inputs: Properties) -> None:
        policy = inputs["policy"]
        s3.put_bucket_policy(Bucket=bucket, Policy=policy if isinstance(policy, str) else json.dumps(policy))

    def get(self, s3: Any, bucket: str, inputs: Properties) -> Outputs | None:
        return {"policy": s3.get_bucket_policy(Bucket=bucket)["Policy"]}

    def remove(self, s3: Any, bucket: str, inputs: Properties) -> None:
        s3.delete_bucket_policy(Bucket=bucket)


class BucketLogging(BucketSetting):
    type = "aws:s3/bucketLogging:BucketLogging"

    _names: Final = {"targetBucket": "TargetBucket", "targetPrefix": "TargetPrefix"}

    def put(self, s3: Any, bucket: str, inputs: Properties) -> None:
        enabled = request(inputs, self._names)
        if inputs.get("targetObjectKeyFormat"):
            enabled["TargetObjectKeyFormat"] = pascal(inputs["targetObjectKeyFormat"])
        s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": enabled})

    def get(self, s3: Any, bucket: str, inputs: Properties) -> Outputs | None:
        enabled = s3.get_bucket_logging(Bucket=bucket).get("LoggingEnabled")
        return observed(enabled, self._names) if enabled else None

    def remove(self, s3: Any, bucket: str, inputs: Properties) -> None:
        s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})


class BucketObjectLockConfiguration(BucketSetting):
    type = "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"
    force_new = frozenset({"bucket", "expectedBucketOwner", "objectLockEnabled"})

    def put(self, s3: Any, bucket: str, inputs: Properties) -> None:
        lock: dict[str, Any] = {"ObjectLockEnabled": inputs.get("objectLockEnabled") or "Enabled"}
        if inputs.get("rule"):
            lock["Rule"] = pascal(inputs["rule"])
        s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=lock)

    def get(self, s3: Any, bucket: str, inputs: Properties) -> Outputs | None:
        lock = s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
        if inputs.get("rule") and not lock.get("Rule"):
            return None  # the lock of a bucket cannot be taken off, only its default retention
        state: Outputs = {"objectLockEnabled": lock.get("ObjectLockEnabled")}
        if lock.get("Rule"):
            state["rule"] = camel(lock["Rule"])
        return state

    def remove(self, s3: Any, bucket: str, inputs: Properties) -> None:
        s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})


def _wants(inputs: Properties, status: str) -> bool:
    return bool((inputs.get("versioningConfiguration") or {}).get("status") == status)


_DEFAULT_ENCRYPTION: Final = {"sseAlgorithm": "SSEAlgorithm", "kmsMasterKeyId": "KMSMasterKeyID"}


def _encryption_parameters(rule: Properties) -> dict[str, Any]:
    parameters = request(rule, {"bucketKeyEnabled": "BucketKeyEnabled"})
    if rule.get("applyServerSideEncryptionByDefault"):
        default = request(rule["applyServerSideEncryptionByDefault"], _DEFAULT_ENCRYPTION)
        parameters["ApplyServerSideEncryptionByDefault"] = default
    return parameters


def _encryption_rule(parameters: dict[str, Any]) -> Outputs:
    rule = observed(parameters, {"bucketKeyEnabled": "BucketKeyEnabled"})
    if parameters.get("ApplyServerSideEncryptionByDefault"):
        default = observed(parameters["ApplyServerSideEncryptionByDefault"], _DEFAULT_ENCRYPTION)
        rule["applyServerSideEncryptionByDefault"] = default
    return rule
