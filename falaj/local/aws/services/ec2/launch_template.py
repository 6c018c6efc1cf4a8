"""Launch templates: every change makes a new version, which becomes the default when the program asks for it."""

from __future__ import annotations

from typing import Any, Final

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Outputs, Update
from falaj.local.aws.services.ec2.resource import Ec2Resource, retag, tagged
from falaj.local.aws.shapes import camel, pascal, tag_list, tag_map

_NOT_DATA: Final = frozenset(
    {"name", "namePrefix", "description", "defaultVersion", "updateDefaultVersion", "tags", "tagsAll", "region"}
)
"""Inputs of the template itself; all others are the data of a version."""

_RENAMED: Final = {"vpcSecurityGroupIds": "securityGroupIds", "securityGroupNames": "securityGroups"}
_BOOLEAN_TEXTS: Final = frozenset(
    {"ebsOptimized", "encrypted", "deleteOnTermination", "associatePublicIpAddress", "associateCarrierIpAddress"}
)
"""Booleans that Pulumi carries as text, to tell "false" from unset."""


class LaunchTemplate(Ec2Resource):
    type = "aws:ec2/launchTemplate:LaunchTemplate"
    auto_name = AutoName(max_length=125)
    force_new = frozenset({"name", "namePrefix"})
    unordered = frozenset({"vpcSecurityGroupIds"})
    changes_with_update = frozenset({"latestVersion"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        template = aws.client("ec2").create_launch_template(
            LaunchTemplateName=inputs["name"],
            LaunchTemplateData=_data(inputs),
            VersionDescription=inputs.get("description") or "",
            **tagged("launch-template", inputs),
        )["LaunchTemplate"]
        return template["LaunchTemplateId"], self._outputs(aws, template)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        ec2 = aws.client("ec2")
        found = ec2.describe_launch_templates(LaunchTemplateIds=[id])["LaunchTemplates"]
        if not found:
            return None
        template = found[0]
        latest = ec2.describe_launch_template_versions(
            LaunchTemplateId=id, Versions=[str(template["LatestVersionNumber"])]
        )["LaunchTemplateVersions"][0]
        return {
            **_inputs(latest["LaunchTemplateData"]),
            **self._outputs(aws, template),
            "name": template["LaunchTemplateName"],
            "tagsAll": tag_map(template.get("Tags")),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        ec2, outputs = aws.client("ec2"), {}
        if not update.changed or update.changed - {"tags", "tagsAll", "defaultVersion", "updateDefaultVersion"}:
            version = ec2.create_launch_template_version(
                LaunchTemplateId=id,
                LaunchTemplateData=_data(update.new),
                VersionDescription=update.new.get("description") or "",
            )["LaunchTemplateVersion"]["VersionNumber"]
            outputs["latestVersion"] = version
        else:
            version = update.outputs.get("latestVersion", 1)
        default = version if update.new.get("updateDefaultVersion") else update.new.get("defaultVersion")
        if default is not None:
            ec2.modify_launch_template(LaunchTemplateId=id, DefaultVersion=str(default))
            outputs["defaultVersion"] = default
        retag(aws, id, update)
        return outputs

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("ec2").delete_launch_template(LaunchTemplateId=id)

    @staticmethod
    def _outputs(aws: Aws, template: dict[str, Any]) -> Outputs:
        return {
            "arn": aws.arn("ec2", f"launch-template/{template['LaunchTemplateId']}"),
            "latestVersion": template["LatestVersionNumber"],
            "defaultVersion": template["DefaultVersionNumber"],
        }


def _data(inputs: Properties) -> dict[str, Any]:
    """The data of a version, in the API's spelling."""
    chosen = {_RENAMED.get(key, key): item for key, item in inputs.items() if key not in _NOT_DATA}
    data: dict[str, Any] = pascal(_typed(chosen), verbatim=frozenset({"tagSpecifications"}))
    for interface in data.get("NetworkInterfaces", ()):
        if "SecurityGroups" in interface:
            interface["Groups"] = interface.pop("SecurityGroups")
    if "TagSpecifications" in data:
        data["TagSpecifications"] = [
            {"ResourceType": specification["resourceType"], "Tags": tag_list(specification.get("tags"))}
            for specification in data["TagSpecifications"]
        ]
    return data


def _inputs(data: dict[str, Any]) -> Outputs:
    """The inverse of ``_data``."""
    state: Outputs = camel(data, verbatim=frozenset({"tagSpecifications"}))
    for renamed, key in _RENAMED.items():
        if key in state:
            state[renamed] = state.pop(key)
    for interface in state.get("networkInterfaces", ()):
        if "groups" in interface:
            interface["securityGroups"] = interface.pop("groups")
    if "tagSpecifications" in state:
        state["tagSpecifications"] = [
            {"resourceType": specification["ResourceType"], "tags": tag_map(specification.get("Tags"))}
            for specification in state["tagSpecifications"]
            if specification["ResourceType"] != "launch-template"  # the template's own tags, which moto keeps here
        ]
    result: Outputs = _texts(state)
    return result


def _typed(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _typed(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if key in _BOOLEAN_TEXTS and isinstance(value, str):
        return value == "true"
    return value


def _texts(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _texts(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_texts(item) for item in value]
    if key in _BOOLEAN_TEXTS and isinstance(value, bool):
        return "true" if value else "false"
    return value
