"""Preference pairs as training data: how verdicts become a quality for each prompt and model."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swath.errors import ColumnNotFound, InputError
from swath.routing.graded import Graded
from swath.routing.preferences import of_pairs, strengths
from swath.routing.training_data import rows_of
from tests.router_kit import pairs


def grades(made: Graded) -> dict[tuple[str, str], float]:
    """By prompt and model."""
    return {(p, m): q for p, m, q, _ in rows_of(made).iter_rows()}


@pytest.mark.parametrize(
    "table",
    [
        pairs("A", "B", "tie", "A"),
        pairs("a", "b", " Tie", "A", column="label"),
        pairs("model_a", "model_b", "tie (bothbad)", "model_a", column="winner"),
        pairs("x", "y", "tie", "x", column="winner"),
        pairs("A", "B", "tie", "A").rename({"prompt": "instruction"}),
        pairs("A", "B", "tie", "A").with_columns(
            pl.col("verdict").eq(v).cast(pl.Int64).alias(name)
            for name, v in [("winner_model_a", "A"), ("winner_model_b", "B"), ("winner_tie", "tie")]
        ),
    ],
)
def test_verdicts_are_read_as_they_are_spelled(table: pl.DataFrame) -> None:
    found = of_pairs(table)
    assert found.models == ("x", "y")
    assert found.quality[:, 0].tolist() == [0.5] * 4  # x won more
    assert found.quality[:, 1].tolist() == [0.0, 1.0, 0.5, 0.0]


def test_orders_are_settled_and_annotators_averaged() -> None:
    items = pl.DataFrame(
        {
            "item_id": [1, 2, 3],
            "instruction": ["Say", "Say", "Count"],
            "input": ["one", None, " "],
            "model_a": ["x", "x", "x"],
            "model_b": ["y", "y", "y"],
        }
    )
    verdicts = pl.DataFrame(
        [
            (1, "j", "AB", "A"),
            (1, "j", "BA", "B"),  # undecided: a tie
            (2, "j", "AB", "A"),
            (2, "j", "BA", "A"),
            (2, "k", "AB", "B"),
            (2, "k", "BA", "B"),
            (3, "j", "AB", "A"),
            (3, "j", "BA", None),  # cannot be read
            (3, "k", "AB", "A"),
            (3, "k", "BA", "A"),
        ],
        schema=["item_id", "judge", "order", "verdict"],
        orient="row",
    )
    found = of_pairs(verdicts, items)
    assert found.prompts == ("Count", "Say", "Say\n\none")
    assert found.quality[:, found.models.index("y")].tolist() == [0.0, 0.5, 0.5]
    assert "1 verdicts that could not be read were left out" in found.notes
    with pytest.raises(InputError, match="No item_id"):
        of_pairs(verdicts.with_columns(item_id=pl.col("item_id") + 10), items)


def test_a_win_counts_by_its_opponent() -> None:
    """c beats b often, a beats all: a win of d against b says more than one against c."""
    rows = []
    for i in range(40):
        for one, two, wins in (("a", "b", 30), ("b", "c", 30), ("a", "c", 36)):
            rows.append((f"q{i}", one, two, "A" if i < wins else "B"))
    rows += [(f"q{i}", "d", "c", "A" if i % 2 else "B") for i in range(40)]
    rows += [("against b", "d", "b", "A"), ("against c", "d", "c", "A")]
    columns = ["prompt", "model_a", "model_b", "verdict"]
    found = grades(of_pairs(pl.DataFrame(rows, schema=columns, orient="row")))
    assert found["against b", "d"] > found["against c", "d"]
    assert found["q0", "a"] == 0.5
    assert found["q0", "b"] == 0.0  # it met the strongest there, and lost
    assert found["q39", "b"] == 1.0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.sampled_from([(0, 1), (0, 2), (1, 2)]), st.sampled_from("ABt")
        ),
        min_size=12,
        max_size=40,
    ),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60)
def test_neither_order_nor_side_changes_a_grade(rows: list[Any], random: Any) -> None:
    names, spelled = "xyz", {"A": "A", "B": "B", "t": "tie"}
    other = {"A": "B", "B": "A", "t": "tie"}
    plain = [(f"p{p}", names[a], names[b], spelled[v]) for p, (a, b), v in rows]
    turned = [(f"p{p}", names[b], names[a], other[v]) for p, (a, b), v in rows]
    mixed = [random.choice(two) for two in zip(plain, turned, strict=True)]
    random.shuffle(mixed)
    columns = ["prompt", "model_a", "model_b", "verdict"]
    try:
        found = of_pairs(pl.DataFrame(plain, schema=columns, orient="row"))
    except InputError as refused:
        with pytest.raises(InputError, match=refused.message[:12]):
            of_pairs(pl.DataFrame(mixed, schema=columns, orient="row"))
        return
    again = of_pairs(pl.DataFrame(mixed, schema=columns, orient="row"))
    assert found.prompts == again.prompts
    np.testing.assert_array_equal(found.quality, again.quality)
    known = found.quality[np.isfinite(found.quality)]
    assert ((known >= 0) & (known <= 1)).all()


def test_strengths_are_those_of_bradley_and_terry() -> None:
    true = np.array([1.0, 0.0, -0.5, -0.5])
    chance = 1 / (1 + np.exp(true[None, :] - true[:, None]))
    won = 1e6 * chance * (1 - np.eye(4))
    np.testing.assert_allclose(strengths(won), true - true.mean(), atol=1e-4)


@pytest.mark.parametrize(
    ("table", "error", "says"),
    [
        (pairs("A", "A", "A"), InputError, "'x' wins every pair"),
        (pairs("B", "B"), InputError, "'y' wins every pair"),
        (pairs("tie", "tie"), InputError, "All verdicts are ties"),
        (pairs(None, None), InputError, "no verdict that could be read"),
        (pairs("A", "B", "neither"), InputError, "1 of 3 verdicts name no side"),
        (pairs("A").drop("verdict"), ColumnNotFound, "no column 'verdict'"),
        (pairs("A", "B").drop("prompt"), ColumnNotFound, "no column 'prompt'"),
        (pairs("A", "B").drop("model_b"), ColumnNotFound, "no column 'model_b'"),
        (pairs("A", "B").with_columns(item_id=pl.lit(1)), InputError, "stands for several"),
        (
            pl.concat(
                [
                    pairs("A", "B"),
                    pairs("A", "B").with_columns(model_a=pl.lit("v"), model_b=pl.lit("w")),
                ]
            ),
            InputError,
            "never meet",
        ),
    ],
)
def test_pairs_that_will_not_do(table: pl.DataFrame, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        of_pairs(table)


def test_groups_that_never_meet_may_be_sources() -> None:
    apart = [
        pairs("A", "B", "A").with_columns(source=pl.lit("one")),
        pairs("A", "B", "B").with_columns(
            model_a=pl.lit("v"), model_b=pl.lit("w"), source=pl.lit("two")
        ),
    ]
    found = of_pairs(pl.concat(apart))
    assert found.sources == ("one", "two")
    assert [note.split("'")[1] for note in found.notes] == ["x", "w"]
