"""`swath models`: what can be asked, at what price; `list` and `pull` are about local weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from swath.cli import console
from swath.cli.options import ConfigPath, Json

if TYPE_CHECKING:
    from rich.table import Table

    from swath.catalog.models import Models
    from swath.catalog.prices import Entry

app = typer.Typer(
    help="Models: those of the config, then the catalogue. `list` and `pull`: local weights.",
    rich_markup_mode=None,
    epilog="For example: swath models --provider openai --max-price 0.5 --min-context 100000",
)


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    provider: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="openai, anthropic, google, groq or openrouter."),
    ] = None,
    max_price: Annotated[
        float | None,
        typer.Option(metavar="D", min=0, help="At most D dollars per million input tokens."),
    ] = None,
    min_context: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="A context window of at least N tokens.")
    ] = None,
    modality: Annotated[
        str | None, typer.Option(metavar="KIND", help="text, embedding, image, audio or video.")
    ] = None,
    free: Annotated[bool, typer.Option("--free", help="Only models that cost nothing.")] = False,
    search: Annotated[str, typer.Option(metavar="TEXT", help="Text in the id or the name.")] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Every model of the catalogue.")
    ] = False,
    as_json: Json = False,
    config: ConfigPath = None,
) -> None:
    """Show the models of the config, then the catalogue, the cheapest first."""
    if context.invoked_subcommand is not None:
        return
    from swath.catalog import prices
    from swath.catalog.models import Models
    from swath.config import load
    from swath.errors import InputError, listing

    known = sorted({entry.provider for entry in prices.entries()})
    if provider is not None and provider not in known:
        raise InputError(
            f"The catalogue has no provider '{provider}'.", hint=listing(known, provider)
        )
    modalities = sorted({m for entry in prices.entries() for m in entry.modalities})
    if modality is not None and modality not in modalities:
        raise InputError(f"There is no modality '{modality}'.", hint=listing(modalities, modality))
    configured = _configured(Models(load(config)))
    found = prices.search(
        search,
        provider=provider,
        max_price=max_price,
        min_context=min_context,
        modality=modality,
        free=free,
    )
    found = [entry for entry in found if not entry.deprecated]
    if as_json:
        console.say_json(
            {
                "configured": configured,
                "catalogue": [_row(entry) for entry in found],
                "catalogue_date": prices.catalogue_date(),
            }
        )
        return
    if not found:
        raise InputError("No model fits all of that.", hint="Ask for less, or leave a filter out.")
    narrowed = any(f not in (None, False, "") for f in (provider, max_price, min_context, search))
    screen = console.out()
    if narrowed or modality or free:
        screen.print(_catalogue(found))
    else:
        screen.print(_aliases(configured))
        screen.print()
        screen.print(_catalogue(found) if everything else _providers(found))
    more = "" if everything or narrowed else " One provider: swath models --provider NAME."
    screen.print(
        f"\nDollars per million tokens. Catalogue: {prices.catalogue_source()}.{more}", style="dim"
    )


def _configured(models: Models) -> list[dict[str, Any]]:
    """Every name that `model=` takes. A model whose key is missing is shown all the same."""
    from swath.catalog import prices
    from swath.local import weights

    rows = []
    for alias in models:
        section = models.configured(alias)
        variable, key = models.key(section)
        local = section.provider == "local"
        price = section.price or prices.price(
            section.provider, section.model, section.base_url or ""
        )
        if local:
            ready = weights.is_path(section.model) or weights.present(section.model)
            state = "ready" if ready else "weights not fetched"
        elif key or (section.base_url is not None and section.api_key_env is None):
            state = "key set" if key else "no key needed"
        else:
            state = f"no {variable}"
        window = section.context_window
        if local and not weights.is_path(section.model):
            window = window or weights.lookup(section.model).context_window
        rows.append(
            {
                "alias": alias,
                "default": alias == models.default,
                "provider": section.provider,
                "model": section.model,
                "input": price.input if price else None,
                "output": price.output if price else None,
                "context_window": window
                or prices.context_window(section.provider, section.model, section.base_url or ""),
                "state": state,
            }
        )
    return rows


def _aliases(rows: list[dict[str, Any]]) -> Table:
    numbers = ("in", "out", "context")
    made = console.table(
        "name", "provider", "model", *numbers, "state", right=numbers, wrap=("model",)
    )
    for row in rows:
        made.add_row(
            f"{row['alias']} *" if row["default"] else row["alias"],
            row["provider"],
            row["model"],
            console.per_million(row["input"]),
            console.per_million(row["output"]),
            console.tokens(row["context_window"]),
            row["state"],
        )
    made.caption = "* what is asked where no model is named"
    made.caption_justify = "left"
    return made


def _catalogue(entries: list[Entry]) -> Table:
    numbers = ("in", "out", "context")
    made = console.table(
        "provider", "model", *numbers, "kind", right=numbers, wrap=("model", "kind")
    )
    for entry in entries:
        price = entry.price
        made.add_row(
            entry.provider,
            entry.id,
            console.per_million(price.input if price else None),
            console.per_million(price.output if price else None),
            console.tokens(entry.context_window),
            ", ".join(entry.modalities),
        )
    return made


def _providers(entries: list[Entry]) -> Table:
    """A line for each provider: how many models, at what price, with how much context."""
    numbers = ("models", "free", "in, from", "to", "context, to")
    made = console.table("provider", *numbers, right=numbers)
    for provider in dict.fromkeys(entry.provider for entry in sorted(entries, key=_by_provider)):
        own = [entry for entry in entries if entry.provider == provider]
        paid = [entry.price.input for entry in own if entry.price and entry.price.input]
        made.add_row(
            provider,
            console.count(len(own)),
            str(sum(entry.price is not None and not entry.price.input for entry in own) or ""),
            console.per_million(min(paid, default=None)),
            console.per_million(max(paid, default=None)),
            console.tokens(max((entry.context_window or 0 for entry in own), default=0) or None),
        )
    return made


def _by_provider(entry: Entry) -> str:
    return entry.provider


def _row(entry: Entry) -> dict[str, Any]:
    price = entry.price
    return {
        "provider": entry.provider,
        "model": entry.id,
        "name": entry.name,
        "input": price.input if price else None,
        "output": price.output if price else None,
        "context_window": entry.context_window,
        "max_output_tokens": entry.max_output_tokens,
        "modalities": list(entry.modalities),
    }


@app.command("list")
def list_weights(as_json: Json = False) -> None:
    """Show the local models, and which are on this machine."""
    from swath.local import weights

    known = weights.catalogue()
    here = {name: weights.present(name) for name in known}
    if as_json:
        console.say_json(
            [
                {
                    "name": name,
                    "title": entry.title,
                    "kind": entry.kind,
                    "bytes": entry.size,
                    "licence": entry.licence,
                    "context_window": entry.context_window,
                    "present": here[name],
                }
                for name, entry in known.items()
            ]
        )
        return
    made = console.table(
        "name", "size", "here", "what it is for", right=("size",), wrap=("what it is for",)
    )
    for name, entry in known.items():
        made.add_row(
            name,
            console.size(entry.size),
            "yes" if here[name] else "no",
            f"{entry.title}: {entry.purpose} ({entry.licence})",
        )
    screen = console.out()
    screen.print(made)
    screen.print(
        f"\nFetch one with: swath models pull NAME. They lie in "
        f"{console.place(weights.cache_dir())}."
    )


@app.command("pull")
def pull_weights(
    name: Annotated[str, typer.Argument(help="A name that `swath models list` shows.")],
) -> None:
    """Fetch a local model's weights, checked by their SHA-256."""
    from swath.cli.weights import pull

    console.say(str(pull(name)))
