"""What instances and clusters of Amazon RDS have in common: changes, tags, managed passwords, spelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.handler import Outputs, Update
from falaj.local.aws.shapes import observed, request
from falaj.local.aws.tagging import apply_tag_list


def changes(update: Update, modifiable: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of a Modify call; a switch that the program no longer mentions is off, as for a new resource."""
    wanted = {name: update.new.get(name) for name in modifiable if update.has(name)}
    for name in ("deletionProtection", "iamDatabaseAuthenticationEnabled"):
        if name in update.changed:
            wanted[name] = bool(wanted[name])
    return request(wanted, modifiable)


def keep_spelling(state: Outputs, inputs: Properties, name: str) -> None:
    """RDS answers windows in lower case (``sun:03:00-sun:04:00``); the program's capitals are no drift."""
    declared, seen = inputs.get(name), state.get(name)
    if isinstance(declared, str) and isinstance(seen, str) and declared.lower() == seen.lower():
        state[name] = declared


def observe_managed_password(state: Outputs, described: Any, inputs: Properties) -> None:
    secret = described.get("MasterUserSecret")
    if secret or "manageMasterUserPassword" in inputs:
        state["manageMasterUserPassword"] = bool(secret)
    if secret and str(inputs.get("masterUserSecretKmsKeyId", "")).startswith("arn:"):
        state["masterUserSecretKmsKeyId"] = secret["KmsKeyId"]  # an alias or an id cannot be compared with it


def log_exports(update: Update) -> dict[str, list[str]]:
    old, new = (set(inputs.get("enabledCloudwatchLogsExports") or ()) for inputs in (update.old, update.new))
    return {"EnableLogTypes": sorted(new - old), "DisableLogTypes": sorted(old - new)}


def master_user_secrets(described: Any) -> list[dict[str, str]]:
    secret = described.get("MasterUserSecret")
    if not secret:
        return []
    names = {"kmsKeyId": "KmsKeyId", "secretArn": "SecretArn", "secretStatus": "SecretStatus"}
    return [observed(secret, names)]


def security_groups(described: Any) -> list[str]:
    return [group["VpcSecurityGroupId"] for group in described.get("VpcSecurityGroups", [])]


def apply_tags(rds: Any, update: Update, arn: str) -> None:
    apply_tag_list(
        update,
        lambda tags: rds.add_tags_to_resource(ResourceName=arn, Tags=tags),
        lambda keys: rds.remove_tags_from_resource(ResourceName=arn, TagKeys=keys),
    )
