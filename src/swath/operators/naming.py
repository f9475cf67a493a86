"""Names for groups of texts, each its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swath.engine.shape import Invalid, conforming, read_json
from swath.messages import Completion, Message, Request, Schema
from swath.operators.asking import Ask, Failed

SHOWN = 8  # texts of a group
CHARACTERS = 400  # of each
TRIES = 2  # for a name that is taken
WORDS = 12  # a name is cut there

_TASK = (
    "The texts belong together. Name what they have in common in two to five words, specific "
    "enough to tell it from other groups, and say in one sentence what it covers."
)
_TAKEN = "These names are taken by other groups; choose one that tells this group from them:"
_SCHEMA = Schema(
    "group",
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "covers": {"type": "string"}},
        "required": ["name", "covers"],
        "additionalProperties": False,
    },
)


@dataclass(frozen=True)
class Name:
    name: str
    covers: str


def question(texts: Sequence[str], model: str, taken: Sequence[str] = ()) -> Request:
    parts = [_TASK]
    if taken:
        parts.append("\n".join([_TAKEN, *(f"- {name}" for name in taken)]))
    shown = "\n\n".join(f"<text>\n{text[:CHARACTERS]}\n</text>" for text in texts[:SHOWN])
    messages = (Message("system", "\n\n".join(parts)), Message("user", shown))
    return Request(model=model, messages=messages, schema=_SCHEMA)


def check(text: str) -> Name:
    value = conforming(read_json(text), _SCHEMA)
    name = " ".join(value["name"].split()[:WORDS]).strip(" .\"'")
    if not name:
        raise Invalid("The name is empty.", "the name is empty.")
    return Name(name, " ".join(value["covers"].split()))


async def named(
    ask: Ask, groups: Sequence[Sequence[str]], model: str, fallback: Sequence[str]
) -> list[Name | Failed]:
    """A name for each group of texts, no two alike. The second of two that are alike is asked for
    again, told what is taken, and at last gets a number."""
    replies = await ask.many([question(texts, model) for texts in groups], check, fallback)
    names: list[Name | Failed] = []
    taken: dict[str, str] = {}  # as compared -> as written
    for texts, reply in zip(groups, replies, strict=True):
        tries = 0
        while isinstance(reply, Completion) and reply.parsed.name.casefold() in taken:
            if tries == TRIES:
                break
            tries += 1
            again = question(texts, model, list(taken.values())[: 10 * tries])
            (reply,) = await ask.many([again], check, fallback)
        if not isinstance(reply, Completion):
            assert reply is not None
            names.append(reply)
            continue
        found: Name = reply.parsed
        number = 2
        name = found.name
        while name.casefold() in taken:
            name = f"{found.name} {number}"
            number += 1
        taken[name.casefold()] = name
        names.append(Name(name, found.covers))
    return names
