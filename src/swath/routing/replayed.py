"""Prompts asked of several models and judged: grades where there are none yet.

Logged traffic, or any list of prompts, is put to the models as it stands, and a judge says which
answer is better: LLM-judge augmentation, as RouteLLM has it (arXiv 2406.18665, 4.1.1). It is a
comparison like any other, so that it is kept, can be looked at and labelled, and nothing is paid
twice: answers and verdicts that the store has cost nothing, whoever asked for them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from swath.engine.deciding import prompt_of
from swath.errors import InputError
from swath.messages import Message, Request
from swath.operators.base import Operator
from swath.routing.graded import require

if TYPE_CHECKING:
    from swath.evals.comparison import Comparison
    from swath.session import Session
    from swath.store import Store

NAME = "replayed"
SERVED = 4096  # max_tokens of `swath serve` where a client sets none: so its answers are found
SINGLE = ("serve", "complete", "stream")  # labels of requests that stand for themselves
ROLES = ("system", "user", "assistant")
Conversation = tuple[Message, ...]


@dataclass(frozen=True)
class Forecast:
    """What `judged` would take. `calls` is the most there can be, `stored` how many of them are
    answered already, `cost_usd` an estimate for the rest, as `explain` makes it. Equal answers are
    not shown to the judge, so it often asks less. `unpriced` are models without a known price."""

    prompts: int
    models: int
    judges: int
    calls: int
    stored: int
    cost_usd: float
    unpriced: tuple[str, ...]


class Replay(Operator):
    """Asks what a column of conversations holds, as JSON, word for word."""

    kind = "replay"

    def __init__(self, column: str = "request") -> None:
        super().__init__(column, model=None, temperature=None, max_tokens=None)

    @property
    def dtype(self) -> pl.DataType:
        return pl.String()

    @property
    def settings(self) -> tuple[Hashable, ...]:
        return ()

    def ask(self, text: str, model: str) -> Request:
        said = msgspec.json.decode(text, type=Conversation) if text else ()
        return Request(model=model, messages=said, max_tokens=SERVED)

    def value(self, completion: Any) -> str:
        return str(completion.text).strip()


def conversations(table: pl.DataFrame) -> tuple[list[Conversation], int]:
    """What was asked in each row, and how many rows were left out because they ask nothing or hold
    more than text. A row has `messages`, as OpenAI's requests do (a list of role and content, or
    that as JSON), or `prompt`, which is all of the user's message. Raises ColumnNotFound."""
    if "messages" not in table.columns:
        require(table, ("prompt",), "The table of prompts")
        texts = table["prompt"].cast(pl.String).to_list()
        found = [_usable(text and [{"role": "user", "content": text}]) for text in texts]
    else:
        found = [_usable(row) for row in table["messages"].to_list()]
    kept = [conversation for conversation in found if conversation is not None]
    return kept, len(found) - len(kept)


def logged(store: Store, which: str) -> pl.DataFrame:
    """What the ledger kept of prompts, as rows of `messages`: those of one run (its id, or the
    beginning of it), of the `last` run that has some, or of `all` single requests (`swath serve`,
    `sw.complete`, `sw.stream`) and all rows that a router placed. Raises InputError where there are
    none."""
    where, values = _of_run(store, which)
    rows = store.query(
        f"SELECT DISTINCT prompt FROM calls WHERE prompt <> '' AND status = 'ok' AND {where}",
        values,
    )
    if not rows:
        kept = store.query("SELECT count(*) AS n FROM calls WHERE prompt <> ''", [])[0]["n"]
        raise InputError(
            f"The ledger holds no prompts of '{which}'."
            if kept
            else "The ledger holds no prompts: it keeps them only where the config says so.",
            hint="Name a run (see: swath runs), last, or all."
            if kept
            else "From now on: keep_prompts = true in swath.toml. Prompts that you have in a file: "
            "--prompts FILE.",
        )
    return pl.DataFrame({"messages": sorted(row["prompt"] for row in rows)})


def _of_run(store: Store, which: str) -> tuple[str, list[Any]]:
    if which == "all":
        single = ", ".join(f"'{label}'" for label in SINGLE)
        return f"(label IN ({single}) OR route <> '')", []
    if which == "last":
        newest = "SELECT run FROM calls WHERE prompt <> '' ORDER BY at DESC LIMIT 1"
        found = store.query(newest, [])
        return "run = ?", [found[0]["run"] if found else ""]
    return "run LIKE ?", [which + "%"]


def sampled(said: Sequence[Conversation], n: int | None, seed: int) -> list[Conversation]:
    """`n` of the distinct conversations, drawn with `seed`; all where `n` is None or there are no
    more. The same whatever their order. Raises InputError."""
    import numpy as np

    distinct = sorted(set(said), key=msgspec.json.encode)
    if len(distinct) < 2:
        raise InputError(
            f"There are {len(distinct)} prompts to ask about.",
            hint="A router needs some hundred different ones.",
        )
    if n is None or n >= len(distinct):
        return distinct
    if n < 2:
        raise InputError(f"A sample of {n} teaches nothing.", hint="Give --sample 300 or so.")
    drawn = np.random.default_rng(seed).choice(len(distinct), n, replace=False)
    return [distinct[i] for i in np.sort(drawn)]


def forecast(
    said: Sequence[Conversation],
    models: Sequence[str],
    judge: Sequence[str],
    *,
    session: Session,
) -> Forecast:
    """Before anything is spent: what `judged` would take. Raises InputError, UnknownModel."""
    from swath.evals import jury
    from swath.evals.contestants import contestants
    from swath.evals.judge import Judge
    from swath.frames.readers import frame

    entered = contestants(models)
    judges = Judge(list(judge)).models(session.models.default)
    pairs = jury.pairs([each.name for each in entered], None)
    answers = {f"answer {each.name}": each.put(Replay()) for each in entered}
    asked: Any = frame(_table(said)).with_columns(**answers)
    # As the jury puts it: what was judged before is found, and costs nothing.
    questions: dict[str, Any] = {
        f"judge {name} {first} {second}": Judge(name).pairing(
            "instruction", f"answer {first}", f"answer {second}", name, input="input"
        )
        for a, b in pairs
        for first, second in ((a, b), (b, a))
        for name in judges
    }
    found = asked.with_columns(**questions).explain(session=session)
    aliases = dict.fromkeys([*(each.model for each in entered), *judges])
    return Forecast(
        prompts=len(said),
        models=len(entered),
        judges=len(judges),
        calls=len(said) * (len(entered) + 2 * len(pairs) * len(judges)),
        stored=found.stored,
        cost_usd=found.cost_usd,
        unpriced=tuple(name for name in aliases if session.models[name].price is None),
    )


def judged(
    said: Sequence[Conversation],
    models: Sequence[str],
    judge: str | Sequence[str],
    *,
    max_cost: float | None = None,
    progress: Any = None,
    session: Session | None = None,
) -> Comparison:
    """Each conversation answered by each of `models`, all pairs judged in both orders; then
    `training_data.of_comparison`. `max_cost` is dollars for all of it. Raises BudgetReached: the
    same call then goes on where it stopped."""
    from swath.evals.compare import compare

    made = compare(
        _table(said),
        Replay(),
        models,
        judge=judge,
        n=None,
        name=NAME,
        max_cost=max_cost,
        progress=progress,
        session=session,
    )
    return replace(made, settings={**made.settings, "prompt": "prompt"})


def _table(said: Sequence[Conversation]) -> pl.DataFrame:
    """`request`, what is asked; `prompt`, what a router reads of it; `instruction` and `input`, how
    a judge is told."""
    requests = [Request(model="", messages=conversation) for conversation in said]
    return pl.DataFrame(
        {
            "request": [msgspec.json.encode(conversation).decode() for conversation in said],
            "prompt": [prompt_of(request) for request in requests],
            "instruction": [request.system for request in requests],
            "input": ["\n\n".join(turn.content for turn in r.turns) for r in requests],
        },
        schema=dict.fromkeys(("request", "prompt", "instruction", "input"), pl.String()),
    )


def _usable(given: Any) -> Conversation | None:
    """None where it is no conversation in text that ends with the user."""
    if isinstance(given, str):
        try:
            given = msgspec.json.decode(given)
        except msgspec.DecodeError:
            return None
    if not isinstance(given, Sequence):
        return None
    made = []
    for message in given:
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            return None
        content = message.get("content")
        if isinstance(content, Sequence) and not isinstance(content, str):
            parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
            content = None if None in parts else "\n".join(map(str, parts))
        if not isinstance(content, str) or message.get("tool_calls"):
            return None
        made.append(Message(message["role"], content))
    return tuple(made) if made and made[-1].role == "user" and made[-1].content.strip() else None
