"""`swath eval`: a golden set, run and checked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swath.cli import console
from swath.cli.options import ConfigPath

if TYPE_CHECKING:
    from swath.evals.golden.report import Report

EXAMPLES = """\b
swath eval golden.toml
swath eval golden.toml --models fast,strong --limit 50 --max-cost 0.50
swath eval golden.toml --against promoted --junit out.xml --json out.json
"""
FAILED, WRONG = 1, 2


def evaluate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The golden set, as TOML: see docs/golden.md.")
    ],
    models: Annotated[
        str | None,
        typer.Option(metavar="ALIASES", help="These models, with commas, and not the file's."),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="NAME@V", help="This version of a prompt: reply@3, reply@latest."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="promoted|FILE",
            help="Fail where it is worse than the promoted prompt, or a report of --json.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N rows.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0, metavar="DOLLARS", help="Never spend more than this.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write JUnit XML: a case a check.")
    ] = None,
    config: ConfigPath = None,
) -> int:
    """Check a model's answers against a golden set.

    Exit status: 0 all checks hold, 1 FAILED (a check does not) or REGRESSED (worse than before,
    and not by chance), 2 the golden set or the usage is wrong, 3 stopped at the budget: the
    reports then hold what is known.
    """
    from swath.cli.weights import ensure
    from swath.errors import ConfigError, InputError
    from swath.evals.golden.read import read_suite
    from swath.evals.golden.report import OutOfBudget
    from swath.evals.golden.run import golden
    from swath.frames import writers
    from swath.session import Session

    for path in (json_file, junit):  # before anything is spent
        if path is not None:
            writers.writable(path)
    stopped: OutOfBudget | None = None
    try:
        suite = read_suite(file)
        with Session(config) as session:
            names = [name.strip() for name in models.split(",")] if models else list(suite.models)
            for alias in names or [session.models.default]:
                ensure(session.models[alias])
            report = golden(
                suite,
                models=names,
                prompt=prompt,
                against=against,
                limit=limit,
                max_cost=max_cost,
                progress=None,
                session=session,
            )
    except (InputError, ConfigError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG
    except OutOfBudget as stop:
        stopped, report = stop, stop.report
    if json_file is not None:
        report.save(json_file)
    if junit is not None:
        report.save_junit(junit)
    show(report)
    if stopped is not None:
        raise stopped
    return 0 if report.ok else FAILED


def show(report: Report) -> None:
    """The report; on a terminal with what failed in red."""
    from rich.text import Text

    text = Text(str(report))
    text.highlight_regex(r"(?m)^FAIL\b|FAILED|REGRESSED", "bold red")
    text.highlight_regex(r"(?m)^ok\b|^PASSED", "green")
    console.out().print(text, soft_wrap=True)
