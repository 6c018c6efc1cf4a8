"""Log group and alarm handlers on a real server.  Guards: logs kept for ever, alarms that alarm nobody."""

from __future__ import annotations

from typing import Any

import pytest

from falaj.engine.provider import ProviderError
from tests.support.aws_lifecycle import DEFAULT_TAGS, Account, assert_full_life
from tests.support.moto_server import ACCOUNT_ID, REGION, client

LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/0b8f6a5e-0000-4000-8000-000000000001"


def test_log_group_lives_through_create_update_and_delete(account: Account) -> None:
    first = {"name": "/aws/eks/lived/cluster", "retentionInDays": 365, "kmsKeyId": KEY}
    assert_full_life(account, LOG_GROUP, "cluster", first, {**first, "retentionInDays": 731, "tags": {"a": "b"}})


def test_independent_client_sees_key_retention_and_tags(account: Account) -> None:
    group = account.created(LOG_GROUP, "seen", {"retentionInDays": 90, "kmsKeyId": KEY})
    logs = client(account.endpoint_url, "logs")
    seen = logs.describe_log_groups(logGroupNamePrefix=group.id)["logGroups"][0]
    assert (seen["retentionInDays"], seen["kmsKeyId"]) == (90, KEY)
    assert logs.list_tags_for_resource(resourceArn=group.outputs["arn"])["tags"] == DEFAULT_TAGS


def test_log_group_is_not_mistaken_for_one_with_a_longer_name(account: Account) -> None:
    account.created(LOG_GROUP, "long", {"name": "/app/serving-canary"})
    short = account.created(LOG_GROUP, "short", {"name": "/app/serving"})
    short.delete()
    assert not short.refresh()


def test_protected_log_group_refuses_to_go(account: Account) -> None:
    group = account.created(LOG_GROUP, "guarded", {"deletionProtectionEnabled": True})
    with pytest.raises(ProviderError, match="set deletionProtectionEnabled to false"):
        group.delete()


def test_log_group_may_outlive_its_resource(account: Account) -> None:
    group = account.created(LOG_GROUP, "kept", {"skipDestroy": True})
    group.delete()
    assert group.refresh()


def alarm_inputs(**more: Any) -> dict[str, Any]:
    return {
        "comparisonOperator": "GreaterThanThreshold",
        "evaluationPeriods": 3,
        "metricName": "CPUUtilization",
        "namespace": "AWS/RDS",
        "period": 60,
        "statistic": "Average",
        "threshold": 80,
        "dimensions": {"DBInstanceIdentifier": "postgres"},
        "alarmActions": [f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:alerts"],
        **more,
    }


def test_alarm_lives_through_create_update_and_delete(account: Account) -> None:
    assert_full_life(account, ALARM, "cpu", alarm_inputs(), alarm_inputs(threshold=90, tags={"a": "b"}))


def test_independent_client_sees_dimensions_and_actions(account: Account) -> None:
    alarm = account.created(ALARM, "seen", alarm_inputs())
    seen = client(account.endpoint_url, "cloudwatch").describe_alarms(AlarmNames=[alarm.id])["MetricAlarms"][0]
    assert seen["Dimensions"] == [{"Name": "DBInstanceIdentifier", "Value": "postgres"}]
    assert seen["AlarmActions"] == alarm_inputs()["alarmActions"]
    assert seen["AlarmArn"] == alarm.outputs["arn"]
