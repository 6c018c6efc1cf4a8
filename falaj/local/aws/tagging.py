"""Bringing a resource's tags to what an update asks for, for the two ways in which AWS APIs spell tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from falaj.local.aws.handler import Update
from falaj.local.aws.shapes import tag_list


def apply_tag_map(update: Update, add: Callable[[dict[str, str]], Any], remove: Callable[[list[str]], Any]) -> None:
    """For APIs that take tags as a map: removes what is gone, sets what is new or changed, calls nothing otherwise."""
    if update.tags_to_remove:
        remove(update.tags_to_remove)
    if update.tags_to_set:
        add(update.tags_to_set)


def apply_tag_list(
    update: Update, add: Callable[[list[dict[str, str]]], Any], remove: Callable[[list[str]], Any]
) -> None:
    """For APIs that take tags as a list of ``{"Key": ..., "Value": ...}``."""
    apply_tag_map(update, lambda tags: add(tag_list(tags)), remove)
