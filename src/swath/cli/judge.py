"""`swath judge`: verdicts by a model, and what verdicts are worth (`stats`).

`swath judge pairs.parquet …` judges: a first argument that is no sub-command is taken for the
table of pairs.
"""

from __future__ import annotations

import typer
from typer.core import TyperGroup

from swath.cli import judge_run, judge_stats

_RUN = "run"


class _PairsFirst(TyperGroup):
    """`swath judge FILE …` is `swath judge run FILE …`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        named = args[:1] and (args[0] in self.commands or args[0] in ctx.help_option_names)
        if args and not named and _RUN in self.commands:
            args = [_RUN, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_PairsFirst,
    help="Judge pairs of answers by a model; `stats` says what verdicts are worth.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="For example: swath judge pairs.parquet --judge big --out verdicts.parquet, then "
    "swath judge stats verdicts.parquet --by judge",
)
app.command(_RUN, epilog=judge_run.EXAMPLES)(judge_run.run)
app.command("stats", epilog=judge_stats.EXAMPLES)(judge_stats.stats)


@app.callback()
def _top() -> None:
    """The group keeps its sub-commands' names, even where there is only one."""
