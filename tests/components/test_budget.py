"""A budget that watches nothing, or tells nobody, costs exactly what it should have saved."""

from __future__ import annotations

import pytest

from blueprints.schema import Budget as BudgetSpec
from components.budget import Budget, monthly_alarms, usd
from tests.support.platforms import NAMES, TOPIC_ARN, Platform, platform
from tests.support.recorder import Recording, record

BUDGET = "aws:budgets/budget:Budget"


def build(subject: Platform) -> Recording:
    return record(
        lambda: Budget("budget", subject.blueprint.budget, environment=subject.environment, alerts_topic_arn=TOPIC_ARN)
    )


@pytest.mark.parametrize(
    ("name", "limit", "daily"), [("smb", "1500.00", "98.63"), ("enterprise", "75000.00", "4931.51")]
)
def test_there_is_a_monthly_limit_and_a_daily_one_for_spikes(name: str, limit: str, daily: str) -> None:
    recording = build(platform(name))
    assert recording.types() == {"falaj:budget:Budget": 1, BUDGET: 2}
    monthly = recording.named("budget", BUDGET).inputs
    assert (monthly["budgetType"], monthly["timeUnit"], monthly["limitUnit"]) == ("COST", "MONTHLY", "USD")
    assert monthly["limitAmount"] == limit
    spike = recording.named("budget-daily", BUDGET).inputs
    assert (spike["timeUnit"], spike["limitAmount"]) == ("DAILY", daily)


@pytest.mark.parametrize("name", NAMES)
def test_every_alarm_tells_people_and_the_topic(name: str) -> None:
    subject = platform(name)
    for budget in build(subject).of(BUDGET):
        for notification in budget.inputs["notifications"]:
            assert notification["subscriberEmailAddresses"] == sorted(subject.blueprint.budget.notify_emails)
            assert notification["subscriberSnsTopicArns"] == [TOPIC_ARN]
            assert notification["thresholdType"] == "PERCENTAGE"


def test_spending_is_told_at_each_percentage_and_a_forecast_before_it_happens() -> None:
    notifications = build(platform("smb")).named("budget", BUDGET).inputs["notifications"]
    assert [(one["notificationType"], one["threshold"]) for one in notifications] == [
        ("ACTUAL", 50),
        ("ACTUAL", 80),
        ("ACTUAL", 100),
        ("FORECASTED", 100),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_budgets_are_not_narrowed_to_a_tag_that_may_not_be_active(name: str) -> None:
    for budget in build(platform(name)).of(BUDGET):
        assert not {"costFilters", "filterExpression"} & set(budget.inputs)


def test_more_percentages_than_aws_takes_keep_the_highest_and_the_forecast() -> None:
    spec = BudgetSpec(usd_per_month=100, alert_percentages=(100, 20, 40, 60, 80, 90, 100))
    assert monthly_alarms(spec) == [
        ("ACTUAL", 60),
        ("ACTUAL", 80),
        ("ACTUAL", 90),
        ("ACTUAL", 100),
        ("FORECASTED", 100),
    ]


@pytest.mark.parametrize(
    ("amount", "text"), [(1500, "1500.00"), (98.6301, "98.63"), (0.005, "0.01"), (1e6, "1000000.00")]
)
def test_amounts_are_spelled_as_the_api_wants_them(amount: float, text: str) -> None:
    assert usd(amount) == text
