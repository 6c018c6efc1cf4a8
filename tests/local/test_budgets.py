"""Budget handler on a real server.  Guards: limits that drift by spelling, notifications that reach nobody."""

from __future__ import annotations

from typing import Any

from tests.support.aws_lifecycle import Account, assert_full_life
from tests.support.moto_server import ACCOUNT_ID, REGION, client

BUDGET = "aws:budgets/budget:Budget"


def budget_inputs(**more: Any) -> dict[str, Any]:
    notification = {
        "comparisonOperator": "GREATER_THAN",
        "notificationType": "FORECASTED",
        "threshold": 80,
        "thresholdType": "PERCENTAGE",
        "subscriberSnsTopicArns": [f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:alerts"],
    }
    return {
        "budgetType": "COST",
        "timeUnit": "MONTHLY",
        "limitAmount": "1500",
        "limitUnit": "USD",
        "timePeriodStart": "2026-01-01_00:00",
        "costFilters": [{"name": "TagKeyValue", "values": ["user:falaj:stack$local"]}],
        "notifications": [notification],
        **more,
    }


def test_budget_lives_through_create_update_and_delete(account: Account) -> None:
    assert_full_life(account, BUDGET, "monthly", budget_inputs(), budget_inputs(limitAmount="2000.50"))


def test_independent_client_sees_limit_filter_and_notification(account: Account) -> None:
    budget = account.created(BUDGET, "seen", budget_inputs())
    budget.update(budget_inputs(limitAmount="1800"))
    budgets, name = client(account.endpoint_url, "budgets"), budget.inputs["name"]
    seen = budgets.describe_budget(AccountId=ACCOUNT_ID, BudgetName=name)["Budget"]
    assert seen["BudgetLimit"] == {"Amount": "1800", "Unit": "USD"}
    assert seen["CostFilters"] == {"TagKeyValue": ["user:falaj:stack$local"]}
    notifications = budgets.describe_notifications_for_budget(AccountId=ACCOUNT_ID, BudgetName=name)["Notifications"]
    assert [(item["NotificationType"], item["Threshold"]) for item in notifications] == [("FORECASTED", 80.0)]
    budgets.delete_notification(
        AccountId=ACCOUNT_ID, BudgetName=name, Notification={**notifications[0], "ThresholdType": "PERCENTAGE"}
    )
    assert budget.refresh()
    assert budget.diff(budget_inputs(limitAmount="1800")).diffs == ("notifications",), "a lost notification is drift"
    assert budget.id == f"{ACCOUNT_ID}:{name}"
