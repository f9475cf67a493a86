"""`swath prompts try|compare|suggest`: versions of a prompt on rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swath.cli import console
from swath.cli.options import ConfigPath

if TYPE_CHECKING:
    from swath.evals.golden.operator import Maker
    from swath.evals.golden.read import Suite

TRY = """\b
swath prompts try reply@2 --data tickets.csv -n 3
swath prompts try route --data tickets.csv -c text --classify card,loan,other
"""
COMPARE = """\b
swath prompts compare reply 1 2 --golden golden.toml
swath prompts compare route 1 2 --data labelled.csv -c text --classify card,loan --expected label
swath prompts compare reply 1 2 --data tickets.csv --judge big --rubric "Polite and to the point"
"""
SUGGEST = """\b
swath prompts suggest reply --from report.json --model big      (of `swath eval --json`)
swath prompts suggest reply --from 3f2a --model big      (a comparison of `swath compare`)
"""

Name = Annotated[str, typer.Argument(metavar="NAME", help="The prompt's name.")]
Golden = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A golden set: its rows, operator and checks.")
]
Data = Annotated[
    str | None, typer.Option(metavar="FILE", help="Rows: csv, jsonl, parquet and the like.")
]
Column = Annotated[
    str | None, typer.Option("--column", "-c", metavar="NAME", help="The column with the text.")
]
Extract = Annotated[
    str | None, typer.Option(metavar="SCHEMA", help="It instructs an extraction: schema.py:Class.")
]
Classify = Annotated[
    str | None, typer.Option(metavar="LABELS", help="It instructs a classification: card,loan.")
]
Predicate = Annotated[
    bool, typer.Option("--predicate", help="It is a statement, true or false of a row.")
]
Models = Annotated[
    str | None, typer.Option("--models", metavar="ALIASES", help="Those that answer, with commas.")
]
Limit = Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the first N rows.")]
MaxCost = Annotated[
    float | None, typer.Option(min=0, metavar="DOLLARS", help="Never spend more than this.")
]


def try_(
    ref: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="Promoted, or that one.")],
    data: Annotated[str, typer.Option(metavar="FILE", help="Rows: csv, jsonl, parquet.")],
    n: Annotated[int, typer.Option("-n", metavar="N", min=1, help="How many rows.")] = 5,
    column: Column = None,
    extract: Extract = None,
    classify: Classify = None,
    predicate: Predicate = False,
    model: Annotated[str | None, typer.Option(metavar="ALIAS", help="The one to ask.")] = None,
    max_cost: MaxCost = None,
    config: ConfigPath = None,
) -> None:
    """Show what a version answers on the first rows of a table."""
    from swath.cli.tables import read
    from swath.frames.display import show
    from swath.prompting.history import prompt
    from swath.session import Session

    with Session(config) as session:
        maker = _maker(column, extract, classify, predicate)
        operator = maker.make(model, prompt(ref, session=session))
        frame = read(data)
        name = "answer"
        while name in frame.columns:
            name += "_"
        asked = frame.with_columns(**{name: operator}).limit(n)
        show(asked.run(session=session, max_cost=max_cost, name=f"try {ref}", progress=False))


def compare(
    name: Name,
    a: Annotated[str, typer.Argument(metavar="A", help="A version: 1, promoted.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other: 2, latest.")],
    golden: Golden = None,
    data: Data = None,
    column: Column = None,
    extract: Extract = None,
    classify: Classify = None,
    predicate: Predicate = False,
    expected: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --data: the column with the label.")
    ] = None,
    check: Annotated[
        str, typer.Option(metavar="KIND", help="How it is held against the label.")
    ] = "exact",
    judge: Annotated[
        str | None, typer.Option(metavar="ALIAS", help="With --data: a model that grades.")
    ] = None,
    rubric: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What it grades by, in your words.")
    ] = None,
    models: Models = None,
    limit: Limit = None,
    max_cost: MaxCost = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: ConfigPath = None,
) -> None:
    """Run two versions over the same rows: which rows get better, which worse, and is it luck?

    Only what changed is asked: answers that the store has are reused, and counted.
    """
    from swath.evals.golden.read import read_suite
    from swath.evals.prompts.versions import compare_versions
    from swath.prompting.history import prompt
    from swath.session import Session

    if (golden is None) == (data is None):
        raise typer.BadParameter("give --golden, or --data: one of both")
    with Session(config) as session:
        old, new = (prompt(f"{name}@{v}", session=session) for v in (a, b))
        if golden is not None:
            suite = read_suite(golden)
        else:
            operator = _operator(column, extract, classify, predicate, f"{name}@{new.version}")
            checks = _checks(expected, check, judge, rubric)
            suite = _suite(name, str(data), operator, checks)
        found = compare_versions(
            suite.limit(limit),
            old,
            new,
            models=_listed(models),
            max_cost=max_cost,
            progress=None,
            session=session,
        )
    if as_json:
        console.say_json(found.to_dict())
    else:
        console.say(str(found))


def suggest(
    name: Name,
    source: Annotated[
        str,
        typer.Option(
            "--from", metavar="REPORT", help="A report of `swath eval --json`, or a comparison."
        ),
    ],
    model: Annotated[str, typer.Option(metavar="ALIAS", help="The one that writes.")],
    version: Annotated[
        str | None, typer.Option(metavar="V", help="Start from this. [default: the report's]")
    ] = None,
    golden: Golden = None,
    column: Column = None,
    extract: Extract = None,
    classify: Classify = None,
    predicate: Predicate = False,
    judge: Annotated[
        str | None, typer.Option(metavar="ALIAS", help="Grades. [default: the comparison's]")
    ] = None,
    models: Models = None,
    holdout: Annotated[
        float, typer.Option(metavar="SHARE", help="Rows held back, to try it on.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed, other rows.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask for another suggestion.")] = False,
    max_cost: MaxCost = None,
    config: ConfigPath = None,
) -> None:
    """Have a model write the next version from the rows that failed, and try it on held-back rows.

    It is saved as a child of the version it starts from, and not promoted. The writer never sees
    a held-back row. From a comparison, options say what the prompt is for, as for `compare`.
    """
    from swath.evals.golden.read import read_suite
    from swath.evals.golden.report import load_report
    from swath.evals.prompts.judged import reasons_from, suite_from
    from swath.evals.prompts.suggest import suggest as write
    from swath.prompting.history import prompt
    from swath.session import Session

    with Session(config) as session:
        reasons: dict[int, list[str]] = {}
        if Path(source).is_file():
            report = load_report(source)
            suite = read_suite(golden or report.file)
            used = report.prompt
            at = version or (used.id if used is not None and used.name == name else "latest")
            chosen = _listed(models) or report.models
        else:
            from swath.evals.comparison import Comparison

            comparison = Comparison.load(source, session=session)
            maker = _maker(column, extract, classify, predicate)
            suite = suite_from(comparison, maker, _listed(models), judge)
            reasons = reasons_from(comparison, suite.models)
            at, chosen = version or "latest", suite.models
        found = write(
            suite,
            prompt(f"{name}@{at}", session=session),
            model=model,
            holdout=holdout,
            seed=seed,
            models=chosen,
            reasons=reasons,
            max_cost=max_cost,
            fresh=fresh,
            progress=None,
            session=session,
        )
    console.say(str(found))


# -- the command line as a golden file would say it


def _operator(
    column: str | None, extract: str | None, classify: str | None, predicate: bool, ref: str
) -> dict[str, Any]:
    from swath.cli import schemas

    if sum((extract is not None, classify is not None, predicate)) > 1:
        raise typer.BadParameter("give one of --extract, --classify and --predicate")
    if (extract is not None or classify is not None) and column is None:
        raise typer.BadParameter("give --column, the column with the text")
    name, _, version = ref.partition("@")
    prompt = {"name": name, "version": version}
    if extract is not None:
        return {"kind": "extract", "text": column, "schema": extract, "prompt": prompt}
    if classify is not None:
        labels = schemas.labels(classify)
        return {"kind": "classify", "text": column, "labels": labels, "prompt": prompt}
    return {"kind": "predicate" if predicate else "map", "prompt": prompt}


def _maker(column: str | None, extract: str | None, classify: str | None, predicate: bool) -> Maker:
    from swath.evals.golden.operator import read_operator
    from swath.evals.golden.toml import Source, Table

    said = _operator(column, extract, classify, predicate, "any@latest")
    return read_operator(Table(Source("the command"), ("operator",), said), Path())


def _checks(
    expected: str | None, check: str, judge: str | None, rubric: str | None
) -> list[dict[str, Any]]:
    from swath.evals.prompts.judged import RUBRIC

    found: list[dict[str, Any]] = []
    if expected is not None:
        found.append({"kind": check, "expected": expected})
    if judge is not None:
        found.append({"kind": "judge", "model": judge, "rubric": rubric or RUBRIC})
    if not found:
        raise typer.BadParameter("give --expected, the column with the label, or --judge")
    return found


def _suite(name: str, data: str, operator: dict[str, Any], checks: list[dict[str, Any]]) -> Suite:
    from swath.evals.golden.read import suite_of
    from swath.evals.golden.toml import Source, Table

    values = {"data": data, "operator": operator, "checks": checks}
    return suite_of(Table(Source("the command"), (), values), Path(), name)


def _listed(aliases: str | None) -> tuple[str, ...]:
    return tuple(alias.strip() for alias in aliases.split(",")) if aliases else ()
