"""dedupe: entities out of pairs, a wrong answer welds nothing, equal texts cost nothing."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

import swath as sw
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve

SETTINGS: dict[str, Any] = {"candidates": "lexical"}


class Twins:
    """Says that two records are one where their last words are; `wrong` pairs the other way."""

    def __init__(self, wrong: frozenset[frozenset[str]] = frozenset()) -> None:
        self.wrong = wrong
        self.pairs: dict[frozenset[str], int] = {}

    def same(self, a: str, b: str) -> bool:
        pair = frozenset((a, b))
        self.pairs[pair] = self.pairs.get(pair, 0) + 1
        return (a.split()[-1] == b.split()[-1]) != (pair in self.wrong)

    def __call__(self, prompt: str, body: dict[str, Any]) -> str:
        mine, _, rest = prompt.partition("\n1: ")[2].partition("\n2: ")
        if "Candidates:" not in prompt:
            return json.dumps({"label": "yes" if self.same(mine, rest) else "no"})
        lines = [line.partition(". ") for line in rest.partition("Candidates:\n")[2].split("\n")]
        true = [int(n) for n, _, text in lines if self.same(mine, text)]
        return json.dumps({"matches": true})


def names(entities: int, each: int) -> list[str]:
    return [f"shop {c} item QX{e * 7919 % 9973:04d}" for c in range(each) for e in range(entities)]


def test_entities_in_the_order_of_their_first_rows(open_session: Open) -> None:
    texts = [*names(20, 3), None, "  ", names(20, 3)[0]]
    with serve(OpenAIServer(respond=Twins())) as server:
        open_session(fast=server)
        frame = sw.frame({"name": texts}).with_columns(entity=sw.dedupe("name", **SETTINGS))
        assert frame.schema["entity"] == pl.Int64
        run = frame.run()
        expected = [*(list(range(20)) * 3), None, None, 0]
        assert run.table["entity"].to_list() == expected
        assert run.errors.is_empty()
        asked = server.stats.received
        assert asked < 60 * 4
        assert frame.run().metrics.calls == 0


def test_one_row_for_each(open_session: Open) -> None:
    table = pl.DataFrame(
        {"n": range(7), "name": ["a x1", "a long text x1", "b x2", None, "b x2", "c x3", "by x1"]}
    )
    with serve(OpenAIServer(respond=Twins())) as server:
        open_session(fast=server)
        first = sw.frame(table).dedupe("name", **SETTINGS)
        assert first.schema == {**table.schema, "duplicates": pl.Int64}
        got = first.collect().select("n", "duplicates").rows()
        assert got == [(0, 3), (2, 2), (3, 1), (5, 1)]
        longest = sw.frame(table).dedupe("name", keep="longest", **SETTINGS).collect()
        assert longest.select("n", "duplicates").rows() == [(1, 3), (2, 2), (3, 1), (5, 1)]
        assert first.filter(pl.col("duplicates") > 1).sort("n").collect()["n"].to_list() == [0, 2]


def test_several_columns_or_a_template(open_session: Open) -> None:
    table = {"name": ["red a", "red a", "blue a"], "tail": ["k1", "k2", None]}
    seen: list[str] = []

    def respond(prompt: str, body: dict[str, Any]) -> str:
        seen.append(prompt)
        return '{"matches": []}' if "Candidates:" in prompt else '{"label": "no"}'

    with serve(OpenAIServer(respond=respond)) as server:
        open_session(fast=server)
        both = sw.frame(table).with_columns(e=sw.dedupe("name", "tail", **SETTINGS)).collect()
        assert both["e"].to_list() == [0, 1, 2]
        assert any("name: red a; tail: k1" in prompt for prompt in seen)
        seen.clear()
        sw.frame(table).with_columns(e=sw.dedupe("{name} ({tail})", **SETTINGS)).collect()
        assert any("red a (k1)" in prompt for prompt in seen)
    with pytest.raises(sw.InputError, match="No column"):
        sw.dedupe()
    with pytest.raises(sw.ColumnNotFound):
        sw.frame(table).dedupe("nothing")
    with pytest.raises(sw.InputError, match="'best'"):
        sw.frame(table).dedupe("name", keep="best")


def test_one_wrong_yes_does_not_chain(open_session: Open) -> None:
    """Four records each of two things; the model takes one of the one for one of the other."""
    texts = [f"record {i} of {'left' if i < 4 else 'right'}" for i in range(8)]
    twins = Twins(frozenset({frozenset((texts[3], texts[4]))}))
    with serve(OpenAIServer(respond=twins)) as server:
        open_session(fast=server)
        frame = sw.frame({"t": texts}).with_columns(e=sw.dedupe("t", **SETTINGS))
        assert frame.collect()["e"].to_list() == [0] * 4 + [1] * 4
        assert all(count == 1 for count in twins.pairs.values())


def test_faults_and_budget(open_session: Open) -> None:
    texts = names(10, 2)
    faults = [Fault("context", match=f"1: {texts[0]}"), Fault("context", match=f"1: {texts[10]}")]
    with serve(OpenAIServer(respond=Twins(), faults=faults)) as server:
        open_session(fast=server)
        frame = sw.frame({"t": texts}).with_columns(e=sw.dedupe("t", **SETTINGS))
        run = frame.run()
        assert run.table["e"].to_list()[1:10] == run.table["e"].to_list()[11:]
        assert set(run.errors["row"]) <= {0, 10}
        assert run.errors.height > 0
    with serve(OpenAIServer(respond=Twins(), latency=0.002)) as server:
        open_session(fast=(server, {"concurrency": 2}), store="sqlite:///again.db")
        with pytest.raises(sw.BudgetReached) as caught:
            frame.run(max_cost=0.0012)
        assert caught.value.run.table.is_empty()
        assert frame.run(max_cost=1.0).table["e"].to_list() == [*range(10)] * 2
        assert all(count == 1 for count in server.stats.repeats)


def test_explain_says_what_is_then_spent(open_session: Open) -> None:
    with serve(OpenAIServer(respond=Twins())) as server:
        open_session(fast=server)
        frame = sw.frame({"t": names(100, 3)}).dedupe("t", **SETTINGS)
        said = frame.explain()
        assert server.stats.received == 0
        assert said.calls == pytest.approx(frame.run().metrics.calls, rel=0.2)
