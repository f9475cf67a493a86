"""`swath enrich`: one model column added to a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from swath.cli import console
from swath.cli.options import ConfigPath

EXAMPLES = """\b
swath enrich tickets.csv -c text --classify card,loan,other -o labelled.csv
swath enrich tickets.csv -c text --extract schema.py:Triage -o triage.parquet --max-cost 1
swath enrich speeches.csv -c speech --recipe stance --set target="the euro"
swath enrich tickets.csv --map "Answer this customer: {text}" --model fast | head -3
"""

if TYPE_CHECKING:
    from swath.cli.tables import Target
    from swath.frames import Frame
    from swath.frames.result import FrameRun
    from swath.operators.base import Operator
    from swath.session import Session


def enrich(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN", help="csv, tsv, json, jsonl, parquet or arrow; - reads JSON lines or CSV."
        ),
    ],
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
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A ready enrichment: swath recipes lists them."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A word that the recipe's prompt takes."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The new column. [default: after the operator]"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="ALIAS", help="Or several with commas: the first is asked, the others step in."
        ),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="FILE", help="By its ending; - prints JSON lines.")
    ] = "-",
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help="Only these rows: \"lang = 'en'\".")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N rows.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0, metavar="DOLLARS", help="Never spend more than this.")
    ] = None,
    report: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write what happened, as JSON.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and its cost; spend nothing.")
    ] = False,
    trial: Annotated[
        int | None, typer.Option("--try", metavar="N", min=1, help="Run N rows, estimate the rest.")
    ] = None,
    config: ConfigPath = None,
) -> None:
    """Add a column that a model fills, row by row.

    A row that fails is empty in the new column, and named at the end. Running the same again pays
    only for what is missing: also after Ctrl-C (exit status 130) or a budget (3).
    """
    from swath.cli import tables
    from swath.cli.report import Report
    from swath.cli.weights import ensure
    from swath.session import Session

    if sum(given is not None for given in (extract, classify, prompt, recipe)) != 1:
        raise typer.BadParameter("give exactly one of --extract, --classify, --map and --recipe")
    if settings and recipe is None:
        raise typer.BadParameter("--set is for --recipe")
    if prompt is None and column is None:
        raise typer.BadParameter("give --column, the column with the text")
    target = tables.Target(out, source)
    written = Report(report, source)
    aliases = [alias.strip() for alias in model.split(",")] if model else []
    if recipe is None:
        operator = _operator(column, extract, classify, prompt, aliases)
    else:
        operator = _recipe(recipe, column or "", settings or [], aliases)
    name = name or recipe or _name(operator)
    frame = _frame(tables.read(source), where, limit, name, operator)
    with Session(config) as session:
        if dry_run:
            console.say(str(frame.explain(session=session)))
            return
        aliases = aliases or [session.models.default]
        for alias in aliases:
            ensure(session.models[alias])
        if trial is not None:
            _try(frame, trial, session)
        else:
            _reach(session, aliases)
            _run(frame, target, written, max_cost, session)


def _operator(
    column: str | None,
    extract: str | None,
    classify: str | None,
    prompt: str | None,
    aliases: list[str],
) -> Operator:
    from swath import operators
    from swath.cli import schemas

    model = aliases or None
    if prompt is not None:
        if "{" not in prompt and column is not None:
            prompt = f"{prompt}\n\n{{{column}}}"
        return operators.map(prompt, model=model)
    assert column is not None
    if extract is not None:
        return operators.extract(column, schemas.load(extract), model=model)
    assert classify is not None
    return operators.classify(column, schemas.labels(classify), model=model)


def _recipe(name: str, column: str, settings: list[str], aliases: list[str]) -> Operator:
    from swath import recipes
    from swath.errors import InputError

    found = recipes.get(name)
    if not isinstance(found, recipes.Row):
        raise InputError(
            f"The recipe '{name}' is over a {found.over}, and enrich asks row by row.",
            hint=f"From Python: sw.recipes.{name}. Over rows: {', '.join(recipes.names('row'))}.",
        )
    words: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key not in found.parameters:
            takes = " and ".join(f"--set {key}=…" for key in found.parameters) or "no --set"
            raise InputError(f"'{name}' takes no --set {setting}.", hint=f"It takes {takes}.")
        words[key] = value
    return found(column, model=aliases or None, **words)


def _name(operator: Operator) -> str:
    shape = getattr(operator, "shape", None)
    if operator.kind == "extract" and shape is not None:
        return str(shape.schema.name).lower()
    return {"classify": "label", "map": "answer"}.get(operator.kind, operator.kind)


def _frame(
    frame: Frame, where: str | None, limit: int | None, name: str, operator: Operator
) -> Frame:
    import polars as pl

    from swath.errors import InputError

    if where is not None:
        try:
            condition = pl.sql_expr(where)
        except pl.exceptions.PolarsError as error:
            raise InputError(
                f"--where is no SQL condition: {str(error).splitlines()[0]}",
                hint="For example --where \"length(text) > 20 AND lang = 'en'\".",
            ) from None
        frame = frame.filter(condition)
    if name in frame.columns:
        raise InputError(
            f"The table already has a column '{name}'.", hint="Give the new one another --name."
        )
    if limit is not None:
        frame = frame.limit(limit)
    return frame.with_columns(**{name: operator})


def _reach(session: Session, aliases: list[str]) -> None:
    """Raises ProviderError where no model that may answer can be reached: said at once, and not
    after minutes of trying again for each row."""
    from swath.catalog.routed import ROUTED
    from swath.errors import Kind, ProviderError

    routing = session.engine.routing
    aliases = [  # a name that leaves the choice open is not asked itself
        name
        for alias in aliases
        for name in (
            routing._plans.of(alias).aliases
            if session.models[alias].provider == ROUTED
            else (alias,)
        )
    ]
    chain = [name for alias in aliases for name in (alias, *session.models[alias].fallback)]
    if not session.config.check_keys or any(session.models[n].provider == "local" for n in chain):
        return
    outcomes = session.call(session.probe(list(dict.fromkeys(chain))))
    lost = [
        outcome
        for outcome in outcomes.values()
        if isinstance(outcome, ProviderError) and outcome.kind is Kind.CONNECTION
    ]
    if len(lost) == len(outcomes):
        model = session.models[aliases[0]]
        raise ProviderError(
            Kind.CONNECTION,
            f"'{aliases[0]}' cannot be reached at {model.base_url}: {lost[0].message}",
            hint="Is the server running, and base_url right? See: swath doctor",
        )


def _run(
    frame: Frame, target: Target, report: Any, max_cost: float | None, session: Session
) -> None:
    from swath.errors import BudgetReached, Interrupted, SwathError

    try:
        run: FrameRun = target.stream(frame)(max_cost=max_cost, session=session, name=report.name)
    except SwathError as stop:
        partial: FrameRun | None = getattr(stop, "run", None)
        if partial is not None:
            report.write(partial)
            if isinstance(stop, BudgetReached | Interrupted) and partial.table.height:
                target.save(partial.table)
                rows = console.count(partial.table.height, "row")
                console.note(f"Wrote the {rows} that were ready to {target.name}.")
            report.summarize(partial)
        raise
    if target.path is None:
        target.save(run.table)
    else:
        console.note(f"Wrote {console.count(run.metrics.rows, 'row')} to {target.name}.")
    report.write(run)
    report.summarize(run)


def _try(frame: Frame, rows: int, session: Session) -> None:
    from swath.frames.display import rich_table

    trial = frame.try_rows(rows, session=session)
    console.out().print(rich_table(trial.table))
    console.say(str(trial).removeprefix(str(trial.table)).strip())
