"""Which part of a gain is the model's and which the prompt's: every prompt with every model, over
the same rows.

With y[p, m] the quality of one row's answer, the effect of a model is the mean over prompts of its
difference to the first model; that of a prompt the mean over models of its difference to the first
prompt; the interaction is what both changed together give beyond the two alone. Each is a mean of
differences within rows, with the interval of a paired comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.errors import InputError
from swath.evals import jury
from swath.evals.contest import Purse, column_names, contest
from swath.evals.judge import Judge, as_judge
from swath.evals.measure import likeness
from swath.frames.readers import frame as frame_of
from swath.operators.base import Operator
from swath.operators.template import missing, path

if TYPE_CHECKING:
    from swath.session import Session

Cell = tuple[str, str]
"""A prompt's name and a model's alias."""

EFFECTS = pl.Schema(
    {
        "part": pl.String(),  # model, prompt, interaction, or both: from one corner to the other
        "from": pl.String(),
        "to": pl.String(),
        "slice": pl.String(),  # "" is all rows
        "effect": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "n": pl.Int64(),
        "cost_per_row_usd": pl.Float64(),  # how much more a row costs; null for interactions
    }
)


@dataclass(frozen=True, repr=False, eq=False)
class Attribution:
    """`effects` (EFFECTS: quality is between 0 and 1), `cells` (a line a prompt and model: quality,
    cost, failures, times), and `table`: the rows, with an answer and a quality column a cell, named
    in `columns` and `qualities`. The first prompt and model are what the others are held against.
    """

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    table: pl.DataFrame
    columns: dict[Cell, str]
    qualities: dict[Cell, str]
    cells: pl.DataFrame
    effects: pl.DataFrame
    errors: pl.DataFrame
    cost_usd: float

    def flipped(self, start: Cell | None = None, end: Cell | None = None) -> pl.DataFrame:
        """The rows of `table` whose quality differs between two cells, with `change` (end minus
        start), the largest loss first. By default from the first prompt and model to the last."""
        start = start or (self.prompts[0], self.models[0])
        end = end or (self.prompts[-1], self.models[-1])
        for cell in (start, end):
            if cell not in self.qualities:
                raise InputError(
                    f"There is no prompt and model {cell}.",
                    hint=f"There are: {', '.join(map(str, self.qualities))}.",
                )
        change = pl.col(self.qualities[end]) - pl.col(self.qualities[start])
        return self.table.with_columns(change=change).filter(pl.col("change") != 0).sort("change")

    def __str__(self) -> str:
        from swath.evals.showing import attribution

        return attribution(self)

    __repr__ = __str__


def attribute(
    frame: Any,
    operators: Mapping[str, Operator],
    models: Sequence[str],
    *,
    judge: Judge | str | Sequence[str] | None = None,
    gold: str | None = None,
    reference: str | None = None,
    by: str | Sequence[str] | None = None,
    n: int | None = None,
    seed: int = 0,
    max_cost: float | None = None,
    progress: Any = None,
    session: Session | None = None,
) -> Attribution:
    """Run each of `operators` (name → operator, the old one first) with each of `models`, and say
    what the model and what the prompt contributed.

    Quality comes from `gold`, a column of right answers (labels and numbers equal or not, lists by
    set F1, texts by the overlap of words, structs the mean over their fields), or from a `judge`:
    in mode `pairwise` the share of the row's pairs that a cell wins, else the score between 0 and
    1. `by`: columns whose values are slices with effects of their own. All rows are used, or a
    sample of `n`. Rows that any cell failed on are left out of effects. Needs `swath[evals]`.

        sw.attribute(frame, {"old": old, "new": new}, ["small", "large"], gold="label")
    """
    import swath.evals.stats.decide  # noqa: F401  a missing extra is told before money is spent
    from swath.evals.compare import drawn
    from swath.session import current

    source = frame_of(frame)
    prompts, models = tuple(operators), tuple(models)
    slices = [] if by is None else [by] if isinstance(by, str) else list(by)
    _check(operators, models, judge, gold)
    for name in slices:
        if name not in source.schema:
            raise missing(name, source.columns)
    for wanted in (gold, reference):
        if wanted is not None:
            path(wanted, source.schema)
    for operator in operators.values():
        operator.reads(source.schema)
    session = session or current()
    chosen = None if judge is None else as_judge(judge)
    for alias in (*models, *(chosen.models(session.models.default) if chosen else ())):
        session.models[alias]

    purse = Purse(max_cost)
    first = operators[prompts[0]]
    rows = drawn(source, first, n, slices or None, seed, purse, session, progress)
    cells: list[Cell] = list(product(prompts, models))
    named = {_name(cell): cell for cell in cells}
    made = {name: operators[cell[0]].with_model(cell[1]) for name, cell in named.items()}
    columns = column_names("answer", named, source.columns)
    ran = contest(rows, made, columns, purse, session, progress=progress, name="attribute")
    if gold is not None:
        scored = _by_gold(ran.table, columns, gold, first)
    else:
        assert chosen is not None
        scored = _by_judge(ran.table, columns, first, chosen, reference, purse, session, progress)
    taken = [*source.columns, *columns.values()]
    quality = column_names("quality", named, taken)
    table = ran.table.with_columns(
        [pl.Series(quality[name], scored[name], dtype=pl.Float64) for name in named]
    )
    qualities = {named[name]: column for name, column in quality.items()}
    costs = dict(ran.by_name.select("model", "cost_per_row_usd").iter_rows())
    return Attribution(
        prompts=prompts,
        models=models,
        table=table,
        columns={named[name]: column for name, column in columns.items()},
        qualities=qualities,
        cells=_cells(ran.by_name, named, table, quality),
        effects=_effects(
            table, prompts, models, qualities, slices, {c: costs[_name(c)] for c in cells}
        ),
        errors=ran.errors,
        cost_usd=purse.spent,
    )


def _check(
    operators: Mapping[str, Operator], models: Sequence[str], judge: Any, gold: str | None
) -> None:
    if (judge is None) == (gold is None):
        raise InputError(
            "Quality needs gold= or judge=, one of them.",
            hint="gold='column' with right answers, or judge='alias'.",
        )
    if len(operators) < 2 or len(models) < 2 or len(set(models)) < len(models):
        raise InputError(
            f"{len(operators)} prompts and {len(set(models))} models: it takes two of each.",
            hint='For example {"old": …, "new": …} and ["small", "large"]; '
            "for models alone sw.compare(…).",
        )
    types = {str(operator.dtype) for operator in operators.values()}
    if len(types) > 1:
        raise InputError(
            "The operators give answers of different types.", hint=f"They give: {', '.join(types)}."
        )


def _name(cell: Cell) -> str:
    return f"{cell[0]}_{cell[1]}"


# -- quality


def _by_gold(
    table: pl.DataFrame, columns: Mapping[str, str], gold: str, operator: Operator
) -> dict[str, list[float | None]]:
    right = table.select(path(gold, table.schema)[1].alias("g"))["g"]
    if operator.dtype == table.schema.get(gold):
        right = table[gold]
    return {
        name: likeness(table[column].to_list(), right.to_list(), operator)
        for name, column in columns.items()
    }


def _by_judge(
    table: pl.DataFrame,
    columns: Mapping[str, str],
    operator: Operator,
    judge: Judge,
    reference: str | None,
    purse: Purse,
    session: Session,
    progress: Any,
) -> dict[str, list[float | None]]:
    """The judge is given the first operator's instructions: what was wanted, not how it was put."""
    from swath.evals.stats.position import settle

    default = session.models.default
    settings: dict[str, Any] = {"progress": progress, "name": "judge attribute"}
    out: dict[str, list[float | None]] = {name: [None] * table.height for name in columns}
    if judge.mode != "pairwise":
        answers = jury.answers_of(table, columns, operator, default, reference)
        scores = jury.scores(answers, judge, purse, session, **settings).table
        mean = scores.group_by("model", "row").agg(pl.col("score").mean()).drop_nulls()
        for name, row, score in mean.iter_rows():
            out[name][row] = (score - 1) / (judge.scale - 1)
        return out
    items = jury.items_of(table, columns, operator, default, reference, None)
    told = jury.verdicts(items, judge, purse, session, **settings).table
    several = jury.JURY in set(told["judge"])
    final = settle(told.filter(pl.col("judge") == jury.JURY) if several else told)
    met = items.join(final.select("item_id", "verdict"), on="item_id").drop_nulls("verdict")
    won: dict[tuple[str, int], list[float]] = {}
    for row, a, b, verdict in met.select("row", "model_a", "model_b", "verdict").iter_rows():
        share = {"A": 1.0, "B": 0.0, "tie": 0.5}[verdict]
        won.setdefault((a, row), []).append(share)
        won.setdefault((b, row), []).append(1 - share)
    for (name, row), shares in won.items():
        if len(shares) == len(columns) - 1:  # a row whose pairs were not all judged has no rank
            out[name][row] = sum(shares) / len(shares)
    return out


# -- effects


def _cells(
    by_name: pl.DataFrame, named: Mapping[str, Cell], table: pl.DataFrame, quality: dict[str, str]
) -> pl.DataFrame:
    prompt = [named[name][0] for name in by_name["model"]]
    model = [named[name][1] for name in by_name["model"]]
    mean = [table[quality[name]].mean() for name in by_name["model"]]
    return by_name.drop("model").select(
        pl.Series("prompt", prompt),
        pl.Series("model", model),
        pl.Series("quality", mean, dtype=pl.Float64),
        pl.all(),
    )


def _effects(
    table: pl.DataFrame,
    prompts: Sequence[str],
    models: Sequence[str],
    qualities: Mapping[Cell, str],
    slices: Sequence[str],
    costs: Mapping[Cell, float | None],
) -> pl.DataFrame:
    whole = table.drop_nulls(list(qualities.values()))
    parts: list[tuple[str, pl.DataFrame]] = [("", whole)]
    for name in slices:
        for (value,), rows in whole.group_by(name, maintain_order=True):
            parts.append((f"{name}={value}", rows))
    old, base = prompts[0], models[0]
    lines = []
    for label, rows in parts:
        y = {cell: rows[column].to_numpy() for cell, column in qualities.items()}

        def line(part: str, start: str, end: str, gain: Any, cost: float | None) -> None:
            lines.append(_line(part, start, end, label, gain, cost))  # noqa: B023

        for m in models[1:]:
            gain = sum(y[p, m] - y[p, base] for p in prompts) / len(prompts)
            line("model", base, m, gain, _more(costs, [((p, base), (p, m)) for p in prompts]))
        for p in prompts[1:]:
            gain = sum(y[p, m] - y[old, m] for m in models) / len(models)
            line("prompt", old, p, gain, _more(costs, [((old, m), (p, m)) for m in models]))
        for p, m in product(prompts[1:], models[1:]):
            start, end = f"{old}, {base}", f"{p}, {m}"
            gain = (y[p, m] - y[p, base]) - (y[old, m] - y[old, base])
            line("interaction", start, end, gain, None)
            line("both", start, end, y[p, m] - y[old, base], _more(costs, [((old, base), (p, m))]))
    return pl.DataFrame(lines, schema=EFFECTS, orient="row")


def _line(
    part: str, start: str, end: str, label: str, gain: Any, cost: float | None
) -> tuple[Any, ...]:
    from swath.evals.stats.decide import paired

    n = len(gain)
    if n < 2:  # one row has no interval
        middle = float(gain[0]) if n else None
        return (part, start, end, label, middle, None, None, n, cost)
    found = paired([0.0] * n, gain).difference
    return (part, start, end, label, found.estimate, found.low, found.high, n, cost)


def _more(costs: Mapping[Cell, float | None], steps: Sequence[tuple[Cell, Cell]]) -> float | None:
    """How much more a row costs after the step, on average over `steps`."""
    total = 0.0
    for start, end in steps:
        before, after = costs[start], costs[end]
        if before is None or after is None:
            return None
        total += after - before
    return total / len(steps)
