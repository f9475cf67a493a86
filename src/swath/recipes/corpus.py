"""What a whole corpus shows: frames made of a frame, by row-wise recipes and Polars' steps.

`text` is the column that is read, `id` the one that names a row. Nothing is asked before the frame
runs. Texts that are alike are found by the embeddings of `embed_model`, and only those are put to
`model`: raise `k`, or lower `threshold`, to miss fewer and pay for more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from swath.operators.cluster import EMBED, cluster
from swath.operators.dedupe import dedupe
from swath.operators.long import Long
from swath.operators.topics import TopicTable
from swath.operators.topics import topics as found_topics
from swath.recipes.argument import claims
from swath.recipes.facts import citations, terms
from swath.recipes.groups import defines, phases
from swath.recipes.pairs import answers, contradicts, pair, relates
from swath.recipes.recipe import Row, corpus
from swath.recipes.structure import questions
from swath.recipes.threads import Threads

if TYPE_CHECKING:
    from swath.frames.frame import Frame
    from swath.operators.base import ModelChoice


@corpus("Topics found in the corpus, grouped into areas.", parts=())
def taxonomy(
    frame: Frame,
    text: str,
    *,
    k: int | None = None,
    areas: int | None = None,
    model: str | None = None,
    embed_model: str = EMBED,
    seed: int = 0,
) -> Frame:
    """`area, topic, covers, rows, share, examples`: `k` topics as `sw.topics` finds them, in
    `areas` areas as `sw.cluster` does; each number is chosen where it is not given. The prompts are
    those of these two. A call a topic and one an area."""
    from swath.session import current

    table = frame.whole(TopicTable(found_topics(text, k, model=model, embed_model=embed_model)))
    naming = model or current().models.default
    area = cluster("{topic}: {covers}", areas, model=embed_model, names=naming, seed=seed)
    order = ("area", "topic", "covers", "rows", "share", "examples")
    return table.with_columns(area=area).select(*order).sort("area")


@corpus("Which turn answers which, and the thread it belongs to.", parts=("answers",))
def reply_threads(
    frame: Frame,
    text: str,
    *,
    id: str,
    order: str | None = None,
    within: str | None = None,
    k: int = 3,
    threshold: float = 0.35,
    model: ModelChoice = None,
    embed_model: str = EMBED,
) -> Frame:
    """The frame with `replies_to`, the `id` of the turn that a turn answers (null: it opens a
    thread), and `thread`, the `id` of the turn that opened its thread. Of the earlier turns (by
    `order`, else by `id`; with the same `within`, where that is given) the `k` most alike are
    asked about, and the most alike of those that are answered counts. At most k calls a row."""
    order = order or id
    names = list(dict.fromkeys([id, order, text, *([within] if within else [])]))
    turns = frame.select(*names).drop_nulls(id, order).cache()
    near = turns.sim_join(turns, text, k=None, threshold=threshold, model=embed_model)
    near = near.filter(pl.col(f"{order}_right") < pl.col(order))
    if within:
        near = near.filter(pl.col(within) == pl.col(f"{within}_right"))
    near = near.filter(
        pl.col("similarity").rank("ordinal", descending=True).over(id) <= k
    ).with_columns(_answers=answers(pair(f"{text}_right", text), model=model))
    found = near.filter(pl.col("_answers") == "answers").sort("similarity", descending=True)
    parents = found.unique(id).select(id, replies_to=f"{id}_right")
    return frame.join(parents, on=id, how="left").whole(Threads(id, "replies_to"))


@corpus("Who and what each text refers to: the edges of a network.", parts=("citations",))
def citation_network(
    frame: Frame,
    text: str,
    *,
    id: str,
    model: ModelChoice = None,
    embed_model: str | None = None,
    long: Long = "refuse",
) -> Frame:
    """`id, cited, kind, quote`, a row for each reference. Names of the same thing ("the Council",
    "Council of Ministers") get one spelling, the first, by `sw.dedupe`. A call a text, and those of
    `sw.dedupe` over the distinct names."""
    found = pieces(frame, text, id, citations, model=model, long=long)
    same = dedupe(
        "cited",
        model=model,
        embed_model=embed_model,
        instructions="The same person, institution, law or document, under any of its names.",
    )
    edges = found.with_columns(_work=same)
    named = edges.with_columns(cited=pl.col("cited").first().over("_work"))
    return named.select(id, "cited", "kind", "quote")


@corpus("Claims of different texts that contradict each other.", parts=("claims", "contradicts"))
def contradictions(
    frame: Frame,
    text: str,
    *,
    id: str,
    k: int = 3,
    threshold: float = 0.5,
    model: ModelChoice = None,
    embed_model: str = EMBED,
    long: Long = "refuse",
) -> Frame:
    """`id, claim, quote, id_right, claim_right, quote_right, similarity`: each pair once, the most
    alike first. A call a text, and at most k a claim."""
    found = pieces(frame, text, id, claims, model=model, long=long).select(id, "claim", "quote")
    near = _near(found, "claim", id, k, threshold, embed_model)
    near = near.with_columns(_how=contradicts(pair("claim", "claim_right"), model=model))
    return near.filter(pl.col("_how") == "contradict").drop("_how")


@corpus("Texts that bear on the same matter, and how.", parts=("relates",))
def cross_references(
    frame: Frame,
    text: str,
    *,
    id: str,
    k: int = 2,
    threshold: float = 0.5,
    model: ModelChoice = None,
    embed_model: str = EMBED,
) -> Frame:
    """`id, id_right, relation, similarity`: each pair once, the most alike first. `relation` is
    supports, opposes or adds. At most k calls a text."""
    near = _near(frame.select(id, text), text, id, k, threshold, embed_model)
    near = near.with_columns(relation=relates(pair(text, f"{text}_right"), model=model))
    kept = near.filter(pl.col("relation") != "unrelated")
    return kept.select(id, f"{id}_right", "relation", "similarity")


@corpus("How a view changed over time.", parts=("phases",))
def evolution_over_time(
    frame: Frame,
    text: str,
    *,
    when: str,
    by: str | None = None,
    model: ModelChoice = None,
    max_items: int | None = None,
) -> Frame:
    """`by, when, position, quote`, a row for each time at which a new view was held; `by` is a
    column whose values each have a history of their own. `when` is the column of times: it orders
    the texts, and the model is told it. A call for each value of `by`."""
    asked = phases("{" + when + "}: {" + text + "}", model=model, max_items=max_items)
    ordered = frame.sort(when)
    history = ordered.group_by(by).agg(phase=asked) if by else ordered.agg(phase=asked)
    told = history.explode("phase").filter(pl.col("phase").is_not_null()).unnest("phase")
    return told.select(*([by] if by else []), "when", "position", "quote")


@corpus("The terms of the corpus, each with one definition.", parts=("terms", "defines"))
def glossary(
    frame: Frame,
    text: str,
    *,
    id: str,
    model: ModelChoice = None,
    long: Long = "refuse",
) -> Frame:
    """`term, meaning, texts, mentions`, in order of the alphabet: `texts` are the ids of the texts
    that use it. A call a text, and one for each term that several explain."""
    found = pieces(frame, text, id, terms, model=model, long=long)
    found = found.with_columns(_key=pl.col("term").str.to_lowercase().str.strip_chars())
    found = found.with_columns(
        _several=pl.when(pl.col("meaning").n_unique().over("_key") > 1).then("meaning")
    )
    one = found.group_by("_key").agg(
        pl.col("term").first(),
        pl.col("meaning").first(),
        pl.col(id).unique(maintain_order=True).alias("texts"),
        pl.len().alias("mentions"),
        _made=defines("_several", model=model),
    )
    whole = one.with_columns(meaning=pl.coalesce("_made", "meaning")).sort("_key")
    return whole.select("term", "meaning", "texts", "mentions")


@corpus("Questions that the corpus answers, and where.", parts=("questions",))
def questions_the_corpus_answers(
    frame: Frame,
    text: str,
    *,
    id: str,
    model: ModelChoice = None,
    embed_model: str | None = None,
    long: Long = "refuse",
) -> Frame:
    """`question, answers, quotes, texts`, those that most texts answer first; the lists are in step
    with each other. Questions that ask the same are one, by `sw.dedupe`."""
    found = pieces(frame, text, id, questions, model=model, long=long)
    same = dedupe(
        "question",
        model=model,
        embed_model=embed_model,
        instructions="Questions to which one answer would be enough.",
    )
    groups = found.with_columns(_same=same).group_by("_same")
    whole = groups.agg(
        pl.col("question").first(),
        pl.col("answer").alias("answers"),
        pl.col("quote").alias("quotes"),
        pl.col(id).alias("texts"),
    )
    whole = whole.with_columns(_number=pl.col("texts").list.n_unique())
    return whole.sort("_number", descending=True).drop("_same", "_number")


def pieces(frame: Frame, text: str, id: str, recipe: Row, **settings: Any) -> Frame:
    """`id`, and the fields of what `recipe` lists for `text`: a row for each. Kept, so that what
    is joined with itself is found once."""
    item = "_item"
    listed = frame.select(id, **{item: recipe(text, **settings)})
    each = listed.explode(item).filter(pl.col(item).is_not_null())
    return each.unnest(item).cache()


def _near(frame: Frame, text: str, id: str, k: int, threshold: float, model: str) -> Frame:
    """Pairs of rows that are alike, of different `id`, each pair once, the most alike first."""
    kept = frame.cache()
    # Each is its own nearest.
    near = kept.sim_join(kept, text, k=k + 1, threshold=threshold, model=model)
    near = near.filter(pl.col(id) != pl.col(f"{id}_right"))
    one, other = pl.format("{}\n{}", id, text), pl.format("{}\n{}", f"{id}_right", f"{text}_right")
    near = near.with_columns(
        _low=pl.min_horizontal(one, other), _high=pl.max_horizontal(one, other)
    )
    pairs = near.unique(["_low", "_high"]).drop("_low", "_high")
    return pairs.sort("similarity", descending=True)
