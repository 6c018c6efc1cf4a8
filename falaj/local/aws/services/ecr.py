"""Amazon ECR: repositories, lifecycle policies and scanning; pull-through rules and templates live in the state."""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, StateOnly, Update
from falaj.local.aws.shapes import tag_list, tag_map
from falaj.local.aws.tagging import apply_tag_list


class Repository(Handler):
    type = "aws:ecr/repository:Repository"
    auto_name = AutoName(max_length=256, lower=True)
    defaults = {"forceDelete": False, "imageTagMutability": "MUTABLE"}
    force_new = frozenset({"encryptionConfigurations", "name"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        parameters: dict[str, Any] = {}
        for encryption in inputs.get("encryptionConfigurations") or ():
            parameters["encryptionConfiguration"] = {
                "encryptionType": encryption.get("encryptionType") or "AES256",
                **({"kmsKey": encryption["kmsKey"]} if encryption.get("kmsKey") else {}),
            }
        repository = aws.client("ecr").create_repository(
            repositoryName=inputs["name"],
            imageTagMutability=inputs["imageTagMutability"],
            imageScanningConfiguration=_scanning(inputs),
            tags=tag_list(inputs.get("tagsAll")),
            **parameters,
        )["repository"]
        return repository["repositoryName"], self._outputs(repository)

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        ecr = aws.client("ecr")
        repository = ecr.describe_repositories(repositoryNames=[id])["repositories"][0]
        encryption = repository.get("encryptionConfiguration") or {"encryptionType": "AES256"}
        return {
            **self._outputs(repository),
            "name": repository["repositoryName"],
            "imageTagMutability": repository["imageTagMutability"],
            "imageScanningConfiguration": repository["imageScanningConfiguration"],
            "encryptionConfigurations": [encryption],
            "tagsAll": tag_map(ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        ecr, arn = aws.client("ecr"), update.outputs["arn"]
        if update.has("imageTagMutability"):
            ecr.put_image_tag_mutability(repositoryName=id, imageTagMutability=update.new["imageTagMutability"])
        if update.has("imageScanningConfiguration"):
            ecr.put_image_scanning_configuration(repositoryName=id, imageScanningConfiguration=_scanning(update.new))
        apply_tag_list(
            update,
            lambda tags: ecr.tag_resource(resourceArn=arn, tags=tags),
            lambda keys: ecr.untag_resource(resourceArn=arn, tagKeys=keys),
        )
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("ecr").delete_repository(repositoryName=id, force=bool(inputs.get("forceDelete")))

    @staticmethod
    def _outputs(repository: Any) -> Outputs:
        return {
            "arn": repository["repositoryArn"],
            "registryId": repository["registryId"],
            "repositoryUrl": repository["repositoryUri"],
        }


def _scanning(inputs: Properties) -> dict[str, bool]:
    return {"scanOnPush": bool((inputs.get("imageScanningConfiguration") or {}).get("scanOnPush"))}


class LifecyclePolicy(Handler):
    type = "aws:ecr/lifecyclePolicy:LifecyclePolicy"
    force_new = frozenset({"policy", "repository"})
    delete_before_replace = True
    json_inputs = frozenset({"policy"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        answer = aws.client("ecr").put_lifecycle_policy(
            repositoryName=inputs["repository"], lifecyclePolicyText=inputs["policy"]
        )
        return inputs["repository"], {"registryId": answer["registryId"]}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        answer = aws.client("ecr").get_lifecycle_policy(repositoryName=id)
        return {"repository": id, "policy": answer["lifecyclePolicyText"], "registryId": answer["registryId"]}

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        aws.client("ecr").put_lifecycle_policy(repositoryName=id, lifecyclePolicyText=update.new["policy"])
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("ecr").delete_lifecycle_policy(repositoryName=id)


class PullThroughCacheRule(StateOnly):
    type = "aws:ecr/pullThroughCacheRule:PullThroughCacheRule"
    force_new = frozenset({"ecrRepositoryPrefix", "upstreamRegistryUrl", "upstreamRepositoryPrefix"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        return inputs["ecrRepositoryPrefix"], {"registryId": aws.account_id}


class RepositoryCreationTemplate(StateOnly):
    type = "aws:ecr/repositoryCreationTemplate:RepositoryCreationTemplate"
    defaults = {"imageTagMutability": "MUTABLE"}
    force_new = frozenset({"prefix"})
    json_inputs = frozenset({"lifecyclePolicy", "repositoryPolicy"})
    unordered = frozenset({"appliedFors"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        return inputs["prefix"], {"registryId": aws.account_id}


class RegistryScanningConfiguration(Handler):
    """There is one per registry; deleting it goes back to basic scanning without rules."""

    type = "aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration"
    unordered = frozenset({"rules"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        self._put(aws, inputs)
        return aws.account_id, {"registryId": aws.account_id}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        answer = aws.client("ecr").get_registry_scanning_configuration()
        configuration = answer["scanningConfiguration"]
        if configuration["scanType"] == "BASIC" and not configuration.get("rules"):
            return None  # what a registry has when nobody configured it
        return {
            "registryId": answer["registryId"],
            "scanType": configuration["scanType"],
            "rules": configuration.get("rules", []),
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        self._put(aws, update.new)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        self._put(aws, {"scanType": "BASIC"})

    @staticmethod
    def _put(aws: Aws, inputs: Properties) -> None:
        aws.client("ecr").put_registry_scanning_configuration(
            scanType=inputs["scanType"], rules=inputs.get("rules") or []
        )


HANDLERS = (
    Repository,
    LifecyclePolicy,
    PullThroughCacheRule,
    RepositoryCreationTemplate,
    RegistryScanningConfiguration,
)
