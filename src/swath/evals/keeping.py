"""Comparisons on disk: a folder of Parquet tables and one JSON file, beside the store."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.errors import InputError, OutputError, listing
from swath.evals.comparison import Comparison, JudgeTrust

if TYPE_CHECKING:
    from swath.config import Config
    from swath.session import Session

FACTS = "comparison.json"
TABLES = (
    "table",
    "by_model",
    "agreement",
    "errors",
    "items",
    "verdicts",
    "scores",
    "human",
    "calibration",
)
SMALL = ("by_model", "agreement", "errors", "calibration")  # told in JSON
FORMAT = 1


def home(config: Config) -> Path:
    """Where comparisons are kept by default: beside the store, or `.swath` where it is no file."""
    scheme, _, rest = config.store.partition("://")
    if scheme == "sqlite":
        return (config.base / Path(rest[1:]).expanduser()).parent / "compare"
    return config.base / ".swath" / "compare"


def save(comparison: Comparison, path: str | os.PathLike[str] | None) -> Path:
    if path is None:
        from swath.session import current

        path = home(current().config) / comparison.id
    folder = Path(path).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            table: pl.DataFrame | None = getattr(comparison, name)
            if table is not None:
                table.write_parquet(folder / f"{name}.parquet")
            else:
                (folder / f"{name}.parquet").unlink(missing_ok=True)
        text = json.dumps({"format": FORMAT, **_facts(comparison)}, indent=2, ensure_ascii=False)
        (folder / FACTS).write_text(text + "\n", "utf-8")  # last: with it the folder is whole
    except OSError as error:
        raise OutputError(
            f"The comparison cannot be saved in '{folder}': {error.strerror or error}.",
            hint="Give another folder: comparison.save('somewhere'). Nothing bought is lost.",
        ) from None
    return folder


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """See `Comparison.to_dict`."""
    facts = _facts(comparison)
    for name in SMALL:
        table: pl.DataFrame | None = getattr(comparison, name)
        facts[name] = None if table is None else _finite(table.to_dicts())
    return {**facts, "rows": comparison.table.height}


def _facts(comparison: Comparison) -> dict[str, Any]:
    """All that is no table."""
    facts = {
        f.name: getattr(comparison, f.name) for f in fields(comparison) if f.name not in TABLES
    }
    facts["trust"] = None if comparison.trust is None else asdict(comparison.trust)
    facts["judges"] = [asdict(judge) for judge in comparison.judges]
    facts["decisions"] = [asdict(decision) for decision in comparison.decisions]
    return {name: _finite(value) for name, value in facts.items()}


def load(path: str | os.PathLike[str], session: Session | None) -> Comparison:
    folder = find(path, _config(session))
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text("utf-8"))
        tables = {
            name: pl.read_parquet(folder / f"{name}.parquet")
            for name in TABLES
            if (folder / f"{name}.parquet").is_file()
        }
        return _read(facts, tables)
    except (OSError, ValueError, TypeError, KeyError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"The comparison in '{folder}' cannot be read: {str(error).splitlines()[0]}.",
            hint="Was it written by comparison.save() of this version of Swath?",
        ) from None


def _read(facts: dict[str, Any], tables: dict[str, pl.DataFrame]) -> Comparison:
    from swath.evals.stats.decide import Decision
    from swath.evals.stats.estimate import Estimate

    if facts.pop("format") != FORMAT:
        raise ValueError("it is of another format")

    def trust(given: dict[str, Any]) -> JudgeTrust:
        gap = given["self_preference"]
        return JudgeTrust(**{**given, "self_preference": None if gap is None else Estimate(**gap)})

    for name in ("models", "inputs", "notes"):
        facts[name] = tuple(facts[name])
    facts["trust"] = None if facts["trust"] is None else trust(facts["trust"])
    facts["judges"] = tuple(map(trust, facts["judges"]))
    facts["decisions"] = tuple(
        Decision(**{**given, "win_rate": Estimate(**_rate(given["win_rate"]))})
        for given in facts["decisions"]
    )
    held: dict[str, Any] = {**facts, **tables}
    return Comparison(**held)


def _finite(value: Any) -> Any:
    """JSON has no NaN: the rate of no rows at all is null there."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _rate(given: dict[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in given.items()}


def known(config: Config) -> list[Path]:
    """The folders of comparisons beside the store, newest first."""
    found = [facts.parent for facts in home(config).glob(f"*/{FACTS}")]
    return sorted(found, key=lambda folder: (folder / FACTS).stat().st_mtime, reverse=True)


def find(path: str | os.PathLike[str], config: Config) -> Path:
    """The folder of a comparison: `path` itself, or the one beside the store whose id begins so.
    Raises InputError."""
    name, folder = os.fspath(path), Path(path).expanduser()
    if (folder / FACTS).is_file():
        return folder
    folders = known(config)
    matches = [f for f in folders if f.name.startswith(name)] if name else []
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise InputError(
            f"'{name}' is the beginning of {len(matches)} comparisons.",
            hint=listing(f.name for f in matches),
        )
    raise InputError(
        f"There is no comparison '{name}': no such folder, and no such id in {home(config)}.",
        hint=listing((f.name for f in folders[:12]), name)
        if folders
        else "Make one: swath compare data.csv …, or sw.compare(…).save().",
    )


def _config(session: Session | None) -> Config:
    """The session's, the current one's, or that of the nearest swath.toml."""
    from swath.config import load as nearest
    from swath.session import _open

    if session is None and not _open:
        return nearest()
    return (session or _open[-1]).config
