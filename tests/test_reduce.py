"""reduce and summarize: every text is read once, in order, whatever the window holds."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import swath as sw
from swath.catalog.model import Model
from swath.messages import Completion, Request
from swath.operators import tree
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve

TASK = "Say what these speakers agree on."


class Finding(BaseModel):
    agreed: bool
    count: int


def answer(said: str, body: dict[str, Any]) -> Any:
    """Which numbers were read: "3-7" about items, and the whole range about such parts."""
    numbers = [int(found) for found in re.findall(r"\d+", said)]
    if "schema" in json.dumps(body.get("response_format", {})):
        return json.dumps({"agreed": True, "count": numbers[-1] - numbers[0] + 1})
    return f"{numbers[0]}-{numbers[-1]}" if numbers else "nothing"


def speeches(n: int, chapters: int = 3) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "chapter": [f"chapter {i % chapters}" for i in range(n)],
            "speaker": [f"MEP {chr(65 + i % 26)}" for i in range(n)],
            "text": [f"speech {i}" for i in range(n)],
        }
    )


# -- the tree


class Reader:
    """An `Ask` that keeps what it is asked, and tells which items a part is of."""

    default = "m"

    def __init__(self, window: int | None) -> None:
        self.window = window
        self.leaves: list[list[str]] = []
        self.prompts: list[Request] = []

    def model(self, alias: str) -> Model:
        return Model(alias=alias, provider="p", id="i", base_url="", context_window=self.window)

    def note(self, text: str, times: int = 1) -> None:
        assert times > 0

    async def __call__(self, request: Request, check: Any = None, fallback: Any = ()) -> Completion:
        self.prompts.append(request)
        kind, texts = json.loads(request.messages[0].content)
        if kind != "join":
            self.leaves.append(texts)
            ids = [int(found) for text in texts for found in re.findall(r"#(\d+)", text)]
            return Completion(text=f"{min(ids)}-{max(ids)}")
        ends = [tuple(map(int, text.split("-"))) for text in texts]
        assert all(b[0] in (a[1], a[1] + 1) for a, b in pairwise(ends))
        return Completion(text=f"{ends[0][0]}-{ends[-1][1]}")


def about(kind: str, texts: Sequence[str]) -> Request:
    content = json.dumps([kind, list(texts)], ensure_ascii=False)
    return Request(model="m", messages=(sw.Message("user", content),))


def a_tree(free: bool = False, most: int | None = None) -> tree.Tree:
    return tree.Tree(
        whole=lambda texts: about("whole", texts),
        part=lambda texts: about("part", texts),
        join=lambda parts, last: about("join", parts),
        free=free,
        most=most,
    )


@given(
    sizes=st.lists(st.integers(0, 1500), min_size=1, max_size=60),
    window=st.none() | st.integers(700, 4000),
    most=st.none() | st.integers(2, 9),
)
@settings(max_examples=200)
def test_each_item_is_read_once_and_in_order(
    sizes: list[int], window: int | None, most: int | None
) -> None:
    reader = Reader(window)
    texts = [f"é #{i}. " * (1 + size // 6) for i, size in enumerate(sizes)]
    whole = asyncio.run(tree.answer(reader, a_tree(most=most), texts))  # type: ignore[arg-type]
    read = [text for leaf in reader.leaves for text in leaf]
    if window is None:
        assert read == texts
    assert "".join(read) == "".join(texts)
    assert whole.text == f"0-{len(texts) - 1}"
    for request in reader.prompts:
        _, shown = json.loads(request.messages[0].content)
        assert len(shown) <= (most or len(shown))
        if window is not None:
            used = len(request.messages[0].content.encode()) / 4
            assert used + min(1024, window // 4) <= window


@given(sizes=st.lists(st.integers(0, 900), min_size=1, max_size=60), window=st.integers(1000, 4000))
@settings(max_examples=60)
def test_free_items_are_each_read_once_in_no_more_calls(sizes: list[int], window: int) -> None:
    texts = [f"{i} " + "x" * size for i, size in enumerate(sizes)]
    leaves = {}
    for free in (False, True):
        room = tree.room_for(Reader(window), about("part", []))  # type: ignore[arg-type]
        leaves[free] = tree.packed(tree.fitting(texts, room), room, free=free)
    assert sorted(t for leaf in leaves[True] for t in leaf) == sorted(
        t for leaf in leaves[False] for t in leaf
    )
    assert len(leaves[True]) <= len(leaves[False])


# -- groups


def test_an_answer_for_each_group_in_order(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer, latency=(0.0, 0.02), keep_requests=True)) as server:
        open_session(fast=server)
        frame = (
            sw.frame(speeches(9))
            .group_by("chapter")
            .agg(
                said=sw.reduce(TASK, "{speaker}: {text}"),
                found=sw.reduce(TASK, "text", response=Finding),
                n=pl.len(),
                first=pl.col("speaker").first(),
            )
        )
        table = frame.collect()
        assert table.schema == frame.schema
        assert table.columns == ["chapter", "said", "found", "n", "first"]
        assert table["chapter"].to_list() == ["chapter 0", "chapter 1", "chapter 2"]
        assert table["said"].to_list() == ["0-6", "1-7", "2-8"]
        assert table["found"].to_list() == [{"agreed": True, "count": 7}] * 3
        assert table["n"].to_list() == [3, 3, 3]
        asked = [r.body["messages"] for r in server.stats.requests]
        assert len(asked) == 6
        said = {system["content"].split("\n")[0] for system, _ in asked}
        assert said == {TASK}
        texts = [user["content"] for _, user in asked]
        assert "<item>\nMEP B: speech 1\n</item>\n\n<item>\nMEP E: speech 4\n</item>" in next(
            text for text in texts if "MEP B" in text
        )


def test_the_whole_table_is_one_group(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        open_session(fast=server)
        frame = sw.frame(speeches(5)).agg(pl.col("chapter").n_unique(), s=sw.reduce(TASK, "text"))
        assert frame.collect().to_dicts() == [{"chapter": 3, "s": "0-4"}]
        none = sw.frame(speeches(1).clear()).agg(s=sw.reduce(TASK, "text"), n=pl.len()).collect()
        assert none.to_dicts() == [{"s": None, "n": 0}]


def test_a_column_of_lists_is_groups_too(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        open_session(fast=server)
        table = pl.DataFrame({"texts": [["s 1", "s 2"], [], None, ["s 3", None]]})
        out = sw.frame(table).with_columns(x=sw.reduce(TASK, "texts")).collect()
        assert out["x"].to_list() == ["1-2", None, None, "3-3"]


@pytest.mark.parametrize("order", ["kept", "free"])
def test_a_group_larger_than_the_window_is_read_in_parts(
    order: Literal["kept", "free"], open_session: Open
) -> None:
    with serve(
        OpenAIServer(respond=answer, context_window=1200, keep_requests=True, latency=0.01)
    ) as server:
        open_session(fast=(server, {"context_window": 1200}))
        table = speeches(60).with_columns(text=pl.col("text") + " and so on." * 20)
        frame = (
            sw.frame(table)
            .group_by("chapter")
            .agg(
                s=sw.reduce(TASK, "text", order=order, max_tokens=40),
                f=sw.reduce("Count them.", "text", response=Finding, max_tokens=40),
            )
        )
        before = frame.explain()
        run = frame.run()
        assert run.errors.is_empty()
        assert run.table["f"].to_list() == [{"agreed": True, "count": 58}] * 3
        if order == "kept":
            assert run.table["s"].to_list() == ["0-57", "1-58", "2-59"]
        seen = re.findall(
            r"speech (\d+)",
            "".join(r.body["messages"][1]["content"] for r in server.stats.requests),
        )
        assert sorted(map(int, seen)) == sorted([*range(60)] * 2)
        assert run.metrics.calls > 15
        assert before.calls == pytest.approx(run.metrics.calls, rel=0.2)
        assert any("several steps" in note for note in run.notes)
        assert frame.run().metrics.calls == 0
        assert server.stats.in_flight_peak > 3


def test_max_items_bounds_a_call(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer, keep_requests=True)) as server:
        open_session(fast=server)
        frame = sw.frame(speeches(30)).agg(s=sw.reduce(TASK, "text", max_items=4))
        assert frame.explain().calls == 8 + 2 + 1
        assert frame.collect()["s"].to_list() == ["0-29"]
        counts = [r.body["messages"][1]["content"].count("<item>") for r in server.stats.requests]
        assert sorted(counts) == [2, 2, *[4] * 9]


def test_a_provider_that_counts_otherwise_is_asked_in_halves(open_session: Open) -> None:
    """The window is not known here, and the server's is small."""
    with serve(OpenAIServer(respond=answer, context_window=900)) as server:
        open_session(fast=(server, {"model": "unknown", "max_output_tokens": 100}))
        table = speeches(40).with_columns(text=pl.col("text") + " and so on." * 20)
        run = sw.frame(table).agg(s=sw.reduce(TASK, "text", max_tokens=100)).run()
        assert run.errors.is_empty()
        assert run.table["s"].to_list() == ["0-39"]


def test_blank_items_are_left_out_and_a_group_of_none_is_null(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        open_session(fast=server)
        table = {"g": ["a", "a", "b", "c", "a"], "text": [None, "say 7", " ", None, ""]}
        frame = sw.frame(table).group_by("g").agg(s=sw.reduce(TASK, "text"), n=pl.len())
        run = frame.run()
        assert run.table["s"].to_list() == ["7-7", None, None]
        assert run.errors.is_empty()
        assert server.stats.received == 1


def test_one_failed_call_fails_its_group_alone(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer, faults=[Fault("refusal", match="speech 13 ")])) as s:
        open_session(fast=s)
        table = speeches(30).with_columns(pl.col("text") + " ")
        frame = sw.frame(table).group_by("chapter").agg(s=sw.reduce(TASK, "text", max_items=3))
        run = frame.run()
        assert run.table["s"].to_list() == ["0-27", None, "2-29"]
        (error,) = run.errors.to_dicts()
        assert (error["row"], error["column"], error["kind"]) == (1, "s", "refusal")


def test_equal_groups_are_asked_once_and_a_limit_asks_no_more(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        open_session(fast=server)
        table = pl.DataFrame({"g": [i // 2 for i in range(80)], "text": ["say 1", "say 2"] * 40})
        frame = sw.frame(table).group_by("g").agg(s=sw.reduce(TASK, "text"))
        assert frame.collect()["s"].to_list() == ["1-2"] * 40
        assert server.stats.received == 1
        many = sw.frame(speeches(2000, 1000)).group_by("chapter").agg(s=sw.reduce(TASK, "text"))
        assert many.limit(4).collect().height == 4
        assert server.stats.received == 5


def test_the_budget_keeps_whole_groups_and_the_next_run_goes_on(open_session: Open) -> None:
    price = {"input": 1.0, "output": 4.0}
    with serve(OpenAIServer(respond=answer, latency=0.002, price=price)) as server:
        open_session(fast=(server, {"concurrency": 4, "price": price}))
        reduce = sw.reduce(TASK, "text", max_items=4, max_tokens=200)
        frame = sw.frame(speeches(400, 40)).group_by("chapter").agg(s=reduce)
        with pytest.raises(sw.BudgetReached) as caught:
            frame.run(max_cost=0.006)
        part = caught.value.run.table
        assert 0 < part.height < 40
        assert part["s"].null_count() == 0
        assert frame.collect()["s"].null_count() == 0
        assert set(server.stats.repeats) == {1}


def test_bad_input_is_said_at_once() -> None:
    frame = sw.frame(speeches(3))
    with pytest.raises(sw.ColumnNotFound, match="Did you mean 'text'"):
        frame.group_by("chapter").agg(s=sw.reduce(TASK, "{txt}"))
    with pytest.raises(sw.ColumnNotFound, match="There are: chapter, speaker, text"):
        frame.agg(s=sw.reduce(TASK, "speeches"))
    for wrong in (
        lambda: frame.with_columns(s=sw.reduce(TASK, "text")),
        lambda: frame.agg(sw.reduce(TASK, "text")),
        lambda: frame.group_by("chapter").agg(x=sw.summarize("text")),
        lambda: frame.group_by("chapter").agg(x=sw.cluster("text")),
        lambda: sw.reduce(" ", "text"),
        lambda: sw.reduce(TASK, "text", order="any"),  # type: ignore[arg-type]
        lambda: sw.reduce(TASK, "text", max_items=1),
        lambda: sw.reduce(TASK, "text", response="Finding"),
        lambda: sw.summarize("text", words=0),
    ):
        with pytest.raises(sw.InputError) as caught:
            wrong()
        assert caught.value.hint


# -- summarize


def test_a_summary_for_each_row(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer, keep_requests=True)) as server:
        open_session(fast=server)
        frame = sw.frame(speeches(6)).with_columns(
            s=sw.summarize("text", words=30, style="Write in German.", max_tokens=80)
        )
        assert frame.collect()["s"].to_list() == [f"{i}-{i}" for i in range(6)]
        system = server.stats.requests[0].body["messages"][0]["content"]
        assert "at most 30 words. Write in German. " in system


def test_a_long_text_is_read_to_its_end(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer, context_window=1000, keep_requests=True)) as server:
        open_session(fast=(server, {"context_window": 1000}))
        text = " ".join(f"Sentence {i} is one of many." for i in range(400))
        frame = sw.frame({"text": [text, "Sentence 7."]}).with_columns(
            s=sw.summarize("text", words=9)
        )
        before = frame.explain()
        run = frame.run()
        assert run.errors.is_empty()
        assert run.table["s"].to_list() == ["0-399", "7-7"]
        assert before.calls == pytest.approx(run.metrics.calls, rel=0.2)
        asked = [r.body["messages"][1]["content"] for r in server.stats.requests]
        pieces = sorted((a for a in asked if "many" in a), key=lambda a: text.index(a[:25]))
        assert "".join(pieces) == text
        assert all(piece.startswith("Sentence") for piece in pieces)
        assert run.notes["texts cut in pieces, being longer than the model's window"] == 1
