"""What EC2 resources share: tags are set on any id with the same two calls."""

from __future__ import annotations

from typing import Any

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import Handler, Outputs, Update
from falaj.local.aws.shapes import tag_list


class Ec2Resource(Handler):
    """A type whose id is an EC2 id; an update of tags alone needs nothing more from the subclass."""

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        retag(aws, id, update)
        return {}


def retag(aws: Aws, id: str, update: Update) -> None:
    """Brings the tags of ``id`` to the new ``tagsAll``."""
    ec2 = aws.client("ec2")
    if update.tags_to_remove:
        ec2.delete_tags(Resources=[id], Tags=[{"Key": key} for key in update.tags_to_remove])
    if update.tags_to_set:
        ec2.create_tags(Resources=[id], Tags=tag_list(update.tags_to_set))


def tagged(kind: str, inputs: Properties) -> dict[str, Any]:
    """The request parameter that tags a resource of ``kind`` ("vpc", "subnet"...) in its creation."""
    tags = inputs.get("tagsAll")
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": tag_list(tags)}]} if tags else {}
