"""What every store promises, over SQLite and, where there is one, Postgres."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swath.errors import StoreError
from swath.messages import AnyReply, Completion, Embeddings, TokenLogprob, ToolCall, Usage
from tests.store_kit import Place, call_row, key, place, reply, run_row, writer

__all__ = ["place"]  # a fixture

text = st.text(st.characters(exclude_categories=["Cs"]))
count = st.integers(0, 2**53)
number = st.floats(allow_nan=False, width=64)
usage = st.builds(Usage, count, count, count, count, count, st.none() | number)
completions = st.builds(
    Completion,
    text=text | text.map(lambda t: t * 400),
    finish=st.sampled_from(["stop", "length", "tool_calls", "refusal", "content_filter"]),
    model=text,
    model_id=text,
    tool_calls=st.lists(st.builds(ToolCall, text, text, text), max_size=3).map(tuple),
    logprobs=st.lists(
        st.builds(TokenLogprob, text, number, st.dictionaries(text, number, max_size=3)), max_size=3
    ).map(tuple),
    scores=st.dictionaries(text, number, max_size=3),
    usage=usage,
    cost_usd=number,
    request_id=text,
    notes=st.lists(text, max_size=3).map(tuple),
)
embeddings = st.builds(
    Embeddings,
    vectors=st.lists(st.lists(number, max_size=4).map(tuple), max_size=3).map(tuple),
    model=text,
    usage=usage,
)
quick = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def test_an_answer_is_there_at_once_and_for_good(place: Place) -> None:
    store = place.open()
    done = store.put(key("a"), reply("yes"))
    assert store.get_many([key("a"), key("b")]) == {key("a"): reply("yes")}
    await done
    assert store.get_many([key("a"), key("b")]) == {key("a"): reply("yes")}
    store.close()
    store = place.open()
    assert store.get_many([key("a"), key("b")]) == {key("a"): reply("yes")}
    store.close()


@quick
@given(st.lists(completions | embeddings, min_size=1, max_size=5))
def test_what_is_put_comes_back_equal(place: Place, replies: list[AnyReply]) -> None:
    async def there_and_back() -> None:
        keys = [key(i) for i in range(len(replies))]
        store = place.open()
        await asyncio.gather(*map(store.put, keys, replies))
        assert [store.get_many(keys)[k] for k in keys] == replies
        store.close()

    asyncio.run(there_and_back())


async def test_what_belongs_to_one_call_is_not_stored(place: Place) -> None:
    store = place.open()
    await store.put(key("a"), reply(parsed={"a": 1}, cached=True))
    stored = store.get_many([key("a")])[key("a")]
    assert isinstance(stored, Completion)
    assert stored.parsed is None
    assert not stored.cached
    store.close()


async def test_the_last_answer_wins(place: Place) -> None:
    store = place.open()
    both = store.put(key("a"), reply("1")), store.put(key("a"), reply("2"))  # in one commit
    assert store.get_many([key("a")])[key("a")] == reply("2")
    await asyncio.gather(*both)
    assert store.get_many([key("a")])[key("a")] == reply("2")
    await store.put(key("a"), reply("3"))
    assert store.get_many([key("a")])[key("a")] == reply("3")
    store.close()


async def test_thousands_at_a_time(place: Place) -> None:
    store = place.open()
    keys = [key(i) for i in range(5000)]
    await asyncio.gather(*(store.put(k, reply(str(i))) for i, k in enumerate(keys)))
    asked = [*(key(-i) for i in range(1, 1001)), *keys, *keys[:10]]
    assert store.get_many(asked) == {k: reply(str(i)) for i, k in enumerate(keys)}
    store.close()


async def test_a_large_answer(place: Place) -> None:
    store = place.open()
    large = reply("".join(random.choices("abcdefgh ", k=3_000_000)))
    await store.put(key("a"), large)
    assert store.get_many([key("a")])[key("a")] == large
    store.close()


async def test_closing_writes_what_is_pending(place: Place) -> None:
    store = place.open()
    waiting = [store.put(key(i), reply(str(i))) for i in range(200)]
    store.log_call(call_row())
    store.close()
    store.close()
    await asyncio.gather(*waiting)
    store = place.open()
    assert len(store.get_many([key(i) for i in range(200)])) == 200
    assert len(store.query("SELECT * FROM calls")) == 1
    store.close()


async def test_a_closed_store_takes_nothing(place: Place) -> None:
    store = place.open()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.put(key("a"), reply())


# -- the ledger


async def test_the_ledger_tells_what_was_just_logged(place: Place) -> None:
    store = place.open()
    rows = [call_row(hash=key(i).hex(), cached=i == 2, output_tokens=i) for i in range(3)]
    for row in rows:
        store.log_call(row)
    told = store.query("SELECT * FROM calls ORDER BY output_tokens")
    assert told == [{name: getattr(row, name) for name in row.__struct_fields__} for row in rows]
    assert store.query("SELECT count(*) AS n FROM calls WHERE NOT cached") == [{"n": 2}]
    store.close()


async def test_a_run_is_logged_again_as_it_goes(place: Place) -> None:
    store = place.open()
    store.log_run(run_row(status="running"))
    assert store.query("SELECT status, ok FROM runs") == [{"status": "running", "ok": 0}]
    store.log_run(run_row(status="running", ok=5))
    store.log_run(run_row(status="done", ok=10))
    store.log_run(run_row(id="r2"))
    told = store.query("SELECT id, status, ok FROM runs ORDER BY id")
    assert told == [
        {"id": "r1", "status": "done", "ok": 10},
        {"id": "r2", "status": "running", "ok": 0},
    ]
    store.close()


async def test_placeholders_and_what_only_looks_like_one(place: Place) -> None:
    store = place.open()
    store.log_call(call_row(label="what?", model="50%", tries=7))
    store.log_call(call_row(label="plain", model="50", tries=8))
    told = store.query(
        "SELECT tries, '?' AS mark, '100%' AS \"all?\" FROM calls -- why?\n"
        "WHERE label = ? AND label LIKE '%?' AND model LIKE ? /* 5 % 2 ? */ AND tries % 4 = 3"
        " AND status = 'ok' AND error <> 'it''s ?' LIMIT ?",
        ("what?", "50%", 5),
    )
    assert told == [{"tries": 7, "mark": "?", "all?": "100%"}]
    store.close()


async def test_sums_are_whole_numbers_and_averages_floats(place: Place) -> None:
    store = place.open()
    sql = "SELECT avg(output_tokens) AS mean, sum(output_tokens) AS all, sum(cost_usd) AS usd"
    sql = sql.replace("all", "total") + " FROM calls WHERE run = ?"
    assert store.query(sql, ("r1",)) == [{"mean": None, "total": None, "usd": None}]
    for n in (1, 3, 2):
        store.log_call(call_row(output_tokens=n, cost_usd=0.5))
    [row] = store.query(sql, ("r1",))
    assert row == {"mean": 2.0, "total": 6, "usd": 1.5}
    assert [type(value) for value in row.values()] == [float, int, float]
    store.close()


@pytest.mark.parametrize(
    "sql",
    ["SELECT nothing FROM calls", "SELEC", "DELETE FROM calls", "DROP TABLE responses"],
)
async def test_the_ledger_is_for_reading(place: Place, sql: str) -> None:
    store = place.open()
    store.log_call(call_row())
    with pytest.raises(StoreError):
        store.query(sql)
    assert len(store.query("SELECT * FROM calls")) == 1
    await store.put(key("a"), reply())
    store.close()


async def test_any_text_fits_the_ledger(place: Place) -> None:
    store = place.open()
    store.log_call(call_row(label="a\0b", error="ünï '?' % \\ \n" + "x" * 5000))
    [row] = store.query("SELECT label, error FROM calls")
    assert row["label"] in ("a\0b", "ab")
    assert row["error"] == "ünï '?' % \\ \n" + "x" * 5000
    store.close()


async def test_a_ledger_that_an_older_version_made(place: Place) -> None:
    store = place.open()
    store.log_call(call_row(run="old"))
    store.close()
    place.raw("ALTER TABLE calls DROP COLUMN ttft_ms")
    place.raw("ALTER TABLE calls DROP COLUMN wanted")
    store = place.open()
    store.log_call(call_row(run="new"))
    told = store.query("SELECT run, ttft_ms, wanted FROM calls ORDER BY run DESC")
    assert told == [
        {"run": "old", "ttft_ms": 0.0, "wanted": ""},
        {"run": "new", "ttft_ms": 49.0, "wanted": "fast"},
    ]
    store.close()


# -- things that break


GARBAGE = [b"", b"c", b"C", b"e", b"zebra", b"c\x81\xa4text", b"C(\xb5/\xfd\xff\xff", b"\xff" * 600]


@pytest.mark.parametrize("value", GARBAGE, ids=range(len(GARBAGE)))
async def test_a_value_that_cannot_be_read_is_a_miss(place: Place, value: bytes) -> None:
    store = place.open()
    await store.put(key("good"), reply("good"))
    place.raw("INSERT INTO responses (hash, at, value) VALUES (?, 0, ?)", (key("bad"), value))
    assert store.get_many([key("bad"), key("good")]) == {key("good"): reply("good")}
    await store.put(key("bad"), reply("mended"))
    assert store.get_many([key("bad")]) == {key("bad"): reply("mended")}
    store.close()


@quick
@given(value=st.binary(max_size=80), tag=st.sampled_from([b"", b"c", b"C", b"e", b"E"]))
def test_no_value_breaks_a_read(place: Place, value: bytes, tag: bytes) -> None:
    store = place.open()
    put = "INSERT INTO responses (hash, at, value) VALUES (?, 0, ?)"
    place.raw("DELETE FROM responses")
    place.raw(put, (key("bad"), tag + value))
    found = store.get_many([key("bad")]).get(key("bad"))
    assert found is None or isinstance(found, Completion | Embeddings)
    store.close()


async def test_a_failed_write_is_told_and_the_next_one_is_tried(place: Place) -> None:
    store = place.open()
    await store.put(key("a"), reply())
    place.raw("ALTER TABLE responses RENAME TO elsewhere")
    with pytest.raises(StoreError, match="failed"):
        await store.put(key("b"), reply())
    place.raw("ALTER TABLE elsewhere RENAME TO responses")
    assert list(store.get_many([key("a"), key("b")])) == [key("a")]
    await store.put(key("b"), reply())
    assert len(store.get_many([key("a"), key("b")])) == 2
    store.close()


async def test_a_failed_ledger_is_told_to_the_next_who_asks(place: Place) -> None:
    store = place.open()
    place.raw("ALTER TABLE calls RENAME TO elsewhere")
    store.log_call(call_row())
    with pytest.raises(StoreError, match="failed"):
        store.query("SELECT 1 AS one")
    place.raw("ALTER TABLE elsewhere RENAME TO calls")
    store.log_call(call_row())
    assert len(store.query("SELECT * FROM calls")) == 1
    store.close()


async def test_a_killed_process_keeps_all_it_was_told_is_done(place: Place) -> None:
    for round in range(4):
        process = writer(place.url, f"k{round}", 50_000)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.uniform(0.02, 0.4))
        process.kill()
        told = process.stdout.read().split("\n")[:-1]  # what follows the last end of line was cut
        process.stdout.close()
        process.wait()
        keys = [key(f"k{round}-{i}") for i in told]
        store = place.open()
        assert len(told) > 5
        assert len(store.get_many(keys)) == len(keys)
        await store.put(key("after"), reply())  # and no lock was left behind
        store.close()


async def test_several_processes_start_and_write_at_once(place: Place) -> None:
    processes = [writer(place.url, name, 300) for name in ("a", "b", "c", "d")]
    for process in processes:
        assert process.stdout is not None
        assert len(process.stdout.read().splitlines()) == 300
        process.stdout.close()
        assert process.wait() == 0
    store = place.open()
    assert len(store.get_many([key(f"{n}-{i}") for n in "abcd" for i in range(300)])) == 1200
    told = store.query("SELECT run, count(*) AS n FROM calls GROUP BY run ORDER BY run")
    assert told == [{"run": name, "n": 300} for name in "abcd"]
    store.close()


async def test_one_key_from_several_stores_at_once(place: Place) -> None:
    stores = [place.open() for _ in range(3)]
    keys = [key(i) for i in range(200)]
    for _ in range(5):
        await asyncio.gather(
            *(s.put(k, reply(k.hex())) for s in stores for k in random.sample(keys, len(keys)))
        )
    for store in stores:
        assert store.get_many(keys) == {k: reply(k.hex()) for k in keys}
        store.close()
