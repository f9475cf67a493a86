"""What joins and searches rest on: nearest neighbours, ranks, recall told from ranks, groups."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swath.operators import nearest
from swath.operators.depth import recall
from swath.operators.matching import ROUNDS
from swath.operators.partition import components, doubtful, partition
from swath.operators.predicate import Predicate
from swath.operators.property import candidate
from swath.operators.similar import further, rank
from swath.operators.template import Template
from swath.operators.wording import Wording


def table(rows: int, columns: int, seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 4, (rows, columns)).astype(np.float32)


@given(st.integers(0, 9), st.integers(1, 9), st.integers(1, 12), st.integers(1, 40), st.integers())
@settings(max_examples=60)
def test_blockwise_is_brute_force(n: int, m: int, k: int, cells: int, seed: int) -> None:
    """Whatever the size of blocks, and equal products in the order of their places."""
    a, b = table(n, 3, abs(seed)), table(m, 3, abs(seed) + 1)
    before, nearest.CELLS = nearest.CELLS, cells
    try:
        places, scores = nearest.nearest(a, b, k)
        enough = nearest.above(a, b, 5.0)
    finally:
        nearest.CELLS = before
    for i in range(n):
        products = (b @ a[i]).tolist()
        order = sorted(range(m), key=lambda j: -products[j])
        assert places[i].tolist() == order[:k]
        assert scores[i].tolist() == [products[j] for j in order[:k]]
        assert enough[i] == [(j, products[j]) for j in order if products[j] >= 5.0]


@given(st.integers(0, 8), st.integers(0, 8), st.integers(1, 9), st.booleans(), st.integers(1, 30))
@settings(max_examples=60)
def test_a_pairs_rank_is_the_better_of_both_sides(
    n: int, m: int, depth: int, same: bool, cells: int
) -> None:
    m = n if same else m
    draw = np.random.default_rng(n * 100 + m)
    a = draw.normal(size=(n, 4)).astype(np.float32)
    b = a if same else draw.normal(size=(m, 4)).astype(np.float32)
    before, nearest.CELLS = nearest.CELLS, cells
    try:
        got = rank(["x"] * n, ["x"] * m, depth, vectors=(a, b), lexical=False, same=same)
    finally:
        nearest.CELLS = before
    expected: dict[tuple[int, int], int] = {}
    likeness = a @ b.T
    for i, j in itertools.product(range(n), range(m)):
        if same and i == j:
            continue
        of_left = sum(likeness[i, c] > likeness[i, j] for c in range(m) if not (same and c == i))
        of_right = sum(likeness[r, j] > likeness[i, j] for r in range(n) if not (same and r == j))
        best = int(min(of_left, of_right)) + 1
        pair = (min(i, j), max(i, j)) if same else (i, j)
        if best <= depth:
            expected[pair] = min(best, expected.get(pair, best))
    pairs = zip(got.left.tolist(), got.right.tolist(), strict=True)
    assert dict(zip(pairs, got.rank.tolist(), strict=True)) == expected
    rest = further(got, n, m, 5, same) if n and m else []
    assert not set(rest) & expected.keys()
    assert len(set(rest)) == len(rest)


def test_letters_find_a_rare_number() -> None:
    names = [f"Acme digital camera {i * 7919 % 9973}" for i in range(50)]
    turned = [f"{i * 7919 % 9973} camera, digital (Acme)" for i in range(50)]
    got = rank(names, turned, 1)
    first = {(i, j) for i, j, r in zip(got.left, got.right, got.rank, strict=True) if r == 1}
    assert {(i, i) for i in range(50)} <= first
    assert rank(["a"], ["b"], 3).rank.tolist() == [1]  # nothing to weigh: all alike


def test_recall_is_told_well_where_the_rate_falls_by_a_power() -> None:
    """The 95% interval covers the truth in at least 90 of 100 simulated joins, and asking until the
    estimate is the wanted recall reaches it on average, and nearly so in 5 joins of 6."""
    draw = np.random.default_rng(3)
    ranks = np.arange(1, 501, dtype=float)
    covered, reached = 0, []
    for _ in range(100):
        slope, scale = draw.uniform(1.5, 3.0), draw.uniform(20, 200)
        counts = draw.poisson(scale * ranks**-slope)
        counts[0] += 500
        share = np.cumsum(counts) / counts.sum()
        found = recall(counts[:8].tolist(), 500)
        covered += found.low <= share[7] <= found.high
        for depth in ROUNDS:
            if recall(counts[:depth].tolist(), 500).estimate >= 0.97:
                reached.append(share[depth - 1])
                break
    assert covered >= 90
    assert np.mean(reached) >= 0.97
    assert np.mean([share >= 0.96 for share in reached]) >= 5 / 6


def test_recall_at_its_ends() -> None:
    assert recall([5, 1], 2).low == 1.0  # everything was asked about
    assert recall([0, 0, 0], 100).estimate == 0.0
    assert recall([50, 50, 50, 50], 1000).estimate < 0.5  # it does not fall at all


# -- groups

Votes = st.dictionaries(
    st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda p: p[0] < p[1]), st.booleans()
)


@given(Votes)
def test_groups_never_join_what_no_answer_joins(said: dict[tuple[int, int], bool]) -> None:
    groups = partition(8, said)
    chained = components(8, [pair for pair, same in said.items() if same])
    home = {i: at for at, group in enumerate(chained) for i in group}
    for i, j in itertools.combinations(range(8), 2):
        if groups[i] == groups[j]:
            assert home[i] == home[j]
    assert groups == [sorted(set(groups), key=groups.index).index(g) for g in groups]


@given(st.lists(st.integers(0, 3), min_size=2, max_size=8))
def test_consistent_answers_give_their_groups(labels: list[int]) -> None:
    n = len(labels)
    said = {(i, j): labels[i] == labels[j] for i in range(n) for j in range(i + 1, n)}
    expected = [list(dict.fromkeys(labels)).index(label) for label in labels]
    assert partition(n, said) == expected


def test_one_wrong_answer_welds_no_groups() -> None:
    """Two groups of four, all asked about, and one wrong yes between them."""
    said = {(i, j): i // 4 == j // 4 for i in range(8) for j in range(i + 1, 8)}
    said[3, 4] = True
    assert partition(8, said) == [0] * 4 + [1] * 4
    assert partition(3, {(0, 1): True, (1, 2): True, (0, 2): False}) in ([0, 0, 1], [0, 1, 1])


def test_what_is_looked_at_again() -> None:
    chain = {(0, 1): True, (1, 2): True, (2, 3): True, (4, 5): True}
    assert doubtful(6, chain) == [(0, 2), (0, 3), (1, 3)]
    many = {(0, i): True for i in range(1, 50)}
    assert len(doubtful(50, many)) <= 3 * 50


def test_the_same_counts_give_the_same_recall() -> None:
    assert recall([90, 20, 9, 4], 300) == recall([90, 20, 9, 4], 300)


@pytest.mark.parametrize(
    ("statement", "symmetric"),
    [
        ("{left.t} and {right.t} are opposites", True),
        ("The same topic.\nFirst: {left.t}\nSecond: {right.t}", True),
        ("{left.t} is a duplicate of {right.t}", True),
        ("{left.t} answers {right.t}", False),
        ("{left.t} and {right.t}: the first is newer than the second", False),
        ("{left.t} and {right.u} are the same", False),
        ("{left.t} is cited by {right.t}", False),
    ],
)
def test_which_statements_read_both_ways(statement: str, symmetric: bool) -> None:
    schema = pl.Schema({"t": pl.String(), "u": pl.String()})
    predicate = Predicate(Template(statement), None, model=None, temperature=None, max_tokens=None)
    assert Wording.of(predicate, schema, schema).symmetric == symmetric


@pytest.mark.parametrize(
    ("statement", "may"),
    [
        ("{left.t} and {right.t} express the same sentiment", True),
        ("{left.t} and {right.t} are the same real-world product", False),
        ("{left.t} and {right.t} are about the same company", False),
        ("{left.t} answers {right.t}", False),
        ("{left.t} {left.u} shares a topic with {right.t}", False),
    ],
)
def test_which_statements_may_compare_a_property(statement: str, may: bool) -> None:
    schema = pl.Schema({"t": pl.String(), "u": pl.String()})
    predicate = Predicate(Template(statement), None, model=None, temperature=None, max_tokens=None)
    assert candidate(Wording.of(predicate, schema, schema)) == may
