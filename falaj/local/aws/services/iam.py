"""AWS IAM: roles, policies and what binds them, instance profiles and identity providers.  IAM has no regions."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import unquote

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.shapes import observed, request, tag_list, tag_map

_MAX_POLICY_VERSIONS: Final = 5  # IAM quota: versions of a managed policy


class Role(Handler):
    type = "aws:iam/role:Role"
    auto_name = AutoName(max_length=64)
    force_new = frozenset({"name", "namePrefix", "path"})
    delete_before_replace = True
    json_inputs = frozenset({"assumeRolePolicy", "inlinePolicies.policy"})
    unordered = frozenset({"managedPolicyArns", "inlinePolicies"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        role = aws.client("iam").create_role(
            Tags=tag_list(inputs.get("tagsAll")),
            **request(
                inputs,
                {
                    "name": "RoleName",
                    "assumeRolePolicy": "AssumeRolePolicyDocument",
                    "path": "Path",
                    "description": "Description",
                    "maxSessionDuration": "MaxSessionDuration",
                    "permissionsBoundary": "PermissionsBoundary",
                },
            ),
        )["Role"]
        return role["RoleName"], self._outputs(role)

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        for policy in inputs.get("inlinePolicies") or ():
            aws.client("iam").put_role_policy(RoleName=id, PolicyName=policy["name"], PolicyDocument=policy["policy"])
        for arn in inputs.get("managedPolicyArns") or ():
            aws.client("iam").attach_role_policy(RoleName=id, PolicyArn=arn)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        iam = aws.client("iam")
        role = iam.get_role(RoleName=id)["Role"]
        state: Outputs = {
            **self._outputs(role),
            "name": role["RoleName"],
            "path": role["Path"],
            "assumeRolePolicy": _text(role["AssumeRolePolicyDocument"]),
            "description": role.get("Description"),
            "maxSessionDuration": role.get("MaxSessionDuration", 3600),
            "permissionsBoundary": (role.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn"),
            "tagsAll": tag_map(role.get("Tags")),
        }
        if "managedPolicyArns" in inputs:
            attached = iam.list_attached_role_policies(RoleName=id)["AttachedPolicies"]
            state["managedPolicyArns"] = [policy["PolicyArn"] for policy in attached]
        if "inlinePolicies" in inputs:
            state["inlinePolicies"] = [
                {"name": name, "policy": _text(iam.get_role_policy(RoleName=id, PolicyName=name)["PolicyDocument"])}
                for name in iam.list_role_policies(RoleName=id)["PolicyNames"]
            ]
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        iam, new = aws.client("iam"), update.new
        if update.has("assumeRolePolicy"):
            iam.update_assume_role_policy(RoleName=id, PolicyDocument=new["assumeRolePolicy"])
        if update.has("description", "maxSessionDuration"):
            duration = new.get("maxSessionDuration", 3600)
            iam.update_role(RoleName=id, Description=new.get("description") or "", MaxSessionDuration=duration)
        if update.has("permissionsBoundary"):
            if new.get("permissionsBoundary"):
                iam.put_role_permissions_boundary(RoleName=id, PermissionsBoundary=new["permissionsBoundary"])
            elif update.old.get("permissionsBoundary"):
                iam.delete_role_permissions_boundary(RoleName=id)
        if update.has("managedPolicyArns"):
            old, wanted = set(update.old.get("managedPolicyArns") or ()), set(new.get("managedPolicyArns") or ())
            for arn in sorted(old - wanted):
                iam.detach_role_policy(RoleName=id, PolicyArn=arn)
            for arn in sorted(wanted):
                iam.attach_role_policy(RoleName=id, PolicyArn=arn)
        if update.has("inlinePolicies"):
            kept = {policy["name"] for policy in new.get("inlinePolicies") or ()}
            for policy in update.old.get("inlinePolicies") or ():
                if policy["name"] not in kept:
                    iam.delete_role_policy(RoleName=id, PolicyName=policy["name"])
            self.configure(aws, id, {"inlinePolicies": new.get("inlinePolicies")})
        if update.tags_to_remove:
            iam.untag_role(RoleName=id, TagKeys=update.tags_to_remove)
        if update.tags_to_set:
            iam.tag_role(RoleName=id, Tags=tag_list(update.tags_to_set))
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        iam = aws.client("iam")
        # Instance profiles and policies that only this role declares go with it, as in the real provider.
        for profile in iam.list_instance_profiles_for_role(RoleName=id)["InstanceProfiles"]:
            iam.remove_role_from_instance_profile(RoleName=id, InstanceProfileName=profile["InstanceProfileName"])
        if inputs.get("forceDetachPolicies") or "managedPolicyArns" in inputs:
            for policy in iam.list_attached_role_policies(RoleName=id)["AttachedPolicies"]:
                iam.detach_role_policy(RoleName=id, PolicyArn=policy["PolicyArn"])
        if inputs.get("forceDetachPolicies") or "inlinePolicies" in inputs:
            for name in iam.list_role_policies(RoleName=id)["PolicyNames"]:
                iam.delete_role_policy(RoleName=id, PolicyName=name)
        iam.delete_role(RoleName=id)

    @staticmethod
    def _outputs(role: dict[str, Any]) -> Outputs:
        return {"arn": role["Arn"], "uniqueId": role["RoleId"], "createDate": role["CreateDate"].isoformat()}


class ServiceLinkedRole(Handler):
    """The role of an AWS service in the account; the service itself chooses its name.  Its id is the ARN."""

    type = "aws:iam/serviceLinkedRole:ServiceLinkedRole"
    force_new = frozenset({"awsServiceName", "customSuffix"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        parameters = request(
            inputs, {"awsServiceName": "AWSServiceName", "customSuffix": "CustomSuffix", "description": "Description"}
        )
        role = aws.client("iam").create_service_linked_role(**parameters)["Role"]
        return role["Arn"], self._outputs(role)

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        if inputs.get("tagsAll"):
            aws.client("iam").tag_role(RoleName=_role_name(id), Tags=tag_list(inputs["tagsAll"]))

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        role = aws.client("iam").get_role(RoleName=_role_name(id))["Role"]
        service = role["Path"].removeprefix("/aws-service-role/").strip("/")
        description = role.get("Description") or None
        tags = tag_map(role.get("Tags"))
        return {**self._outputs(role), "awsServiceName": service, "description": description, "tagsAll": tags}

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        iam, name = aws.client("iam"), _role_name(id)
        if update.has("description"):
            iam.update_role(RoleName=name, Description=update.new.get("description") or "")
        if update.tags_to_remove:
            iam.untag_role(RoleName=name, TagKeys=update.tags_to_remove)
        if update.tags_to_set:
            iam.tag_role(RoleName=name, Tags=tag_list(update.tags_to_set))
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("iam").delete_service_linked_role(RoleName=_role_name(id))

    @staticmethod
    def _outputs(role: dict[str, Any]) -> Outputs:
        return {**Role._outputs(role), "name": role["RoleName"], "path": role["Path"]}


class Policy(Handler):
    type = "aws:iam/policy:Policy"
    auto_name = AutoName(max_length=128)
    force_new = frozenset({"name", "namePrefix", "path", "description"})
    json_inputs = frozenset({"policy"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        parameters = request(
            inputs, {"name": "PolicyName", "policy": "PolicyDocument", "path": "Path", "description": "Description"}
        )
        policy = aws.client("iam").create_policy(Tags=tag_list(inputs.get("tagsAll")), **parameters)["Policy"]
        return policy["Arn"], {"arn": policy["Arn"], "policyId": policy["PolicyId"], "attachmentCount": 0}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        iam = aws.client("iam")
        policy = iam.get_policy(PolicyArn=id)["Policy"]
        version = iam.get_policy_version(PolicyArn=id, VersionId=policy["DefaultVersionId"])["PolicyVersion"]
        return {
            "arn": policy["Arn"],
            "policyId": policy["PolicyId"],
            "attachmentCount": policy.get("AttachmentCount", 0),
            **observed(policy, {"name": "PolicyName", "path": "Path", "description": "Description"}),
            "policy": _text(version["Document"]),
            "tagsAll": tag_map(policy.get("Tags")),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        iam = aws.client("iam")
        if update.has("policy"):
            versions = iam.list_policy_versions(PolicyArn=id)["Versions"]
            if len(versions) >= _MAX_POLICY_VERSIONS:
                oldest = min((v for v in versions if not v["IsDefaultVersion"]), key=lambda v: int(v["VersionId"][1:]))
                iam.delete_policy_version(PolicyArn=id, VersionId=oldest["VersionId"])
            iam.create_policy_version(PolicyArn=id, PolicyDocument=update.new["policy"], SetAsDefault=True)
        if update.tags_to_remove:
            iam.untag_policy(PolicyArn=id, TagKeys=update.tags_to_remove)
        if update.tags_to_set:
            iam.tag_policy(PolicyArn=id, Tags=tag_list(update.tags_to_set))
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        iam = aws.client("iam")
        for version in iam.list_policy_versions(PolicyArn=id)["Versions"]:
            if not version["IsDefaultVersion"]:
                iam.delete_policy_version(PolicyArn=id, VersionId=version["VersionId"])
        iam.delete_policy(PolicyArn=id)


class RolePolicy(Handler):
    """A policy inside a role.  Its id is ``<role>:<name>``."""

    type = "aws:iam/rolePolicy:RolePolicy"
    auto_name = AutoName(max_length=128)
    force_new = frozenset({"name", "namePrefix", "role"})
    json_inputs = frozenset({"policy"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        role, name = _role_name(inputs["role"]), inputs["name"]
        aws.client("iam").put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=inputs["policy"])
        return f"{role}:{name}", {}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        role, _, name = id.partition(":")
        policy = aws.client("iam").get_role_policy(RoleName=role, PolicyName=name)
        return {"name": name, "role": inputs.get("role", role), "policy": _text(policy["PolicyDocument"])}

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        self.create(aws, update.new)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        role, _, name = id.partition(":")
        aws.client("iam").delete_role_policy(RoleName=role, PolicyName=name)


class RolePolicyAttachment(Handler):
    """A managed policy on a role.  Its id is ``<role>/<policy ARN>``."""

    type = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
    force_new = frozenset({"role", "policyArn"})
    delete_before_replace = True

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        role = _role_name(inputs["role"])
        aws.client("iam").attach_role_policy(RoleName=role, PolicyArn=inputs["policyArn"])
        return f"{role}/{inputs['policyArn']}", {}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        role, _, arn = id.partition("/")
        pages = aws.client("iam").get_paginator("list_attached_role_policies").paginate(RoleName=role)
        if any(policy["PolicyArn"] == arn for page in pages for policy in page["AttachedPolicies"]):
            return {"role": inputs.get("role", role), "policyArn": arn}
        return None

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        role, _, arn = id.partition("/")
        aws.client("iam").detach_role_policy(RoleName=role, PolicyArn=arn)


class InstanceProfile(Handler):
    type = "aws:iam/instanceProfile:InstanceProfile"
    auto_name = AutoName(max_length=128)
    force_new = frozenset({"name", "namePrefix", "path"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        parameters = request(inputs, {"name": "InstanceProfileName", "path": "Path"})
        profile = aws.client("iam").create_instance_profile(Tags=tag_list(inputs.get("tagsAll")), **parameters)
        return inputs["name"], self._outputs(profile["InstanceProfile"])

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        if inputs.get("role"):
            aws.client("iam").add_role_to_instance_profile(InstanceProfileName=id, RoleName=_role_name(inputs["role"]))

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        profile = aws.client("iam").get_instance_profile(InstanceProfileName=id)["InstanceProfile"]
        role = profile["Roles"][0]["RoleName"] if profile["Roles"] else None
        wanted = inputs.get("role")
        return {
            **self._outputs(profile),
            "name": id,
            "path": profile["Path"],
            "role": wanted if wanted and _role_name(wanted) == role else role,
            "tagsAll": tag_map(profile.get("Tags")),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        iam = aws.client("iam")
        if update.has("role"):
            self._remove_roles(aws, id)
            self.configure(aws, id, update.new)
        if update.tags_to_remove:
            iam.untag_instance_profile(InstanceProfileName=id, TagKeys=update.tags_to_remove)
        if update.tags_to_set:
            iam.tag_instance_profile(InstanceProfileName=id, Tags=tag_list(update.tags_to_set))
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        self._remove_roles(aws, id)
        aws.client("iam").delete_instance_profile(InstanceProfileName=id)

    @staticmethod
    def _remove_roles(aws: Aws, id: str) -> None:
        iam = aws.client("iam")
        for role in iam.get_instance_profile(InstanceProfileName=id)["InstanceProfile"]["Roles"]:
            iam.remove_role_from_instance_profile(InstanceProfileName=id, RoleName=role["RoleName"])

    @staticmethod
    def _outputs(profile: dict[str, Any]) -> Outputs:
        created = profile["CreateDate"].isoformat()
        return {"arn": profile["Arn"], "uniqueId": profile["InstanceProfileId"], "createDate": created}


class OpenIdConnectProvider(Handler):
    type = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"
    force_new = frozenset({"url"})
    delete_before_replace = True  # an account holds one provider per URL
    unordered = frozenset({"clientIdLists", "thumbprintLists"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        parameters = request(
            inputs, {"url": "Url", "clientIdLists": "ClientIDList", "thumbprintLists": "ThumbprintList"}
        )
        # AWS looks the thumbprint up when none is given; the emulator requires one and must not look anywhere.
        parameters.setdefault("ThumbprintList", ["0" * 40])
        tags = tag_list(inputs.get("tagsAll"))
        arn = aws.client("iam").create_open_id_connect_provider(Tags=tags, **parameters)["OpenIDConnectProviderArn"]
        return arn, {"arn": arn, "thumbprintLists": parameters["ThumbprintList"]}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        provider = aws.client("iam").get_open_id_connect_provider(OpenIDConnectProviderArn=id)
        url = provider["Url"]
        wanted = inputs.get("url", "")
        return {
            "arn": id,
            "url": wanted if wanted.removeprefix("https://") == url.removeprefix("https://") else url,
            "clientIdLists": provider["ClientIDList"],
            "thumbprintLists": provider["ThumbprintList"],
            "tagsAll": tag_map(provider.get("Tags")),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        iam = aws.client("iam")
        if update.has("clientIdLists"):
            # moto cannot add or remove a client id; the ARN follows from the URL, so a fresh provider is the same one.
            self.delete(aws, id, update.old, update.outputs)
            self.create(aws, update.new)
            return {}
        if update.has("thumbprintLists") and update.new.get("thumbprintLists"):
            iam.update_open_id_connect_provider_thumbprint(
                OpenIDConnectProviderArn=id, ThumbprintList=update.new["thumbprintLists"]
            )
        if update.tags_to_remove:
            iam.untag_open_id_connect_provider(OpenIDConnectProviderArn=id, TagKeys=update.tags_to_remove)
        if update.tags_to_set:
            iam.tag_open_id_connect_provider(OpenIDConnectProviderArn=id, Tags=tag_list(update.tags_to_set))
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("iam").delete_open_id_connect_provider(OpenIDConnectProviderArn=id)


def _role_name(role: str) -> str:
    """A role given by name or, as some programs do, by ARN."""
    return role.rsplit("/", 1)[-1] if role.startswith("arn:") else role


def _text(document: Any) -> str:
    """A policy document as JSON text; botocore answers it decoded, moto in places as quoted text."""
    return unquote(document) if isinstance(document, str) else json.dumps(document)


HANDLERS = (InstanceProfile, OpenIdConnectProvider, Policy, Role, RolePolicy, RolePolicyAttachment, ServiceLinkedRole)
