"""The commands put together, and what happens when one ends badly.

Exit status: 0 ran through, 1 an error, 2 wrong usage, 3 stopped at the budget, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from swath.cli import (
    calls,
    compare,
    console,
    demo,
    doctor,
    enrich,
    eval,
    judge,
    label,
    models,
    prompts,
    recipes,
    router,
    runs,
    serve,
)
from swath.errors import BudgetReached, Interrupted, SwathError

DEBUG = "--debug"
OK, ERROR, USAGE, BUDGET, INTERRUPTED = 0, 1, 2, 3, 130

app = typer.Typer(
    name="swath",
    help="Run language models over tables, across many providers, reliably and cheaply.",
    epilog="Start with: swath demo. More on each: swath COMMAND --help.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: it reads well in any width, and loads in half the time
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("enrich", epilog=enrich.EXAMPLES)(enrich.enrich)
app.command("eval", epilog=eval.EXAMPLES)(eval.evaluate)
app.command("compare", epilog=compare.EXAMPLES)(compare.compare)
app.add_typer(judge.app, name="judge")
app.command("label", epilog=label.EXAMPLES)(label.label)
app.add_typer(prompts.app, name="prompts")
app.add_typer(recipes.app, name="recipes")
app.add_typer(router.app, name="router")
app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
app.add_typer(models.app, name="models")
app.command("calls")(calls.calls)
app.command("runs")(runs.runs)
app.command("doctor")(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        from swath import __version__

        print(f"swath {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show the traceback of an error. Any command takes it.")
    ] = False,
) -> None:
    """Options of the command itself. `--debug` is read in `run`: it may stand anywhere."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status. Errors are one line on stderr."""
    debug = DEBUG in arguments
    try:
        status = app([a for a in arguments if a != DEBUG], prog_name="swath", standalone_mode=False)
        sys.stdout.flush()
    except (console.ClosedPipe, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (KeyboardInterrupt, Interrupted, typer.Abort) as stop:
        return _say(stop if isinstance(stop, Interrupted) else "Stopped.", INTERRUPTED, debug)
    except BudgetReached as stop:
        return _say(stop, BUDGET, debug)
    except SwathError as error:
        return _say(error, ERROR, debug)
    except Exception as error:
        return _unexpected(error, debug)
    return status if isinstance(status, int) else OK


def _unexpected(error: Exception, debug: bool) -> int:
    if hasattr(error, "format_message"):  # what typer raises on wrong usage
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "swath"
        message = error.format_message()
        if not message:  # no arguments at all: the help was printed
            return USAGE
        return _say(f"{message.rstrip('.')}. See: {path} --help", USAGE, debug)
    return _say(
        f"Something went wrong inside Swath: {type(error).__name__}: {error}. This is a bug: run "
        "it again with --debug and report what that prints.",
        ERROR,
        debug,
    )


def _say(error: Exception | str, status: int, debug: bool) -> int:
    """One line on stderr, whatever the message holds; the traceback first where it is wanted."""
    if debug:
        import traceback

        traceback.print_exc()
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return status
