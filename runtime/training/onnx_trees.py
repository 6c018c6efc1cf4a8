"""LightGBM trees as attributes of one ONNX TreeEnsembleRegressor.

Thresholds are doubles in LightGBM and floats in ONNX.  Rounded to the nearest float, a threshold can end up above a
feature value that the double lay below, and that row takes the other branch; rounded down, every float32 feature
compares as before.  That is why trees are converted here and not by a general converter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def tree_attributes(dumps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``dumps``: Booster.dump_model() of each member; its raw score becomes the target of its position.

    Raises ValueError for a split that is not "<=" (categorical splits are not used here).
    """
    trees = _Trees()
    for target, dump in enumerate(dumps):
        for tree in dump["tree_info"]:
            trees.add(tree["tree_structure"], target)
    return {**trees.columns, "n_targets": len(dumps), "aggregate_function": "SUM", "post_transform": "NONE"}


class _Trees:
    def __init__(self) -> None:
        names = ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")
        self.columns: dict[str, list[Any]] = {f"nodes_{name}": [] for name in names}
        self.columns["nodes_missing_value_tracks_true"] = []
        self.columns |= {f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}
        self._tree = -1

    def add(self, root: Mapping[str, Any], target: int) -> None:
        self._tree += 1
        # Numbered as they are met: a node's children get the next free numbers when the node is written.
        waiting, next_number = [(root, 0)], 1
        while waiting:
            node, number = waiting.pop()
            if "split_index" not in node:
                self._node(number, 0, "LEAF", 0.0, 0, 0, False)
                for name, value in (
                    ("treeids", self._tree),
                    ("nodeids", number),
                    ("ids", target),
                    ("weights", float(node["leaf_value"])),
                ):
                    self.columns[f"target_{name}"].append(value)
                continue
            if node["decision_type"] != "<=":
                raise ValueError(f"split of type {node['decision_type']!r}; only numerical splits are converted")
            left, right = next_number, next_number + 1
            next_number += 2
            threshold = round_down(float(node["threshold"]))
            self._node(number, node["split_feature"], "BRANCH_LEQ", threshold, left, right, _missing_goes_left(node))
            waiting += [(node["left_child"], left), (node["right_child"], right)]

    def _node(
        self, number: int, feature: int, mode: str, value: float, if_true: int, if_false: int, missing_true: bool
    ) -> None:
        for name, entry in (
            ("treeids", self._tree),
            ("nodeids", number),
            ("featureids", feature),
            ("modes", mode),
            ("values", value),
            ("truenodeids", if_true),
            ("falsenodeids", if_false),
            ("missing_value_tracks_true", int(missing_true)),
        ):
            self.columns[f"nodes_{name}"].append(entry)


def round_down(threshold: float) -> float:
    """The greatest float32 that is not above ``threshold``."""
    if math.isinf(threshold):
        return threshold
    greatest = float(np.finfo(np.float32).max)
    if abs(threshold) > greatest:
        return greatest if threshold > 0 else -math.inf
    single = np.float32(threshold)
    return float(np.nextafter(single, np.float32(-np.inf)) if float(single) > threshold else single)


def _missing_goes_left(node: Mapping[str, Any]) -> bool:
    """LightGBM reads NaN as 0 in a split that saw none in training ("None"); otherwise it has a side for it."""
    if node["missing_type"] == "NaN":
        return bool(node["default_left"])
    return float(node["threshold"]) >= 0.0
