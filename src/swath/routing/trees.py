"""Regression trees as plain arrays: a trained LightGBM model without LightGBM, or pickle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_NAMES = ("feature", "threshold", "left", "right", "value", "root")


@dataclass(frozen=True)
class Trees:
    """All nodes of all trees in one row. At a node a row goes `left` where its `feature` is at most
    `threshold`, else `right`; a leaf has feature -1 and a `value`. `root` names each tree's first
    node. `depth` is the most steps from a root to a leaf."""

    feature: NDArray[np.int32]
    threshold: Floats
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: Floats
    root: NDArray[np.int32]

    def predict(self, x: Floats) -> Floats:
        """The sum over trees. `x` (n, features), the result (n,)."""
        at = np.broadcast_to(self.root, (len(x), len(self.root))).copy()
        rows = np.arange(len(x))[:, None]
        while True:
            feature = self.feature[at]
            inner = feature >= 0
            if not inner.any():
                break
            low = x[rows, np.maximum(feature, 0)] <= self.threshold[at]
            at = np.where(inner, np.where(low, self.left[at], self.right[at]), at)
        total: Floats = self.value[at].sum(axis=1)
        return total

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {f"trees_{name}": getattr(self, name) for name in _NAMES}

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]]) -> Trees:
        """The reverse of `arrays`. Raises ValueError where they are no trees: a node's children
        come after it, so that no walk can go in a circle."""
        made = cls(**{name: arrays[f"trees_{name}"] for name in _NAMES})
        size = len(made.feature)
        inner = made.feature >= 0
        for child in (made.left, made.right):
            if len(child) != size or (child[inner] <= np.flatnonzero(inner)).any():
                raise ValueError("nodes out of order")
            if (child[inner] >= size).any():
                raise ValueError("a node that is not there")
        if (made.root < 0).any() or (made.root >= size).any():
            raise ValueError("a root that is not there")
        return made

    @classmethod
    def of_lightgbm(cls, dump: dict[str, Any]) -> Trees:
        """From `Booster.dump_model()`: numeric features, no missing values."""
        feature: list[int] = []
        threshold: list[float] = []
        left: list[int] = []
        right: list[int] = []
        value: list[float] = []

        def add(node: dict[str, Any]) -> int:
            index = len(feature)
            leaf = "leaf_value" in node
            feature.append(-1 if leaf else int(node["split_feature"]))
            threshold.append(0.0 if leaf else float(node["threshold"]))
            value.append(float(node["leaf_value"]) if leaf else 0.0)
            left.append(-1)
            right.append(-1)
            if not leaf:
                left[index] = add(node["left_child"])
                right[index] = add(node["right_child"])
            return index

        roots = [add(tree["tree_structure"]) for tree in dump["tree_info"]]
        return cls(
            feature=np.array(feature, np.int32),
            threshold=np.array(threshold, np.float64),
            left=np.array(left, np.int32),
            right=np.array(right, np.int32),
            value=np.array(value, np.float64),
            root=np.array(roots, np.int32),
        )
