"""Exact nearest neighbours by blocks: no table of all pairs is ever in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from swath.errors import MissingExtra

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

CELLS = 1 << 22  # similarities held at once: 16 MB of them


def need_numpy(feature: str) -> Any:
    """numpy. Raises MissingExtra."""
    try:
        import numpy
    except ModuleNotFoundError:
        raise MissingExtra(feature, "tables") from None
    return numpy


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of `rows`, each with at most CELLS similarities to `columns`."""
    size = max(CELLS // max(columns, 1), 1)
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def nearest(left: Floats, right: Floats, k: int) -> tuple[Ints, Floats]:
    """For each row of `left` the `k` rows of `right` with the largest inner product, largest first
    and equal ones in order: their places (left, k) and the products. Both (rows, dimensions)."""
    np = need_numpy("vector search")
    k = min(k, len(right))
    places = np.zeros((len(left), k), dtype=np.int64)
    scores = np.zeros((len(left), k), dtype=np.float32)
    for block in blocks(len(left), len(right)) if k else ():
        places[block], scores[block] = top(left[block] @ right.T, k)
    return places, scores


def top(likeness: Floats, k: int) -> tuple[Ints, Floats]:
    """The `k` largest of each row and where they stand; equal ones in the order of columns."""
    np = need_numpy("vector search")
    if k < likeness.shape[1]:
        found = np.argpartition(likeness, -k, axis=1)[:, -k:]
        kth = np.take_along_axis(likeness, found, axis=1).min(axis=1)
        # Where several tie with the k-th, their order decides, and not the partition.
        for row in np.flatnonzero((likeness >= kth[:, None]).sum(axis=1) > k):
            found[row] = np.argsort(-likeness[row], kind="stable")[:k]
        found.sort(axis=1)
    else:
        found = np.broadcast_to(np.arange(likeness.shape[1]), likeness.shape)
    taken = np.take_along_axis(likeness, found, axis=1)
    order = np.argsort(-taken, axis=1, kind="stable")
    return (
        np.take_along_axis(found, order, axis=1),
        np.take_along_axis(taken, order, axis=1),
    )


def above(left: Floats, right: Floats, least: float) -> list[list[tuple[int, float]]]:
    """For each row of `left` the rows of `right` with an inner product of at least `least`, largest
    first: their places and the products."""
    np = need_numpy("vector search")
    found: list[list[tuple[int, float]]] = []
    for block in blocks(len(left), len(right)):
        for likeness in left[block] @ right.T:
            places = np.flatnonzero(likeness >= least)
            places = places[np.argsort(-likeness[places], kind="stable")]
            found.append(list(zip(places.tolist(), likeness[places].tolist(), strict=True)))
    return found
