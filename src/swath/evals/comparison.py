"""`Comparison`: what a comparison gave, as tables; kept in a folder of Parquet and JSON."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from swath.evals.stats.decide import Decision
    from swath.evals.stats.estimate import Estimate
    from swath.session import Session

BY_MODEL = pl.Schema(
    {
        "model": pl.String(),
        "rows": pl.Int64(),
        "ok": pl.Int64(),
        "failed": pl.Int64(),
        "calls": pl.Int64(),
        "cached": pl.Int64(),
        "cost_usd": pl.Float64(),
        "cost_per_row_usd": pl.Float64(),
        "latency_p50_ms": pl.Float64(),
        "latency_p95_ms": pl.Float64(),
        "ttft_p50_ms": pl.Float64(),
        "input_tokens": pl.Int64(),
        "output_tokens": pl.Int64(),
        "schema_valid": pl.Float64(),
    }
)
"""One line a model. `calls` and `cost_usd` are what the answers took when they were bought, in
this run or an earlier one; `cached` is how many of them this run found in the store, and
`cost_per_row_usd` what a further row would cost. `schema_valid` is the share of first answers that
were valid without a repair. Times are null where the ledger does not know them any more."""

AGREEMENT = pl.Schema(
    {
        "model_a": pl.String(),
        "model_b": pl.String(),
        "field": pl.String(),
        "measure": pl.String(),
        "value": pl.Float64(),
        "n": pl.Int64(),
    }
)
"""One line a pair of models, field and measure; `model_a` and `model_b` are null for a measure
over all models (fleiss_kappa). `field` is "" for the whole answer. Measures: exact (share of equal
answers), cohen_kappa, set_f1, token_overlap, fleiss_kappa. `n`: rows that both answered."""

ERRORS = pl.Schema(
    {
        "row": pl.Int64(),
        "column": pl.String(),
        "model": pl.String(),
        "kind": pl.String(),
        "reason": pl.String(),
    }
)
ITEMS = pl.Schema(
    {
        "item_id": pl.String(),
        "row": pl.Int64(),
        "cluster": pl.String(),
        "instruction": pl.String(),
        "input": pl.String(),
        "answer_a": pl.String(),
        "answer_b": pl.String(),
        "model_a": pl.String(),
        "model_b": pl.String(),
        "reference": pl.String(),
    }
)
"""One line a pair of answers to one row: `row` is its place in `table`, `item_id` is made of the
row's content, the answers and the two models. `cluster` is made of the row's content alone: it is
the unit of evidence, so that several pairs of one row, and rows that are equal, count once. Answers
are text, nested ones JSON. Pairs in which an answer is missing are left out; equal answers are in,
and are ties without a call."""

VERDICTS = pl.Schema(
    {
        "item_id": pl.String(),
        "judge": pl.String(),
        "order": pl.String(),
        "verdict": pl.String(),
        "picked_position": pl.Int64(),
        "model_a": pl.String(),
        "model_b": pl.String(),
        "justification": pl.String(),
    }
)
"""One line an item, judge and order (`AB`: answer_a shown first). `verdict` is A, B, tie or null
(no answer that can be read); `picked_position` 1 or 2, null for ties and nulls."""

SCORES = pl.Schema(
    {
        "item_id": pl.String(),
        "row": pl.Int64(),
        "judge": pl.String(),
        "model": pl.String(),
        "criterion": pl.String(),
        "score": pl.Float64(),
        "justification": pl.String(),
    }
)
"""One line an answer, judge and criterion; `score` is null where the reply could not be read."""

HUMAN = pl.Schema({"item_id": pl.String(), "annotator": pl.String(), "label": pl.String()})

CALIBRATION = pl.Schema(
    {
        "model_a": pl.String(),
        "model_b": pl.String(),
        "method": pl.String(),
        "estimate": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "n": pl.Int64(),
    }
)
"""How often `model_b` beats `model_a`, ties half, by three `method`s side by side: judge (all
pairs, no label), labels (the labelled pairs alone), ppi (both: prediction-powered inference)."""


@dataclass(frozen=True)
class JudgeTrust:
    """Whether a judge's verdicts may be used, and the figures that say so.

    `first_rate`: share of decided verdicts for the answer shown first (0.5 is fair);
    `order_agreement`: share of items whose verdict is the same in both orders; `unparsed`: verdicts
    that could not be read, a count; `human_…`: against labels, null without any. `contestant`: the
    judge (or the model behind its alias) is also compared. `usable` is None where labels or orders
    are too few to say; `sentence` says it in words.
    """

    judge: str
    n: int
    first_rate: float | None
    order_agreement: float | None
    unparsed: int
    human_agreement: float | None
    human_kappa: float | None
    human_human_agreement: float | None
    contestant: bool
    self_preference: Estimate | None
    sentence: str
    usable: bool | None


@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """The same operator by several models over the same rows, side by side.

    `table` holds the sampled rows: their own columns untouched, and one column a model, named in
    `columns` (model → column). `inputs` are the columns the operator reads, `instructions` what the
    models were asked (the judge is given the same). The tables' columns are documented in
    `swath.evals.comparison` (BY_MODEL, AGREEMENT, ITEMS, VERDICTS, SCORES, HUMAN, CALIBRATION).
    `trust` is the judge's (the jury's where several judge), `judges` that of each; `decisions` has
    one entry a pair. `at` is Unix time. `settings` is how it was made (seed, n, by, judge, …).
    """

    id: str
    name: str
    at: float
    column: str
    operator: str
    instructions: str
    models: tuple[str, ...]
    inputs: tuple[str, ...]
    table: pl.DataFrame
    columns: dict[str, str]
    by_model: pl.DataFrame
    agreement: pl.DataFrame
    errors: pl.DataFrame
    items: pl.DataFrame | None = None
    verdicts: pl.DataFrame | None = None
    scores: pl.DataFrame | None = None
    trust: JudgeTrust | None = None
    judges: tuple[JudgeTrust, ...] = ()
    decisions: tuple[Decision, ...] = ()
    human: pl.DataFrame | None = None
    calibration: pl.DataFrame | None = None
    judge_cost_usd: float = 0.0
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """A screen of 80 columns: models, agreement, the judge's trust, decisions."""
        from swath.evals.showing import shown

        return shown(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from swath.evals.report import summary_html

        return summary_html(self)

    # -- where it lives

    def save(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Into the folder `path` (made if need be), else into `compare/<id>` beside the current
        session's store. Parquet and JSON, no pickle. Raises OutputError."""
        from swath.evals.keeping import save

        return save(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str], *, session: Session | None = None) -> Comparison:
        """From a folder that `save` wrote, or by the id (or its beginning) of one beside the
        store. Raises InputError."""
        from swath.evals.keeping import load

        return load(path, session)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: all but the rows themselves, their pairs, verdicts and labels, which `save`
        keeps. Tables are lists with a dict a line."""
        from swath.evals.keeping import to_dict

        return to_dict(self)

    # -- people's labels

    def with_human(self, labels: Any) -> Comparison:
        """This comparison with people's labels: a table or a file with the columns `item_id,
        annotator, label` (A, B or tie), such as `swath label` writes.

        The judge is held against them (`trust`, `judges`), and win rates are given by labels
        alone and by prediction-powered inference (`calibration`), which `decisions` then follow.
        The labelled pairs must be a random sample of `items`. Raises InputError."""
        from swath.evals.concluding import with_human

        return with_human(self, labels)

    # -- pictures

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """One self-contained HTML file that opens offline. Needs `swath[evals]`."""
        from swath.evals.report import write

        return Path(write(self, Path(path)))

    def charts(self) -> dict[str, Any]:
        """The report's charts by name, as Altair charts for a notebook. Needs `swath[evals]`."""
        from swath.evals.report import charts

        return dict(charts(self))

    # -- looking closer

    def disagreements(self) -> pl.DataFrame:
        """The rows of `table` on which not all models gave the same answer."""
        from swath.evals.measure import differing

        return differing(self)
