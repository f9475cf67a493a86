"""Asking the judges: items in, verdicts or scores out; several judges vote.

Everything is asked through a frame, so that limits, budget, cache and resume hold as for any rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.errors import InputError, listing
from swath.evals.comparison import ITEMS, SCORES, VERDICTS
from swath.evals.contest import Purse
from swath.evals.judge import Judge
from swath.frames.readers import frame
from swath.operators.base import Operator
from swath.operators.template import as_text

if TYPE_CHECKING:
    from swath.frames.result import FrameRun
    from swath.session import Session

JURY = "jury"
SAME = "The answers are the same."
ORDERS = ("AB", "BA")


@dataclass(frozen=True)
class Judged:
    """What judging gave: VERDICTS or SCORES rows, the calls that failed (`item_id, judge, order,
    kind, reason`), dollars, and what was done differently from what was asked."""

    table: pl.DataFrame
    failures: pl.DataFrame
    cost_usd: float
    notes: dict[str, int]


# -- what is judged


def items_of(
    table: pl.DataFrame,
    columns: Mapping[str, str],
    operator: Operator,
    default: str,
    reference: str | None,
    baseline: str | None,
) -> pl.DataFrame:
    """ITEMS: each pair of answers to a row; with a baseline only the pairs with it."""
    answers = {model: _texts(table, column) for model, column in columns.items()}
    references = None if reference is None else _texts(table, reference)
    tasks = list(_tasks(table, operator, default))
    seen: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    for a, b in pairs(tuple(columns), baseline):
        for row, (instruction, given) in enumerate(tasks):
            one, two = answers[a][row], answers[b][row]
            if one is None or two is None:
                continue
            digest = _digest(instruction, given, one, two, a, b)
            seen[digest] += 1
            rows.append(
                {
                    "item_id": _digest(digest, str(seen[digest])),
                    "row": row,
                    "cluster": _digest(instruction, given),
                    "instruction": instruction,
                    "input": given,
                    "answer_a": one,
                    "answer_b": two,
                    "model_a": a,
                    "model_b": b,
                    "reference": None if references is None else references[row],
                }
            )
    return pl.DataFrame(rows, schema=ITEMS)


def answers_of(
    table: pl.DataFrame,
    columns: Mapping[str, str],
    operator: Operator,
    default: str,
    reference: str | None,
) -> pl.DataFrame:
    """One line an answer, for judges that score each alone."""
    references = None if reference is None else _texts(table, reference)
    tasks = list(_tasks(table, operator, default))
    seen: Counter[str] = Counter()
    rows = []
    for model, column in columns.items():
        for row, answer in enumerate(_texts(table, column)):
            instruction, given = tasks[row]
            if answer is None:
                continue
            digest = _digest(instruction, given, answer, model)
            seen[digest] += 1
            rows.append(
                {
                    "item_id": _digest(digest, str(seen[digest])),
                    "row": row,
                    "cluster": _digest(instruction, given),
                    "model": model,
                    "instruction": instruction,
                    "input": given,
                    "answer": answer,
                    "reference": None if references is None else references[row],
                }
            )
    names = ("item_id", "cluster", "model", "instruction", "input", "answer", "reference")
    schema = pl.Schema({"row": pl.Int64(), **dict.fromkeys(names, pl.String())})
    return pl.DataFrame(rows, schema=schema)


def pairs(models: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    if baseline is None:
        return list(combinations(models, 2))
    if baseline not in models:
        raise InputError(
            f"The baseline '{baseline}' is none of the models.", hint=listing(models, baseline)
        )
    return [(baseline, model) for model in models if model != baseline]


def _tasks(table: pl.DataFrame, operator: Operator, default: str) -> Iterable[tuple[str, str]]:
    """The instructions and the input of each row, as the models got them."""
    for request in operator.requests(table, default):
        if request is None:
            yield "", ""
        else:
            yield request.system, "\n\n".join(turn.content for turn in request.turns)


def _texts(table: pl.DataFrame, column: str) -> list[str | None]:
    texts = table.select(as_text(pl.col(column), table.schema[column]).alias("t"))["t"]
    return texts.to_list()


def _digest(*parts: str | None) -> str:
    size = (f"{len(part or '')}:{part or ''}" for part in parts)
    return blake2b("".join(size).encode(), digest_size=10).hexdigest()


# -- two answers


def verdicts(
    items: pl.DataFrame, judge: Judge, purse: Purse, session: Session, **settings: Any
) -> Judged:
    """VERDICTS for `items` (`item_id, instruction, answer_a, answer_b`, and where there are any
    `input, reference, model_a, model_b`): a line an item, judge and order, and with several
    judges those of the jury. Equal answers are ties, without a call."""
    judges = judge.models(session.models.default)
    return told(ask(items, judge, purse, session, **settings), items, judge, judges)


def ask(
    items: pl.DataFrame, judge: Judge, purse: Purse, session: Session, **settings: Any
) -> FrameRun:
    """The run that asks every judge about every item in each order; `told` reads it."""
    judges = judge.models(session.models.default)
    asked, _ = _split(items, judge)
    rows = frame(asked).with_columns(
        **{
            _column(name): judge.pairing(
                "instruction", "first", "second", name, input="input", reference="reference"
            )
            for name in judges
        }
    )
    return purse.run(rows, session=session, **settings)


def told(run: FrameRun, items: pl.DataFrame, judge: Judge, judges: Sequence[str]) -> Judged:
    """What a run, whole or stopped early, has to say of `items`."""
    asked, same = _split(items, judge)
    parts = [_told(run.table, name) for name in judges] + [_ties(same, name) for name in judges]
    table = pl.concat(parts)
    if len(judges) > 1:
        table = pl.concat([table, _vote(table)])
    table = _like(table, items)
    return Judged(table, _failures(run.errors, asked), run.metrics.cost_usd, run.notes)


def _split(items: pl.DataFrame, judge: Judge) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lines to ask about, and those whose answers are equal."""
    items = _filled(items)
    same = (pl.col("answer_a") == pl.col("answer_b")).fill_null(False)
    return _ordered(items.filter(~same), judge), _ordered(items.filter(same), judge)


def _filled(items: pl.DataFrame) -> pl.DataFrame:
    for name in ("input", "reference", "model_a", "model_b"):
        if name not in items.columns:
            items = items.with_columns(pl.lit(None, pl.String).alias(name))
    return items.with_columns(pl.col("instruction").fill_null(""))


def _ordered(items: pl.DataFrame, judge: Judge) -> pl.DataFrame:
    """A line an item and order, with `first` and `second` as they will stand."""
    ab = items.with_columns(order=pl.lit("AB"), first=pl.col("answer_a"), second=pl.col("answer_b"))
    ba = items.with_columns(order=pl.lit("BA"), first=pl.col("answer_b"), second=pl.col("answer_a"))
    if judge.orders == "both":
        return pl.concat([ab, ba])
    # By the item's own content: the same in every run, and half of them either way.
    turned = items["item_id"].map_elements(
        lambda name: blake2b(name.encode(), digest_size=1).digest()[0] % 2 == 1,
        return_dtype=pl.Boolean,
    )
    return pl.concat([ab.filter(~turned), ba.filter(turned)])


def _column(judge: str) -> str:
    """Also the label in the ledger, by which output lengths are learned."""
    return f"judge {judge}"


def _told(table: pl.DataFrame, judge: str) -> pl.DataFrame:
    said = pl.col(_column(judge)).struct.field("verdict")
    first = pl.when(pl.col("order") == "AB").then(pl.lit("A")).otherwise(pl.lit("B"))
    second = pl.when(pl.col("order") == "AB").then(pl.lit("B")).otherwise(pl.lit("A"))
    verdict = (
        pl.when(said == "1").then(first).when(said == "2").then(second).when(said == "tie")
    ).then(pl.lit("tie"))
    return table.select(
        "item_id",
        pl.lit(judge).alias("judge"),
        "order",
        verdict.alias("verdict"),
        said.replace_strict({"1": 1, "2": 2}, default=None, return_dtype=pl.Int64).alias(
            "picked_position"
        ),
        "model_a",
        "model_b",
        pl.col(_column(judge)).struct.field("justification").alias("justification"),
    )


def _ties(items: pl.DataFrame, judge: str) -> pl.DataFrame:
    return items.select(
        "item_id",
        pl.lit(judge).alias("judge"),
        "order",
        pl.lit("tie").alias("verdict"),
        pl.lit(None, pl.Int64).alias("picked_position"),
        "model_a",
        "model_b",
        pl.lit(SAME).alias("justification"),
    )


def _vote(table: pl.DataFrame) -> pl.DataFrame:
    """The jury's verdict by item and order: what most judges say; a tie where none has most; null
    where no judge could be read."""
    rows = []
    for (item, order), group in table.group_by("item_id", "order", maintain_order=True):
        votes = Counter(v for v in group["verdict"] if v is not None)
        ranked = votes.most_common(2)
        leads = len(ranked) == 1 or (len(ranked) == 2 and ranked[0][1] > ranked[1][1])
        verdict = ranked[0][0] if leads else "tie" if ranked else None
        shown = {"AB": ("A", "B"), "BA": ("B", "A")}[str(order)]
        counts = ", ".join(f"{votes[v]} {v}" for v in ("A", "B", "tie") if votes[v])
        rows.append(
            {
                "item_id": item,
                "judge": JURY,
                "order": order,
                "verdict": verdict,
                "picked_position": shown.index(verdict) + 1 if verdict in shown else None,
                "model_a": group["model_a"][0],
                "model_b": group["model_b"][0],
                "justification": f"Votes: {counts}." if counts else None,
            }
        )
    return pl.DataFrame(rows, schema=VERDICTS)


def _like(table: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """In the items' order, AB before BA within a judge."""
    place = items.select("item_id").with_row_index("_place")
    return (
        table.with_row_index("_turn")
        .join(place, on="item_id", how="left", maintain_order="left")
        .sort("_place", "_turn")
        .drop("_place", "_turn")
    )


def _failures(errors: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    where = asked.select("item_id", "order").with_row_index("row")
    return errors.join(
        where.with_columns(pl.col("row").cast(pl.Int64)), on="row", how="left"
    ).select("item_id", pl.col("model").alias("judge"), "order", "kind", "reason")


# -- one answer


def scores(
    answers: pl.DataFrame, judge: Judge, purse: Purse, session: Session, **settings: Any
) -> Judged:
    """SCORES for `answers_of`'s lines."""
    judges = judge.models(session.models.default)
    reference = "reference" if judge.mode == "reference" else None
    rows = frame(answers).with_columns(
        **{
            _column(name): judge.grading(
                "instruction", "answer", name, input="input", reference=reference
            )
            for name in judges
        }
    )
    run = purse.run(rows, session=session, **settings)
    parts = []
    for name in judges:
        cells = pl.col(_column(name))
        for criterion in judge.named:
            one = cells.struct.field(criterion).struct
            parts.append(
                run.table.select(
                    "item_id",
                    "row",
                    pl.lit(name).alias("judge"),
                    "model",
                    pl.lit(criterion).alias("criterion"),
                    one.field("score").cast(pl.Float64).alias("score"),
                    one.field("justification").alias("justification"),
                )
            )
    table = pl.concat(parts) if parts else pl.DataFrame(schema=SCORES)
    asked = answers.with_columns(order=pl.lit(None, pl.String))
    return Judged(table, _failures(run.errors, asked), run.metrics.cost_usd, run.notes)


def preferences(scores: pl.DataFrame, a: str, b: str) -> pl.DataFrame:
    """`row, difference`: by how much `b` scores above `a` in a row, over criteria and judges."""
    mean = scores.group_by("row", "model").agg(pl.col("score").mean()).drop_nulls()
    one = mean.filter(pl.col("model") == a).select("row", low="score")
    two = mean.filter(pl.col("model") == b).select("row", high="score")
    both = one.join(two, on="row").sort("row")
    return both.select("row", difference=pl.col("high") - pl.col("low"))
