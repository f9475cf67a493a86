"""`async_udf`: the user's own functions as columns: ordered, bounded, failures to null."""

from __future__ import annotations

import asyncio
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import swath as sw
from tests.conftest import Open
from tests.servers import OpenAIServer, serve


@sw.async_udf(int, max_concurrency=50)
async def length(text: str, plus: int = 0) -> int:
    await asyncio.sleep(0.001 * (len(text) % 7))
    return len(text) + plus


@pytest.fixture(autouse=True)
def _session(open_session: Open) -> Any:
    with serve(OpenAIServer()) as server:
        yield open_session(fast=server)


def test_rows_keep_their_order_and_their_answers() -> None:
    texts = ["x" * (i % 40) for i in range(500)]
    frame = sw.frame({"t": texts}).with_columns(n=length("t"), m=length(pl.col("t") + "!", plus=2))
    table = frame.collect()
    assert frame.schema == table.schema == pl.Schema({"t": pl.String, "n": pl.Int64, "m": pl.Int64})
    assert table["n"].to_list() == [len(t) for t in texts]
    assert table["m"].to_list() == [len(t) + 3 for t in texts]


@given(st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=30), st.integers(1, 5))
@settings(max_examples=20)
def test_no_more_at_once_than_was_said(texts: list[str | None], most: int) -> None:
    running = highest = 0

    @sw.async_udf(str, max_concurrency=most)
    async def echo(text: str) -> str:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        await asyncio.sleep(0)
        running -= 1
        return text

    table = sw.frame(pl.DataFrame({"t": texts}, schema={"t": pl.String}))
    assert table.with_columns(e=echo("t")).collect()["e"].to_list() == texts
    assert highest <= most


def test_a_row_that_fails_is_null_and_says_why() -> None:
    tries: dict[str, int] = {}

    @sw.async_udf(pl.Int64, timeout=0.05, retries=2, backoff=0.001)
    async def fragile(text: str) -> Any:
        tries[text] = tries.get(text, 0) + 1
        if text == "mended" and tries[text] < 3:
            raise ConnectionError("not yet")
        if text == "broken":
            raise ValueError("no such thing")
        if text == "slow":
            await asyncio.sleep(5)
        return "words" if text == "wrong" else tries[text]

    rows = ["fine", "mended", "broken", "slow", "wrong", None]
    run = sw.frame({"t": rows}).with_columns(n=fragile("t")).run()
    assert run.table["n"].to_list() == [1, 3, None, None, None, None]
    reasons = {row["row"]: row["reason"] for row in run.errors.to_dicts()}
    assert reasons == {
        2: "ValueError: no such thing",
        3: "no result within 0.05 seconds.",
        4: "the answer does not fit the column's type, Int64.",
    }
    assert tries == {"fine": 1, "mended": 3, "broken": 3, "slow": 3, "wrong": 1}


def test_structs_and_later_steps() -> None:
    class Page(BaseModel):
        title: str
        size: int

    @sw.async_udf(Page)
    async def fetch(url: str) -> Page:
        return Page(title=url.upper(), size=len(url))

    frame = sw.frame({"url": ["a", "bb", "ccc"]}).with_columns(page=fetch("url"))
    kept = frame.filter(pl.col("page").struct.field("size") > 1).collect()
    assert kept["page"].to_list() == [{"title": "BB", "size": 2}, {"title": "CCC", "size": 3}]


def test_a_limit_stops_early_and_filters_go_below() -> None:
    called: list[str] = []

    @sw.async_udf(str, max_concurrency=4)
    async def note(text: str) -> str:
        called.append(text)
        return text

    frame = sw.frame({"t": [str(i) for i in range(1000)]}).with_columns(n=note("t"))
    assert frame.limit(3).collect().height == 3
    assert len(called) == 3
    called.clear()
    assert frame.filter(pl.col("t").is_in(["7", "8"])).collect()["n"].to_list() == ["7", "8"]
    assert sorted(called) == ["7", "8"]
    called.clear()
    assert frame.select("t").collect().height == 1000
    assert not called  # nothing uses the column


def test_beside_a_model() -> None:
    frame = sw.frame({"t": ["one", "two"]}).with_columns(x=sw.map("{t}"), n=length("t"))
    table = frame.with_columns(y=sw.map("{x} {n}")).collect()
    assert table.columns == ["t", "x", "n", "y"]
    assert table["y"].null_count() == 0


def test_mistakes_are_told_at_once() -> None:
    with pytest.raises(sw.InputError, match="no async function"):
        sw.async_udf(str)(lambda text: text)  # type: ignore[arg-type, return-value]
    with pytest.raises(sw.InputError, match=r"@sw.async_udf\(str\)"):

        @sw.async_udf  # type: ignore[arg-type]
        async def bare(text: str) -> str:
            return text

    with pytest.raises(sw.ColumnNotFound, match="'s'"):
        sw.frame({"t": ["x"]}).with_columns(n=length("s"))
    with pytest.raises(sw.InputError, match="length"):
        length("t", "u", "v")
    with pytest.raises(sw.InputError, match="max_concurrency"):
        sw.async_udf(str, max_concurrency=0)
