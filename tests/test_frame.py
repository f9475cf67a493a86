"""Frames: building them, what they refuse, and Polars' work on them. Few models are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest
from polars.testing import assert_frame_equal
from pydantic import BaseModel

import swath as sw
from swath.frames import Frame
from tests.conftest import Open
from tests.servers import OpenAIServer, serve

TABLE = pl.DataFrame(
    {
        "text": ["one", "two", None, "four", "five", "two"],
        "n": [3, 1, 2, 5, 4, 1],
        "tags": [["a"], ["a", "b"], [], ["c"], None, ["b"]],
        "s": [{"f": i} for i in range(6)],
    }
)


class Note(BaseModel):
    about: str
    good: bool


def plain(frame: Frame) -> pl.DataFrame:
    return frame.collect()


@pytest.mark.parametrize(
    ("ours", "polars"),
    [
        (lambda f: f.filter(pl.col("n") > 2), None),
        (lambda f: f.filter(pl.col("n") > 1, pl.col("text").is_not_null()), None),
        (lambda f: f.filter(n=1), None),
        (lambda f: f.filter(pl.col("n") > pl.col("n").mean()), None),
        (lambda f: f.with_columns(m=pl.col("n") * 2, k=pl.lit(1)), None),
        (lambda f: f.with_columns(pl.all().exclude("s").name.suffix("_again")), None),
        (lambda f: f.with_columns(cs.numeric() + 1), None),
        (lambda f: f.with_columns(up=pl.col("n").shift(1)), None),
        (lambda f: f.select("text", double=pl.col("n") * 2), None),
        (lambda f: f.select(pl.col("n").sum()), None),
        (lambda f: f.select(pl.lit(1).alias("x")), None),
        (lambda f: f.drop("tags", "s"), None),
        (lambda f: f.drop(cs.nested()), None),
        (lambda f: f.rename({"n": "number"}), None),
        (lambda f: f.sort("n", descending=True), None),
        (lambda f: f.limit(2), None),
        (lambda f: f.head(2), None),
        (lambda f: f.slice(1, 3), None),
        (lambda f: f.tail(2), None),
        (lambda f: f.explode("tags"), None),
        (lambda f: f.unnest("s"), None),
        (lambda f: f.drop_nulls("text"), None),
        (
            lambda f: f.unique("text"),
            lambda t: t.unique("text", keep="first", maintain_order=True),
        ),
        (
            lambda f: f.group_by("text").agg(pl.col("n").sum(), m=pl.len()),
            lambda t: t.group_by("text", maintain_order=True).agg(pl.col("n").sum(), m=pl.len()),
        ),
        (
            lambda f: f.group_by("text").len(),
            lambda t: t.group_by("text", maintain_order=True).len(),
        ),
        (
            lambda f: f.join(pl.DataFrame({"n": [1, 2, 1], "z": [7, 8, 9]}), on="n", how="left"),
            None,
        ),
    ],
)
@pytest.mark.parametrize("asked", [False, True])
def test_polars_methods_do_what_polars_does(
    ours: Any, polars: Any, asked: bool, open_session: Open
) -> None:
    """On a lazy table, and on the batches that come out of a model stage."""
    expected = (polars or ours)(TABLE)
    if not asked:
        assert_frame_equal(plain(ours(sw.frame(TABLE))), expected)
        return
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        first = sw.frame(TABLE).filter(sw.predicate("{n}{text}", model="m")).run()
        kept = first.table
        expected = (polars or ours)(kept)
        frame = ours(sw.frame(TABLE).filter(sw.predicate("{n}{text}")))
        assert frame.schema == expected.schema
        assert_frame_equal(frame.collect(rules={"pushdown": False, "limit": False}), expected)


def test_the_schema_is_known_before_anything_runs() -> None:
    frame = sw.frame(TABLE).with_columns(x=sw.extract("text", Note), y=sw.map("{text}"))
    assert frame.columns == ["text", "n", "tags", "s", "x", "y"]
    assert frame.schema["x"] == pl.Struct({"about": pl.String, "good": pl.Boolean})


def test_new_columns_come_in_the_order_they_are_written() -> None:
    frame = sw.frame(TABLE).with_columns(
        pl.col("n").alias("p"), x=sw.map("{text}"), q=pl.lit(1), y=sw.map("{text}")
    )
    assert frame.columns[4:] == ["p", "x", "q", "y"]


def test_a_frame_is_not_changed_by_its_methods(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        before = TABLE.clone()
        frame = sw.frame(TABLE)
        more = frame.with_columns(text=sw.map("{text}")).filter(pl.col("n") > 2)
        assert more.collect().height == 2 + 1
        assert frame.columns == TABLE.columns
        assert_frame_equal(TABLE, before)
        assert_frame_equal(frame.collect(), before)


def test_all_expressions_of_one_call_see_the_table_as_it_was(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        table = sw.frame({"a": ["x"], "b": ["y"]})
        swapped = table.with_columns(a=pl.col("b"), c=sw.map("{b}")).collect()
        assert swapped.row(0) == ("y", "y", "You said: y")
        swapped = table.with_columns(b=sw.map("{a}"), a=pl.col("a").str.to_uppercase()).collect()
        assert swapped.row(0) == ("X", "You said: x")
        with pytest.raises(sw.InputError, match="two calls"):
            table.with_columns(b=sw.map("{a}"), a=pl.col("b"))


def test_select_takes_operators(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        table = sw.frame(TABLE).select("n", said=sw.map("{text}")).limit(1).collect()
        assert table.to_dicts() == [{"n": 3, "said": "You said: one"}]


def test_a_joined_frame_runs_too(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        notes = sw.frame({"n": [1, 2], "t": ["a", "b"]}).with_columns(x=sw.map("{t}"))
        joined = sw.frame(TABLE).join(notes, on="n", how="left").select("n", "x")
        again = joined.with_columns(y=sw.map("{n}")).run()
        assert (again.metrics.rows, again.table.height) == (6, 6)
        assert joined.collect()["x"].to_list() == [
            None,
            "You said: a",
            "You said: b",
            None,
            None,
            "You said: a",
        ]


def test_a_cache_is_filled_once(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        frame = sw.frame(TABLE).with_columns(x=sw.map("{text}")).cache()
        assert frame.select("x").collect().height == 6
        assert frame.filter(pl.col("n") > 2).run().metrics.cached == 0
        assert_frame_equal(frame.collect(), frame.collect())
        assert server.stats.received == 4


def test_a_stopped_run_does_not_fill_a_cache(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(m=(server, {"concurrency": 1}))
        frame = sw.frame(TABLE).with_columns(x=sw.map("{text}", max_tokens=100)).cache()
        with pytest.raises(sw.BudgetReached):
            frame.collect(max_cost=0.0003)
        assert frame.collect().height == 6


class Arrow:
    """A table that only speaks Arrow."""

    def __init__(self, table: pl.DataFrame) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    "data",
    [
        TABLE,
        TABLE.lazy(),
        Arrow(TABLE),
        TABLE.to_dict(as_series=False),
        TABLE.to_dicts(),
        sw.frame(TABLE),
    ],
)
def test_tables_of_all_kinds_come_in(data: Any) -> None:
    assert_frame_equal(sw.frame(data).collect(), TABLE)


def test_pandas_comes_in_and_goes_out() -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = pandas.DataFrame({"a": [1, 2], "b": ["x", None]})
    frame = sw.frame(table)
    assert frame.columns == ["a", "b"]
    back = frame.with_columns(c=pl.col("a") + 1).to_pandas()
    assert list(back["c"]) == [2, 3]
    assert list(table.columns) == ["a", "b"]
    assert frame.to_arrow().num_rows == 2


def test_arrow_libraries_can_read_a_frame() -> None:
    assert_frame_equal(pl.DataFrame(sw.frame(TABLE).select("n")), TABLE.select("n"))


def test_no_module_hides_the_function() -> None:
    import swath.frames.frame

    assert isinstance(swath.frame(TABLE), Frame)


def bad_calls() -> dict[str, Any]:
    f = sw.frame(TABLE)
    return {
        "column in filter": lambda: f.filter(pl.col("txt") == 1),
        "column in with_columns": lambda: f.with_columns(a=pl.col("txt")),
        "column in select": lambda: f.select("txt"),
        "column in sort": lambda: f.sort("txt"),
        "column in group_by": lambda: f.group_by("txt"),
        "column in agg": lambda: f.group_by("text").agg(pl.col("txt")),
        "column in join": lambda: f.join(TABLE, on="txt"),
        "column in drop": lambda: f.drop("txt"),
        "column in rename": lambda: f.rename({"txt": "x"}),
        "column in unique": lambda: f.unique("txt"),
        "column in explode": lambda: f.explode("txt"),
        "column in extract": lambda: f.with_columns(a=sw.extract("txt", Note)),
        "column in template": lambda: f.with_columns(a=sw.map("{txt}")),
        "column in predicate": lambda: f.filter(sw.predicate("{txt}")),
        "column in model": lambda: f.with_columns(a=sw.map("{text}", model=pl.col("txt"))),
    }


@pytest.mark.parametrize("what", bad_calls())
def test_a_missing_column_is_named_with_those_there_are(what: str) -> None:
    with pytest.raises(sw.ColumnNotFound, match=r"'txt'.*Did you mean 'text'.*n, s, tags, text"):
        bad_calls()[what]()


def wrong_calls() -> dict[str, tuple[Any, str]]:
    f = sw.frame(TABLE)
    return {
        "filter by text": (lambda: f.filter(pl.col("text")), "Boolean"),
        "filter by a map": (lambda: f.filter(sw.map("{text}")), "predicate"),
        "unnamed operator": (lambda: f.with_columns(sw.map("{text}")), "name="),
        "operator in agg": (lambda: f.group_by("n").agg(a=sw.map("{text}")), "Ask per row first"),
        "a type error": (lambda: f.with_columns(a=pl.col("text").dt.year()), "year"),
        "no expression": (lambda: f.filter(3), "int"),
        "a double name": (lambda: f.rename({"text": "n"}), "duplicate"),
        "unnest a string": (lambda: f.unnest("text"), "not a struct"),
        "explode a number": (lambda: f.explode("n"), "explode"),
        "negative limit": (lambda: f.limit(-1), "negative"),
        "sample of nothing": (lambda: f.sample(), "n or fraction"),
        "no join key": (lambda: f.join(TABLE), "join on"),
        "bytes": (
            lambda: sw.frame({"b": [b"x"]}).with_columns(a=sw.map("{b}")),
            "bytes",
        ),
        "an expression of all rows": (
            lambda: f.with_columns(a=sw.extract(pl.col("text").first(), Note)),
            "row",
        ),
        "truth": (lambda: bool(f), "Collect"),
        "a number as a table": (lambda: sw.frame(3), "table"),
        "uneven columns": (lambda: sw.frame({"a": [1], "b": [1, 2]}), "equal length"),
        "no columns": (lambda: sw.frame({}), "no columns"),
        "no model": (lambda: f.with_columns(a=sw.map("{text}", model=[])), "alias"),
    }


@pytest.mark.parametrize("what", wrong_calls())
def test_what_cannot_be_is_refused_at_once_and_says_why(what: str) -> None:
    call, says = wrong_calls()[what]
    with pytest.raises(sw.InputError, match=says) as caught:
        call()
    assert caught.value.hint


def test_an_unknown_model_costs_nothing(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        frame = sw.frame(TABLE).with_columns(x=sw.map("{text}"))
        for model in ("mm", ["m", "mm"]):
            later = frame.with_columns(y=sw.map("{text}", model=model))
            with pytest.raises(sw.UnknownModel, match="Did you mean 'm'"):
                later.collect()
            with pytest.raises(sw.UnknownModel):
                later.explain()
        assert server.stats.received == 0


def test_printing_a_frame_runs_nothing(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        frame = sw.frame(TABLE).with_columns(x=sw.map("{text} <b>")).filter(pl.col("n") > 2)
        assert "ask x = map(text)" in repr(frame)
        assert "filter n &gt; 2" in frame._repr_html_()
        assert server.stats.received == 0


def test_results_print_well(open_session: Open, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        frame = sw.frame(TABLE).with_columns(x=sw.extract("text", Note))
        frame.show(2)
        shown = capsys.readouterr().out
        assert "x.about" in shown
        assert server.stats.received == 2
        run = frame.run()
        assert "6 rows" in repr(run)
        assert "<table" in run._repr_html_()
        assert "[/nonsense]" not in shown


def test_the_design_pipeline(open_session: Open, tmp_path: Path) -> None:
    class Triage(BaseModel):
        urgent: bool
        evidence: sw.Quote

    rows = [f"Ticket {i}: my card is lost, please help me soon." for i in range(40)]
    pl.DataFrame({"text": [*rows, "short"]}).write_csv(tmp_path / "tickets.csv")
    with serve(OpenAIServer()) as fast, serve(OpenAIServer()) as strong:
        open_session(fast=fast, strong=strong)
        frame = (
            sw.read_csv(tmp_path / "tickets.csv")
            .filter(pl.col("text").str.len_chars() > 20)
            .with_columns(triage=sw.extract("text", Triage, model="fast"))
            .filter(pl.col("triage").struct.field("urgent"))
            .filter(sw.predicate("The customer lost a card: {text}"))
            .with_columns(reply=sw.map("Answer this customer: {text}", model="strong"))
        )
        assert "$" in str(frame.explain())
        assert fast.stats.received == 0
        table = frame.collect(max_cost=1.00)
        assert 0 < table.height < 40
        assert strong.stats.received == table.height
        for row in table.iter_rows(named=True):
            assert row["triage"]["urgent"]
            assert row["triage"]["evidence"] in row["text"]
