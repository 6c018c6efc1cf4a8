"""Account settings of Amazon EBS: encryption of every new volume, and with which key."""

from __future__ import annotations

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import Handler, Outputs, Update


class EncryptionByDefault(Handler):
    type = "aws:ebs/encryptionByDefault:EncryptionByDefault"

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        self._set(aws, inputs)
        return f"ebs-encryption-{aws.region}", {"enabled": inputs.get("enabled", True)}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        enabled = aws.client("ec2").get_ebs_encryption_by_default()["EbsEncryptionByDefault"]
        # The emulator starts with the setting off: off where on is wanted means that it is to be made again.
        return {"enabled": enabled} if enabled or not inputs.get("enabled", True) else None

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        self._set(aws, update.new)
        return {"enabled": update.new.get("enabled", True)}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("ec2").disable_ebs_encryption_by_default()

    @staticmethod
    def _set(aws: Aws, inputs: Properties) -> None:
        ec2 = aws.client("ec2")
        if inputs.get("enabled", True):
            ec2.enable_ebs_encryption_by_default()
        else:
            ec2.disable_ebs_encryption_by_default()


class DefaultKmsKey(Handler):
    """moto takes the setting but cannot tell it; it counts as gone with the key that it names."""

    type = "aws:ebs/defaultKmsKey:DefaultKmsKey"
    force_new = frozenset({"keyArn"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        aws.client("ec2").modify_ebs_default_kms_key_id(KmsKeyId=inputs["keyArn"])
        return inputs["keyArn"], {}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        key = aws.client("kms").describe_key(KeyId=id)["KeyMetadata"]
        return {"keyArn": id} if key["KeyState"] != "PendingDeletion" else None

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        """Nothing to call: moto has no ResetEbsDefaultKmsKeyId, and the setting names a key that goes as well."""


HANDLERS = (DefaultKmsKey, EncryptionByDefault)
