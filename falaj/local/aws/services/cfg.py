"""AWS Config: the configuration recorder, where it delivers, and whether it runs."""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.shapes import observed, request


class Recorder(Handler):
    type = "aws:cfg/recorder:Recorder"
    auto_name = AutoName()
    force_new = frozenset({"name"})
    unordered = frozenset({"recordingGroup.resourceTypes", "recordingGroup.exclusionByResourceTypes.resourceTypes"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        self._put(aws, inputs)
        return inputs["name"], {}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        found = aws.client("config").describe_configuration_recorders(ConfigurationRecorderNames=[id])
        recorder = found["ConfigurationRecorders"][0]
        group = recorder.get("recordingGroup", {})
        names = ("allSupported", "includeGlobalResourceTypes", "resourceTypes")
        state: Outputs = {
            "name": recorder["name"],
            "roleArn": recorder["roleARN"],
            "recordingGroup": {
                **(inputs.get("recordingGroup") or {}),
                **observed(group, {name: name for name in names}),
            },
        }
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        self._put(aws, update.new)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("config").delete_configuration_recorder(ConfigurationRecorderName=id)

    @staticmethod
    def _put(aws: Aws, inputs: Properties) -> None:
        recorder: dict[str, Any] = {"name": inputs["name"], "roleARN": inputs["roleArn"]}
        if group := inputs.get("recordingGroup"):
            recorder["recordingGroup"] = _recording_group(group)
        if mode := inputs.get("recordingMode"):
            override = mode.get("recordingModeOverride")
            recorder["recordingMode"] = {
                **request(mode, {"recordingFrequency": "recordingFrequency"}),
                **({"recordingModeOverrides": [override]} if override else {}),
            }
        aws.client("config").put_configuration_recorder(ConfigurationRecorder=recorder)


def _recording_group(group: Properties) -> dict[str, Any]:
    """Pulumi holds the strategy and the exclusions as lists of at most one."""
    parameters: dict[str, Any] = {
        "allSupported": group.get("allSupported", True),
        **request(
            group, {"includeGlobalResourceTypes": "includeGlobalResourceTypes", "resourceTypes": "resourceTypes"}
        ),
    }
    for strategy in group.get("recordingStrategies") or ():
        parameters["recordingStrategy"] = strategy
    for exclusion in group.get("exclusionByResourceTypes") or ():
        parameters["exclusionByResourceTypes"] = exclusion
    return parameters


class DeliveryChannel(Handler):
    type = "aws:cfg/deliveryChannel:DeliveryChannel"
    auto_name = AutoName()
    force_new = frozenset({"name"})

    _NAMES = {
        "name": "name",
        "s3BucketName": "s3BucketName",
        "s3KeyPrefix": "s3KeyPrefix",
        "s3KmsKeyArn": "s3KmsKeyArn",
        "snsTopicArn": "snsTopicARN",
    }

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        self._put(aws, inputs)
        return inputs["name"], {}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        found = aws.client("config").describe_delivery_channels(DeliveryChannelNames=[id])
        channel = found["DeliveryChannels"][0]
        state = observed(channel, self._NAMES)
        if schedule := channel.get("configSnapshotDeliveryProperties"):
            state["snapshotDeliveryProperties"] = schedule
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        self._put(aws, update.new)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("config").delete_delivery_channel(DeliveryChannelName=id)

    def _put(self, aws: Aws, inputs: Properties) -> None:
        channel = request(inputs, {**self._NAMES, "snapshotDeliveryProperties": "configSnapshotDeliveryProperties"})
        aws.client("config").put_delivery_channel(DeliveryChannel=channel)


class RecorderStatus(Handler):
    type = "aws:cfg/recorderStatus:RecorderStatus"
    auto_name = AutoName()
    force_new = frozenset({"name"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        self._set(aws, inputs["name"], running=inputs["isEnabled"])
        return inputs["name"], {}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        found = aws.client("config").describe_configuration_recorder_status(ConfigurationRecorderNames=[id])
        return {"name": id, "isEnabled": found["ConfigurationRecordersStatus"][0]["recording"]}

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        self._set(aws, id, running=update.new["isEnabled"])
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        self._set(aws, id, running=False)

    @staticmethod
    def _set(aws: Aws, name: str, *, running: bool) -> None:
        config = aws.client("config")
        if running:
            config.start_configuration_recorder(ConfigurationRecorderName=name)
        else:
            config.stop_configuration_recorder(ConfigurationRecorderName=name)


HANDLERS = (Recorder, DeliveryChannel, RecorderStatus)
