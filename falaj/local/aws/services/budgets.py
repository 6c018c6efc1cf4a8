"""AWS Budgets: budgets with their notifications."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.shapes import observed, pascal, request

_NOTIFICATION = ("comparisonOperator", "notificationType", "threshold", "thresholdType")
_PERIOD_FORMAT = "%Y-%m-%d_%H:%M"  # how Pulumi writes timePeriodStart and timePeriodEnd, in UTC


class Budget(Handler):
    type = "aws:budgets/budget:Budget"
    auto_name = AutoName(max_length=100)
    force_new = frozenset({"accountId", "budgetType", "name", "namePrefix"})
    unordered = frozenset({"costFilters", "notifications", "plannedLimits"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        account_id = inputs.get("accountId") or aws.account_id
        self._create(aws, account_id, inputs)
        arn = aws.arn("budgets", f"budget/{inputs['name']}", regional=False)
        return f"{account_id}:{inputs['name']}", {"accountId": account_id, "arn": arn}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        account_id, name = id.split(":", 1)
        budget = aws.client("budgets").describe_budget(AccountId=account_id, BudgetName=name)["Budget"]
        state: Outputs = {
            **observed(budget, {"budgetType": "BudgetType", "timeUnit": "TimeUnit"}),
            "accountId": account_id,
            "arn": aws.arn("budgets", f"budget/{name}", regional=False),
            "name": budget["BudgetName"],
        }
        if limit := budget.get("BudgetLimit"):
            amount = limit["Amount"]
            wanted = inputs.get("limitAmount")
            # AWS gives the amount back with other decimals ("100.0" for "100").
            same = isinstance(wanted, str) and _is_number(wanted) and float(amount) == float(wanted)
            state["limitAmount"] = wanted if same else amount
            state["limitUnit"] = limit["Unit"]
        state["notifications"] = _observed_notifications(aws, account_id, name, inputs.get("notifications") or ())
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        """moto lacks UpdateBudget; name and account identify a budget, so a new one with both is the same one."""
        account_id, name = id.split(":", 1)
        if update.changed - {"tags", "tagsAll"} or not update.changed:
            aws.client("budgets").delete_budget(AccountId=account_id, BudgetName=name)
            self._create(aws, account_id, update.new)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        account_id, name = id.split(":", 1)
        aws.client("budgets").delete_budget(AccountId=account_id, BudgetName=name)

    @staticmethod
    def _create(aws: Aws, account_id: str, inputs: Properties) -> None:
        budget: dict[str, Any] = request(
            inputs, {"name": "BudgetName", "budgetType": "BudgetType", "timeUnit": "TimeUnit"}
        )
        if inputs.get("limitAmount") is not None:
            budget["BudgetLimit"] = {"Amount": inputs["limitAmount"], "Unit": inputs.get("limitUnit") or "USD"}
        if planned := inputs.get("plannedLimits"):
            budget["PlannedBudgetLimits"] = {
                str(int(_moment(item["startTime"]).timestamp())): {"Amount": item["amount"], "Unit": item["unit"]}
                for item in planned
            }
        if filters := inputs.get("costFilters"):
            budget["CostFilters"] = {item["name"]: item["values"] for item in filters}
        if types := inputs.get("costTypes"):
            budget["CostTypes"] = pascal(types)
        period = request(inputs, {"timePeriodStart": "Start", "timePeriodEnd": "End"})
        if period:
            budget["TimePeriod"] = {name: _moment(text) for name, text in period.items()}
        aws.client("budgets").create_budget(
            AccountId=account_id,
            Budget=budget,
            NotificationsWithSubscribers=[_notification(item) for item in inputs.get("notifications") or ()],
        )


def _notification(item: Properties) -> dict[str, Any]:
    subscribers = [
        *(("EMAIL", address) for address in item.get("subscriberEmailAddresses") or ()),
        *(("SNS", arn) for arn in item.get("subscriberSnsTopicArns") or ()),
    ]
    return {
        "Notification": pascal({name: item[name] for name in _NOTIFICATION}),
        "Subscribers": [{"SubscriptionType": kind, "Address": address} for kind, address in subscribers],
    }


def _observed_notifications(aws: Aws, account_id: str, budget: str, declared: Iterable[Properties]) -> list[Any]:
    """The notifications there are; moto does not tell their subscribers, so those are taken as declared."""
    names = {name: name[:1].upper() + name[1:] for name in _NOTIFICATION}
    answer = aws.client("budgets").describe_notifications_for_budget(AccountId=account_id, BudgetName=budget)
    known = {tuple(item[name] for name in _NOTIFICATION): item for item in declared}
    found = [observed(item, names) for item in answer.get("Notifications", [])]
    return [known.get(tuple(item.get(name) for name in _NOTIFICATION), item) for item in found]


def _moment(text: str) -> datetime:
    return datetime.strptime(text, _PERIOD_FORMAT).replace(tzinfo=UTC)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


HANDLERS = (Budget,)
