"""AWS KMS: customer managed keys and their aliases."""

from __future__ import annotations

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.shapes import request, tag_list, tag_map

_DEFAULT_DELETION_WINDOW_DAYS = 30  # KMS, ScheduleKeyDeletion


class Key(Handler):
    type = "aws:kms/key:Key"
    force_new = frozenset({"customKeyStoreId", "customerMasterKeySpec", "keyUsage", "multiRegion", "xksKeyId"})
    json_inputs = frozenset({"policy"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        key = aws.client("kms").create_key(
            Tags=tag_list(inputs.get("tagsAll"), key="TagKey", value="TagValue"),
            **request(
                inputs,
                {
                    "description": "Description",
                    "policy": "Policy",
                    "keyUsage": "KeyUsage",
                    "customerMasterKeySpec": "KeySpec",
                    "multiRegion": "MultiRegion",
                },
            ),
        )["KeyMetadata"]
        return key["KeyId"], {"arn": key["Arn"], "keyId": key["KeyId"]}

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        if inputs.get("enableKeyRotation"):
            self._set_rotation(aws, id, inputs)
        if inputs.get("isEnabled") is False:
            aws.client("kms").disable_key(KeyId=id)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        kms = aws.client("kms")
        key = kms.describe_key(KeyId=id)["KeyMetadata"]
        if key["KeyState"] in ("PendingDeletion", "PendingReplicaDeletion"):
            return None
        rotation = kms.get_key_rotation_status(KeyId=id)
        state: Outputs = {
            "arn": key["Arn"],
            "keyId": key["KeyId"],
            "description": key.get("Description", ""),
            "keyUsage": key.get("KeyUsage", "ENCRYPT_DECRYPT"),
            "customerMasterKeySpec": key.get("KeySpec", "SYMMETRIC_DEFAULT"),
            "multiRegion": bool(key.get("MultiRegion")),
            "isEnabled": key["Enabled"],
            "policy": kms.get_key_policy(KeyId=id, PolicyName="default")["Policy"],
            "enableKeyRotation": rotation["KeyRotationEnabled"],
            "tagsAll": tag_map(kms.list_resource_tags(KeyId=id)["Tags"], key="TagKey", value="TagValue"),
        }
        if rotation.get("RotationPeriodInDays") is not None and "rotationPeriodInDays" in inputs:
            state["rotationPeriodInDays"] = rotation["RotationPeriodInDays"]
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        kms = aws.client("kms")
        if update.has("isEnabled") and update.new.get("isEnabled") is not False:
            kms.enable_key(KeyId=id)  # first: a disabled key refuses the other changes
        if update.has("description"):
            kms.update_key_description(KeyId=id, Description=update.new.get("description") or "")
        if update.has("policy") and update.new.get("policy"):
            kms.put_key_policy(KeyId=id, PolicyName="default", Policy=update.new["policy"])
        if update.has("enableKeyRotation", "rotationPeriodInDays"):
            self._set_rotation(aws, id, update.new)
        if update.tags_to_remove:
            kms.untag_resource(KeyId=id, TagKeys=update.tags_to_remove)
        if update.tags_to_set:
            kms.tag_resource(KeyId=id, Tags=tag_list(update.tags_to_set, key="TagKey", value="TagValue"))
        if update.has("isEnabled") and update.new.get("isEnabled") is False:
            kms.disable_key(KeyId=id)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        window_days = inputs.get("deletionWindowInDays") or _DEFAULT_DELETION_WINDOW_DAYS
        aws.client("kms").schedule_key_deletion(KeyId=id, PendingWindowInDays=window_days)

    @staticmethod
    def _set_rotation(aws: Aws, id: str, inputs: Properties) -> None:
        if inputs.get("enableKeyRotation"):
            period = request(inputs, {"rotationPeriodInDays": "RotationPeriodInDays"})
            aws.client("kms").enable_key_rotation(KeyId=id, **period)
        else:
            aws.client("kms").disable_key_rotation(KeyId=id)


class Alias(Handler):
    type = "aws:kms/alias:Alias"
    auto_name = AutoName(prefix="alias/", max_length=256)
    force_new = frozenset({"name", "namePrefix"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        name = inputs["name"]
        aws.client("kms").create_alias(AliasName=name, TargetKeyId=inputs["targetKeyId"])
        return name, self._outputs(aws, name, inputs["targetKeyId"])

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        for page in aws.client("kms").get_paginator("list_aliases").paginate():
            for alias in page["Aliases"]:
                if alias["AliasName"] == id and alias.get("TargetKeyId"):
                    state = {"name": id, **self._outputs(aws, id, alias["TargetKeyId"])}
                    if inputs.get("targetKeyId") == state["targetKeyArn"]:
                        state["targetKeyId"] = state["targetKeyArn"]  # the program named the key by its ARN
                    return state
        return None

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        aws.client("kms").update_alias(AliasName=id, TargetKeyId=update.new["targetKeyId"])
        return self._outputs(aws, id, update.new["targetKeyId"])

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("kms").delete_alias(AliasName=id)

    @staticmethod
    def _outputs(aws: Aws, name: str, target: str) -> Outputs:
        key_id = target.rsplit("/", 1)[-1]
        return {"arn": aws.arn("kms", name), "targetKeyId": key_id, "targetKeyArn": aws.arn("kms", f"key/{key_id}")}


HANDLERS = (Key, Alias)
