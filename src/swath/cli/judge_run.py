"""`swath judge PAIRS`: verdicts on a table of pairs of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from swath.cli import console
from swath.cli.options import ConfigPath

EXAMPLES = """\b
swath judge pairs.parquet --judge big --out verdicts.parquet
swath judge pairs.csv --judge a,b,c --criteria correct,short --out verdicts.csv --max-cost 1
"""
NEEDED = ("item_id", "instruction", "answer_a", "answer_b")
MORE = ("input", "reference", "model_a", "model_b")

if TYPE_CHECKING:
    import polars as pl

    from swath.cli.report import Report
    from swath.cli.tables import Target
    from swath.evals.judge import Judge
    from swath.frames.result import FrameRun
    from swath.session import Session


def run(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PAIRS",
            help="A table with item_id, instruction, answer_a, answer_b; and where there are any "
            "input, reference, model_a, model_b. - reads the pipe.",
        ),
    ],
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge", "-j", metavar="ALIAS", help="Several with commas: a jury, which votes."
        ),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="FILE", help="By its ending; - prints JSON lines.")
    ] = "-",
    criteria: Annotated[
        str | None, typer.Option(metavar="NAMES", help="What the judge goes by: correct,short.")
    ] = None,
    instructions: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Said to the judge beside its task.")
    ] = None,
    orders: Annotated[
        str, typer.Option(metavar="both|one", help="Each pair in both orders, or in a drawn one.")
    ] = "both",
    ties: Annotated[bool, typer.Option("--ties/--no-ties", help="Whether neither may win.")] = True,
    reason: Annotated[
        bool, typer.Option("--reason/--no-reason", help="A justification before each verdict.")
    ] = True,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N pairs.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0, metavar="DOLLARS", help="Never spend more than this.")
    ] = None,
    report: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write what happened, as JSON.")
    ] = None,
    config: ConfigPath = None,
) -> None:
    """Say which of two answers is better, pair by pair, without the models' names.

    Out comes a line a pair, judge and order: verdict A, B or tie, empty where the judge said
    nothing that can be read. Running the same again pays only for what is missing: also after
    Ctrl-C (exit status 130) or a budget (3). Then: swath judge stats verdicts.parquet.
    """
    from swath.cli import enrich, tables
    from swath.cli.compare import names
    from swath.cli.report import Report
    from swath.cli.weights import ensure
    from swath.evals.judge import Judge
    from swath.session import Session

    target = tables.Target(out, source)
    written = Report(report, source)
    given: Any = {
        "model": names(judge) or None,
        "criteria": names(criteria) or None,
        "instructions": instructions,
        "orders": orders,
        "ties": ties,
        "reason": reason,
    }
    chosen = Judge(**given)
    pairs = _pairs(source, limit)
    with Session(config) as session:
        for alias in chosen.models(session.models.default):
            ensure(session.models[alias])
            enrich._reach(session, [alias])
        written.name = f"judge {source.rsplit('/', 1)[-1]}"
        _judge(pairs, chosen, target, written, max_cost, session)


def _pairs(source: str, limit: int | None) -> pl.DataFrame:
    """The pairs, answers as text. Raises InputError that names the file."""
    import polars as pl

    from swath.cli import tables
    from swath.errors import InputError, listing
    from swath.operators.template import as_text

    frame = tables.read(source)
    for name in NEEDED:
        if name not in frame.columns:
            raise InputError(
                f"'{source}' has no column '{name}'.", hint=listing(frame.columns, name)
            )
    table = (frame if limit is None else frame.limit(limit)).collect()
    if not table.height:
        raise InputError(f"'{source}' has no rows.", hint="It needs a row for each pair.")
    twice = table.height - table["item_id"].n_unique()
    if twice or table["item_id"].null_count():
        raise InputError(
            f"'{source}' has rows without an item_id of their own.",
            hint="Each pair needs one: verdicts are joined to labels by it.",
        )
    texts = [name for name in (*NEEDED[1:], *MORE) if name in table.columns]
    return table.select(
        "item_id", *(as_text(pl.col(name), table.schema[name]).alias(name) for name in texts)
    )


def _judge(
    pairs: pl.DataFrame,
    judge: Judge,
    target: Target,
    report: Report,
    max_cost: float | None,
    session: Session,
) -> None:
    import polars as pl

    from swath.errors import BudgetReached, Interrupted, SwathError
    from swath.evals import jury
    from swath.evals.contest import Purse

    judges = judge.models(session.models.default)
    items = pairs.with_columns(pl.col("item_id").cast(pl.String))

    def save(told: jury.Judged) -> None:
        # As the published files of verdicts have it, and `judge stats` reads it.
        shown = pl.col("picked_position").replace_strict(
            {1: "first", 2: "second"}, default=None, return_dtype=pl.String
        )
        table = told.table.with_columns(picked_position=shown)
        if pairs.schema["item_id"] != pl.String:
            table = table.with_columns(pl.col("item_id").cast(pairs.schema["item_id"]))
        if "model_a" not in pairs.columns:
            table = table.drop("model_a", "model_b")
        target.save(table)

    try:
        run = jury.ask(items, judge, Purse(max_cost), session, name=report.name)
    except SwathError as stop:
        partial: FrameRun | None = getattr(stop, "run", None)
        if partial is not None:
            report.write(partial)
            if isinstance(stop, BudgetReached | Interrupted) and partial.table.height:
                save(jury.told(partial, items, judge, judges))
                console.note(f"Wrote the verdicts that were ready to {target.name}.")
            report.summarize(partial)
        raise
    told = jury.told(run, items, judge, judges)
    save(told)
    if target.path is not None:
        console.note(f"Wrote {console.count(told.table.height, 'verdict')} to {target.name}.")
    report.write(run)
    report.summarize(run)
    for line in _summary(told.table):
        console.note(line)


def _summary(verdicts: pl.DataFrame) -> list[str]:
    """What each judge said, in one line."""
    lines = []
    for (judge,), rows in verdicts.group_by("judge", maintain_order=True):
        counts = dict(rows["verdict"].value_counts().iter_rows())
        said = ", ".join(f"{counts.get(v, 0):,} {v}" for v in ("A", "B", "tie"))
        lines.append(f"{judge}: {said}, {counts.get(None, 0):,} unreadable.")
    return lines
