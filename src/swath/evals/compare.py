"""`compare`: the same operator by several models over the same rows, side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.errors import InputError
from swath.evals import jury
from swath.evals.comparison import Comparison
from swath.evals.contest import Contest, Purse, column_names, contest
from swath.evals.contestants import Entry, contestants, judging_themselves, twins
from swath.evals.judge import Judge, as_judge
from swath.evals.measure import agreement
from swath.evals.sampling import sample
from swath.frames import Frame
from swath.frames.readers import frame as frame_of
from swath.operators.base import Operator
from swath.operators.template import Template, path

if TYPE_CHECKING:
    from swath.session import Session


def compare(
    frame: Any,
    operator: Operator,
    models: Sequence[Entry],
    *,
    judge: Judge | str | Sequence[str] | None = None,
    n: int | None = 50,
    by: str | Sequence[str] | None = None,
    seed: int = 0,
    name: str | None = None,
    baseline: str | None = None,
    reference: str | None = None,
    human: Any = None,
    max_cost: float | None = None,
    progress: Any = None,
    session: Session | None = None,
) -> Comparison:
    """Run `operator` with each of `models` over a sample of `frame`, and say how they differ.

    `frame`: a frame, or anything `sw.frame` takes. The sample has `n` rows with text (None: all),
    drawn with `seed`, in the shares of the columns `by` where given. The table keeps its columns
    and gets one a model, `name_model`. A model may enter with several settings: `["fast", {"model":
    "fast", "temperature": 1.0}]`, the second named `fast temperature=1` (or by a `name` of its
    own). `judge`: an alias, several (a jury), or a `sw.Judge`; it
    judges all pairs of models, or each against `baseline`. `reference`: a column with the correct
    answers, shown to the judge. `human`: labels, as for `Comparison.with_human`. `max_cost` bounds
    models and judge together.

    A row that fails is null in its model's column and in `.errors`. What was bought is never
    bought again: the same call goes on after BudgetReached or Ctrl-C. Raises InputError,
    UnknownModel, KeyMissing before anything is spent. Needs `swath[evals]`.

        sw.compare(frame, sw.classify("text", ["card", "loan"]), ["fast", "strong"], judge="big")
    """
    from swath.evals.concluding import concluded  # a missing extra is told before money is spent
    from swath.session import current

    entered = contestants(models)
    named = tuple(each.name for each in entered)
    source = frame_of(frame)
    if not isinstance(operator, Operator):
        raise InputError(
            f"An operator was expected, not {type(operator).__name__}.",
            hint='For example sw.classify("text", ["card", "loan"]).',
        )
    read = operator.reads(source.schema)
    if reference is not None:
        path(reference, source.schema)
    jury.pairs(named, baseline)
    chosen = None if judge is None else as_judge(judge)
    _check(chosen, reference)
    session = session or current()
    aliases = [each.model for each in entered]
    for alias in (*aliases, *(chosen.models(session.models.default) if chosen else ())):
        session.models[alias]

    purse = Purse(max_cost)
    base = name or default_name(operator)
    columns = column_names(base, named, source.columns)
    rows = drawn(source, operator, n, by, seed, purse, session, progress)
    run = f"compare {base}"
    operators = {each.name: each.put(operator) for each in entered}
    ran = contest(rows, operators, columns, purse, session, progress=progress, name=run)
    notes = [*twins(entered, session), *_notes(ran)]
    made = Comparison(
        id=ran.run.id,
        name=base,
        at=time.time(),
        column=base,
        operator=operator.describe(),
        instructions=instructions(operator),
        models=named,
        inputs=tuple(column for column in source.columns if column in read),
        table=ran.table,
        columns=columns,
        by_model=ran.by_name,
        agreement=agreement(ran.table, columns, operator),
        errors=ran.errors,
        items=jury.items_of(
            ran.table, columns, operator, session.models.default, reference, baseline
        ),
        notes=tuple(notes),
        settings={
            "n": n,
            "by": [by] if isinstance(by, str) else by and list(by),
            "seed": seed,
            "baseline": baseline,
            "reference": reference,
            "judge": None if chosen is None else list(chosen.models(session.models.default)),
            "mode": None if chosen is None else chosen.mode,
            "scale": None if chosen is None else chosen.scale,
            # How much of an item's `input` are examples, the same for all rows.
            "lead": sum(len(shot.content) + 2 for shot in operator.shots),
            "contestants": judging_themselves(chosen, entered, session),
            "asked": {each.name: each.model for each in entered if each.name != each.model},
        },
    )
    if chosen is not None:
        made = concluded(judged(made, operator, chosen, purse, session, progress))
    return made if human is None else made.with_human(human)


def judged(
    made: Comparison,
    operator: Operator,
    judge: Judge,
    purse: Purse,
    session: Session,
    progress: Any,
) -> Comparison:
    """`made` with the judge's verdicts or scores of its items."""
    from dataclasses import replace

    default, reference = session.models.default, made.settings["reference"]
    settings: dict[str, Any] = {"progress": progress, "name": f"judge {made.name}"}
    if judge.mode == "pairwise":
        assert made.items is not None
        found = jury.verdicts(made.items, judge, purse, session, **settings)
        made = replace(made, verdicts=found.table)
    else:
        answers = jury.answers_of(made.table, made.columns, operator, default, reference)
        found = jury.scores(answers, judge, purse, session, **settings)
        made = replace(made, scores=found.table)
    notes = [*made.notes, *(f"judge: {text} ({times}x)" for text, times in found.notes.items())]
    for kind, count in found.failures["kind"].value_counts(sort=True).iter_rows():
        notes.append(f"judge: {count} verdicts could not be had ({kind})")
    return replace(made, judge_cost_usd=found.cost_usd, notes=tuple(notes))


def drawn(
    source: Frame,
    operator: Operator,
    n: int | None,
    by: str | Sequence[str] | None,
    seed: int,
    purse: Purse,
    session: Session,
    progress: Any = None,
) -> pl.DataFrame:
    """The sampled rows, of those in which the operator has something to read."""
    text = operator.exprs(source.schema)[0]
    picked = sample(source.filter(text.str.strip_chars() != ""), n, by, seed)
    if source.plan.asks:
        run = purse.run(picked, session=session, progress=progress, name="compare: the sample")
        rows = run.table
    else:
        rows = picked.collect()
    if not rows.height:
        raise InputError(
            "There is no row to compare: in all of them the text is missing or blank.",
            hint=f"The operator reads {', '.join(sorted(operator.reads(source.schema)))}.",
        )
    return rows


def default_name(operator: Operator) -> str:
    """The column's name where none was given."""
    shape = getattr(operator, "shape", None)
    if operator.kind == "extract" and shape is not None:
        return str(shape.schema.name).lower()
    return {"classify": "label", "map": "answer"}.get(operator.kind, operator.kind)


def instructions(operator: Operator) -> str:
    """What the models are asked, without any row's text."""
    said = operator.ask("", "").system
    template = operator.text.text if isinstance(operator.text, Template) else ""
    return "\n\n".join(part for part in (said, template) if part)


def _check(judge: Judge | None, reference: str | None) -> None:
    if judge is not None and judge.mode == "reference" and reference is None:
        raise InputError(
            "A judge in mode='reference' needs the correct answers.",
            hint="Give reference='column', the column that holds them.",
        )


def _notes(ran: Contest) -> list[str]:
    return [f"{text} ({times}x)" for text, times in ran.run.notes.items()]
