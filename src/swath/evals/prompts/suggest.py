"""The next version of a prompt, written by a model that reads where this one fails.

    rows ─▶ seen:  run, take the failures and their reasons ─▶ a model writes the next version
         └▶ held:  both versions are run ─▶ better, worse, or cannot tell

The writer never sees a held-back row: which side a row falls on depends on its input alone, so that
a text that occurs twice cannot be on both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from swath.engine.run import Run
from swath.engine.shape import Invalid, conforming, read_json
from swath.errors import InputError
from swath.evals.golden.operator import is_template
from swath.evals.golden.purse import Purse
from swath.evals.golden.report import Report, RowResult
from swath.evals.golden.run import scored
from swath.evals.golden.values import as_text
from swath.evals.prompts.versions import Versions, compare_versions
from swath.messages import Message, Request, Schema
from swath.operators.template import Template
from swath.prompting.prompt import Prompt

if TYPE_CHECKING:
    from swath.engine.call import Check
    from swath.evals.golden.read import Suite
    from swath.session import Session

FAILURES, GOOD = 12, 3  # rows shown to the writer
LONGEST = 1500  # characters of a value shown
MAX_TOKENS = 4096
TAG = "suggested"
_SCHEMA = Schema(
    "suggestion",
    {
        "type": "object",
        "properties": {
            "why": {
                "type": "string",
                "description": "what the failures have in common, and what is changed against it",
            },
            "prompt": {"type": "string", "description": "the whole of the next version"},
        },
        "required": ["why", "prompt"],
        "additionalProperties": False,
    },
)
_TASK = """\
You improve prompts. You are given a prompt that is run over the rows of a table, and rows on \
which its answer was judged wrong, with the reasons. Find what the failures have in common, and \
write the next version of the prompt: the whole of it, ready to be used. Say what is wanted in \
general terms; do not list the rows shown as cases, and keep what works. Keep it as short as it \
can be."""


@dataclass(frozen=True)
class Suggestion:
    """`prompt` is the child version, saved and not promoted; `trial` what it did to the held-back
    rows; `why` the writer's own words; `seen` and `held` count rows, `shown` the failures that the
    writer read."""

    prompt: Prompt
    why: str
    trial: Versions
    seen: int
    held: int
    shown: int

    def __str__(self) -> str:
        name, version = self.prompt.name, self.prompt.version
        return (
            f"{self.why}\n\n{self.trial}\n\n"
            f"Written from {self.shown} of {self.seen:,} seen rows, tried on {self.held:,} "
            f"held-back ones. Saved as {self.prompt.ref}, not promoted: "
            f"swath prompts promote {name} {version}"
        )


def suggest(
    suite: Suite,
    prompt: Prompt,
    *,
    model: str,
    holdout: float = 0.5,
    seed: int = 0,
    models: Sequence[str] | None = None,
    reasons: Mapping[int, Sequence[str]] | None = None,
    max_cost: float | None = None,
    fresh: bool = False,
    progress: Any = False,
    session: Session | None = None,
) -> Suggestion:
    """The next version of `prompt`, written by `model` and tried on held-back rows.

    `holdout` is the share of rows held back; `models` are those that answer, `model` writes.
    `reasons` says by row of the suite what a judge held against its answers elsewhere (a
    comparison): such a row counts as failed. `fresh` asks for another suggestion than the stored
    one. It must name the same {columns}. Raises InputError where no seen row failed, ProviderError
    where no usable suggestion came.
    """
    from swath.evals.stats.decide import decide  # noqa: F401  the extra: before anything is spent
    from swath.session import current

    chosen = session or current()
    purse = Purse(chosen, max_cost, progress)
    parent = prompt.save(chosen)
    seen, held = split(suite, parent, holdout, seed)
    report = scored(suite.keep(seen), parent, models, purse, free=True)
    blamed = reasons or {}
    failures = [row for row in report.rows if _failed(row) or row.row in blamed]
    if not failures:
        raise InputError(
            f"No failure to learn from: all {len(seen):,} seen rows passed.",
            hint="Add harder rows, or a stricter check.",
        )
    template = is_template(suite.maker.make(None, parent))
    request = Request(
        model=model,
        messages=(
            Message("system", _TASK + _rules(parent, template)),
            Message("user", _case(parent, report, failures, blamed)),
        ),
        schema=_SCHEMA,
        max_tokens=MAX_TOKENS,
    )
    run = Run(f"suggest {parent.name}", max_cost=purse.left)
    asked = chosen.engine.complete(
        request, run=run, check=_check(parent, template), label="suggest", fresh=fresh
    )
    try:
        said: dict[str, str] = chosen.call(asked).parsed
    finally:
        purse.add(run.finish())
    child = parent.edit(said["prompt"], tags=[TAG])
    trial = compare_versions(
        suite.keep(held), parent, child.save(chosen), models=models, max_cost=purse.left,
        progress=progress, session=chosen,
    )  # fmt: skip
    return Suggestion(
        trial.b, said["why"], trial, len(seen), len(held), min(len(failures), FAILURES)
    )


def split(suite: Suite, prompt: Prompt, holdout: float, seed: int) -> tuple[list[int], list[int]]:
    """Positions of the seen rows and of those held back; equal inputs fall on one side."""
    if not 0 < holdout < 1:
        raise InputError(f"holdout={holdout:g} is no share.", hint="Give one such as 0.5.")
    reads = sorted(suite.maker.make(None, prompt).reads(suite.table.schema))
    sides: tuple[list[int], list[int]] = ([], [])
    for i, row in enumerate(suite.table.select(reads).rows()):
        digest = blake2b(msgspec.json.encode([seed, row]), digest_size=8).digest()
        sides[int.from_bytes(digest, "big") / 2**64 < holdout].append(i)
    if not all(sides):
        raise InputError(
            f"{suite.table.height} rows are too few to hold some back.",
            hint="Give some 20 or more.",
        )
    return sides


def _failed(row: RowResult) -> bool:
    return any(s.score is not None and not s.passed for s in row.scores.values())


def _rules(prompt: Prompt, template: bool) -> str:
    if not template:
        return " It is the instructions; the row's text follows it in a message of its own."
    names = ", ".join(f"{{{name}}}" for name in dict.fromkeys(Template(prompt).names))
    return (
        f" It is a template, whose {names} is filled from each row: keep every such name exactly "
        "as it is written, add none, and write {{ or }} for a plain brace."
    )


def _check(parent: Prompt, template: bool) -> Check:
    def check(text: str) -> dict[str, str]:
        value: dict[str, str] = conforming(read_json(text), _SCHEMA)
        written = value["prompt"].strip()
        if not written or written == str(parent).strip():
            raise Invalid("The prompt must differ from the one given.", "it changes nothing.")
        if template:
            wanted = set(Template(parent).names)
            try:
                names = set(Template(written).names)
            except InputError as error:
                raise Invalid(f"{error.message} {error.hint}", "it is no template.") from None
            if names != wanted:
                listed = ", ".join(f"{{{name}}}" for name in sorted(wanted))
                raise Invalid(
                    f"The prompt must name exactly these columns: {listed}.",
                    "it does not name the same columns.",
                )
        return {"why": value["why"].strip(), "prompt": written}

    return check


def _case(
    prompt: Prompt,
    report: Report,
    failures: Sequence[RowResult],
    blamed: Mapping[int, Sequence[str]],
) -> str:
    """What the writer reads: the prompt, what fails and why, and a few rows that are right."""
    right = [row for row in report.rows if row not in failures][:GOOD]
    parts = [f"<prompt>\n{prompt}\n</prompt>"]
    if prompt.instructions:
        parts.append(f"<instructions>\n{prompt.instructions}\n</instructions>")
    parts.append(f"{len(failures)} of {len(report.rows)} answers failed. Some of them:")
    parts += [_row(row, blamed.get(row.row, ())) for row in _varied(failures)]
    if right:
        parts += ["Some that are right:", *map(_row, right)]
    return "\n\n".join(parts)


def _varied(failures: Sequence[RowResult]) -> list[RowResult]:
    """One of each kind of failure before a second of any: by what was wrong."""
    kinds: dict[str, list[RowResult]] = {}
    for row in failures:
        wrong = [f"{n}: {s.reason}" for n, s in row.scores.items() if not s.passed]
        kinds.setdefault("; ".join(wrong), []).append(row)
    turns = max(map(len, kinds.values()))
    return [rows[i] for i in range(turns) for rows in kinds.values() if i < len(rows)][:FAILURES]


def _row(row: RowResult, blamed: Sequence[str] = ()) -> str:
    fields = [(name, as_text(value)) for name, value in row.input.items()]
    fields.append(
        ("answer", f"(none: {row.unanswered})" if row.unanswered else as_text(row.answer))
    )
    fields += [(f"expected {name}", as_text(value)) for name, value in row.expected.items()]
    fields += [
        (f"wrong by {name}", score.reason)
        for name, score in row.scores.items()
        if score.score is not None and not score.passed
    ]
    fields += [("a judge said", reason) for reason in blamed]
    return "<row>\n" + "\n".join(f"{n}: {v[:LONGEST]}" for n, v in fields) + "\n</row>"
