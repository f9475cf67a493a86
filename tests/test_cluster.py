"""cluster and topics: texts that lie together, and names for them."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import swath as sw
from swath.local.weights import obtain
from swath.operators import vectors
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve

WORDS = {
    "card": "card lost stolen bank plastic",
    "loan": "mortgage loan interest house rate",
    "app": "phone app login password screen",
}


def answer(said: str, body: dict[str, Any]) -> str:
    """Names a group by the word that only its texts have, and finds a text's topic by it."""
    task = body["messages"][0]["content"]
    counts = Counter(word for word in re.findall(r"[a-z]+", said) if word in WORDS)
    best = counts.most_common(1)[0][0]
    if "two to five words" in task:
        return json.dumps({"name": f"About the {best}.", "covers": f"All that is {best}."})
    return f"About the {best}"


def texts(n: int) -> pl.DataFrame:
    """Three kinds, the first the most frequent."""
    kinds = [list(WORDS)[0 if i % 2 else (i // 2) % 3] for i in range(n)]
    rows = [f"{kind} {WORDS[kind]} {kind} {i}" for i, kind in enumerate(kinds)]
    return pl.DataFrame({"text": rows, "kind": kinds})


def together(table: pl.DataFrame, column: str) -> bool:
    """Whether each kind has one value of `column`, and no two the same."""
    pairs = table.select("kind", column).unique()
    return pairs.height == table["kind"].n_unique() == pairs[column].n_unique()


EMBED = {"model": "text-embedding-3-small"}


def test_numbers_for_clusters_the_largest_first(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(e=(server, EMBED))
        table = texts(60).vstack(pl.DataFrame({"text": [None, " "], "kind": ["", ""]}))
        frame = sw.frame(table).with_columns(cluster=sw.cluster("text", 3, model="e"))
        run = frame.run()
        assert run.table.schema == frame.schema == {**table.schema, "cluster": pl.Int64()}
        assert run.table["cluster"].tail(2).to_list() == [None, None]
        assert together(run.table.head(60), "cluster")
        sizes = run.table.head(60)["cluster"].value_counts().sort("cluster")["count"].to_list()
        assert sizes == sorted(sizes, reverse=True)
        assert frame.run().table.equals(run.table)
        assert server.stats.received == 1


def test_the_number_of_clusters_is_found(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(e=(server, EMBED))
        run = sw.frame(texts(90)).with_columns(c=sw.cluster("text", model="e")).run()
        assert together(run.table, "c")
        assert run.notes == {"3 clusters, chosen by silhouette": 1}


@given(
    rows=st.lists(st.sampled_from(["a", "b", "c", "d d", None, ""]), max_size=12),
    k=st.none() | st.integers(2, 9),
)
@settings(max_examples=60)
def test_any_vectors_are_grouped(rows: list[str | None], k: int | None) -> None:
    np = pytest.importorskip("numpy")
    known = {text: i for i, text in enumerate(dict.fromkeys(t for t in rows if t))}
    if not known:
        return
    matrix = np.eye(len(known), 5, dtype=np.float32)
    weights = [rows.count(text) for text in known]
    labels, centres = vectors.grouped(matrix, weights, k, 0)
    counts = [
        sum(w for w, label in zip(weights, labels, strict=True) if label == c)
        for c in range(len(centres))
    ]
    assert len(labels) == len(known)
    assert counts == sorted(counts, reverse=True)
    assert min(counts) > 0
    nearest = vectors.central(matrix, labels, centres, 2)
    assert all(labels[i] == c for c, some in enumerate(nearest) for i in some)


def test_names_for_clusters(open_session: Open) -> None:
    with serve(OpenAIServer()) as embeds, serve(OpenAIServer(respond=answer)) as chat:
        open_session(e=(embeds, EMBED), chat=chat)
        cluster = sw.cluster("{kind}: {text}", 3, model="e", names="chat")
        frame = sw.frame(texts(60)).with_columns(c=cluster)
        before = frame.explain()
        run = frame.run()
        assert set(run.table["c"]) == {"About the card", "About the loan", "About the app"}
        assert together(run.table, "c")
        assert before.calls == run.metrics.calls == 4
        assert frame.run().metrics.calls == 0


def test_no_two_names_are_alike(open_session: Open) -> None:
    def stubborn(said: str, body: dict[str, Any]) -> str:
        taken = "are taken" in body["messages"][0]["content"]
        name = "Loans" if taken and "loan" in said else "BANKING"
        return json.dumps({"name": name, "covers": "."})

    with serve(OpenAIServer()) as embeds, serve(OpenAIServer(respond=stubborn)) as chat:
        open_session(e=(embeds, EMBED), chat=chat)
        named = sw.cluster("text", 3, model="e", names="chat")
        table = sw.frame(texts(60)).with_columns(c=named).collect()
        assert set(table["c"]) == {"BANKING", "Loans", "BANKING 2"}


def test_a_cluster_without_a_name_fails_alone(open_session: Open) -> None:
    refusing = OpenAIServer(respond=answer, faults=[Fault("refusal", match="mortgage")])
    with serve(OpenAIServer()) as embeds, serve(refusing) as chat:
        open_session(e=(embeds, EMBED), chat=chat)
        named = sw.cluster("text", 3, model="e", names="chat")
        run = sw.frame(texts(60)).with_columns(c=named).run()
        lost = run.table.filter(pl.col("c").is_null())
        assert set(lost["kind"]) == {"loan"}
        assert run.errors["row"].to_list() == run.table["c"].is_null().arg_true().to_list()
        assert set(run.errors["kind"]) == {"refusal"}


def test_a_text_that_cannot_be_embedded_fails_alone(open_session: Open) -> None:
    with serve(OpenAIServer(faults=[Fault("context", match="app 34")])) as server:
        open_session(e=(server, EMBED))
        table = texts(60)
        row = next(i for i, text in enumerate(table["text"]) if "app 34" in text)
        run = sw.frame(table).with_columns(c=sw.cluster("text", 3, model="e")).run()
        assert run.table["c"].is_null().arg_true().to_list() == [row]
        (error,) = run.errors.to_dicts()
        assert (error["row"], error["kind"], error["model"]) == (row, "context", "e")


def test_fewer_texts_than_clusters(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(e=(server, EMBED))
        for rows in ([], [None], ["a"], ["a", "b", "a"]):
            table = pl.DataFrame({"text": rows}, schema={"text": pl.String})
            run = sw.frame(table).with_columns(c=sw.cluster("text", 5, model="e")).run()
            found = [None if row is None else int(row == "b") for row in rows]
            assert run.table["c"].to_list() == found


# -- topics


@pytest.mark.parametrize("assign", ["embedding", "model"])
def test_a_topic_for_each_text(assign: Any, open_session: Open) -> None:
    with serve(OpenAIServer()) as embeds, serve(OpenAIServer(respond=answer)) as chat:
        open_session(chat=chat, e=(embeds, EMBED))
        topics = sw.topics("text", 3, model="chat", embed_model="e", assign=assign, sample=40)
        table = texts(80).vstack(texts(5)).vstack(pl.DataFrame({"text": [None], "kind": [""]}))
        frame = sw.frame(table).with_columns(topic=topics)
        before = frame.explain()
        run = frame.run()
        assert run.table["topic"].to_list() == [
            f"About the {k}" if k else None for k in table["kind"]
        ]
        assert before.calls == pytest.approx(run.metrics.calls, rel=0.2)
        assert run.metrics.calls == 1 + 3 + (80 if assign == "model" else 0)
        seen = topics.table(sw.frame(table))
        assert seen.columns == ["topic", "covers", "rows", "share", "examples"]
        assert dict(seen.select("topic", "rows").iter_rows()) == dict(
            run.table["topic"].drop_nulls().value_counts().iter_rows()
        )
        assert seen["share"].sum() == pytest.approx(1)
        assert seen["covers"][0] == "All that is card."
        assert all(set(some) <= set(table["text"]) for some in seen["examples"])
        asked = chat.stats.received + embeds.stats.received
        assert asked == run.metrics.calls


def test_a_row_whose_topic_is_not_told_fails_alone(open_session: Open) -> None:
    refusing = OpenAIServer(respond=answer, faults=[Fault("refusal", match="card 31")])
    with serve(OpenAIServer()) as embeds, serve(refusing) as chat:
        open_session(chat=chat, e=(embeds, EMBED))
        topics = sw.topics("text", 3, embed_model="e", assign="model", sample=20)
        run = sw.frame(texts(60)).with_columns(topic=topics).run()
        assert run.errors["row"].to_list() == [31]
        assert run.table["topic"].is_null().arg_true().to_list() == [31]


def test_bad_input_is_said_at_once(open_session: Open) -> None:
    frame = sw.frame({"text": ["a"], "id": [1]})
    for make in (sw.cluster, sw.topics):
        with pytest.raises(sw.ColumnNotFound, match="Did you mean 'text'"):
            frame.with_columns(c=make("txt"))
        with pytest.raises(sw.InputError):
            make("text", 1)
        with pytest.raises(sw.InputError):
            make(7)
    with pytest.raises(sw.InputError):
        sw.topics("text", assign="guess")  # type: ignore[arg-type]
    with pytest.raises(sw.InputError):
        frame.filter(sw.cluster("text"))
    with serve(OpenAIServer()) as server:
        open_session(e=(server, EMBED))
        unknown = frame.with_columns(c=sw.cluster("text", 2, model="e", names="nobody"))
        with pytest.raises(sw.UnknownModel):
            unknown.collect()
        assert server.stats.received == 0


@pytest.mark.local
def test_the_packaged_encoder_tells_real_subjects_apart(open_session: Open) -> None:
    obtain("minilm-l6")
    subjects = {
        "cards": ["My card was stolen.", "The bank card is lost.", "I need a new credit card."],
        "fish": ["We caught a trout.", "Salmon swim up the river.", "The fisherman sold his cod."],
        "snow": ["It snowed all night.", "The blizzard closed the road.", "Icy and freezing cold."],
    }
    rows = [(text, kind) for kind, some in subjects.items() for text in some]
    table = pl.DataFrame(rows, schema=["text", "kind"], orient="row")
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        out = sw.frame(table).with_columns(c=sw.cluster("text", k=3)).collect()
        assert together(out, "c")
        assert server.stats.received == 0
