"""Each rule by itself: the plan before, the plan after, and what it says it did."""

from __future__ import annotations

import polars as pl
import polars.selectors as cs
import pytest

import swath as sw
from swath.frames import Frame
from swath.frames.optimize import RULES, optimize
from swath.operators.base import Operator

TABLE = pl.DataFrame({"text": ["a"], "n": [1], "tags": [["x"]], "s": [{"f": 1}]})


def start() -> Frame:
    return sw.frame(TABLE)


def kind(text: str = "text") -> Operator:
    return sw.classify(text, ["a", "b"])


def after(frame: Frame, *rules: str, **cost: float) -> list[str]:
    """The plan's lines with only `rules` on."""
    flags = {name: name in rules for name in RULES}
    plan, done = optimize(frame.plan, flags, _cost(cost) if cost else None)
    assert plan.schema == frame.schema
    assert all(what.rule in rules for what in done)
    return str(plan).splitlines()[1:]


def _cost(by_instructions: dict[str, float]) -> object:
    return lambda operator: by_instructions[operator.instructions]


ASK_X = "ask x = classify(text, 2 labels)"
ASK_Y = "ask y = classify(text, 2 labels)"


# -- pushdown


def test_a_plain_filter_goes_below_a_model_column() -> None:
    frame = start().with_columns(x=kind()).filter(pl.col("n") > 0)
    assert after(frame, "pushdown") == ["filter n > 0", ASK_X]
    assert after(frame) == [ASK_X, "filter n > 0"]


def test_a_plain_filter_goes_below_a_model_condition() -> None:
    frame = start().filter(sw.predicate("{text}")).filter(pl.col("n") > 0)
    assert after(frame, "pushdown") == ["filter n > 0", "keep predicate(text)"]


def test_a_filter_stays_above_what_it_reads() -> None:
    frame = start().with_columns(x=kind()).filter(pl.col("x") == "a")
    assert after(frame, "pushdown") == [ASK_X, 'filter x == "a"']


def test_a_filter_passes_one_model_and_stops_at_the_next() -> None:
    frame = start().with_columns(x=kind()).with_columns(y=kind()).filter(pl.col("x") != "n")
    assert [line.split()[0] for line in after(frame, "pushdown")] == ["ask", "filter", "ask"]


def test_the_columns_a_filter_rests_on_go_with_it() -> None:
    frame = (
        start()
        .with_columns(x=kind())
        .with_columns(size=pl.col("text").str.len_chars())
        .filter(pl.col("size") > 3)
    )
    assert after(frame, "pushdown") == ["with_columns size", "filter size > 3", ASK_X]


def test_a_column_made_from_an_answer_does_not_go_along() -> None:
    frame = (
        start()
        .with_columns(x=kind())
        .with_columns(size=pl.col("x").str.len_chars())
        .filter(pl.col("size") > 0)
    )
    assert after(frame, "pushdown")[0] == ASK_X


def test_a_column_that_changes_what_the_model_reads_does_not_go_along() -> None:
    frame = (
        start()
        .with_columns(x=kind())
        .with_columns(text=pl.col("text").str.to_uppercase())
        .filter(pl.col("text") != "A")
    )
    assert after(frame, "pushdown")[0] == ASK_X


def test_a_filter_passes_selects_drops_and_sorts_on_its_way() -> None:
    frame = (
        start()
        .with_columns(x=kind())
        .sort("text")
        .drop("tags")
        .select("x", "n", up=pl.col("text").str.to_uppercase())
        .filter(pl.col("n") > 0)
    )
    assert after(frame, "pushdown")[0] == "filter n > 0"


@pytest.mark.parametrize(
    "between",
    [
        lambda f: f.limit(3),
        lambda f: f.tail(3),
        lambda f: f.sample(3),
        lambda f: f.unique("text"),
        lambda f: f.explode("tags"),
        lambda f: f.join(pl.DataFrame({"n": [1]}), on="n"),
        lambda f: f.with_columns(n=pl.col("n").cum_sum()),
        lambda f: f.with_columns(pl.col("n").mean().alias("m")).filter(pl.col("m") == pl.col("n")),
        lambda f: f.cache(),
    ],
)
def test_nothing_passes_what_looks_at_other_rows(between: object) -> None:
    frame = between(start().with_columns(x=kind())).filter(pl.col("n") > 0)  # type: ignore[operator]
    assert after(frame, "pushdown")[0] == ASK_X


def test_a_filter_that_looks_at_all_rows_stays_above_model_conditions() -> None:
    above_mean = pl.col("n") > pl.col("n").mean()
    frame = start().filter(sw.predicate("{text}")).filter(above_mean)
    assert after(frame, *RULES)[0] == "keep predicate(text)"
    frame = start().with_columns(x=kind()).filter(above_mean)
    assert after(frame, "pushdown")[0] == ASK_X
    assert after(frame, "limit")[1] == ASK_X


# -- limit


@pytest.mark.parametrize(
    "pick",
    [
        lambda f: f.limit(3),
        lambda f: f.slice(1, 2),
        lambda f: f.tail(3),
        lambda f: f.sample(3),
        lambda f: f.sort("n"),
        lambda f: f.unique("text"),
        lambda f: f.sort("n").limit(3),
        lambda f: f.with_columns(k=-pl.col("n")).sort("k").limit(3),
        lambda f: f.join(pl.DataFrame({"n": [1]}), on="n", how="semi"),
    ],
)
def test_what_picks_rows_goes_below_model_columns(pick: object) -> None:
    frame = pick(start().with_columns(x=kind()))  # type: ignore[operator]
    assert after(frame, "limit")[-1] == ASK_X
    assert after(frame)[0] == ASK_X


@pytest.mark.parametrize(
    "frame",
    [
        start().filter(sw.predicate("{text}")).limit(3),
        start().with_columns(x=kind()).filter(pl.col("x") == "a").limit(3),
        start().with_columns(x=kind()).sort("x").limit(3),
        start().with_columns(x=kind()).unique().limit(3),
        start().with_columns(x=kind()).explode("tags").limit(3),
    ],
)
def test_a_limit_stays_above_what_decides_which_rows_there_are(frame: Frame) -> None:
    before = str(frame.plan).splitlines()[1:]
    assert after(frame, "limit") == before


# -- prune


def test_a_column_that_nothing_uses_is_not_asked_for() -> None:
    frame = start().with_columns(x=kind(), y=kind("text")).drop("x")
    assert after(frame, "prune") == [ASK_Y, "drop x"]
    assert after(start().with_columns(x=kind()).select("text"), "prune") == ["select text"]
    grouped = start().with_columns(x=kind(), y=kind()).group_by("y").agg(pl.len())
    assert after(grouped, "prune")[0] == ASK_Y


@pytest.mark.parametrize(
    "use",
    [
        lambda f: f,
        lambda f: f.with_columns(z=sw.map("{x}")).drop("x"),
        lambda f: f.filter(pl.col("x") == "a").drop("x"),
        lambda f: f.filter(sw.predicate("{x}")).drop("x"),
        lambda f: f.rename({"x": "z"}),
        lambda f: f.select(pl.all()),
        lambda f: f.select(cs.string()),
        lambda f: f.unique().select("text"),
        lambda f: f.sort("x").select("text"),
        lambda f: f.cache().select("text"),
        lambda f: f.group_by("text").agg(pl.all().first()).select("text"),
    ],
)
def test_a_column_that_something_uses_is_asked_for(use: object) -> None:
    frame = use(start().with_columns(x=kind()))  # type: ignore[operator]
    assert after(frame, "prune")[0] == ASK_X


def test_a_column_that_is_overwritten_is_not_asked_for() -> None:
    frame = start().with_columns(x=kind()).with_columns(x=pl.lit(1))
    assert after(frame, "prune") == ["with_columns x"]


# -- dedupe


def test_the_same_question_in_two_columns_is_asked_once() -> None:
    frame = start().with_columns(x=kind(), y=kind())
    assert after(frame, "dedupe") == [ASK_X, "with_columns y = x"]
    frame = start().with_columns(x=kind()).filter(pl.col("n") > 0).with_columns(y=kind())
    assert after(frame, "dedupe") == [ASK_X, "filter n > 0", "with_columns y = x"]


def test_a_condition_that_is_a_column_already_is_not_asked_again() -> None:
    lost = sw.predicate("{text}")
    assert after(start().with_columns(x=lost).filter(lost), "dedupe") == [
        "ask x = predicate(text)",
        "filter x",
    ]
    assert after(start().filter(lost).filter(lost), "dedupe") == ["keep predicate(text)"]


@pytest.mark.parametrize(
    "between",
    [
        lambda f: f.with_columns(text=pl.lit("other")),
        lambda f: f.with_columns(x=pl.lit("other")),
        lambda f: f.rename({"x": "z"}),
        lambda f: f.cache(),
        lambda f: f.with_columns(text=sw.map("{n}")),
    ],
)
def test_a_question_about_something_else_is_another_question(between: object) -> None:
    frame = between(start().with_columns(x=kind())).with_columns(y=kind())  # type: ignore[operator]
    assert after(frame, "dedupe")[-1] == ASK_Y


# -- order


def ask_about(instructions: str, template: str = "{text}") -> Operator:
    return sw.predicate(template, instructions=instructions)


def test_the_cheapest_condition_comes_first() -> None:
    frame = start().filter(ask_about("dear", "{text} {n}")).filter(ask_about("cheap"))
    assert after(frame, "order", dear=2, cheap=1) == [
        "keep predicate(text)",
        "keep predicate(text, n)",
    ]
    assert after(frame, "order", dear=1, cheap=2) == [
        "keep predicate(text, n)",
        "keep predicate(text)",
    ]


def test_conditions_come_before_columns_that_they_do_not_read() -> None:
    frame = start().with_columns(x=kind()).filter(sw.predicate("{text}"))
    assert after(frame, "order") == ["keep predicate(text)", ASK_X]


def test_what_a_condition_reads_comes_before_it_and_nothing_else() -> None:
    frame = (
        start()
        .with_columns(x=kind())
        .with_columns(y=sw.map("{x}"))
        .with_columns(z=kind())
        .filter(sw.predicate("{y}"))
    )
    assert after(frame, "order") == [
        ASK_X,
        "ask y = map(x)",
        "keep predicate(y)",
        "ask z = classify(text, 2 labels)",
    ]


# -- merge


def test_columns_over_one_row_are_asked_at_once() -> None:
    frame = start().with_columns(x=kind()).with_columns(y=kind()).with_columns(z=sw.map("{y}"))
    assert after(frame, "merge") == [
        "ask x = classify(text, 2 labels), y = classify(text, 2 labels)",
        "ask z = map(y)",
    ]


# -- all of them


def test_rules_reach_into_joined_frames() -> None:
    other = start().with_columns(x=kind()).filter(pl.col("n") > 0).select("n", "x")
    frame = start().join(other, on="n")
    plan, done = optimize(frame.plan)
    (join,) = plan.nodes
    assert str(join.others[0]).splitlines()[1] == "filter n > 0"  # type: ignore[union-attr]
    assert [what.rule for what in done] == ["pushdown"]


def test_the_design_example() -> None:
    frame = (
        start()
        .with_columns(triage=kind())
        .with_columns(unused=sw.map("{text}"))
        .filter(pl.col("triage") == "a")
        .filter(sw.predicate("{text}"))
        .with_columns(reply=sw.map("{text}", model="strong"))
        .filter(pl.col("n") > 0)
        .drop("unused")
        .limit(10)
    )
    assert [line.split()[0] for line in after(frame, *RULES)] == [
        "filter",
        "ask",
        "filter",
        "keep",
        "limit",
        "ask",
        "drop",
    ]


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(sw.InputError, match="Did you mean 'pushdown'"):
        optimize(start().plan, {"push_down": False})
