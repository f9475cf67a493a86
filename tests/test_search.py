"""sim_join and search: exact by brute force, in order, equal texts once."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

import swath as sw
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve
from tests.servers.answers import embedding

WORDS = ["red", "green", "blue", "car", "boat", "plane", "fast", "slow", "old", "new"]


def phrases(n: int, step: int) -> list[str]:
    return [
        f"{WORDS[i * step % 10]} {WORDS[(i + 3) * step % 10]} {WORDS[i * i % 10]}" for i in range(n)
    ]


def cosine(a: str, b: str) -> float:
    return sum(x * y for x, y in zip(embedding(a, 64), embedding(b, 64), strict=True))


# -- sim_join


@pytest.mark.parametrize("k", [1, 3])
def test_the_nearest_of_each_row(k: int, open_session: Open) -> None:
    left, right = phrases(20, 3), phrases(30, 7)
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        frame = sw.frame({"a": left, "n": range(20)}).sim_join(
            pl.DataFrame({"a": right, "m": range(30)}), "a", k=k, model="m"
        )
        run = frame.run()
        assert run.table.schema == frame.schema
        assert frame.columns == ["a", "n", "a_right", "m", "similarity"]
        assert frame.schema["similarity"] == pl.Float32
        for n, rows in enumerate(run.table.partition_by("n", maintain_order=True)):
            order = sorted(range(30), key=lambda j: (-round(cosine(left[n], right[j]), 5), j))
            best = [cosine(left[n], right[j]) for j in order[:k]]
            assert rows["similarity"].to_list() == pytest.approx(best, abs=1e-5)
            assert rows["n"].to_list() == [n] * k
        assert server.stats.received == 1  # one batch: each text once
        assert frame.run().metrics.calls == 0


def test_threshold_left_and_blank_rows(open_session: Open) -> None:
    left = {"a": ["red car", None, "zebra", " "], "n": [0, 1, 2, 3]}
    right = {"b": ["red car", "blue boat", None, "car red"]}
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        make = sw.frame(left).sim_join
        inner = make(right, "a", "b", k=None, threshold=0.9, model="m").collect()
        assert inner.select("n", "b").rows() == [(0, "red car"), (0, "car red")]
        kept = make(right, "a", "b", k=2, threshold=0.9, model="m", how="left").collect()
        assert kept["n"].to_list() == [0, 0, 1, 2, 3]
        assert kept["b"].to_list()[2:] == [None] * 3
        assert kept["similarity"].null_count() == 3
        for wrong in ({"k": None}, {"k": 0}, {"how": "anti"}):
            with pytest.raises(sw.InputError):
                make(right, "a", "b", model="m", **wrong)
        with pytest.raises(sw.ColumnNotFound):
            make(right, "a", "c")


def test_a_text_without_a_vector_fails_its_rows_alone(open_session: Open) -> None:
    with serve(OpenAIServer(faults=[Fault("context", match="bad")])) as server:
        open_session(m=server)
        run = (
            sw.frame({"a": ["red", "bad", "blue"]})
            .sim_join({"b": ["red"]}, "a", "b", model="m")
            .run()
        )
        assert run.table["a"].to_list() == ["red", "blue"]
        assert run.errors.select("row", "column", "kind").rows() == [(1, "sim_join", "context")]


def test_explain_and_budget(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        left = sw.frame({"a": [f"text {i}" for i in range(600)]})
        frame = left.sim_join({"b": [f"other {i}" for i in range(600)]}, "a", "b", model="m")
        said = frame.explain()
        assert server.stats.received == 0
        with pytest.raises(sw.BudgetReached):
            frame.run(max_cost=1e-6)
        run = frame.run()
        assert said.calls == pytest.approx(run.metrics.calls, rel=0.2)


# -- search


def test_the_best_first(open_session: Open) -> None:
    texts = [*phrases(40, 3), None, "", "red boat"]
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        frame = sw.frame({"text": texts, "n": range(43)}).search("text", "red boat", k=5, model="m")
        assert frame.schema == {"text": pl.String, "n": pl.Int64, "score": pl.Float32}
        table = frame.collect()
        assert table.height == 5
        assert table["n"][0] == 42
        assert table["score"][0] == pytest.approx(1.0, abs=1e-5)
        best = sorted((cosine("red boat", t) for t in texts if t), reverse=True)[:5]
        assert table["score"].to_list() == pytest.approx(best, abs=1e-5)
        chained = frame.filter(pl.col("n") < 40).limit(1).collect()
        assert chained.height == 1
        near = sw.frame({"text": texts}).search("text", "red boat", threshold=0.99, model="m")
        assert near.collect()["text"].to_list() == ["red boat"]
        with pytest.raises(sw.InputError, match="query is empty"):
            sw.frame({"text": texts}).search("text", " ")
        with pytest.raises(sw.InputError, match="'score'"):
            sw.frame({"text": texts, "score": 1}).search("text", "x")


def test_rerank_by_a_model(open_session: Open) -> None:
    def grade(prompt: str, body: dict[str, Any]) -> str:
        return json.dumps({"label": "3" if "plane" in prompt.partition("Text: ")[2] else "1"})

    with serve(OpenAIServer(respond=grade)) as server:
        open_session(m=server, judge=server)
        frame = sw.frame({"text": ["red boat", "red car", "red plane", "green tree", "red"]})
        table = frame.search("text", "red boat", k=2, model="m", rerank="judge").collect()
        assert table["text"][0] == "red plane"
        assert table["score"][0] == pytest.approx(1.0)
        assert table["text"][1] == "red boat"  # equal grades by the cosine


@pytest.mark.local
def test_search_by_meaning(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        frame = sw.frame({"text": ["I lost my card", "What is the loan's rate?", "Hello"]})
        found = frame.search("text", "stolen credit card", k=1).collect()
        assert found["text"].to_list() == ["I lost my card"]
        pairs = frame.sim_join({"q": ["interest on credit"]}, "text", "q", threshold=0.2)
        best = pairs.collect().sort("similarity", descending=True)
        assert best["text"][0] == "What is the loan's rate?"
        assert server.stats.received == 0
