"""`swath demo`: real speeches enriched by the local model, with no key and no config."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swath.cli import console

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from swath.frames.result import FrameRun
    from swath.session import Session

FOLDER = Path("swath-demo")
SHOWN = 6  # speeches on the screen
HOSTED = (  # what the same work would cost at models that people know
    ("openai", "gpt-4.1-mini"),
    ("anthropic", "claude-haiku-4-5"),
    ("google", "gemini-2.5-flash"),
)
CONFIG = """\
# The demo's config. Models of your own: see docs/config.md.
default_model = "local"

[models.local]
provider = "local"
"""


def demo(
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N speeches.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="ALIAS", help="A model of your own config, in place of the local one."
        ),
    ] = None,
) -> None:
    """Enrich real speeches with the local model: no key needed.

    Writes swath-demo/debates.parquet, .csv and .jsonl. The first run fetches the model's weights
    (491 MB); a second run makes no call at all.
    """
    from swath import demo as definition
    from swath.cli.weights import ensure
    from swath.session import Session

    _folder()
    session = Session() if model else Session(_config(), check=False)
    with session:
        alias = model or session.models.default
        ensure(session.models[alias])
        table = definition.speeches(limit)
        where = "on this machine" if session.models[alias].provider == "local" else f"as '{alias}'"
        console.note(
            f"{console.count(table.height, 'speech', 'speeches')} of the European Parliament,"
            f" read by {session.models[alias].id} {where}."
        )
        run = definition.enriched(table, alias).run(session=session, name="demo")
        _write(run.table)
        _show(run.table)
        _summary(run, _hosted(run.table, alias, session))
    if not model:
        console.note(f"Look closer: cd {FOLDER}, then swath calls; or swath enrich --help")


def _folder() -> None:
    from swath.errors import OutputError

    try:
        FOLDER.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder '{FOLDER}' cannot be made here: {error.strerror}.",
            hint="Go to a folder of your own and run it there.",
        ) from None


def _config() -> Path:
    """A folder of its own with a config and a store: whatever is configured around it, a second
    run finds the first one's answers."""
    path = FOLDER / "swath.toml"
    if not path.exists():
        path.write_text(CONFIG, "utf-8")
    return path


def _write(table: pl.DataFrame) -> None:
    table.write_parquet(FOLDER / "debates.parquet")
    table.write_csv(FOLDER / "debates.csv")
    table.write_ndjson(FOLDER / "debates.jsonl")


def _show(table: pl.DataFrame) -> None:
    """A few speeches, each with what was found in it, and the topics of all."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    screen = console.out()
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 1, 0))
    grid.add_column(width=26)
    grid.add_column()
    for row in table.head(SHOWN).iter_rows(named=True):
        who = Text(row["speaker"], style="bold")
        who.append(f"\n{row['debate']}, {row['date']}", style="not bold dim")
        said = Text()
        said.append(row["topic"] or "no topic", style="cyan")
        said.append("  ")
        said.append(row["stance"] or "", style=_STANCES.get(row["stance"] or "", ""))
        said.append(f"\n{row['claim'] or 'nothing was extracted'}")
        said.append(f"\n“{row['quote'] or ''}”", style="italic dim")
        grid.add_row(who, said)
    screen.print()
    screen.print(Padding(grid, (0, 0, 0, 1)), width=min(screen.width, 100))
    if table.height > SHOWN:
        screen.print(
            f" … and {table.height - SHOWN} more in {FOLDER}/debates.parquet\n", style="dim"
        )
    screen.print(Padding(_topics(table), (0, 0, 1, 1)))


_STANCES = {"supportive": "green", "critical": "red", "demanding": "yellow"}


def _topics(table: pl.DataFrame) -> Table:
    """How many speeches there are on each topic, and how many of them are for and against."""
    import polars as pl

    stance = pl.col("stance")
    groups = (
        table.drop_nulls("topic")
        .group_by("topic")
        .agg(pl.len(), *((stance == name).sum().alias(name) for name in _STANCES))
        .sort("len", "topic", descending=[True, False])
    )
    made = console.table("topic", "speeches", *_STANCES, "", right=("speeches", *_STANCES))
    for row in groups.iter_rows(named=True):
        bar = "".join(f"[{colour}]{'█' * row[name]}[/]" for name, colour in _STANCES.items())
        counts = (str(row[name] or "") for name in _STANCES)
        made.add_row(row["topic"], str(row["len"]), *counts, bar)
    return made


def _summary(run: FrameRun, hosted: str) -> None:
    """What it came to."""
    from rich.padding import Padding
    from rich.table import Table

    from swath.cli.report import failures

    m = run.metrics
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="bold", no_wrap=True)
    lines.add_column(overflow="fold")
    lines.add_row(
        "rows", "\n".join([f"{m.rows:,}: {m.ok:,} ok, {m.failed:,} failed", *failures(run)])
    )
    lines.add_row(
        "calls",
        f"{m.calls:,}, {m.cached:,} from the store, {console.count(m.retries, 'retry', 'retries')}",
    )
    lines.add_row("tokens", f"{m.input_tokens:,} in, {m.output_tokens:,} out")
    lines.add_row("dollars", f"{console.dollars(m.cost_usd)}. {hosted}")
    lines.add_row("time", console.duration(m.seconds))
    lines.add_row("files", f"{FOLDER}/debates.parquet, .csv, .jsonl")
    console.out().print(Padding(lines, (0, 0, 0, 1)))


def _hosted(table: pl.DataFrame, alias: str, session: Session) -> str:
    """What the answers in `table` would cost at hosted models. Counted from the stored ones, so
    that a second run says the same."""
    from swath import demo as definition
    from swath.catalog import prices
    from swath.messages import Usage
    from swath.operators.base import Operator

    async def stored() -> Usage:
        total = Usage()
        for _, operator in definition.enriched(definition.speeches(1), alias).plan.operators():
            assert isinstance(operator, Operator)
            requests = [r for r in operator.requests(table, alias) if r is not None]
            for reply in session.engine.lookup(requests):
                total += reply.usage if reply is not None else Usage()
        return total

    usage = session.call(stored())
    known = [(name, prices.price(provider, name)) for provider, name in HOSTED]
    costs = [f"{console.dollars(p.cost(usage))} at {name}" for name, p in known if p is not None]
    return f"The same would cost {', '.join(costs)} (prices of {prices.catalogue_date()})"
