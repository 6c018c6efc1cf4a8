"""Amazon RDS: the groups that instances and clusters refer to (subnets, parameters)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.shapes import tag_list, tag_map
from falaj.local.aws.tagging import apply_tag_list

_MANAGED = "Managed by Pulumi"
_DEFAULT_APPLY_METHOD = "immediate"


class SubnetGroup(Handler):
    type = "aws:rds/subnetGroup:SubnetGroup"
    auto_name = AutoName(lower=True)
    defaults = {"description": _MANAGED}
    force_new = frozenset({"name", "namePrefix"})
    unordered = frozenset({"subnetIds"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        group = self._create(aws, inputs)
        return group["DBSubnetGroupName"], self._outputs(group)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        rds = aws.client("rds")
        group = rds.describe_db_subnet_groups(DBSubnetGroupName=id)["DBSubnetGroups"][0]
        return {
            **self._outputs(group),
            "name": group["DBSubnetGroupName"],
            "description": group["DBSubnetGroupDescription"],
            "subnetIds": [subnet["SubnetIdentifier"] for subnet in group["Subnets"]],
            "tagsAll": _tags(rds, group["DBSubnetGroupArn"]),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        rds = aws.client("rds")
        if update.has("description", "subnetIds"):
            # moto 5.2.5 loses a group that ModifyDBSubnetGroup names; the ARN follows from the name, so a fresh group
            # is the same group.
            rds.delete_db_subnet_group(DBSubnetGroupName=id)
            self._create(aws, update.new)
        _apply_tags(rds, update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("rds").delete_db_subnet_group(DBSubnetGroupName=id)

    @staticmethod
    def _create(aws: Aws, inputs: Properties) -> Any:
        return aws.client("rds").create_db_subnet_group(
            DBSubnetGroupName=inputs["name"],
            DBSubnetGroupDescription=inputs["description"],
            SubnetIds=inputs["subnetIds"],
            Tags=tag_list(inputs.get("tagsAll")),
        )["DBSubnetGroup"]

    @staticmethod
    def _outputs(group: Any) -> Outputs:
        return {"arn": group["DBSubnetGroupArn"], "vpcId": group["VpcId"], "supportedNetworkTypes": ["IPV4"]}


class _Parameters(Handler):
    """What parameter groups of instances and of clusters share; only the names of the calls differ."""

    auto_name = AutoName(lower=True)
    defaults = {"description": _MANAGED}
    force_new = frozenset({"description", "family", "name", "namePrefix"})
    unordered = frozenset({"parameters"})

    kind: ClassVar[str]
    """What the API calls the group: ``DBParameterGroup`` or ``DBClusterParameterGroup``."""

    calls: ClassVar[Mapping[str, str]]
    """boto3 methods that create, describe, modify, list (the parameters) and delete."""

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        group = self._call(aws, "create", inputs["name"], **self._creation(inputs))[self.kind]
        return group[f"{self.kind}Name"], {"arn": group[f"{self.kind}Arn"]}

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        self._set_parameters(aws, id, inputs)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        groups = self._call(aws, "describe", id)[f"{self.kind}s"]
        if not groups:
            return None  # moto answers an empty list for a missing instance parameter group
        group = groups[0]
        methods = {item["name"]: item.get("applyMethod") for item in inputs.get("parameters") or ()}
        parameters = []
        for found in self._call(aws, "list", id)["Parameters"]:
            if found.get("ParameterValue") is None:
                continue
            parameter = {"name": found["ParameterName"], "value": found["ParameterValue"]}
            if methods.get(parameter["name"]) is not None:
                parameter["applyMethod"] = found.get("ApplyMethod", _DEFAULT_APPLY_METHOD)
            parameters.append(parameter)
        return {
            "arn": group[f"{self.kind}Arn"],
            "name": group[f"{self.kind}Name"],
            "family": group["DBParameterGroupFamily"],
            "description": group["Description"],
            "parameters": parameters,
            "tagsAll": _tags(aws.client("rds"), group[f"{self.kind}Arn"]),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        if update.has("parameters"):
            before, after = (
                {item["name"] for item in each.get("parameters") or ()} for each in (update.old, update.new)
            )
            if before - after:
                # moto lacks Reset...ParameterGroup; the ARN follows from the name, so a fresh group is the same group.
                self._call(aws, "delete", id)
                self._call(aws, "create", id, **self._creation(update.new))
            self._set_parameters(aws, id, update.new)
        _apply_tags(aws.client("rds"), update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        self._call(aws, "delete", id)

    def _call(self, aws: Aws, action: str, name: str, **parameters: Any) -> Any:
        return getattr(aws.client("rds"), self.calls[action])(**{f"{self.kind}Name": name}, **parameters)

    @staticmethod
    def _creation(inputs: Properties) -> dict[str, Any]:
        return {
            "DBParameterGroupFamily": inputs["family"],
            "Description": inputs["description"],
            "Tags": tag_list(inputs.get("tagsAll")),
        }

    def _set_parameters(self, aws: Aws, id: str, inputs: Properties) -> None:
        parameters = [
            {
                "ParameterName": item["name"],
                "ParameterValue": item["value"],
                "ApplyMethod": item.get("applyMethod") or _DEFAULT_APPLY_METHOD,
            }
            for item in inputs.get("parameters") or ()
        ]
        for start in range(0, len(parameters), 20):  # ModifyDBParameterGroup takes at most 20
            self._call(aws, "modify", id, Parameters=parameters[start : start + 20])


class ParameterGroup(_Parameters):
    type = "aws:rds/parameterGroup:ParameterGroup"
    kind = "DBParameterGroup"
    calls = {
        "create": "create_db_parameter_group",
        "describe": "describe_db_parameter_groups",
        "modify": "modify_db_parameter_group",
        "list": "describe_db_parameters",
        "delete": "delete_db_parameter_group",
    }


class ClusterParameterGroup(_Parameters):
    type = "aws:rds/clusterParameterGroup:ClusterParameterGroup"
    kind = "DBClusterParameterGroup"
    calls = {
        "create": "create_db_cluster_parameter_group",
        "describe": "describe_db_cluster_parameter_groups",
        "modify": "modify_db_cluster_parameter_group",
        "list": "describe_db_cluster_parameters",
        "delete": "delete_db_cluster_parameter_group",
    }


def _tags(rds: Any, arn: str) -> dict[str, str]:
    return tag_map(rds.list_tags_for_resource(ResourceName=arn)["TagList"])


def _apply_tags(rds: Any, update: Update) -> None:
    arn = update.outputs["arn"]
    apply_tag_list(
        update,
        lambda tags: rds.add_tags_to_resource(ResourceName=arn, Tags=tags),
        lambda keys: rds.remove_tags_from_resource(ResourceName=arn, TagKeys=keys),
    )
