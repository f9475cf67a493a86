"""`swath recipes`: the catalogue of ready enrichments."""

from __future__ import annotations

from typing import Annotated

import typer

from swath.cli import console

app = typer.Typer(
    help="Ready enrichments: what each asks, and what it gives. With no command: the list.",
    epilog="Use one with: swath enrich IN -c text --recipe NAME.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def recipes(context: typer.Context) -> None:
    if context.invoked_subcommand is not None:
        return
    from swath import recipes as catalogue

    table = console.table("recipe", "over", "gives", wrap=("gives",))
    for over in ("row", "group", "corpus"):
        for name in catalogue.names(over):
            table.add_row(name, over, catalogue.get(name).about)
    console.out().print(table)
    console.note("Prompt, schema and examples of one: swath recipes show NAME.")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As swath recipes lists it.")],
) -> None:
    """How to call a recipe, its prompt, schema and golden examples."""
    from swath import recipes as catalogue

    console.say(str(catalogue.get(name)))
