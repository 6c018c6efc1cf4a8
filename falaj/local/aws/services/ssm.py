"""AWS Systems Manager: parameters."""

from __future__ import annotations

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.shapes import request, tag_list, tag_map
from falaj.local.aws.tagging import apply_tag_list

_PARAMETER = {
    "allowedPattern": "AllowedPattern",
    "dataType": "DataType",
    "description": "Description",
    "keyId": "KeyId",
    "name": "Name",
    "tier": "Tier",
    "type": "Type",
}


class Parameter(Handler):
    type = "aws:ssm/parameter:Parameter"
    auto_name = AutoName()
    force_new = frozenset({"dataType", "name"})
    changes_with_update = frozenset({"version"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        answer = aws.client("ssm").put_parameter(
            Value=_value(inputs),
            Overwrite=bool(inputs.get("overwrite")),
            **request(inputs, _PARAMETER),
            **({} if inputs.get("overwrite") else {"Tags": tag_list(inputs.get("tagsAll"))}),
        )
        name = inputs["name"]
        return name, {"arn": aws.arn("ssm", f"parameter/{name.lstrip('/')}"), "version": answer["Version"]}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        ssm = aws.client("ssm")
        parameter = ssm.get_parameter(Name=id, WithDecryption=True)["Parameter"]
        value_name = "insecureValue" if "insecureValue" in inputs else "value"
        return {
            "arn": aws.arn("ssm", f"parameter/{id.lstrip('/')}"),
            "name": parameter["Name"],
            "type": parameter["Type"],
            "version": parameter["Version"],
            value_name: parameter["Value"],
            "tagsAll": tag_map(ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=id)["TagList"]),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        ssm = aws.client("ssm")
        outputs: Outputs = {}
        if update.changed - {"tags", "tagsAll"} or not update.changed:
            answer = ssm.put_parameter(Value=_value(update.new), Overwrite=True, **request(update.new, _PARAMETER))
            outputs["version"] = answer["Version"]
        apply_tag_list(
            update,
            lambda tags: ssm.add_tags_to_resource(ResourceType="Parameter", ResourceId=id, Tags=tags),
            lambda keys: ssm.remove_tags_from_resource(ResourceType="Parameter", ResourceId=id, TagKeys=keys),
        )
        return outputs

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("ssm").delete_parameter(Name=id)


def _value(inputs: Properties) -> str:
    value: str = inputs.get("value") or inputs.get("insecureValue") or ""
    return value


HANDLERS = (Parameter,)
