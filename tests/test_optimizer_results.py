"""No rule changes a result: random plans, run with all rules, with none, and with some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import swath as sw
from swath.frames import Frame
from swath.frames.optimize import RULES
from tests.conftest import model_table
from tests.servers import OpenAIServer, serve

ROWS = 12
SOURCE = pl.DataFrame(
    {
        "a": [f"text {i % 7}" if i % 5 else None for i in range(ROWS)],
        "b": [f"note {i % 3}" for i in range(ROWS)],
        "n": [(i * 5) % 9 for i in range(ROWS)],
    }
)
Step = Callable[[Frame], Frame]
STRINGS = ["a", "b", "x", "y", "z"]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sw.Session]:
    folder: Path = tmp_path_factory.mktemp("store")
    with serve(OpenAIServer(latency=(0.0, 0.002))) as server:
        config = {
            "models": {"m": model_table(server, concurrency=8)},
            "store": f"sqlite:///{folder}/s.db",
        }
        opened = sw.Session(config, check=False)
        yield opened
        opened.close()


def steps() -> st.SearchStrategy[Step]:
    text = st.sampled_from(STRINGS)
    new = st.sampled_from(["x", "y", "z"])
    small = st.integers(0, 9)
    column = st.sampled_from([*STRINGS, "n", "k"])
    return st.one_of(
        st.builds(lambda c, t: lambda f: f.with_columns(**{c: kind(t)}), new, text),
        st.builds(lambda c, t: lambda f: f.with_columns(**{c: sw.map(f"{{{t}}}?")}), new, text),
        st.builds(
            lambda t, u: lambda f: f.with_columns(x=kind(t), y=sw.map(f"{{{u}}}")), text, text
        ),
        st.builds(lambda t: lambda f: f.filter(sw.predicate(f"{{{t}}} is good")), text),
        st.builds(lambda t: lambda f: f.filter(sw.predicate(f"{{{t}}} is bad")), text),
        st.builds(lambda v: lambda f: f.filter(pl.col("n") > v), small),
        st.builds(lambda t: lambda f: f.filter(pl.col(t).str.len_chars() % 2 == 0), text),
        st.builds(lambda t: lambda f: f.filter(pl.col(t) == "card"), text),
        st.builds(lambda: lambda f: f.filter(pl.col("n") >= pl.col("n").mean())),
        st.builds(lambda t: lambda f: f.with_columns(k=pl.col(t).str.len_chars()), text),
        st.builds(lambda: lambda f: f.with_columns(k=pl.col("n").cum_sum())),
        st.builds(lambda: lambda f: f.filter(pl.col("k") > 3)),
        st.builds(lambda t, u: lambda f: f.with_columns(pl.col(t).alias(u)), text, text),
        st.builds(lambda c: lambda f: f.sort(c), column),
        st.builds(lambda v: lambda f: f.limit(v), small),
        st.builds(lambda v: lambda f: f.slice(1, v), small),
        st.builds(lambda v: lambda f: f.tail(v), small),
        st.builds(lambda v: lambda f: f.sample(v, seed=3), small),
        st.builds(lambda c: lambda f: f.unique(c), column),
        st.builds(lambda: lambda f: f.unique()),
        st.builds(lambda c: lambda f: f.drop(c), column),
        st.builds(lambda c, d: lambda f: f.rename({c: d}), column, column),
        st.builds(lambda c: lambda f: f.select(c, "n", pl.col("b").alias("y")), column),
        st.builds(lambda: lambda f: f.select(pl.all().exclude("k"))),
        st.builds(lambda: lambda f: f.filter(pl.all_horizontal(pl.all().is_not_null()))),
        st.builds(
            lambda c: lambda f: f.group_by(c).agg(pl.col("n").sum(), pl.col("b").last()), column
        ),
        st.builds(lambda c: lambda f: f.join(SOURCE.select("n", z="b"), on="n"), column),
        st.builds(lambda: lambda f: f.join(SOURCE.head(4), on="n", how="semi")),
        st.builds(lambda: lambda f: f.cache()),
    )


def kind(text: str) -> object:
    return sw.classify(text, ["card", "loan"])


def built(chosen: list[Step]) -> Frame:
    """The steps that apply to what the ones before made; those that do not are refused."""
    frame = sw.frame(SOURCE)
    for step in chosen:
        try:
            frame = step(frame)
        except sw.InputError:
            continue
    return frame


@settings(
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(chosen=st.lists(steps(), min_size=1, max_size=9), off=st.sets(st.sampled_from(list(RULES))))
def test_rules_never_change_results(session: sw.Session, chosen: list[Step], off: set[str]) -> None:
    plain = built(chosen).run(rules=dict.fromkeys(RULES, False), session=session, progress=False)
    whole = built(chosen).run(session=session, progress=False)
    some = built(chosen).run(rules=dict.fromkeys(off, False), session=session, progress=False)
    assert plain.table.schema == built(chosen).schema
    assert whole.table.equals(plain.table)
    assert some.table.equals(plain.table)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(chosen=st.lists(steps(), min_size=1, max_size=9))
def test_explain_takes_any_plan(session: sw.Session, chosen: list[Step]) -> None:
    explained = built(chosen).explain(session=session)
    assert explained.calls >= 0
    assert str(explained)
