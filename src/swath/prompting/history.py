"""The history of prompts in the store: which versions there are, what each took, who made which
answer. Functions on a `Store` are for its own loop; the public ones take a session."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from swath.errors import InputError, listing
from swath.prompting.prompt import Prompt, from_row
from swath.store.base import PromptRow, PromptUse, Store, columns

if TYPE_CHECKING:
    from swath.session import Session

T = TypeVar("T")
_COLUMNS = ", ".join(columns(PromptRow))


class Usage(msgspec.Struct, frozen=True):
    """What one version took so far: runs that used it, calls that were made for it, those that the
    store answered, failed ones, and dollars."""

    runs: int = 0
    calls: int = 0
    cached: int = 0
    failed: int = 0
    cost_usd: float = 0.0


# -- public


def prompts(name: str | None = None, *, session: Session | None = None) -> list[Prompt]:
    """Every saved version, oldest first: of all prompts, or of the one called `name`.

    Raises InputError where there is none of that name."""
    return _within(session, lambda store: versions(store, name))


def prompt(ref: str, *, session: Session | None = None) -> Prompt:
    """The promoted version of a prompt, or the one that `name@2`, `name@latest` or `name@<id>`
    names. Raises InputError where there is none."""
    return _within(session, lambda store: find(store, ref))


def save(prompt: Prompt, session: Session | None = None) -> Prompt:
    return _within(session, lambda store: save_in(store, prompt))


def promote(prompt: Prompt, session: Session | None = None) -> Prompt:
    return _within(session, lambda store: promote_in(store, prompt))


def _within(session: Session | None, work: Callable[[Store], T]) -> T:
    from swath.session import current

    chosen = session or current()

    async def do() -> T:
        return work(chosen.engine.store)

    return chosen.call(do())


# -- on a store


def versions(store: Store, name: str | None = None) -> list[Prompt]:
    """By name, then by version."""
    where, values = ("", []) if name is None else (" WHERE name = ?", [name])
    rows = store.query(f"SELECT {_COLUMNS} FROM prompts{where} ORDER BY name, version", values)
    if name is not None and not rows:
        raise unknown(store, name)
    newest: dict[str, float] = {}
    for row in rows:
        newest[row["name"]] = max(newest.get(row["name"], 0.0), row["promoted"])
    return [
        from_row(PromptRow(**row), 0.0 < row["promoted"] == newest[row["name"]]) for row in rows
    ]


def find(store: Store, ref: str) -> Prompt:
    """`name` is the promoted version; `name@2`, `name@v2`, `name@latest`, `name@<id>` that one."""
    name, at, version = ref.partition("@")
    known = versions(store, name)
    if not at:
        for saved in known:
            if saved.promoted:
                return saved
        raise InputError(
            f"No version of '{name}' is promoted yet.",
            hint=f"Run: swath prompts promote {name} {known[-1].version}, or ask for "
            f"'{name}@latest'.",
        )
    return pick(known, version)


def pick(known: list[Prompt], version: str) -> Prompt:
    """The one of these versions that a number, an id's beginning, `latest` or `promoted` names."""
    said = version.removeprefix("v")
    for saved in reversed(known):
        if (
            version == "latest"
            or said == str(saved.version)
            or (len(version) >= 6 and saved.id.startswith(version))
            or (version == "promoted" and saved.promoted)
        ):
            return saved
    raise InputError(
        f"'{known[0].name}' has no version '{version}'.",
        hint=listing([str(p.version) for p in known]),
    )


def unknown(store: Store, name: str) -> InputError:
    names = [row["name"] for row in store.query("SELECT DISTINCT name FROM prompts")]
    if not names:
        return InputError(
            f"There is no prompt '{name}': none is saved yet.",
            hint='A run saves the prompts it uses: sw.map(sw.Prompt("…{text}", name="reply")); '
            "or: swath prompts save NAME FILE.",
        )
    return InputError(f"There is no prompt '{name}'.", hint=listing(names, name))


def save_in(store: Store, prompt: Prompt) -> Prompt:
    parents: Iterable[str] = prompt.parents
    if not parents:
        newest = store.query(
            "SELECT id FROM prompts WHERE name = ? ORDER BY version DESC LIMIT 1", [prompt.name]
        )
        parents = [row["id"] for row in newest]
    row = PromptRow(
        id=prompt.id,
        name=prompt.name,
        version=0,
        at=time.time(),
        text=str(prompt),
        instructions=prompt.instructions or "",
        schema=prompt.schema_text,
        tags=_json(prompt.tags),
        parents=_json([id for id in parents if id != prompt.id]),
        promoted=0.0,
    )
    saved = store.save_prompt(row)
    top = store.query("SELECT max(promoted) AS at FROM prompts WHERE name = ?", [prompt.name])
    return from_row(saved, 0.0 < saved.promoted == top[0]["at"])


def promote_in(store: Store, prompt: Prompt) -> Prompt:
    saved = save_in(store, prompt)
    store.promote_prompt(saved.name, saved.id, time.time())
    return find(store, f"{saved.name}@{saved.version}")


def usage(store: Store) -> dict[tuple[str, str], Usage]:
    """By (name, id). Answers that the store had at once are no calls, and not counted: a run that
    only repeats an earlier one takes nothing."""
    rows = store.query(
        "SELECT u.name AS name, u.prompt AS id, count(DISTINCT u.run) AS runs,"
        " count(*) FILTER (WHERE c.run IS NOT NULL AND NOT c.cached) AS calls,"
        " count(*) FILTER (WHERE c.cached) AS cached,"
        " count(*) FILTER (WHERE c.status <> 'ok') AS failed,"
        " coalesce(sum(c.cost_usd), 0) AS cost_usd"
        " FROM prompt_uses u LEFT JOIN calls c ON c.run = u.run AND c.label = u.label"
        " GROUP BY u.name, u.prompt"
    )
    return {
        (row["name"], row["id"]): Usage(**{f: row[f] for f in Usage.__struct_fields__})
        for row in rows
    }


def runs(store: Store, prompt: Prompt, limit: int = 20) -> list[dict[str, Any]]:
    """The newest runs that used a version: run, label (the column), name, at, status, rows."""
    return store.query(
        "SELECT u.run AS run, u.label AS label, r.name AS name, r.at AS at, r.status AS status,"
        " r.rows AS rows FROM prompt_uses u JOIN runs r ON r.id = u.run"
        " WHERE u.name = ? AND u.prompt = ? ORDER BY r.at DESC LIMIT ?",
        [prompt.name, prompt.id, limit],
    )


# -- what a run does


def record(store: Store, run: str, columns: Iterable[tuple[str, Any]]) -> None:
    """Save the prompts of a run's operators, and that its columns come from them. Called once, when
    the run begins; the calls themselves carry nothing more, `run` and `label` link them."""
    for label, operator in columns:
        for prompt in used(operator):
            record_use(store, run, label, prompt)


def record_use(store: Store, run: str, label: str, prompt: Prompt) -> None:
    """Save a version, and that the calls of `run` labelled so come from it."""
    saved = save_in(store, prompt)
    store.log_prompt(PromptUse(prompt=saved.id, name=saved.name, run=run, label=label))


def used(operator: Any) -> list[Prompt]:
    """The prompts that an operator asks with: its template, its instructions."""
    template = getattr(getattr(operator, "text", None), "text", None)
    found = [template, *vars(operator).values()] if hasattr(operator, "__dict__") else [template]
    return list({(p.name, p.id): p for p in found if isinstance(p, Prompt)}.values())


def _json(values: Iterable[str]) -> str:
    return msgspec.json.encode(list(values)).decode()
