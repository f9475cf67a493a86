"""`swath prompts`: the versions of prompts, what changed, and which one others load by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from swath.cli import console, prompts_tried
from swath.cli.options import ConfigPath, Json, ledger

if TYPE_CHECKING:
    from rich.table import Table

    from swath.prompting.history import Usage
    from swath.prompting.prompt import Prompt
    from swath.store import Store

    Listed = tuple[list[Prompt], dict[tuple[str, str], Usage]]

T = TypeVar("T")
EXAMPLES = """\b
swath prompts log reply
swath prompts diff reply 1 2
swath prompts compare reply 1 2 --golden golden.toml
swath prompts suggest reply --from report.json --model big
swath prompts promote reply 3
"""

app = typer.Typer(
    help="Versions of prompts: what changed, what it did, and which one is promoted.",
    rich_markup_mode=None,
    no_args_is_help=True,
    epilog=EXAMPLES,
)
app.command("try", epilog=prompts_tried.TRY)(prompts_tried.try_)
app.command("compare", epilog=prompts_tried.COMPARE)(prompts_tried.compare)
app.command("suggest", epilog=prompts_tried.SUGGEST)(prompts_tried.suggest)

Version = Annotated[str, typer.Argument(metavar="VERSION", help="2, latest, promoted or an id.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The prompt's name.")]


@app.command()
def log(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One prompt. [default: all]")
    ] = None,
    as_json: Json = False,
    config: ConfigPath = None,
) -> None:
    """List versions, the newest first: tags, parent, and what each took so far."""
    from swath.prompting import history

    def read(store: Store) -> Listed:
        return history.versions(store, name), history.usage(store)

    none: Listed = ([], {})
    found, usage = _in_store(config, read, none, name)
    if as_json:
        console.say_json([_facts(p, usage) for p in reversed(found)])
    elif not found:
        console.note("There are no prompts yet. A run saves the sw.Prompt objects it uses.")
    else:
        console.out().print(_table(found, usage))


@app.command()
def show(
    ref: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="Promoted, or that one.")],
    as_json: Json = False,
    config: ConfigPath = None,
) -> None:
    """Print a version's text, and the newest runs that used it."""
    from swath.prompting import history

    def read(store: Store) -> tuple[Prompt, list[dict[str, Any]], dict[tuple[str, str], Usage]]:
        found = history.find(store, ref)
        return found, history.runs(store, found), history.usage(store)

    found, runs, usage = _in_store(config, read, None, ref)
    if as_json:
        console.say_json({**_facts(found, usage), "used_by": runs})
        return
    console.say(str(found))
    for title, part in (("instructions", found.instructions), ("schema", found.schema_text)):
        if part:
            console.say(f"\n{title}: {part}")
    console.note(f"\n{_about(found, usage)}")
    for run in runs[:5]:
        rows = console.count(run["rows"], "row")
        console.note(f"  run {run['run'][:6]} ({run['name']}), column {run['label']}, {rows}")


@app.command()
def diff(
    name: Name,
    old: Version,
    new: Annotated[str, typer.Argument(metavar="VERSION", help="The other one.")] = "latest",
    config: ConfigPath = None,
) -> None:
    """Show what changed between two versions, word by word."""
    from swath.prompting import diff, history

    def read(store: Store) -> tuple[Prompt, Prompt]:
        known = history.versions(store, name)
        return history.pick(known, old), history.pick(known, new)

    a, b = _in_store(config, read, None, name)
    screen = console.out()
    if screen.is_terminal and not screen.no_color:
        screen.print(diff.coloured(a, b), soft_wrap=True)
    else:
        console.say(diff.plain(a, b))


@app.command()
def save(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The text; - reads it piped.")],
    tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="May be given several times.")
    ] = None,
    config: ConfigPath = None,
) -> None:
    """Save a file's text as the newest version."""
    from swath.prompting import history
    from swath.prompting.prompt import Prompt

    prompt = Prompt(_text(file), name=name, tags=tag or ())
    saved = _in_store(config, lambda store: history.save_in(store, prompt), None, name, make=True)
    console.say(f"{saved.ref} ({saved.id})")


@app.command()
def promote(name: Name, version: Version, config: ConfigPath = None) -> None:
    """Make a version the one that sw.prompt("NAME") gives, and that `eval` holds others against."""
    from swath.prompting import history

    def work(store: Store) -> Prompt:
        return history.promote_in(store, history.pick(history.versions(store, name), version))

    promoted = _in_store(config, work, None, name)
    console.say(f"{promoted.ref} is promoted.")


def _in_store(
    config: str | None,
    work: Callable[[Store], T],
    empty: T | None,
    name: str | None,
    make: bool = False,
) -> T:
    """`work` on the config's store; `empty` where there is none yet and no `name` was asked for."""
    from swath.config import load
    from swath.errors import InputError
    from swath.store import open_store

    settings = load(config)
    store = open_store(settings.store, settings.base) if make else ledger(settings)
    if store is None:
        if name is None and empty is not None:
            return empty
        raise InputError(
            f"There is no prompt '{(name or '').partition('@')[0]}': none is saved yet.",
            hint="A run saves the sw.Prompt objects it uses; or: swath prompts save NAME FILE.",
        )
    try:
        return work(store)
    finally:
        store.close()


def _facts(prompt: Prompt, usage: dict[tuple[str, str], Usage]) -> dict[str, Any]:
    import msgspec

    from swath.prompting.history import Usage

    return {
        "name": prompt.name,
        "version": prompt.version,
        "id": prompt.id,
        "at": prompt.at,
        "promoted": prompt.promoted,
        "tags": list(prompt.tags),
        "parents": list(prompt.parents),
        "text": str(prompt),
        "instructions": prompt.instructions,
        "schema": prompt.schema,
        **msgspec.to_builtins(usage.get((prompt.name, prompt.id), Usage())),
    }


def _about(prompt: Prompt, usage: dict[tuple[str, str], Usage]) -> str:
    facts = _facts(prompt, usage)
    return (
        f"{prompt.ref}{', promoted' if prompt.promoted else ''}, {prompt.id}, saved "
        f"{console.when(prompt.at or 0)}; {console.count(facts['runs'], 'run')}, "
        f"{console.count(facts['calls'], 'call')}, {console.dollars(facts['cost_usd'])}."
    )


def _table(found: Sequence[Prompt], usage: dict[tuple[str, str], Usage]) -> Table:
    numbers = ("runs", "calls", "cost")
    made = console.table(
        "version",
        "",
        "when",
        "parent",
        "tags",
        *numbers,
        "text",
        right=numbers,
        wrap=("tags", "text"),
    )
    numbered = {(p.name, p.id): str(p.version) for p in found}
    for prompt in reversed(found):
        facts = _facts(prompt, usage)
        text = " ".join(prompt.split())
        made.add_row(
            f"{prompt.name}@{prompt.version}",
            "promoted" if prompt.promoted else "",
            console.when(prompt.at or 0),
            ", ".join(numbered.get((prompt.name, id), id) for id in prompt.parents),
            ", ".join(prompt.tags),
            console.count(facts["runs"]),
            console.count(facts["calls"]),
            console.dollars(facts["cost_usd"]),
            text if len(text) <= 40 else f"{text[:39]}…",
        )
    return made


def _text(file: Path) -> str:
    import sys

    from swath.errors import InputError

    if str(file) == "-":
        return sys.stdin.read().strip()
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(
            f"'{file}' cannot be read: {reason}.", hint="Give a text file, or - for a pipe."
        ) from None
