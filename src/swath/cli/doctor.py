"""`swath doctor`: whether what is configured works: config, store, keys, reachability, weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from swath.cli import console
from swath.cli.options import ConfigPath, Json, store_file

if TYPE_CHECKING:
    from pathlib import Path

    from swath.catalog import Model
    from swath.config import Config
    from swath.session import Session

GOOD, NOTE, BAD = "ok", "note", "bad"
_MARKS = {GOOD: ("✓", "green"), NOTE: ("!", "yellow"), BAD: ("✗", "red")}


@dataclass(frozen=True)
class Finding:
    """One line of the report. `state` is ok, note (works, but worth knowing) or bad."""

    what: str
    state: str
    text: str


def doctor(as_json: Json = False, config: ConfigPath = None) -> None:
    """Check config, store, keys, reach and local weights.

    Asks each provider one cheap question that costs nothing. Exit status 1 if something that is
    configured does not work. Keys are never printed.
    """
    from swath.config import load
    from swath.errors import SwathError
    from swath.session import Session

    settings = load(config)
    findings = [_versions(), _config(settings)]
    file = store_file(settings)
    new = file is not None and not file.exists()
    try:
        session = Session(config, check=False)
    except SwathError as error:
        findings.append(Finding("store", BAD, str(error)))
    else:
        with session:
            findings += [_store(session, new), *_models(session)]
        if new and file is not None:
            _leave_no_trace(file)
    if as_json:
        console.say_json([finding.__dict__ for finding in findings])
    else:
        _print(findings)
    if any(finding.state == BAD for finding in findings):
        raise typer.Exit(1)


def _print(findings: list[Finding]) -> None:
    from rich.padding import Padding
    from rich.table import Table

    screen = console.out()
    plain = not (screen.encoding or "").lower().startswith("utf")
    lines = Table.grid(padding=(0, 1))
    lines.add_column(no_wrap=True)
    lines.add_column(no_wrap=True, style="bold")
    lines.add_column(overflow="fold")
    for finding in findings:
        mark, colour = _MARKS[finding.state]
        lines.add_row(
            finding.state if plain else f"[{colour}]{mark}[/]", finding.what, finding.text
        )
    screen.print(Padding(lines, 0))
    bad = sum(finding.state == BAD for finding in findings)
    screen.print()
    screen.print(f"{console.count(bad, 'thing')} to mend." if bad else "All is well.")


def _versions() -> Finding:
    import platform
    from importlib.metadata import version

    from swath import __version__

    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    parts = ", ".join(f"{name} {version(name)}" for name in ("polars", "pydantic", "genai-prices"))
    return Finding("swath", GOOD, f"{__version__}, {python}, {parts}")


def _config(settings: Config) -> Finding:
    if settings.path is None:
        return Finding(
            "config", NOTE, "no swath.toml here or above: the local model is all there is"
        )
    models = console.count(len(settings.models), "model")
    return Finding(
        "config",
        GOOD,
        f"{console.place(settings.path)}: {models}, default '{settings.default_model}'",
    )


def _leave_no_trace(file: Path) -> None:
    """A store that was made only to see whether it can be."""
    for made in file.parent.glob(f"{file.name}*"):
        made.unlink()
    if not any(file.parent.iterdir()):
        file.parent.rmdir()


def _store(session: Session, new: bool) -> Finding:
    """Opening it has made it and written its tables."""
    path = getattr(session.engine.store, "path", None)
    if path is None:
        return Finding("store", GOOD, "PostgreSQL, reachable and writable")
    if new:
        return Finding("store", GOOD, f"{console.place(path)}: writable, made at the first call")
    rows = session.engine.store.query("SELECT count(*) AS n FROM calls")
    calls = console.count(rows[0]["n"], "call")
    return Finding(
        "store",
        GOOD,
        f"{console.place(path)}: writable, {console.size(path.stat().st_size)}, {calls}",
    )


def _models(session: Session) -> list[Finding]:
    """One line for each alias; all providers are asked at once."""
    from swath.errors import ConfigError, listing

    found: dict[str, Finding | None] = {}
    ready: list[str] = []
    # What nobody configured cannot be broken: the built-in model is then only a note.
    configured = set(session.config.models)
    for alias in session.models:
        try:
            model = session.models[alias]
        except ConfigError as error:
            found[alias] = Finding(alias, BAD, str(error))
            continue
        found[alias] = None
        if model.provider == "local":
            found[alias] = _local(model, BAD if alias in configured else NOTE)
        else:
            ready.append(alias)
    if ready:
        for alias, outcome in session.call(session.probe(ready)).items():
            found[alias] = _remote(session.models[alias], outcome)
    assert all(finding is not None for finding in found.values()), listing(found)
    return [finding for finding in found.values() if finding is not None]


def _remote(model: Model, outcome: Exception | None) -> Finding:
    name = f"{model.provider} {model.id}"
    if outcome is not None:
        return Finding(model.alias, BAD, f"{name}: {outcome}")
    key = f"key in {model.api_key_env} accepted" if model.key else "reachable, no key set"
    parts = [key, _price(model), _limits(model)]
    return Finding(model.alias, GOOD if model.price else NOTE, f"{name}: {', '.join(parts)}")


def _price(model: Model) -> str:
    if model.price is None:
        return "price unknown (set price = { input = …, output = … } to use --max-cost)"
    read, written = (console.per_million(p) for p in (model.price.input, model.price.output))
    return f"{read} in and {written} out per million tokens ({model.price_source})"


def _limits(model: Model) -> str:
    named = {
        "requests": model.rpm,
        "tokens": model.tpm,
        "input tokens": model.input_tpm,
        "output tokens": model.output_tpm,
    }
    known = [f"{limit:,.0f} {what}/min" for what, limit in named.items() if limit]
    limits = ", ".join(known) or "limits learned from the provider's replies"
    return f"{limits}, {model.concurrency} at once"


def _local(model: Model, missing: str) -> Finding:
    from importlib.util import find_spec

    from swath.errors import SwathError
    from swath.local import weights

    if find_spec("xllamacpp") is None:
        return Finding(
            model.alias, missing, f"local {model.id}: run: pip install 'swath[local]' to use it"
        )
    try:
        path = weights.find(model.id)
    except SwathError as error:
        return Finding(model.alias, missing, f"local {model.id}: {error}")
    size = console.size(path.stat().st_size)
    return Finding(
        model.alias, GOOD, f"local {model.id}: weights at {console.place(path)} ({size}), free"
    )
