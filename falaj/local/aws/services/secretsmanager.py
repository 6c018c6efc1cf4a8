"""AWS Secrets Manager: secrets without their values (those never pass through the program)."""

from __future__ import annotations

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.shapes import request, tag_list, tag_map
from falaj.local.aws.tagging import apply_tag_list


class Secret(Handler):
    type = "aws:secretsmanager/secret:Secret"
    auto_name = AutoName(max_length=512)
    defaults = {"forceOverwriteReplicaSecret": False, "recoveryWindowInDays": 30}
    force_new = frozenset({"name", "namePrefix"})
    json_inputs = frozenset({"policy"})
    unordered = frozenset({"replicas"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        arn = aws.client("secretsmanager").create_secret(
            Tags=tag_list(inputs.get("tagsAll")),
            **request(inputs, {"name": "Name", "description": "Description", "kmsKeyId": "KmsKeyId"}),
        )["ARN"]
        return arn, {"arn": arn}

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        if inputs.get("policy"):
            aws.client("secretsmanager").put_resource_policy(SecretId=id, ResourcePolicy=inputs["policy"])

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        secrets = aws.client("secretsmanager")
        secret = secrets.describe_secret(SecretId=id)
        if secret.get("DeletedDate"):
            return None
        return {
            "arn": secret["ARN"],
            "name": secret["Name"],
            "description": secret.get("Description", ""),
            "kmsKeyId": secret.get("KmsKeyId"),
            "policy": secrets.get_resource_policy(SecretId=id).get("ResourcePolicy"),
            "tagsAll": tag_map(secret.get("Tags")),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        secrets = aws.client("secretsmanager")
        if update.has("description", "kmsKeyId"):
            wanted = {"description": update.new.get("description", ""), "kmsKeyId": update.new.get("kmsKeyId")}
            secrets.update_secret(
                SecretId=id, **request(wanted, {"description": "Description", "kmsKeyId": "KmsKeyId"})
            )
        if update.has("policy"):
            if update.new.get("policy"):
                secrets.put_resource_policy(SecretId=id, ResourcePolicy=update.new["policy"])
            else:
                secrets.delete_resource_policy(SecretId=id)
        apply_tag_list(
            update,
            lambda tags: secrets.tag_resource(SecretId=id, Tags=tags),
            lambda keys: secrets.untag_resource(SecretId=id, TagKeys=keys),
        )
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        secrets = aws.client("secretsmanager")
        if secrets.describe_secret(SecretId=id).get("DeletedDate"):
            return  # its recovery window runs already
        window_days = inputs.get("recoveryWindowInDays", 30)
        if window_days:
            secrets.delete_secret(SecretId=id, RecoveryWindowInDays=window_days)
        else:
            secrets.delete_secret(SecretId=id, ForceDeleteWithoutRecovery=True)


HANDLERS = (Secret,)
