"""Amazon SNS: topics, their policies and subscriptions."""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.shapes import tag_list, tag_map
from falaj.local.aws.tagging import apply_tag_list

_TOPIC_ATTRIBUTES = {
    "contentBasedDeduplication": "ContentBasedDeduplication",
    "deliveryPolicy": "DeliveryPolicy",
    "displayName": "DisplayName",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "policy": "Policy",
    "signatureVersion": "SignatureVersion",
    "tracingConfig": "TracingConfig",
}
_SUBSCRIPTION_ATTRIBUTES = {
    "deliveryPolicy": "DeliveryPolicy",
    "filterPolicy": "FilterPolicy",
    "filterPolicyScope": "FilterPolicyScope",
    "rawMessageDelivery": "RawMessageDelivery",
    "redrivePolicy": "RedrivePolicy",
    "subscriptionRoleArn": "SubscriptionRoleArn",
}


class Topic(Handler):
    type = "aws:sns/topic:Topic"
    auto_name = AutoName(max_length=80, suffix_when=("fifoTopic", ".fifo"))
    defaults = {"contentBasedDeduplication": False, "fifoTopic": False}
    force_new = frozenset({"fifoTopic", "name", "namePrefix"})
    json_inputs = frozenset({"archivePolicy", "deliveryPolicy", "policy"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        attributes = {
            attribute: _text(inputs[name]) for name, attribute in _TOPIC_ATTRIBUTES.items() if inputs.get(name)
        }
        if inputs.get("fifoTopic"):
            attributes["FifoTopic"] = "true"
        arn = aws.client("sns").create_topic(
            Name=inputs["name"], Attributes=attributes, Tags=tag_list(inputs.get("tagsAll"))
        )["TopicArn"]
        return arn, {"arn": arn, "owner": aws.account_id}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        sns = aws.client("sns")
        attributes = sns.get_topic_attributes(TopicArn=id)["Attributes"]
        state: Outputs = {
            "arn": id,
            "name": id.rsplit(":", 1)[-1],
            "owner": attributes.get("Owner", aws.account_id),
            "displayName": attributes.get("DisplayName", ""),
            "fifoTopic": attributes.get("FifoTopic") == "true",
            "kmsMasterKeyId": attributes.get("KmsMasterKeyId"),
            "policy": attributes.get("Policy"),
            "tagsAll": tag_map(sns.list_tags_for_resource(ResourceArn=id)["Tags"]),
        }
        if "contentBasedDeduplication" in inputs:
            state["contentBasedDeduplication"] = attributes.get("ContentBasedDeduplication") == "true"
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        sns = aws.client("sns")
        for name, attribute in _TOPIC_ATTRIBUTES.items():
            if name in update.changed or (not update.changed and update.new.get(name)):
                sns.set_topic_attributes(
                    TopicArn=id, AttributeName=attribute, AttributeValue=_text(update.new.get(name, ""))
                )
        apply_tag_list(
            update,
            lambda tags: sns.tag_resource(ResourceArn=id, Tags=tags),
            lambda keys: sns.untag_resource(ResourceArn=id, TagKeys=keys),
        )
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("sns").delete_topic(TopicArn=id)


class TopicPolicy(Handler):
    type = "aws:sns/topicPolicy:TopicPolicy"
    force_new = frozenset({"arn"})
    json_inputs = frozenset({"policy"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        self._set(aws, inputs["arn"], inputs["policy"])
        return inputs["arn"], {"owner": aws.account_id}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        policy = aws.client("sns").get_topic_attributes(TopicArn=id)["Attributes"].get("Policy")
        return {"arn": id, "owner": aws.account_id, "policy": policy} if policy else None

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        self._set(aws, id, update.new["policy"])
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        """Puts the policy of a new topic back: a topic always has one, which lets its own account use it."""
        import json

        statement = {
            "Sid": "__default_statement_ID",
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": ["SNS:GetTopicAttributes", "SNS:Publish", "SNS:Subscribe"],
            "Resource": id,
            "Condition": {"StringEquals": {"AWS:SourceOwner": aws.account_id}},
        }
        document = {"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]}
        self._set(aws, id, json.dumps(document))

    @staticmethod
    def _set(aws: Aws, arn: str, policy: str) -> None:
        aws.client("sns").set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=policy)


class TopicSubscription(Handler):
    type = "aws:sns/topicSubscription:TopicSubscription"
    defaults = {"confirmationTimeoutInMinutes": 1, "endpointAutoConfirms": False, "rawMessageDelivery": False}
    force_new = frozenset({"endpoint", "protocol", "topic"})
    json_inputs = frozenset({"deliveryPolicy", "filterPolicy", "redrivePolicy", "replayPolicy"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        attributes = {
            attribute: _text(inputs[name]) for name, attribute in _SUBSCRIPTION_ATTRIBUTES.items() if inputs.get(name)
        }
        arn = aws.client("sns").subscribe(
            TopicArn=inputs["topic"],
            Protocol=inputs["protocol"],
            Endpoint=inputs["endpoint"],
            Attributes=attributes,
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        outputs = {
            "arn": arn,
            "confirmationWasAuthenticated": True,
            "ownerId": aws.account_id,
            "pendingConfirmation": False,
        }
        return arn, outputs

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        attributes = aws.client("sns").get_subscription_attributes(SubscriptionArn=id)["Attributes"]
        state: Outputs = {
            "arn": id,
            "endpoint": attributes["Endpoint"],
            "protocol": attributes["Protocol"],
            "topic": attributes["TopicArn"],
            "ownerId": attributes.get("Owner", aws.account_id),
            "pendingConfirmation": attributes.get("PendingConfirmation") == "true",
            "rawMessageDelivery": attributes.get("RawMessageDelivery") == "true",
        }
        for name in ("filterPolicy", "filterPolicyScope", "redrivePolicy"):
            if attributes.get(_SUBSCRIPTION_ATTRIBUTES[name]):
                state[name] = attributes[_SUBSCRIPTION_ATTRIBUTES[name]]
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        for name, attribute in _SUBSCRIPTION_ATTRIBUTES.items():
            if name in update.changed or (not update.changed and update.new.get(name)):
                aws.client("sns").set_subscription_attributes(
                    SubscriptionArn=id, AttributeName=attribute, AttributeValue=_text(update.new.get(name, ""))
                )
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("sns").unsubscribe(SubscriptionArn=id)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


HANDLERS = (Topic, TopicPolicy, TopicSubscription)
