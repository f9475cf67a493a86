"""`swath compare`: the same operator by several models over a sample, judged if wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from swath.cli import console
from swath.cli.options import ConfigPath, Json

EXAMPLES = """\b
swath compare tickets.csv -c text --classify card,loan,other --models fast,strong
swath compare tickets.csv --map "Answer this customer: {text}" --models fast,strong --judge big
swath compare tickets.csv -c text --extract schema.py:Triage --models a,b,c --judge big --by lang
swath compare --show 3f2a
"""

if TYPE_CHECKING:
    from swath.evals.comparison import Comparison
    from swath.evals.judge import Judge
    from swath.operators.base import Operator
    from swath.session import Session


def compare(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="IN", help="csv, tsv, json, jsonl, parquet or arrow; - reads JSON lines or CSV."
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            "--models",
            "-m",
            metavar="ALIASES",
            help="Two or more: a,b; or a,'a temperature=1'.",
        ),
    ] = None,
    column: Annotated[
        str | None, typer.Option("--column", "-c", metavar="NAME", help="The column with the text.")
    ] = None,
    extract: Annotated[
        str | None,
        typer.Option(
            metavar="SCHEMA", help="Typed fields: schema.py:Class (Pydantic), or schema.json."
        ),
    ] = None,
    classify: Annotated[
        str | None,
        typer.Option(
            metavar="LABELS",
            help="One label: card,loan,other; or a JSON file of labels and what they mean.",
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--map", metavar="PROMPT", help="An answer: 'Summarize {text}', {…} naming columns."
        ),
    ] = None,
    statement: Annotated[
        str | None,
        typer.Option(
            "--predicate", metavar="TEXT", help="True or false: 'A card was lost: {text}'."
        ),
    ] = None,
    ref: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="NAME[@V]",
            help="A saved prompt: the instructions of --extract or --classify, else a template.",
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="ALIAS", help="Judges the answers; several with commas: a jury."),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(metavar="MODE", help="pairwise, or rubric or reference: a score an answer."),
    ] = "pairwise",
    criteria: Annotated[
        str | None, typer.Option(metavar="NAMES", help="What the judge goes by: correct,short.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column with correct answers.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="ALIAS", help="Judge each model against this one only.")
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", metavar="N", min=1, help="Rows to sample.")] = 50,
    by: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Sample in the shares of these columns.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed, another sample.")] = 0,
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help="Only these rows: \"lang = 'en'\".")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The columns' name. [default: after the operator]"),
    ] = None,
    human: Annotated[
        str | None, typer.Option(metavar="FILE", help="Labels: item_id, annotator, label.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0, metavar="DOLLARS", help="Never spend more than this.")
    ] = None,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the report, one file, for a browser.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Keep it here. [default: in .swath]"),
    ] = None,
    show: Annotated[
        str | None, typer.Option(metavar="ID", help="Show one that was made: its id or folder.")
    ] = None,
    as_json: Json = False,
    config: ConfigPath = None,
) -> None:
    """Compare models on your own rows: cost, speed, agreement, and which answers are better.

    The comparison is kept, with the sampled rows, the answers and the verdicts. Running the same
    again pays only for what is missing: also after Ctrl-C (exit status 130) or a budget (3).
    """
    if show is not None:
        _show(show, html, human, as_json, config)
        return
    if source is None:
        raise typer.BadParameter("give IN, the table, or --show ID")
    said = sum(given is not None for given in (extract, classify, prompt, statement))
    if ref is None and said != 1:
        raise typer.BadParameter("give exactly one of --extract, --classify, --map and --predicate")
    if ref is not None and (prompt is not None or statement is not None or said > 1):
        raise typer.BadParameter("with --prompt give --extract or --classify, or neither")
    if column is None and (extract is not None or classify is not None):
        raise typer.BadParameter("give --column, the column with the text")
    if models is None:
        raise typer.BadParameter("give --models, two or more with commas")

    from swath.evals.compare import compare as run
    from swath.evals.contestants import contestants
    from swath.frames.writers import writable
    from swath.session import Session

    target = None if html is None else writable(html)
    entered = names(models)
    aliases = [each.model for each in contestants(entered)]
    operator = None if ref else _operator(column, extract, classify, prompt, statement)
    frame = _rows(source, where)
    with Session(config) as session:
        judges = names(judge)
        if operator is None:
            operator = _prompted(str(ref), column, extract, classify, session)
        _ready(session, [*aliases, *judges])
        made = run(
            frame,
            operator,
            entered,
            judge=_judge(judges, mode, criteria),
            n=n,
            by=names(by) or None,
            seed=seed,
            name=name,
            baseline=baseline,
            reference=reference,
            human=human,
            max_cost=max_cost,
            session=session,
        )
        _keep(made, out, as_json, session)
    if target is not None:
        console.note(f"Report: {made.to_html(target)}")


def names(given: str | None) -> list[str]:
    """`a, b` as a list."""
    return [part.strip() for part in (given or "").split(",") if part.strip()]


def _keep(made: Comparison, out: str | None, as_json: bool, session: Session) -> None:
    from swath.evals.keeping import home

    folder = made.save(home(session.config) / made.id if out is None else out)
    _say(made, as_json)
    console.note(f"\nKept in {console.place(folder)}. Again: swath compare --show {made.id}")
    if made.items is not None and made.human is None and made.items.height:
        console.note(f"Label some pairs yourself, blind: swath label {out or made.id}")


def _say(made: Comparison, as_json: bool) -> None:
    if as_json:
        console.say_json(made.to_dict())
    else:
        console.say(str(made))


def _show(
    name: str, html: str | None, human: str | None, as_json: bool, config: str | None
) -> None:
    from swath.config import load as load_config
    from swath.evals.comparison import Comparison
    from swath.evals.keeping import find

    made = Comparison.load(find(name, load_config(config)))
    if human is not None:
        made = made.with_human(human)
    _say(made, as_json)
    if html is not None:
        console.note(f"Report: {made.to_html(html)}")


def _operator(
    column: str | None,
    extract: str | None,
    classify: str | None,
    prompt: str | None,
    statement: str | None,
) -> Operator:
    from swath import operators
    from swath.cli import enrich

    if statement is None:
        return enrich._operator(column, extract, classify, prompt, [])
    if "{" not in statement and column is not None:
        statement = f"{statement}\n\n{{{column}}}"
    return operators.predicate(statement)


def _prompted(
    ref: str, column: str | None, extract: str | None, classify: str | None, session: Session
) -> Operator:
    from swath.cli.prompts_tried import _maker
    from swath.prompting.history import prompt

    maker = _maker(column, extract, classify, False)
    return maker.make(None, prompt(ref, session=session))


def _rows(source: str, where: str | None) -> Any:
    import polars as pl

    from swath.cli import tables
    from swath.errors import InputError

    frame = tables.read(source)
    if where is None:
        return frame
    try:
        return frame.filter(pl.sql_expr(where))
    except pl.exceptions.PolarsError as error:
        raise InputError(
            f"--where is no SQL condition: {str(error).splitlines()[0]}",
            hint="For example --where \"length(text) > 20 AND lang = 'en'\".",
        ) from None


def _judge(judges: list[str], mode: str, criteria: str | None) -> Judge | None:
    from swath.evals.judge import Judge

    if not judges:
        return None
    given: Any = {"model": judges, "mode": mode, "criteria": names(criteria) or None}
    return Judge(**given)


def _ready(session: Session, aliases: list[str]) -> None:
    """Every model that may be asked is there before the first is paid."""
    from swath.cli import enrich
    from swath.cli.weights import ensure

    for alias in aliases:
        ensure(session.models[alias])
    for alias in aliases:
        enrich._reach(session, [alias])
