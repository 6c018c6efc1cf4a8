"""Amazon EKS: clusters and managed node groups; what belongs to a cluster and moto lacks lives in the state."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from falaj.engine.provider import ProviderError
from falaj.engine.values import UNKNOWN, Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, StateOnly, Update
from falaj.local.aws.shapes import observed, request
from falaj.local.aws.tagging import apply_tag_map
from falaj.local.aws.timestamps import now


class Cluster(Handler):
    type = "aws:eks/cluster:Cluster"
    auto_name = AutoName(max_length=100)
    defaults = {"bootstrapSelfManagedAddons": True}
    force_new = frozenset(
        {
            "accessConfig.bootstrapClusterCreatorAdminPermissions",
            "bootstrapSelfManagedAddons",
            "encryptionConfig",
            "kubernetesNetworkConfig.ipFamily",
            "kubernetesNetworkConfig.serviceIpv4Cidr",
            "name",
            "outpostConfig",
            "roleArn",
        }
    )
    unordered = frozenset(
        {
            "enabledClusterLogTypes",
            "encryptionConfig.resources",
            "vpcConfig.publicAccessCidrs",
            "vpcConfig.securityGroupIds",
            "vpcConfig.subnetIds",
        }
    )

    def planned(self, inputs: Properties) -> Outputs:
        vpc_config = inputs.get("vpcConfig")
        if not isinstance(vpc_config, Mapping):
            return {}
        return {"vpcConfig": {**vpc_config, "clusterSecurityGroupId": UNKNOWN, "vpcId": UNKNOWN}}

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        name = inputs["name"]
        vpc_id, group_id = _create_cluster_security_group(aws, name, inputs["vpcConfig"]["subnetIds"][0])
        encryption = inputs.get("encryptionConfig")
        try:
            cluster = aws.client("eks").create_cluster(
                **request(inputs, {"name": "name", "roleArn": "roleArn", "version": "version"}),
                resourcesVpcConfig=_vpc_request(inputs["vpcConfig"]),
                logging=_logging_request(inputs),
                tags=inputs.get("tagsAll") or {},
                **({"encryptionConfig": [encryption]} if encryption else {}),
                **request(inputs, {"kubernetesNetworkConfig": "kubernetesNetworkConfig"}),
            )["cluster"]
        except Exception:
            aws.client("ec2").delete_security_group(GroupId=group_id)
            raise
        return name, self._outputs(cluster, inputs["vpcConfig"], vpc_id, group_id)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        cluster = aws.client("eks").describe_cluster(name=id)["cluster"]
        observed = cluster["resourcesVpcConfig"]
        vpc_id, group_id = _find_cluster_security_group(aws, id)
        encryption = cluster.get("encryptionConfig") or []
        state: Outputs = {
            **self._outputs(cluster, observed, vpc_id, group_id),
            "name": cluster["name"],
            "roleArn": cluster["roleArn"],
            "enabledClusterLogTypes": [
                log_type
                for setup in cluster.get("logging", {}).get("clusterLogging", [])
                if setup.get("enabled")
                for log_type in setup.get("types", [])
            ],
            "tagsAll": cluster.get("tags") or {},
        }
        if encryption:
            state["encryptionConfig"] = encryption[0]
        if "kubernetesNetworkConfig" in inputs:
            network = cluster.get("kubernetesNetworkConfig") or {}
            state["kubernetesNetworkConfig"] = {**inputs["kubernetesNetworkConfig"], **network}
        if "version" in inputs:
            state["version"] = inputs["version"]  # see INPUTS_IN_STATE
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        eks = aws.client("eks")
        outputs: Outputs = {}
        if update.has("enabledClusterLogTypes"):
            eks.update_cluster_config(name=id, logging=_logging_request(update.new))
        if update.has("vpcConfig"):
            vpc_config = update.new["vpcConfig"]
            eks.update_cluster_config(name=id, resourcesVpcConfig=_vpc_request(vpc_config))
            vpc_id, group_id = _find_cluster_security_group(aws, id)
            outputs["vpcConfig"] = _vpc_outputs(vpc_config, vpc_id, group_id)
        arn = update.outputs["arn"]
        apply_tag_map(
            update,
            lambda tags: eks.tag_resource(resourceArn=arn, tags=tags),
            lambda keys: eks.untag_resource(resourceArn=arn, tagKeys=keys),
        )
        return outputs

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        if inputs.get("deletionProtection"):
            raise ProviderError(
                f'EKS cluster "{id}" has deletion protection; set deletionProtection to false, deploy, then delete it'
            )
        _, group_id = _find_cluster_security_group(aws, id)
        aws.client("eks").delete_cluster(name=id)
        if group_id:
            aws.client("ec2").delete_security_group(GroupId=group_id)

    @staticmethod
    def _outputs(cluster: Any, vpc_config: Properties, vpc_id: str, group_id: str) -> Outputs:
        return {
            "arn": cluster["arn"],
            "clusterId": cluster["name"],
            "certificateAuthority": cluster["certificateAuthority"],
            "createdAt": cluster["createdAt"].isoformat(),
            "endpoint": cluster["endpoint"],
            "identities": [{"oidcs": [{"issuer": cluster["identity"]["oidc"]["issuer"]}]}],
            "platformVersion": cluster["platformVersion"],
            "status": cluster["status"],
            "version": cluster["version"],
            "vpcConfig": _vpc_outputs(vpc_config, vpc_id, group_id),
        }


def _vpc_request(vpc_config: Properties) -> dict[str, Any]:
    """The whole setting: moto forgets what an update leaves out."""
    names = ("subnetIds", "securityGroupIds", "publicAccessCidrs")
    return {
        **request(vpc_config, {name: name for name in names}),
        "endpointPublicAccess": vpc_config.get("endpointPublicAccess", True),
        "endpointPrivateAccess": vpc_config.get("endpointPrivateAccess", False),
    }


def _vpc_outputs(vpc_config: Properties, vpc_id: str, group_id: str) -> Outputs:
    return {
        "endpointPublicAccess": True,
        "endpointPrivateAccess": False,
        "publicAccessCidrs": ["0.0.0.0/0"],
        **vpc_config,
        "clusterSecurityGroupId": group_id,
        "vpcId": vpc_id,
    }


def _logging_request(inputs: Properties) -> dict[str, Any]:
    return {"clusterLogging": [{"types": sorted(inputs.get("enabledClusterLogTypes") or []), "enabled": True}]}


def _cluster_security_group_name(cluster_name: str) -> str:
    return f"eks-cluster-sg-{cluster_name}-{zlib.crc32(cluster_name.encode())}"


def _create_cluster_security_group(aws: Aws, cluster_name: str, subnet_id: str) -> tuple[str, str]:
    """EKS makes one security group per cluster, which other resources refer to; moto does not, so it is made here.

    Returns the ids of the VPC and of the group; one that a failed attempt left behind is used again.
    """
    ec2 = aws.client("ec2")
    vpc_id, group_id = _find_cluster_security_group(aws, cluster_name)
    if not group_id:
        vpc_id = ec2.describe_subnets(SubnetIds=[subnet_id])["Subnets"][0]["VpcId"]
        group_id = ec2.create_security_group(
            GroupName=_cluster_security_group_name(cluster_name),
            Description="EKS created security group applied to ENI that is attached to EKS Control Plane master nodes",
            VpcId=vpc_id,
        )["GroupId"]
    return vpc_id, group_id


def _find_cluster_security_group(aws: Aws, cluster_name: str) -> tuple[str, str]:
    """The ids of the VPC and of the cluster's own security group, ("", "") when there is none."""
    groups = aws.client("ec2").describe_security_groups(
        Filters=[{"Name": "group-name", "Values": [_cluster_security_group_name(cluster_name)]}]
    )["SecurityGroups"]
    return (groups[0]["VpcId"], groups[0]["GroupId"]) if groups else ("", "")


class NodeGroup(Handler):
    type = "aws:eks/nodeGroup:NodeGroup"
    auto_name = AutoName(property="nodeGroupName", max_length=63)
    force_new = frozenset(
        {
            "amiType",
            "capacityType",
            "clusterName",
            "diskSize",
            "instanceTypes",
            "launchTemplate.id",
            "launchTemplate.name",
            "nodeGroupName",
            "nodeGroupNamePrefix",
            "nodeRoleArn",
            "remoteAccess",
            "subnetIds",
        }
    )
    unordered = frozenset({"subnetIds", "taints"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        eks = aws.client("eks")
        cluster = eks.describe_cluster(name=inputs["clusterName"])["cluster"]
        group = eks.create_nodegroup(
            **request(
                inputs,
                {
                    "clusterName": "clusterName",
                    "nodeGroupName": "nodegroupName",
                    "nodeRoleArn": "nodeRole",
                    "subnetIds": "subnets",
                    "scalingConfig": "scalingConfig",
                    "amiType": "amiType",
                    "capacityType": "capacityType",
                    "diskSize": "diskSize",
                    "instanceTypes": "instanceTypes",
                    "labels": "labels",
                    "launchTemplate": "launchTemplate",
                    "releaseVersion": "releaseVersion",
                    "remoteAccess": "remoteAccess",
                    "taints": "taints",
                },
            ),
            version=inputs.get("version") or cluster["version"],
            tags=inputs.get("tagsAll") or {},
        )["nodegroup"]
        return f"{group['clusterName']}:{group['nodegroupName']}", self._outputs(group)

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        settings = request(inputs, {"updateConfig": "updateConfig", "nodeRepairConfig": "nodeRepairConfig"})
        if settings:  # CreateNodegroup takes them as well, but moto drops those
            cluster_name, name = id.split(":", 1)
            aws.client("eks").update_nodegroup_config(clusterName=cluster_name, nodegroupName=name, **settings)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        cluster_name, name = id.split(":", 1)
        group = aws.client("eks").describe_nodegroup(clusterName=cluster_name, nodegroupName=name)["nodegroup"]
        return {
            **self._outputs(group),
            "clusterName": cluster_name,
            "nodeGroupName": name,
            "nodeRoleArn": group["nodeRole"],
            "subnetIds": group["subnets"],
            "scalingConfig": group["scalingConfig"],
            "labels": group.get("labels") or {},
            "taints": group.get("taints") or [],
            **observed(group, {"updateConfig": "updateConfig", "nodeRepairConfig": "nodeRepairConfig"}),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        if update.has("labels", "nodeRepairConfig", "scalingConfig", "taints", "updateConfig"):
            cluster_name, name = id.split(":", 1)
            eks = aws.client("eks")
            now_there = eks.describe_nodegroup(clusterName=cluster_name, nodegroupName=name)["nodegroup"]
            labels, taints = update.new.get("labels") or {}, update.new.get("taints") or []
            eks.update_nodegroup_config(
                clusterName=cluster_name,
                nodegroupName=name,
                labels={
                    "addOrUpdateLabels": labels,
                    "removeLabels": sorted(set(now_there.get("labels") or {}) - set(labels)),
                },
                taints={
                    "addOrUpdateTaints": taints,
                    "removeTaints": [taint for taint in now_there.get("taints") or [] if taint not in taints],
                },
                scalingConfig=update.new["scalingConfig"],
                **request(update.new, {"updateConfig": "updateConfig", "nodeRepairConfig": "nodeRepairConfig"}),
            )
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        cluster_name, name = id.split(":", 1)
        aws.client("eks").delete_nodegroup(clusterName=cluster_name, nodegroupName=name)

    @staticmethod
    def _outputs(group: Any) -> Outputs:
        resources = group.get("resources", {})
        return {
            "arn": group["nodegroupArn"],
            "amiType": group["amiType"],
            "capacityType": group["capacityType"],
            "diskSize": group["diskSize"],
            "instanceTypes": group["instanceTypes"],
            "resources": [
                {
                    "autoscalingGroups": resources.get("autoScalingGroups", []),
                    "remoteAccessSecurityGroupId": resources.get("remoteAccessSecurityGroup", ""),
                }
            ],
            "status": group["status"],
        }


class _OfCluster(StateOnly):
    """A thing inside a cluster: it cannot be made without the cluster and is gone when the cluster is."""

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        aws.client("eks").describe_cluster(name=inputs["clusterName"])
        return super().create(aws, inputs)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        if "clusterName" in inputs:
            aws.client("eks").describe_cluster(name=inputs["clusterName"])
        return super().read(aws, id, inputs, outputs)


class Addon(_OfCluster):
    type = "aws:eks/addon:Addon"
    force_new = frozenset({"addonName", "clusterName"})
    json_inputs = frozenset({"configurationValues"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        cluster, addon = inputs["clusterName"], inputs["addonName"]
        created = now()
        arn = aws.arn("eks", f"addon/{cluster}/{addon}/{unique}")
        return f"{cluster}:{addon}", {"arn": arn, "createdAt": created, "modifiedAt": created}

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        return {"modifiedAt": now()}


class AccessEntry(_OfCluster):
    type = "aws:eks/accessEntry:AccessEntry"
    defaults = {"type": "STANDARD"}
    force_new = frozenset({"clusterName", "principalArn", "type"})
    unordered = frozenset({"kubernetesGroups"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        cluster, principal = inputs["clusterName"], inputs["principalArn"]
        kind, _, principal_name = principal.rsplit(":", 1)[-1].partition("/")
        created = now()
        outputs: Outputs = {
            "accessEntryArn": aws.arn(
                "eks", f"access-entry/{cluster}/{kind}/{aws.account_id}/{principal_name}/{unique}"
            ),
            "createdAt": created,
            "modifiedAt": created,
            "kubernetesGroups": inputs.get("kubernetesGroups") or [],
        }
        if not inputs.get("userName"):
            session = f"arn:{aws.partition}:sts::{aws.account_id}:assumed-role/{principal_name.rsplit('/', 1)[-1]}"
            outputs["userName"] = principal if kind == "user" else f"{session}/{{{{SessionName}}}}"
        return f"{cluster}:{principal}", outputs

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        return {"modifiedAt": now()}


class AccessPolicyAssociation(_OfCluster):
    type = "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"
    force_new = frozenset({"accessScope", "clusterName", "policyArn", "principalArn"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        created = now()
        id = f"{inputs['clusterName']}#{inputs['principalArn']}#{inputs['policyArn']}"
        return id, {"associatedAt": created, "modifiedAt": created}


class PodIdentityAssociation(_OfCluster):
    type = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
    force_new = frozenset({"clusterName", "namespace", "serviceAccount"})
    json_inputs = frozenset({"policy"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        association_id = f"a-{unique}"
        arn = aws.arn("eks", f"podidentityassociation/{inputs['clusterName']}/{association_id}")
        return association_id, {"associationId": association_id, "associationArn": arn}


HANDLERS = (Cluster, NodeGroup, Addon, AccessEntry, AccessPolicyAssociation, PodIdentityAssociation)
