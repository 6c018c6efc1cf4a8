"""AWS Config handlers on a real server.  Guards: recorders that do not run, channels that cannot be taken down."""

from __future__ import annotations

from tests.support.aws_lifecycle import Account, assert_settled
from tests.support.moto_server import ACCOUNT_ID, client

RECORDER = "aws:cfg/recorder:Recorder"
CHANNEL = "aws:cfg/deliveryChannel:DeliveryChannel"
STATUS = "aws:cfg/recorderStatus:RecorderStatus"
ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/config"


def test_recorder_channel_and_status_live_and_go_in_order(account: Account) -> None:
    """An account holds one recorder and one channel, so the three are told in one story."""
    group = {"allSupported": True, "includeGlobalResourceTypes": True}
    recording = {"roleArn": ROLE, "recordingGroup": group}
    recorder = account.created(RECORDER, "all", recording)
    assert_settled(recorder, recording)

    delivery = {"s3BucketName": "config-logs", "snapshotDeliveryProperties": {"deliveryFrequency": "Six_Hours"}}
    channel = account.created(CHANNEL, "logs", delivery)
    assert_settled(channel, delivery)

    running = {"name": recorder.id, "isEnabled": True}
    status = account.created(STATUS, "on", running)
    assert_settled(status, running)

    config = client(account.endpoint_url, "config")
    seen = config.describe_configuration_recorder_status()["ConfigurationRecordersStatus"][0]
    assert (seen["name"], seen["recording"]) == (recorder.id, True)
    assert config.describe_delivery_channels()["DeliveryChannels"][0]["s3BucketName"] == "config-logs"

    recorder.update({"roleArn": ROLE, "recordingGroup": {**group, "includeGlobalResourceTypes": False}})
    seen = config.describe_configuration_recorders()["ConfigurationRecorders"][0]
    assert seen["recordingGroup"]["includeGlobalResourceTypes"] is False
    channel.update({**delivery, "s3KeyPrefix": "config"})
    assert config.describe_delivery_channels()["DeliveryChannels"][0]["s3KeyPrefix"] == "config"

    config.stop_configuration_recorder(ConfigurationRecorderName=recorder.id)
    assert status.refresh()
    status.update(running)
    seen = config.describe_configuration_recorder_status()["ConfigurationRecordersStatus"][0]
    assert seen["recording"] is True, "a recorder stopped outside is started again"

    for part in (status, channel, recorder):
        part.delete()
        part.delete()
    assert not channel.refresh()
    assert not recorder.refresh()
    assert not status.refresh()
